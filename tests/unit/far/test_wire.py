"""Whatever comes over a connection is what an honest end may send, or one error: no other, and not much memory."""

from __future__ import annotations

import io
import json
import math
import subprocess
import sys
import tracemalloc
from array import array
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import cyrsync
from cyrsync.ends import answers
from cyrsync.ends.agent_tree import AgentTree
from cyrsync.errors import ConnectionFailed, UnusableError, WrongAnswer
from cyrsync.far import (
    agent,
    digests,
    extended,
    finding,
    folder,
    guids,
    locked_folder,
    quick_check,
    relink,
    remove,
    wire,
)
from cyrsync.far.folder import Entry, Folder
from cyrsync.far.owner_file import UNOWNED
from cyrsync.far.request import Request
from cyrsync.far.wire import WireError
from support import frames
from support.fake_link import fake_agent

#: Each decoder, of either direction, as it reads a stream.
DECODERS: dict[str, Callable[[io.BytesIO], object]] = {
    "a folder": folder.read,
    "a folder with its files": locked_folder.decode,
    "an audited folder": lambda stream: finding.from_record(wire.read_record(stream)),
    "messages to compare": quick_check.decode,
    "files to delete": lambda stream: list(remove.decode(stream)),
    "messages to link": lambda stream: list(relink.decode(stream)),
    "a request": lambda stream: everything_of(Request(wire.read_record(stream), stream, None)),  # type: ignore[arg-type]
}
FRAMES = {
    "a folder": st.builds(folder.encode, frames.folders, st.booleans()),
    "a folder with its files": st.builds(locked_folder.encode, frames.takens(), st.booleans()),
    "an audited folder": frames.audits.map(lambda one: json.dumps(finding.to_record(one)).encode() + b"\n"),
    "messages to compare": frames.questions.map(quick_check.encode),
    "files to delete": frames.removals.map(lambda one: remove.encode(one) + b"null\n"),
    "messages to link": frames.moves.map(lambda one: relink.encode(one) + b"null\n"),
    "a request": st.just(
        b'{"do": "walk", "root": "/x", "users": ["joe"], "keep_times": true, "paths": ["b"], "size": 3, '
        b'"owner_file": ""}\n'
    ),
}
#: What a liar would put in a value's place.
TEXTS = [
    "",
    ".",
    "..",
    "/",
    "/etc",
    "a/../b",
    "a\0b",
    "\ud800",
    "\u1234",
    "\xff",
    "x" * 5000,
    "0:0:",
    "99999999999:0::",
]
NUMBERS = [True, None, -1, 2**31, 2**63, 2**200, 1.5, math.nan, math.inf]
VALUES = st.sampled_from([*TEXTS, *NUMBERS, [], {}, [[]], {"a": {}}])
#: Lines that parsers stumble over.
LINES = [b"[" * 100_000, b"[" + b"9" * 10_000 + b"]", b"\xff", b"", b"{}", b"[]", b"NaN", b'"x"']
ELSEWHERE = ["/", "/a", "a/", "a//b", ".", "..", "../a", "a/..", "a/./b", "a\0b", "a/../b"]


def everything_of(request: Request) -> None:
    agent._service(request)
    request.paths()
    request.whole_paths()
    request.texts("users")
    request.flag("keep_times")
    request.owner_file()
    request.program()


def replaced(data: st.DataObject, value: Any) -> Any:
    """The value with something else somewhere in it."""
    if isinstance(value, list) and value and data.draw(st.booleans()):
        at = data.draw(st.integers(0, len(value) - 1))
        return [*value[:at], replaced(data, value[at]), *value[at + 1 :]]
    if isinstance(value, dict) and value and data.draw(st.booleans()):
        key = data.draw(st.sampled_from(sorted(value)))
        return {**value, key: replaced(data, value[key])}
    return data.draw(VALUES)


def decode(name: str, data: bytes) -> object:
    """Decode, and expect no other error than the two."""
    try:
        return DECODERS[name](io.BytesIO(data))
    except (WireError, EOFError) as error:
        assert_one_line(error)
        return None


