"""Where an index is deleted to make room: where that is sure to help, in few folders first."""

from __future__ import annotations

from array import array
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import pytest

from cyrsync.errors import ReplicaFull
from cyrsync.spool import room
from cyrsync.spool.account import Account
from cyrsync.sync.folder_plan import FolderPlan, State

FULL = ReplicaFull("full", 11)
SIZE = 5000  # of every file: two blocks


@dataclass
class Transfer:
    """What is asked of one that there was no room for."""

    plans: dict[bytes, FolderPlan]
    root: bytes = b"/data"
    full: ReplicaFull | None = FULL

    @property
    def account(self) -> Account:
        return Account(full=self.full, short=set(self.plans) if self.full else set())

    def plan(self, path: bytes) -> FolderPlan | None:
        return self.plans.get(path)

    def size_of_deleted(self, plan: FolderPlan) -> list[int]:
        return [SIZE] * (len(plan.delete_uids) + 1)  # and the index


def plan(path: bytes = b"joe", send: int = 0, delete: int = 0, **more: Any) -> FolderPlan:
    fields: dict[str, Any] = {"metadata": (b"cyrus.index",), "metadata_bytes": SIZE, **more}
    uids = array("I", range(100, 100 + send))
    return FolderPlan(path, State.CHANGED, uids=uids, delete_uids=array("I", range(1, delete + 1)), **fields)


def sizes(paths: list[bytes]) -> list[int | None]:
    return [SIZE for _ in paths]


def tries(transfer: Transfer, answers: Sequence[bool]) -> tuple[bool, list[tuple[int, bool]]]:
    """Whether all is there in the end, and how many folders were tried, and whether they were cleared first.

    `answers` are whether there was room then.
    """
    done: list[tuple[int, bool]] = []

    def again(before: Transfer, paths: list[bytes], *, clear: bool) -> Transfer:
        done.append((len(paths), clear))
        plans = {path: found for path in paths if (found := before.plan(path))}
        return Transfer(plans, full=None if answers[len(done) - 1] else FULL)

    return room.try_again(transfer, sizes, again) is None, done  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("found", "is_tried"),
    [
        (plan(delete=1), True),
        (plan(delete=0), False),  # nothing to be gained
        (plan(send=10, delete=11), True),
        (plan(send=10, delete=5), False),  # the index would be gone, and the new one could not follow
        (plan(delete=5, kept=True), False),
        (plan(delete=5, metadata=()), False),  # no new index would come
    ],
)
def test_an_index_goes_where_that_makes_enough_room(found: FolderPlan, is_tried: bool) -> None:
    assert tries(Transfer({b"joe": found}), [True]) == (is_tried, [(1, True)] if is_tried else [])


def test_one_folder_makes_room_for_others_then_two_more_do() -> None:
    all_plans = {name: plan(name, delete=3) for name in (b"%d" % number for number in range(9))}
    assert tries(Transfer(all_plans), [True, True]) == (True, [(1, True), (8, False)])
    found = tries(Transfer(all_plans), [True, False, True, False, True, True])
    assert found == (True, [(1, True), (8, False), (2, True), (6, False), (4, True), (2, False)])


def test_no_more_indexes_go_where_the_first_did_not_help() -> None:
    all_plans = {name: plan(name, delete=3) for name in (b"1", b"2", b"3")}
    assert tries(Transfer(all_plans), [False]) == (False, [(1, True)])


def test_without_sizes_of_the_source_no_message_is_thought_to_fit() -> None:
    where = Transfer({b"joe": plan(send=1, delete=9)})
    assert room.try_again(where, lambda paths: [None for _ in paths], None) is FULL  # type: ignore[arg-type]
