"""Lists say what rsync is to take, so that it cannot be misread."""

from __future__ import annotations

from array import array
from typing import Any

import pytest

from cyrsync.spool import lists
from cyrsync.sync.folder_plan import FolderPlan, State


def plan(path: bytes = b"user/joe", **fields: Any) -> FolderPlan:
    return FolderPlan(path, State.CHANGED, **fields)


@pytest.mark.parametrize(
    ("given_plan", "entries"),
    [
        (plan(), []),
        (plan(uids=array("I", [1, 20]), nonstandard=(b"007.",)), [b"user/joe/1.", b"user/joe/20.", b"user/joe/007."]),
        (plan(b"", uids=array("I", [1]), nonstandard=(b"007.",)), [b"1.", b"007."]),
        (plan(whole=True, uids=array("I", [1])), [b"user/joe/"]),
        (plan(metadata=(b"cyrus.index",), other_files=(b"x",), touch=True), []),
    ],
)
def test_message_entries(given_plan: FolderPlan, entries: list[bytes]) -> None:
    assert list(lists.message_entries(given_plan)) == entries


@pytest.mark.parametrize(
    ("given_plan", "entries"),
    [
        (plan(), []),
        (plan(uids=array("I", [1]), whole=True), []),
        (plan(metadata=(b"cyrus.index",), other_files=(b"x",)), [b"user/joe/cyrus.index", b"user/joe/x"]),
        (plan(touch=True, metadata=(b"cyrus.index",)), [b"user/joe", b"user/joe/cyrus.index"]),
        (plan(b"", touch=True, metadata=(b"cyrus.index",), other_files=(b"x",)), [b"cyrus.index", b"x"]),
        (plan(b"", touch=True), []),
    ],
)
def test_other_entries(given_plan: FolderPlan, entries: list[bytes]) -> None:
    assert list(lists.other_entries(given_plan)) == entries