def assert_one_line(error: Exception) -> None:
    assert "\n" not in str(error)
    assert not isinstance(error, ConnectionFailed) or error.code == 12


@pytest.mark.parametrize("name", DECODERS)
@given(data=st.data())
def test_another_value_is_well_or_one_error(name: str, data: st.DataObject) -> None:
    line, newline, rest = data.draw(FRAMES[name]).partition(b"\n")
    lied = json.dumps(replaced(data, json.loads(line))).encode()
    decode(name, lied + newline + rest)


@pytest.mark.parametrize("name", DECODERS)
@given(data=st.data())
def test_other_bytes_are_well_or_one_error(name: str, data: st.DataObject) -> None:
    frame = data.draw(FRAMES[name])
    start = data.draw(st.integers(0, len(frame)))
    end = data.draw(st.integers(start, len(frame)))
    decode(name, frame[:start] + data.draw(st.binary()) + frame[end:])


@pytest.mark.parametrize("name", DECODERS)
@pytest.mark.parametrize(
    "line", [b"[" * 100_000, b"[" + b"9" * 10_000 + b"]", b"\xff", b"", b"{}", b"[]", b"NaN", b'"x"']
)
def test_what_no_parser_likes(name: str, line: bytes) -> None:
    assert decode(name, line + b"\n") is None


@pytest.mark.parametrize("path", ELSEWHERE)
def test_paths_that_lead_elsewhere(path: str) -> None:
    with pytest.raises(WireError):
        wire.path(path)


@pytest.mark.parametrize("path", [b"", b"a", b"a/b", b"...", b".a/..b", b"a..", b"\xff\n"])
def test_paths_that_do_not(path: bytes) -> None:
    assert wire.path(path.decode("latin-1")) == path


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", "/", "a\0b", "\0"])
def test_what_is_no_name(name: str) -> None:
    for names in ([name], ["a", name], [name, "a"], ["a", name, "b"]):
        with pytest.raises(WireError):
            wire.names(names)


@given(st.lists(frames.names))
@example([b"..."])
def test_names_are_what_they_were(names: list[bytes]) -> None:
    assert wire.names(answers.texts(names)) == names


@pytest.mark.parametrize("owner", ["", "0:0:", "0:0::x:", "-1:0::", "4294967295:0::", "0:0:a\nb:", "0:0:\x1b:"])
def test_what_is_no_owner(owner: str) -> None:
    with pytest.raises(WireError):
        wire.owner(owner)


class Endless(io.RawIOBase):
    """A stream that says the same for ever."""

    def __init__(self, begin: bytes, then: bytes) -> None:
        self.begin, self.then, self.read_so_far = begin, then, 0

    def readable(self) -> bool:
        return True

    def readinto(self, buffer: Any) -> int:
        data, self.begin = (self.begin or self.then)[: len(buffer)], b""
        buffer[: len(data)] = data
        self.read_so_far += len(data)
        return len(data)


@pytest.mark.parametrize("name", DECODERS)
def test_a_line_without_an_end_is_given_up(name: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire, "MAX_LINE", 1 << 20)
    endless = Endless(b"[", b"x" * 4096)
    tracemalloc.start()
    with pytest.raises(WireError, match="a line of more than"):
        DECODERS[name](io.BufferedReader(endless))  # type: ignore[arg-type]
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert endless.read_so_far < 2 << 20
    assert peak < 8 << 20


@given(frames.folders)
def test_a_folder_that_is_too_much_for_a_frame_costs_only_itself(found: Folder) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(wire, "MAX_LINE", 400)
        sent = folder.read(io.BytesIO(folder.encode(found)))
    assert sent == found or (sent.path == found.path and sent.problem)


