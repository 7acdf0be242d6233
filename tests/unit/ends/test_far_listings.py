"""Listings of far ends without an agent, a shell's and rsync's: what an honest end may say, or one error."""

from __future__ import annotations

import gzip
import random
from array import array
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

import samplespool
from cyrsync import process
from cyrsync.ends import tree_size
from cyrsync.ends.address import Address
from cyrsync.ends.daemon_tree import DaemonTree
from cyrsync.ends.posix_tree import PosixTree
from cyrsync.errors import ConnectionFailed, UnusableError, WrongAnswer
from cyrsync.far.digests import Question, of_data
from cyrsync.far.folder import Entry, Folder
from support.fake_link import FakeLink

ATTRIBUTES = [
    b"ad 755 4096 1700000000.5000000000 0:8:root:mail .",
    b"af 4644 7 -3.25 1000:1001:domain users:1001 ./u/cyrus.index",
    b"al 777 7 1.0 0:0:root:root ./u/link",
]
FOLDERS = [
    b"d.",
    b"nu",
    b"nx",
    b"d./u",
    b"n1.",
    b"n2.",
    b"n007.",
    b"ncyrus.index",
    b"nlink",
    b"h a1 02\n",
    b"x",
    b"u./x",
]
ITEMS = [*ATTRIBUTES, *FOLDERS, b"e0"]
LINES = [
    b"Welcome to this daemon",
    b"drwxr-xr-x          4,096 2026/11/28 04:00:00 .",
    b"drwxr-xr-x          4,096 2026/11/28 04:00:00 u",
    b"-rw-r--r--             12 2026/11/28 04:00:00 u/1.",
    b"-rwsr--r--             12 2026/11/28 04:00:00 u/cyrus.squat",
    b"lrwxrwxrwx             12 2026/11/28 04:00:00 u/link",
    b"-rw-r--r--             12 2026/11/28 04:00:00 u/a\\#012b",
]
PIECES = st.sampled_from(
    [b"", b"/", b"..", b"../x", b"/etc", b"./", b"\\#000", b"9" * 5000, b"-1", b" ", b"\xff", b"d", b"e"]
)


def shell(answer: bytes) -> PosixTree:
    return PosixTree(FakeLink(answer))  # type: ignore[arg-type]


def joined(items: list[bytes]) -> bytes:
    return b"".join(item + b"\0" for item in items)


def listed(answer: bytes) -> list[Folder]:
    return list(shell(answer).walk(b"/r", frozenset()))


def by_rsync(directory: Path, data: bytes) -> list[Folder]:
    """What a daemon's listing comes to; nothing is fetched."""

    def capture(words: list[str], seconds: float = 0.0, take: object = None, **_: object) -> process.Finished:
        if callable(take):
            for at in range(0, len(data), 50):
                take(data[at : at + 50])
        return process.Finished(0, b"", b"")

    tree = DaemonTree(Address("host::m/", b"m/", "host", daemon=True), (), directory)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(process, "capture", capture)
        return list(tree.walk(b"m", frozenset()))


def changed(data: st.DataObject, whole: bytes) -> bytes:
    start = data.draw(st.integers(0, len(whole)))
    end = data.draw(st.integers(start, min(len(whole), start + 20)))
    return whole[:start] + data.draw(st.binary(max_size=8) | PIECES) + whole[end:]


def assert_one_line(error: Exception) -> None:
    assert "\n" not in str(error)


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_a_shell_that_does_not_lie(pack: type[bytes]) -> None:
    root, user, unread = listed(pack(joined(ITEMS)))
    assert (root.path, root.folders, root.attributes) == (
        b"",
        (b"u", b"x"),
        Entry(0o40755, 4096, 1700000000500000000, "0:8:root:mail", ""),
    )
    assert (user.path, user.messages.nonstandard, list(user.messages.uids)) == (b"u", (b"007.",), [1, 2])
    assert user.metadata == {b"cyrus.index": Entry(0o100644, 7, -2750000000, "1000:1001:domain users:", "")}
    assert user.other_files == {b"link": None}
    assert (unread.path, unread.problem) == (b"x", 13)


def test_a_daemon_that_does_not_lie(tmp_path: Path) -> None:
    root, user = by_rsync(tmp_path, b"\n".join(LINES) + b"\n")
    assert (root.path, root.folders) == (b"", (b"u",))
    assert (user.path, list(user.messages.uids)) == (b"u", [1])
    squat = user.metadata[b"cyrus.squat"]
    assert squat and (squat.mode, squat.size) == (0o100744, 12)
    assert user.other_files.keys() == {b"link", b"a\nb"}


@given(data=st.data())
def test_a_shell_is_believed_or_it_is_one_error(data: st.DataObject) -> None:
    answer = changed(data, joined(ITEMS))
    try:
        listed(gzip.compress(answer) if data.draw(st.booleans()) else answer)
    except (ConnectionFailed, UnusableError) as error:
        assert_one_line(error)


@given(data=st.data())
def test_a_daemon_is_believed_or_it_is_one_error(tmp_path_factory: pytest.TempPathFactory, data: st.DataObject) -> None:
    try:
        by_rsync(tmp_path_factory.getbasetemp(), changed(data, b"\n".join(LINES) + b"\n"))
    except WrongAnswer as error:
        assert_one_line(error)


