"""Where the time of a run goes."""

from __future__ import annotations

import itertools

from cyrsync.sync.phases import Phases, PhaseSeconds
from cyrsync.sync.result import RunResult


def test_a_phase_within_another_is_taken_out_of_it() -> None:
    times = iter([0, 1, 3, 10, 14, 24, 44, 100])
    phases = Phases(lambda: next(times))
    with phases.phase("scan"):
        pass
    with phases.phase("transfer"), phases.phase("delete"):
        pass
    assert phases.seconds() == PhaseSeconds(scan=2, transfer=4 + 20, delete=10)


def test_of_jobs_that_delete_at_the_same_time_no_moment_counts_twice() -> None:
    ticks = itertools.count()
    phases = Phases(lambda: next(ticks))
    with phases.phase("transfer"):  # at 1
        first, second = phases.phase("delete"), phases.phase("delete")
        first.__enter__()
        second.__enter__()
        first.__exit__(None, None, None)  # at 4; the second one goes on
        second.__exit__(None, None, None)
    assert phases.seconds() == PhaseSeconds(transfer=2, delete=3)


def test_a_failure_ends_its_phase() -> None:
    ticks = itertools.count()
    phases = Phases(lambda: next(ticks))
    try:
        with phases.phase("scan"):
            raise ValueError
    except ValueError:
        pass
    with phases.phase("delete"):
        pass
    assert phases.seconds() == PhaseSeconds(scan=1, delete=1)


def test_a_folder_that_failed_in_two_trees_is_one() -> None:
    result = RunResult(source="", destination="", engine="index", dry_run=False, started="")
    result.hold({b"a", b"b"})
    result.hold({b"b"})
    assert result.folders.failed == 2
    assert "held" not in result.to_json()