@pytest.mark.parametrize("count", [0, 1, 25_000])
def test_a_great_many_names_go_in_more_than_one_frame(count: int) -> None:
    names = tuple(b"%d" % number for number in range(count))
    removal = remove.Removal(b"a", array("I", [1, 5]), names, (b"b",))
    found = list(remove.decode(io.BytesIO(remove.encode(removal) + b"null\n")))
    assert len(found) == max(1, math.ceil(count / 10_000))
    assert {one.path for one in found} == {b"a"}
    assert sorted(name for one in found for name in one.files) == sorted(names)
    assert [(list(one.uids), one.folders) for one in found] == [([1, 5], (b"b",)), *[([], ())] * (len(found) - 1)]


#: What is asked of a far end, and a valid answer to it.
QUESTION = digests.Question(b"a", array("I", [1]))
MOVE = relink.Move((b"/r", b"a"), (b"/r", b"b"), array("I", [1, 2, 3]))
STATUS = b'[true, true, true, "", false, "x"]'
ASKED: dict[str, tuple[Callable[[AgentTree], object], bytes]] = {
    "rights": (lambda tree: tree.rights, b'{"euid": 0, "groups": [0], "attributes": true, "end": true}\n'),
    "about": (lambda tree: tree.about(), b'{"python": "3.6", "user": "x", "time": 1.5, "end": true}\n'),
    "room": (lambda tree: tree.room(b"/r"), b'{"error": "", "room": [1, 2, 3, 4, 5, 6, true], "end": true}\n'),
    "read": (lambda tree: tree.read(b"/r"), b'{"error": 0, "text": "x", "end": true}\n'),
    "resolve": (
        lambda tree: tree.resolve(b"/r"),
        b'{"error": 0, "root": "/r", "status": %s, "link": "", "end": true}\n' % STATUS,
    ),
    "a Cyrus at work": (lambda tree: tree.cyrus_at_work([b"/r"]), b'{"found": [[1, "/c", "/r"]], "end": true}\n'),
    "make": (lambda tree: tree.make(b"/r"), b'{"error": "", "end": true}\n'),
    "clear": (lambda tree: tree.clear(b"/r"), b'{"end": true}\n'),
    "numbers": (lambda tree: tree.numbers({"user:a", "group:a"}), b'{"numbers": [7, null], "end": true}\n'),
    "digests": (lambda tree: tree.digests(b"/r", [QUESTION]), b'{"digests": [["", "ab", "", ""]], "end": true}\n'),
    "guids": (
        lambda tree: tree.guids(b"/r", [guids.Question(b"a", array("I", uids)) for uids in ([1, 2], [3])]),
        b'{"guids": ["' + b"0a" * 40 + b'", ""], "end": true}\n',
    ),
    "heads": (lambda tree: tree.heads([b"/a"]), b'{"found": ["ab"], "end": true}\n'),
    "to_disk": (lambda tree: tree.to_disk([b"/a"]), b'{"number": 0, "end": true}\n'),
    "hold": (
        lambda tree: tree.hold([b"/r"]),
        b'{"error": "", "busy": ["/r", 1, 1.5], "alone": true, "end": true}\n',
    ),
    "share": (lambda tree: tree.share(), b'{"error": "", "busy": null, "alone": false, "end": true}\n'),
    "put_owner_file": (lambda tree: tree.put_owner_file(b"/r", UNOWNED), b'{"number": 0, "error": "", "end": true}\n'),
    "stat": (lambda tree: tree.stat([b"/a", b"/b", b"/c"]), b'{"found": [[1, 2], null, 13], "end": true}\n'),
    "walk": (
        lambda tree: list(tree.walk(b"/r", frozenset())),
        folder.encode(Folder(b"", folders=(b"a",))) + folder.encode(Folder(b"a")) + b'{"end": true}\n',
    ),
    "look": (
        lambda tree: list(tree.look(b"/r", [b"a", b"b"])),
        folder.encode(Folder(b"a")) + folder.encode(Folder(b"b", 2)) + b'{"end": true}\n',
    ),
    "remove": (
        lambda tree: tree.remove(b"/r", [remove.Removal(b"a", files=(b"x",))], keep_times=True),
        b'["a/x", 13]\n{"files": 1, "folders": 0, "end": true}\n',
    ),
    "take": (
        lambda tree: list(tree.read_under_locks(b"/r", [b"a"])),
        locked_folder.encode(locked_folder.LockedFolder(Folder(b"a")), True) + b'{"end": true}\n',
    ),
    "audit": (lambda tree: list(tree.audit(b"/r", False)), b'["a", 1, 2, 3, [], ""]\n{"end": true}\n'),
    "relink": (lambda tree: list(tree.relink([MOVE])), b'[1, 5]\n\1\0\0\0\1{"end": true}\n'),
}