@pytest.fixture(scope="session")
def indexes(tmp_path_factory: pytest.TempPathFactory) -> tuple[bytes, bytes]:
    """What a shell says of two indexes, the second of which is not there, and the first of them."""
    folder = samplespool.create_folder(tmp_path_factory.mktemp("spool"), "user/joe", rng=random.Random(1))
    samplespool.deliver(folder, 3, rng=random.Random(1))
    data = (folder / "cyrus.index").read_bytes()
    return b"%d\0%s0\0e\0" % (len(data), data), data


ABOUT = [Question(b"a", array("I", [1, 2, 3])), Question(b"b", array("I", [1]))]


@pytest.mark.parametrize("pack", [bytes, gzip.compress])
def test_indexes_that_a_shell_sends(indexes: tuple[bytes, bytes], pack: type[bytes]) -> None:
    answer, data = indexes
    found = shell(pack(answer)).digests(b"/r", ABOUT)
    assert found == {b"a": of_data(data, ABOUT[0].uids), b"b": None}
    assert found[b"a"] is not None


@given(data=st.data())
def test_indexes_of_a_shell_are_believed_or_it_is_one_error(indexes: tuple[bytes, bytes], data: st.DataObject) -> None:
    answer = changed(data, indexes[0])
    try:
        shell(gzip.compress(answer) if data.draw(st.booleans()) else answer).digests(b"/r", ABOUT)
    except (ConnectionFailed, WrongAnswer) as error:
        assert_one_line(error)


LIES = [
    *(
        [b"d.", item]
        for item in (b"n../x", b"n/etc", b"n.", b"n..", b"n", b"n.hidden", b"d../x", b"d/etc", b"d./a/../b")
    ),
    *([b"d.", item] for item in (b"d./a/b", b"d.", b"hzz", b"h" + b"00" * 9000, b"q", b"h\xff", b"x1")),
    [b"n1."],
    [b"af 644 7 1.0 0:0:a:b ../x", b"d."],
    [b"af 644 99999999999999999999 1.0 0:0:a:b ./x", b"d."],
    [b"af 644 7 1.0 99999999999:0:a:b ./x", b"d."],
    [b"af 644 7 99999999999999999999.0 0:0:a:b ./x", b"d."],
    [],
]


@pytest.mark.parametrize("items", LIES)
def test_what_a_shell_cannot_say(items: list[bytes]) -> None:
    with pytest.raises(WrongAnswer, match="host: its answer cannot be right"):
        listed(joined([*items, b"e0"]))


@pytest.mark.parametrize(
    "name", [b"../x", b"/etc/x", b"u/../x", b"u/..", b"u//x", b"v/x", b".hidden", b"u/\\#000", b"\\#056\\#056/x", b"u/"]
)
@pytest.mark.parametrize("kind", [b"-", b"d"])
def test_names_that_a_daemon_cannot_list(tmp_path: Path, name: bytes, kind: bytes) -> None:
    with pytest.raises(WrongAnswer, match="its answer cannot be right"):
        by_rsync(tmp_path, b"\n".join([*LINES, kind + LINES[3][1:-4] + name]) + b"\n")


@pytest.mark.parametrize(
    "line", [b"-rw-r--r-- 12 2026/13/45 99:00:00 u/x", b"-rw-r--r-- 99999999999999999999 2026/11/28 04:00:00 u/x"]
)
def test_numbers_that_a_daemon_cannot_list(tmp_path: Path, line: bytes) -> None:
    with pytest.raises(WrongAnswer, match="its answer cannot be right"):
        by_rsync(tmp_path, b"\n".join([*LINES, line]) + b"\n")


def test_a_daemon_that_lists_nothing_has_not_seen_an_empty_tree(tmp_path: Path) -> None:
    with pytest.raises(WrongAnswer):
        by_rsync(tmp_path, b"")


def test_what_has_no_end(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setattr(tree_size, "MAX_OTHERS", 1000)
    names = [b"n%d" % number for number in range(2000)]
    bomb = gzip.compress(b"d.\0n" + bytes(1) + b"x" * (64 << 20))
    for answer in (joined([b"d.", *names, b"e0"]), bomb, b"d.\0n" + b"x" * (1 << 20)):
        with pytest.raises(WrongAnswer):
            listed(answer)
    with pytest.raises(WrongAnswer):
        by_rsync(tmp_path, b"\n".join([*LINES, *(LINES[5] + b"%d" % number for number in range(2000))]) + b"\n")
    with pytest.raises(WrongAnswer):
        by_rsync(tmp_path, b"x" * (1 << 20))


QUESTIONS = {
    "resolve": (lambda tree: tree.resolve(b"/r"), [b"d/r\nx", b"t{}x", b"i0", b"e"]),
    "numbers": (lambda tree: tree.numbers({"user:a", "group:a"}), [b"n8", b"n", b"e"]),
    "a Cyrus at work": (lambda tree: tree.cyrus_at_work([b"/r"]), [b"l 1 /usr/sbin/cyrmaster\n\nx", b"e"]),
    "to_disk": (lambda tree: tree.to_disk([b"/r"]), [b"e"]),
}


@pytest.mark.parametrize("name", QUESTIONS)
@given(data=st.data())
@example(data=None)
def test_an_answer_is_right_or_one_error(name: str, data: st.DataObject | None) -> None:
    ask, items = QUESTIONS[name]
    try:
        ask(shell(changed(data, joined(items)) if data else joined(items)))  # type: ignore[no-untyped-call]
    except ConnectionFailed as error:
        assert_one_line(error)
        if data is None and name != "a Cyrus at work":  # which asks more
            raise
