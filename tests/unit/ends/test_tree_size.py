"""A far end that tells of a tree without an end: one error, before what it says fills memory or a disk."""

from __future__ import annotations

import json
import tracemalloc
import zlib
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cyrsync import process
from cyrsync.ends.address import Address
from cyrsync.ends.agent_tree import AgentTree
from cyrsync.ends.daemon_tree import DaemonTree
from cyrsync.ends.posix_tree import PosixTree
from cyrsync.errors import ConnectionFailed, WrongAnswer
from cyrsync.far.folder import Folder
from support.fake_link import FakeLink, fake_agent

#: Of folders, other files and messages, in these tests.
MOST = 100
END = b'{"end": true}\n'


def agent(answer: bytes, *, far: bool = True) -> AgentTree:
    return fake_agent(zlib.compress(answer) if far else answer, compressed=far)


def frame(path: bytes, folders: Iterable[bytes] = (), others: Iterable[str] = (), messages: bytes = b"") -> bytes:
    """A folder as an agent sends it; each byte of `messages` is a step to the next UID."""
    names = [name.decode() for name in folders]
    found = [path.decode(), 0, None, [1, len(messages) + 4], [], {}, dict.fromkeys(others), names, None, []]
    if not messages:
        found[3] = [1, 0]
        return json.dumps(found).encode() + b"\n"
    return json.dumps(found).encode() + b"\n" + b"\1\0\0\0" + messages


def below_each_other() -> Iterator[bytes]:
    """Each folder has one more in it."""
    path = b""
    while True:
        yield frame(path, [b"a"])
        path = path + b"/a" if path else b"a"


def side_by_side() -> Iterator[bytes]:
    """A folder with folders in it, each of which has as many."""
    names = [b"%02d" % number for number in range(30)]
    yield frame(b"", names)
    for name in names:
        yield frame(name, names)
        for one in names:
            yield frame(name + b"/" + one)


def _first(count: int, frames: Iterator[bytes]) -> bytes:
    return b"".join(one for _, one in zip(range(count), frames, strict=False))


def walked(answer: bytes, *, far: bool = True) -> list[Folder]:
    return list(agent(answer, far=far).walk(b"/r", frozenset()))


@pytest.fixture(autouse=True)
def small(monkeypatch: pytest.MonkeyPatch) -> None:
    """Let a tree be small."""
    for name, most in (("MAX_OTHERS", MOST), ("MAX_MESSAGES", MOST), ("MAX_PATHS", 10 * MOST)):
        monkeypatch.setattr(f"cyrsync.ends.tree_size.{name}", most)


TREES = {
    "folders below each other": _first(2 * MOST, below_each_other()),
    "folders side by side": _first(2 * MOST, side_by_side()),
    "other files": frame(b"", others=[str(number) for number in range(MOST + 1)]),
    "messages": frame(b"", messages=b"\1" * MOST),
    "long paths": frame(b"", [b"a" * 20]) + frame(b"a" * 20, others=[str(number) for number in range(MOST - 2)]),
}


@pytest.mark.parametrize("name", TREES)
def test_an_agents_tree_has_an_end(name: str) -> None:
    with pytest.raises(WrongAnswer, match=r"host: its answer cannot be right .*more than a tree has"):
        walked(TREES[name])


def test_as_much_as_there_may_be() -> None:
    (root, one) = walked(
        frame(b"", [b"a"], others=[str(number) for number in range(MOST - 1)], messages=b"\1" * (MOST - 1))
        + frame(b"a")
        + END
    )
    assert (len(root.other_files), len(root.messages), one.path) == (MOST - 1, MOST, b"a")


def test_our_own_agent_may_have_found_any_tree() -> None:
    others = [str(number) for number in range(2 * MOST)]
    (root,) = walked(frame(b"", others=others) + END, far=False)
    assert len(root.other_files) == 2 * MOST


def test_names_below_a_long_path_take_their_own_room() -> None:
    """A few lines could be terabytes otherwise."""
    path, names = b"a" * 20_000, [b"%05d" % number for number in range(20_000)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("cyrsync.ends.tree_size.MAX_OTHERS", 1 << 24)
        patch.setattr("cyrsync.ends.tree_size.MAX_PATHS", 4 << 30)
        answer = frame(b"", [path]) + frame(path, names)
        tracemalloc.start()
        with pytest.raises(ConnectionFailed):
            walked(answer)
        peak = tracemalloc.get_traced_memory()[1]
        tracemalloc.stop()
    assert peak < 64 << 20


@pytest.mark.parametrize(
    ("ask", "line"),
    [
        (lambda tree: list(tree.audit(b"/r", content=False)), '["{}", 0, 0, 0, [], ""]'),
        (lambda tree: tree.stores.look(b"/r"), '["damaged", "{}"]'),
    ],
)
def test_an_answer_has_so_many_bytes(ask: Any, line: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("cyrsync.ends.agent_link.MOST_BYTES", 1000)
    answer = "".join(line.format("a" * number) + "\n" for number in range(1, 100))
    with pytest.raises(WrongAnswer, match="more bytes than an answer has"):
        ask(agent(answer.encode()))


def listed_by_a_shell(items: Iterable[bytes]) -> list[Folder]:
    tree = PosixTree(FakeLink(b"".join(item + b"\0" for item in items)))  # type: ignore[arg-type]
    return list(tree.walk(b"/r", frozenset()))


@pytest.mark.parametrize(
    "items",
    [
        [b"d.", *(b"d./%d" % number for number in range(2 * MOST))],
        [b"d.", b"d./" + b"a" * 20, *(b"n%d" % number for number in range(MOST - 2))],
        [b"d.", *(b"af 644 1 1.0 0:0:a:b ./" + b"a" * number for number in range(1, MOST - 2))],
    ],
    ids=["folders", "files in a long path", "long paths"],
)
def test_a_shells_tree_has_an_end(items: list[bytes]) -> None:
    with pytest.raises(WrongAnswer, match="more than a tree has"):
        listed_by_a_shell([*items, b"e0"])


FOLDER, FILE = b"drwxr-xr-x 4,096 2026/11/28 04:00:00 ", b"-rw-r--r-- 12 2026/11/28 04:00:00 "


@pytest.mark.parametrize(
    "lines",
    [
        [FOLDER + b"%d" % number for number in range(2 * MOST)],
        [FILE + b"%d.x" % number for number in range(2 * MOST)],
        [FOLDER + b"a" * 20, *(FILE + b"a" * 20 + b"/%d.x" % number for number in range(MOST - 2))],
    ],
    ids=["folders", "files", "files in a long path"],
)
def test_a_daemons_tree_has_an_end(tmp_path: Path, lines: list[bytes], monkeypatch: pytest.MonkeyPatch) -> None:
    def capture(words: list[str], seconds: float = 0.0, take: Any = None, **_: object) -> process.Finished:
        take(b"\n".join([FOLDER + b".", *lines]) + b"\n")
        return process.Finished(0, b"", b"")

    monkeypatch.setattr(process, "capture", capture)
    with pytest.raises(WrongAnswer, match="more than a tree has"):
        list(DaemonTree(Address("host::m/", b"m/", "host", daemon=True), (), tmp_path).walk(b"m", frozenset()))