def ask(name: str, answer: bytes) -> object:
    return ASKED[name][0](fake_agent(answer, compressed=False))


@pytest.mark.parametrize("name", ASKED)
def test_an_answer_that_is_right(name: str) -> None:
    ask(name, ASKED[name][1])


@pytest.mark.parametrize("name", ASKED)
@given(data=st.data())
def test_an_answer_with_another_value_is_one_error(name: str, data: st.DataObject) -> None:
    lines = ASKED[name][1].splitlines(keepends=True)
    at = data.draw(st.sampled_from([number for number, line in enumerate(lines) if line[:1] in b"[{"]))
    lines[at] = json.dumps(replaced(data, json.loads(lines[at]))).encode() + b"\n"
    answered_or_failed(name, b"".join(lines))


@pytest.mark.parametrize("name", ASKED)
@given(data=st.data())
def test_an_answer_of_other_bytes_is_one_error(name: str, data: st.DataObject) -> None:
    answer = ASKED[name][1]
    start = data.draw(st.integers(0, len(answer)))
    answered_or_failed(name, answer[:start] + data.draw(st.binary()))


def answered_or_failed(name: str, answer: bytes) -> None:
    try:
        ask(name, answer)
    except (ConnectionFailed, UnusableError, OSError) as error:
        assert_one_line(error)


@pytest.mark.parametrize(
    ("name", "answer"),
    [
        ("walk", folder.encode(Folder(b"", folders=(b"a",))) + b'{"end": true}\n'),
        ("walk", folder.encode(Folder(b"", folders=(b"a",))) + folder.encode(Folder(b"b"))),
        ("walk", b'{"end": true}\n'),
        ("look", folder.encode(Folder(b"b"))),
        ("remove", b'["b/x", 13]\n'),
        ("relink", b"[1, 4]\n\7\0\0\0"),
        ("stat", b'{"found": [null], "end": true}\n'),
        ("a Cyrus at work", b'{"found": [[1, "/c", "/other"]], "end": true}\n'),
        ("resolve", b'{"error": 0, "root": "/r", "status": %s, "link": "l", "end": true}\n' % STATUS),
        ("resolve", b'{"error": 0, "root": "r", "status": %s, "link": "", "end": true}\n' % STATUS),
        ("make", b"[]\n" * 10),
    ],
)
def test_what_nobody_asked_for(name: str, answer: bytes) -> None:
    with pytest.raises(WrongAnswer, match="host: its answer cannot be right"):
        ask(name, answer)


JOE = frozenset(["joe"])


@pytest.mark.parametrize(
    ("paths", "fits"),
    [
        ([], True),
        ([b"j/user/joe", b"j/user/joe/a"], True),
        ([b"j/user/joe", b"q/user/joe"], False),  # `q` is no letter of joe's
        ([b"j/user/joe/a"], True),
        ([b"user/joe", b"user/joe/a", b"user/joe/b"], False),  # of those one was not announced
        ([b"user/ann"], False),
        ([b""], False),
        ([b"user/joe", b"user/joe"], False),
        ([b"user/joe", b"j/user/joe"], False),
    ],
)
def test_the_folders_of_one_user(paths: list[bytes], fits: bool) -> None:
    order = answers.WalkOrder(JOE)
    try:
        for path in paths:
            order.add(Folder(path, folders=(b"a",) if path.endswith(b"joe") and path + b"/a" in paths else ()))
        order.end()
    except WireError:
        assert not fits
    else:
        assert fits


