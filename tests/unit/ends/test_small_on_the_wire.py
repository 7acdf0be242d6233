"""Answers of a far end that take a few bytes when they are compressed, and gigabytes, or hours, when they are read."""

from __future__ import annotations

import errno
import io
import json
import sys
import tracemalloc
import zlib
from array import array
from collections.abc import Callable
from typing import Any

import pytest
from hypothesis import given

from cyrsync.ends import agent_link
from cyrsync.ends.agent_tree import AgentTree
from cyrsync.errors import ConnectionFailed, WrongAnswer
from cyrsync.far import folder, locked_folder, uids, wire
from cyrsync.far.folder import Folder
from cyrsync.far.message_files import MessageFiles
from cyrsync.far.remove import Removal
from cyrsync.far.wire import WireError
from support import frames
from support.fake_link import fake_agent

LINE = 32 << 20  # bytes that are read as one
REMOVAL = Removal(b"a", files=(b"x",))


def tree(answer: bytes) -> AgentTree:
    return fake_agent(zlib.compress(answer), compressed=True)


def walk(answer: bytes) -> list[Folder]:
    return list(tree(answer).walk(b"/r", frozenset()))


def remove(answer: bytes, path: bytes = b"a") -> object:
    return tree(answer).remove(b"/r", [REMOVAL._replace(path=path)], keep_times=True)


def listed(size: int, data: bytes) -> bytes:
    """A folder with messages as an agent sends it, and nothing else."""
    return b'["",0,null,[%d,%d],[],{},{},[],null,[]]\n' % (size, len(data)) + data


