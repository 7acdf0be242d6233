"""The progress of jobs side by side is one."""

from __future__ import annotations

from cyrsync.sync.progress import OfJobs

Told = tuple[str, int, int, int]


def test_jobs_are_added_up_and_the_last_one_counts() -> None:
    told: list[Told] = []
    jobs = OfJobs(lambda *words: told.append(words))
    first, second = jobs.of(0), jobs.of(1)
    first("messages", 1, 4, 10)
    second("messages", 2, 6, 20)
    assert told == [("messages", 1, 4, 10), ("messages", 3, 10, 30)]
    first("messages", 4, 4, 40)
    first("metadata", 0, 1, 0)  # the other is still at messages
    assert told[-2:] == [("messages", 6, 10, 60), ("messages", 6, 10, 60)]
    second("messages", 6, 6, 60)  # nobody is
    assert told[-1] == ("metadata", 0, 1, 0)
    second("metadata", 2, 3, 5)
    assert told[-1] == ("metadata", 2, 4, 5)


def test_a_job_that_has_ended_holds_nobody_up() -> None:
    told: list[Told] = []
    jobs = OfJobs(lambda *words: told.append(words))
    first, second = jobs.of(0), jobs.of(1)
    first("messages", 4, 4, 40)
    second("messages", 6, 6, 60)
    second("metadata", 1, 3, 5)
    assert told[-1] == ("metadata", 1, 3, 5)


def test_a_job_begins_anew() -> None:
    told: list[Told] = []
    jobs = OfJobs(lambda *words: told.append(words))
    jobs.of(0)("messages", 4, 4, 40)
    jobs.of(0)("messages", 1, 3, 5)
    assert told[-1] == ("messages", 1, 3, 5)