@pytest.mark.parametrize(
    ("users", "folders"),
    [
        (frozenset(), []),
        (frozenset(), [Folder(b"", folders=(b"a",))]),
        (frozenset(), [Folder(b"", folders=(b"a", b"b")), Folder(b"a")]),
        (JOE, [Folder(b"user/joe", folders=(b"a",))]),
    ],
)
def test_a_walk_that_ends_before_all_folders_have_come(users: frozenset[str], folders: list[Folder]) -> None:
    """What is missing at its end would be deleted, or sent anew."""
    order = answers.WalkOrder(users)
    for one in folders:
        order.add(one)
    with pytest.raises(WireError, match="announced and not sent"):
        order.end()


def test_bits_that_lend_rights_are_not_taken() -> None:
    for mode in (0o104755, 0o102755, 0o101755, 0o777, 0o200000):
        with pytest.raises(WireError):
            folder.entry([mode, 0, 0, "0:0::", ""])
    assert folder.entry([0o043775, 0, 0, "0:0::", ""]) == Entry(0o043775, 0, 0, "0:0::", "")


ACL, DIRECTORY = "system.posix_acl_access", Entry(0o040755, 0, 0, "0:0::", "")


@pytest.mark.parametrize(
    "record",
    [
        [["security.capability", "x"]], [["user.a", "x"], ["user.a", "y"]], [["user.\0", ""]], [["u" * 300, ""]],
        [["user.a", "x" * 70_000]], [["user.a", 1]], [["user.a", "\u0100"]], [[ACL, "raw"]], [[ACL, [[3, 7, ""]]]],
        [[ACL, [[1, 8, ""]]]], [[ACL, [[2, 7, "-1:0::"]]]], [[ACL, [[2, 7, ""]]]], {}, [1], None,
    ],
)  # fmt: skip
def test_attributes_that_cannot_be_are_not_taken(record: object) -> None:
    assert extended.from_record([["user.a", "x"]], numeric_ids=False) == {"user.a": b"x"}
    taken = locked_folder.LockedFolder(Folder(b"a"), above=tuple((path, DIRECTORY) for path in (b"", b"a")))
    with pytest.raises(WireError):
        locked_folder.decode(io.BytesIO(frame(taken, [["a", record]])))


def test_attributes_of_what_was_not_taken_are_not_taken() -> None:
    taken = locked_folder.LockedFolder(Folder(b"a"), above=tuple((path, DIRECTORY) for path in (b"", b"a")))
    told = locked_folder.decode(io.BytesIO(frame(taken, [["a", [["user.a", "x"]]]])))
    assert told.extended == ((b"a", {"user.a": b"x"}),)
    for path in ("b", "a/cyrus.index", "../a", "/a"):
        with pytest.raises(WireError):
            locked_folder.decode(io.BytesIO(frame(taken, [[path, [["user.a", "x"]]]])))


def frame(taken: locked_folder.LockedFolder, attributes: list[object]) -> bytes:
    """What a far end might say of attributes."""
    line, rest = locked_folder.encode(taken, False).split(b"\n", 1)
    files, above, _ = json.loads(line)
    return json.dumps([files, above, attributes]).encode() + b"\n" + rest


def test_a_request_that_cannot_be_ends_the_agent_in_one_line() -> None:
    start = "from cyrsync.far import agent; agent.main()"
    asked = b'{"do": "read_under_locks", "root": "/", "paths": ["../x"], "acls": false, "xattrs": false}\n'
    checkout = Path(cyrsync.__file__).parent.parent
    done = subprocess.run([sys.executable, "-c", start], input=asked, capture_output=True, check=False, cwd=checkout)
    assert done.returncode == 1
    assert done.stderr == b"the agent was asked for what cannot be: a path that leads elsewhere: ../x\n"