BOMBS = {
    "lists": b"[" + b"[]," * (LINE // 3 - 2) + b"0]",
    "records": b"[" + b'{"":0},' * (LINE // 7 - 2) + b"0]",
    "a list in a list": b"[" + (b"[" * 900 + b"]" * 900 + b",") * (LINE // 1801 - 1) + b"0]",
    "numbers": b"[" + b"0," * (LINE // 2 - 2) + b"0]",
}


@pytest.mark.parametrize("name", BOMBS)
def test_a_line_has_so_many_values_at_the_most(name: str) -> None:
    tracemalloc.start()
    with pytest.raises(WrongAnswer, match="a line of more than 3000000 values"):
        walk(BOMBS[name] + b"\n")
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 4 * LINE


@pytest.mark.parametrize("number", [1, 2, 1000])
def test_as_many_values_as_there_may_be(number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_VALUES", number)
    least = json.dumps([0] * (number - 1)).encode()
    assert wire.fits(least)
    assert wire.parse(least) == [0] * (number - 1)
    with pytest.raises(WireError):
        wire.parse(json.dumps([0] * (number + 1)).encode())


@given(frames.folders)
def test_a_folder_with_too_many_values_costs_only_itself(found: Folder) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "MAX_VALUES", 40)
        sent = folder.read(io.BytesIO(folder.encode(found)))
    assert sent == found or sent == Folder(found.path, problem=errno.EFBIG)


@given(frames.takens())
def test_and_one_with_its_files(taken: locked_folder.LockedFolder) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "MAX_VALUES", 40)
        sent = locked_folder.decode(io.BytesIO(locked_folder.encode(taken, True)), numeric_ids=True)
    assert sent.folder.path == taken.folder.path
    assert sent.folder.problem in (taken.folder.problem, errno.EFBIG)


MANY = 50


@pytest.fixture
def few(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a folder have few messages."""
    monkeypatch.setattr(uids, "MOST", MANY)


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("step", [1, 1000])
def test_a_folder_has_so_many_messages_at_the_most(step: int) -> None:
    most = array("I", range(1, 1 + step * MANY, step))
    assert len(most) == MANY
    assert walk(listed(*uids.pack(most)) + b'{"end": true}\n')[0].messages.uids == most
    most.append(most[-1] + step)
    with pytest.raises(WrongAnswer, match="more UIDs than a folder has"):
        walk(listed(*uids.pack(most)) + b'{"end": true}\n')


@pytest.mark.usefixtures("few")
@pytest.mark.parametrize("compressible", [True, False])
def test_one_that_has_more_costs_only_itself(compressible: bool, monkeypatch: pytest.MonkeyPatch) -> None:
    for count, problem in ((MANY, 0), (MANY + 1, errno.EFBIG)):
        messages = MessageFiles.of(array("I", range(1, count + 1)))
        found = folder.read(io.BytesIO(folder.encode(Folder(b"a", messages=messages), compressible)))
        assert (found.path, found.problem) == (b"a", problem)


@pytest.mark.parametrize("row", [b"1." * (1 << 20), b"1" * (1 << 20) + b"."], ids=["too many", "too long"])
def test_no_directory_has_such_names(row: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(uids, "MOST", 1 << 19)
    with pytest.raises(WrongAnswer, match="a row that no directory gives"):
        walk(listed(0, row))


def test_a_number_has_so_many_digits_at_the_most(monkeypatch: pytest.MonkeyPatch) -> None:
    """Also where Python reads what takes hours: before 3.10.7."""
    if hasattr(sys, "set_int_max_str_digits"):
        before = sys.get_int_max_str_digits()
        sys.set_int_max_str_digits(0)
    monkeypatch.setattr(wire, "_HAS_NO_END", True)
    try:
        with pytest.raises(WrongAnswer, match="a number of more than 4300 digits"):
            walk(b"[1" + b"234567890" * 1000 + b"]\n")
    finally:
        if hasattr(sys, "set_int_max_str_digits"):
            sys.set_int_max_str_digits(before)


#: A path that takes minutes to go up, component by component, and gigabytes as a list of all that lead to it.
DEEP = "x/" * 500_000 + "x"


@pytest.mark.parametrize("asked", [b"a", b"x/" * 1000 + b"y", b"yy"])
def test_a_path_that_nobody_asked_for_is_not_gone_up(asked: bytes) -> None:
    with pytest.raises(WrongAnswer, match="what nobody asked for: x/x"):
        remove(json.dumps([DEEP, 13]).encode() + b"\n", asked)


@pytest.mark.parametrize(
    ("asked", "told", "fits"),
    [
        ("a", "a", True),
        ("a", "a/b", True),
        ("a", "ab", False),
        ("a", "", False),
        ("a/b", "a/b/c/d", True),
        ("a/b", "a/bc/d", False),
        ("a/b", "a", False),
        ("", "a/b", True),
        ("", "", True),
    ],
)
def test_what_is_below_a_path_that_was_asked_for(asked: str, told: str, fits: bool) -> None:
    answer = json.dumps([told, 13]).encode() + b'\n{"files": 0, "folders": 0, "end": true}\n'
    if fits:
        remove(answer, asked.encode())
    else:
        with pytest.raises(WrongAnswer, match="what nobody asked for"):
            remove(answer, asked.encode())


@pytest.mark.parametrize("above", [[], [""], ["", "y"] + [""] * 499_999], ids=["none", "the root", "as many"])
def test_directories_that_do_not_lead_to_a_path(above: list[str]) -> None:
    tracemalloc.start()
    with pytest.raises(WireError, match="do not lead to x/x"):
        wire.above([path.encode() for path in above], DEEP.encode())
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 256 << 20


@pytest.mark.parametrize(
    ("ask", "line"),
    [
        (remove, b'["a/x", 13]\n'),
        (lambda answer: tree(answer).stores.look(b"/r"), b'["damaged", "a/x"]\n'),
    ],
)
def test_what_failed_has_an_end(ask: Callable[[bytes], Any], line: bytes, monkeypatch: pytest.MonkeyPatch) -> None:
    for module in ("cyrsync.ends.agent_link.MOST_LINES", "cyrsync.ends.stores.MAX_OTHERS"):
        monkeypatch.setattr(module, 1000)
    monkeypatch.setattr(agent_link.AgentLink.end, "__defaults__", (None, 1000))
    with pytest.raises(WrongAnswer, match="more than was asked for"):
        ask(line * 1001)
    with pytest.raises(ConnectionFailed, match="the connection failed"):
        ask(line * 1000)
