"""Whatever happens to a tree: the replica is what `rsync -a --delete` makes of it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from random import Random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from cyrsync.ends import address
from cyrsync.far import locked_folder
from cyrsync.spool import compare
from cyrsync.spool import run as walk
from cyrsync.sync.folder_plan import FolderPlan, State
from cyrsync.sync.guard import MaxDelete
from cyrsync.sync.options import Options
from cyrsync.sync.result import RunResult
from cyrsync.sync.session import Session
from support.campaign import amount
from support.memory import in_memory
from support.random_tree import RandomTree
from support.tree import assert_same_tree, rsync

#: No rail: these trees are small, and much of them goes at once.
OPTIONS = Options(delete=True, max_delete=MaxDelete(100, percent=True))
HISTORIES = settings(max_examples=amount(12, long=100))
seeds = st.integers(0, 2**32 - 1)


@pytest.fixture(autouse=True, scope="module")
def _nobody_writes() -> Iterator[None]:
    """Many of the folders lack what a writer at work would still bring: he is not waited for."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(locked_folder, "_PAUSE", 0)
        patch.setattr(locked_folder, "_LONG_PAUSE", 0)
        yield


@contextmanager
def states_found() -> Iterator[set[State]]:
    """The states in which a run finds folders; of those that it compares, most prove to be the same."""
    found: set[State] = set()
    real = compare.compare

    def look(*trees: Any, **more: Any) -> FolderPlan:
        plan = real(*trees, **more)
        found.add(plan.state)
        return plan

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(compare, "compare", look)
        yield found


@HISTORIES
@example(6450778)
@given(seeds)
def test_random_histories(seed: int) -> None:
    with in_memory() as directory:
        source, replica, reference = directory / "source", directory / "replica", directory / "reference"
        tree = RandomTree(os.fsencode(source), Random(seed))
        for _ in range(3):
            tree.change(12)
            assert_done(run(source, replica))
            rsync("-a", "-@-1", "--delete", "--force", f"{source}/", f"{reference}/")
            assert_same_tree(reference, replica)

            with states_found() as states:
                again = run(source, replica)
            assert_done(again)
            assert not again.rsync_runs or State.COMPARED in states
            assert_same_tree(reference, replica)


@settings(HISTORIES, max_examples=amount(6, long=50))
@given(seeds)
def test_whatever_the_replica_was_before(seed: int) -> None:
    with in_memory() as directory:
        source, replica, reference = directory / "source", directory / "replica", directory / "reference"
        for number, path in enumerate((source, replica)):
            RandomTree(os.fsencode(path), Random(seed + number)).change(20)
        # A folder with hidden files in it does not go.
        rsync("-a", "--exclude=.*", f"{replica}/", f"{reference}/")
        rsync("-a", "--delete", f"{reference}/", f"{replica}/")

        assert_done(run(source, replica))
        rsync("-a", "-@-1", "--delete", "--force", f"{source}/", f"{reference}/")
        assert_same_tree(reference, replica)


def run(source: Path, replica: Path) -> RunResult:
    return walk.run(Session(address.parse(str(source)), address.parse(str(replica)), OPTIONS))


def assert_done(result: RunResult) -> None:
    """All that was planned was sent."""
    assert (result.errors, result.exit) == ([], 0)
    files = result.files
    assert files.planned == files.sent + files.vanished + files.failed
    assert files.planned == files.sent
