"""Lists say what rsync is to take, so that it cannot be misread."""

from __future__ import annotations

from array import array
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrsync.plan.folder_plan import FolderPlan, State
from cyrsync.transfer import lists

names = st.binary(min_size=1).filter(lambda name: not {0, ord("/")} & set(name))


def plan(path: bytes = b"user/joe", **fields: Any) -> FolderPlan:
    return FolderPlan(path, State.CHANGED, **fields)


@pytest.mark.parametrize(
    ("given_plan", "entries"),
    [
        (plan(), []),
        (plan(uids=array("I", [1, 20]), odd=(b"007.",)), [b"user/joe/1.", b"user/joe/20.", b"user/joe/007."]),
        (plan(b"", uids=array("I", [1]), odd=(b"007.",)), [b"1.", b"007."]),
        (plan(whole=True, uids=array("I", [1])), [b"user/joe/"]),
        (plan(metadata=(b"cyrus.index",), strays=(b"x",), touch=True), []),
    ],
)
def test_message_entries(given_plan: FolderPlan, entries: list[bytes]) -> None:
    assert list(lists.message_entries(given_plan)) == entries


@pytest.mark.parametrize(
    ("given_plan", "entries"),
    [
        (plan(), []),
        (plan(uids=array("I", [1]), whole=True), []),
        (plan(metadata=(b"cyrus.index",), strays=(b"x",)), [b"user/joe/cyrus.index", b"user/joe/x"]),
        (plan(touch=True, metadata=(b"cyrus.index",)), [b"user/joe", b"user/joe/cyrus.index"]),
        (plan(b"", touch=True, metadata=(b"cyrus.index",), strays=(b"x",)), [b"cyrus.index", b"x"]),
        (plan(b"", touch=True), []),
    ],
)
def test_other_entries(given_plan: FolderPlan, entries: list[bytes]) -> None:
    assert list(lists.other_entries(given_plan)) == entries


@given(st.lists(names))
def test_write(tmp_path_factory: pytest.TempPathFactory, some: list[bytes]) -> None:
    path = tmp_path_factory.getbasetemp() / "list"
    assert lists.write(path, iter(some)) is bool(some)
    assert path.read_bytes() == b"".join(b"./" + name + b"\0" for name in some)


@pytest.mark.parametrize(
    ("below", "start"),
    [(b"", b"./"), (b"a", b"a/././"), (b"a/b", b"a/b/././"), (b"#a", b"#a/././")],
)
def test_write_below_the_operand(tmp_path: Path, below: bytes, start: bytes) -> None:
    lists.write(tmp_path / "list", [b"user/joe/", b"#x"], below)
    assert (tmp_path / "list").read_bytes() == start + b"user/joe/\0" + start + b"#x\0"


def test_an_old_list_is_replaced(tmp_path: Path) -> None:
    lists.write(tmp_path / "list", [b"a", b"b"])
    assert not lists.write(tmp_path / "list", [])
    assert (tmp_path / "list").read_bytes() == b""
