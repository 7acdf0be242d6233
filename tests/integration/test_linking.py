"""What the replica has under another name is linked there, not sent: hard links, and messages moved or copied."""

from __future__ import annotations

import errno
import os
import shutil
from array import array
from pathlib import Path
from typing import Any

import pytest

import samplespool
from cyrsync.cyrus.mailbox.records import Index
from cyrsync.server import linking, lost, sender
from support.pairs import Pair

SIZE, COUNT = 50_000, 12
#: How large a mailbox may be that is read as a whole before it is sent, and how many streams there are.
MANNERS = [(1, 3), (16 << 20, 1)]


def made(directory: Path, request: pytest.FixtureRequest, over_ssh: bool) -> Pair:
    return Pair(directory, request.getfixturevalue("sshd") if over_ssh else None)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


@pytest.fixture(params=["here", "over ssh"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    return made(tmp_path, request, request.param == "over ssh")


def large(folder: Path, count: int = COUNT) -> list[int]:
    """Deliver messages that would be seen among the bytes that are sent."""
    return samplespool.deliver(folder, count, size=SIZE)


def assert_linked(pair: Pair, *files: tuple[Path, int]) -> None:
    """On the replica, too, these messages are one file."""
    paths = [pair.there(folder) / f"{uid}." for folder, uid in files]
    assert all(path.samefile(paths[0]) for path in paths), [path.stat() for path in paths]


def first_copy(pair: Pair, *words: str) -> dict[str, Any]:
    """Forget the replica, and make it anew."""
    shutil.rmtree(pair.replica)
    pair.replica.mkdir()
    return pair.sync("--full", *words)


@pytest.mark.parametrize(("limit", "jobs"), MANNERS)
def test_a_message_to_several_users_is_one_file(
    either: Pair, limit: int, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Be it that they are new, or that the replica is."""
    monkeypatch.setattr(sender, "_PORTION_BYTES", limit)
    first, *others = either.folders[:4]
    uids = large(first)
    copies = [samplespool.copy(first, uids, other) for other in others]
    report = either.sync("--jobs", str(jobs))
    assert report["bytes_sent"] < (COUNT + 3) * SIZE
    assert (report["messages"]["send"], report["messages"]["linked"]) == (4 * COUNT, 3 * COUNT)
    for number, uid in enumerate(uids):
        assert_linked(either, (first, uid), *((at, them[number]) for at, them in zip(others, copies, strict=True)))
    either.assert_same()
    assert first_copy(either, "--jobs", str(jobs))["messages"]["linked"] == 3 * COUNT
    assert_linked(either, (first, uids[0]), (others[2], copies[2][0]))
    either.assert_same()


@pytest.mark.parametrize("jobs", [1, 3])
def test_what_goes_by_another_stream_is_linked_when_it_has_arrived(
    either: Pair, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each mailbox by the next stream: before one is used again, what it had has arrived."""
    monkeypatch.setattr(sender, "_PORTION", 1)
    monkeypatch.setattr(sender, "_GROUP", 1)
    first = either.folders[0]
    uids = large(first)
    for other in either.folders[1:8]:
        samplespool.copy(first, uids, other)
    report = either.sync("--jobs", str(jobs))
    assert report["messages"]["linked"] == (8 - jobs) * COUNT
    either.assert_same()


@pytest.mark.parametrize("limit", [1, 16 << 20])
def test_two_names_in_one_mailbox(either: Pair, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "_PORTION_BYTES", limit)
    folder = either.folders[0]
    uids = large(folder)
    copies = samplespool.copy(folder, uids, folder)
    report = either.sync()
    assert report["bytes_sent"] < (COUNT + 2) * SIZE
    assert_linked(either, (folder, uids[0]), (folder, copies[0]))
    either.assert_same()
    assert first_copy(either)["messages"]["linked"] == COUNT
    assert_linked(either, (folder, uids[-1]), (folder, copies[-1]))


def test_a_damaged_message_is_named_under_each_name(pair: Pair) -> None:
    """Its bytes are not what the index says, so it is no message that the replica has."""
    first, second = pair.folders[:2]
    (uid,) = large(first, 1)
    (copied,) = samplespool.copy(first, [uid], second)
    with (first / f"{uid}.").open("r+b") as stream:
        stream.write(b"damaged")
    report = pair.sync(expect=23)
    assert len(report["errors"]) == 2
    assert report["messages"]["linked"] == 0
    assert (pair.there(second) / f"{copied}.").read_bytes() == (first / f"{uid}.").read_bytes()


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EMLINK, errno.EPERM, errno.ESTALE])
def test_what_cannot_be_linked_is_sent(pair: Pair, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mailbox is sent once more, without links; others have theirs."""
    first, second, third = pair.folders[:3]
    uids = large(first)
    samplespool.copy(first, uids, second)
    samplespool.copy(first, uids, third)
    calls = fail_first_link(monkeypatch, number)
    report = pair.sync()
    assert len(calls) == COUNT + 1
    assert (report["folders"]["failed"], report["errors"]) == (0, [])
    assert (report["messages"]["send"], report["messages"]["linked"]) == (3 * COUNT, COUNT)
    assert report["files"]["planned"] == report["files"]["sent"]
    pair.assert_same()


#: What becomes of the messages that were copied, in the mailbox that had them.
MOVES = ["COPY", "MOVE, delayed", "MOVE, semidelayed", "MOVE, immediate"]


def move(folder: Path, uids: list[int], to: Path, how: str) -> list[int]:
    """Move messages, or copy them, as Cyrus does; return their new UIDs."""
    copies = samplespool.copy(folder, uids, to)
    if how.startswith("MOVE, "):
        samplespool.remove(folder, uids, mode=how.removeprefix("MOVE, "))
    return copies


def expunging(pair: Pair, how: str) -> None:
    """Let imapd.conf say so."""
    mode = how.rpartition(", ")[2]
    if mode != "COPY":
        with pair.server.conf.open("a") as stream:
            stream.write(f"expunge_mode: {mode}\n")


@pytest.mark.parametrize(("limit", "jobs"), MANNERS)
@pytest.mark.parametrize("how", MOVES)
def test_messages_that_were_copied_or_moved(
    either: Pair, how: str, limit: int, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """To a mailbox that was there, and to a new one."""
    monkeypatch.setattr(sender, "_PORTION_BYTES", limit)
    expunging(either, how)
    folder = either.server.folder("user/joe")
    new = samplespool.create_folder(either.server.spool, "user/joe/New")
    either.server.record()
    uids, more = large(folder), large(folder)
    either.sync()
    copies = move(folder, uids, either.server.folder("user/joe/Sent"), how)
    others = move(folder, more, new, how)
    report = either.sync("--jobs", str(jobs))
    assert report["bytes_sent"] < SIZE
    assert report["messages"]["linked"] == 2 * COUNT
    if how in MOVES[:2]:
        assert_linked(either, (either.server.folder("user/joe/Sent"), copies[0]), (folder, uids[0]))
        assert_linked(either, (new, others[-1]), (folder, more[-1]))
    either.assert_same()


@pytest.mark.parametrize("how", MOVES[2:])
def test_the_mailbox_that_lost_them_has_got_others(either: Pair, how: str) -> None:
    """And both have lost some to each other."""
    expunging(either, how)
    one, other = either.server.folder("user/joe"), either.server.folder("user/joe/Archive")
    ours, theirs = large(one), large(other)
    either.sync()
    move(one, ours[:-1], other, how)
    move(other, theirs[:-1], one, how)
    samplespool.deliver(one, 3)
    samplespool.deliver(other, 3)
    report = either.sync()
    assert (report["messages"]["send"], report["messages"]["linked"]) == (2 * COUNT + 4, 2 * COUNT - 2)
    assert report["bytes_sent"] < SIZE
    either.assert_same()


def test_two_messages_of_the_same_contents_that_were_lost(pair: Pair) -> None:
    """They stay two, each with the time of its own."""
    expunging(pair, "MOVE, immediate")
    first, second, to = (pair.server.folder(f"user/joe{name}") for name in ("", "/Sent", "/Trash"))
    (uid,) = large(first, 1)
    pair.sync()
    (other,) = samplespool.copy(first, [uid], second)
    data = (first / f"{uid}.").read_bytes()
    (second / f"{other}.").unlink()
    (second / f"{other}.").write_bytes(data)
    (second / f"{other}.").chmod(0o600)
    pair.sync()
    copies = [*move(first, [uid], to, "MOVE, immediate"), *move(second, [other], to, "MOVE, immediate")]
    report = pair.sync()
    assert report["messages"]["linked"] == 2
    assert (pair.there(to) / f"{copies[0]}.").stat().st_nlink == 1
    pair.assert_same()


@pytest.mark.parametrize("how", MOVES[2:])
def test_a_mailbox_that_has_lost_all(either: Pair, how: str) -> None:
    expunging(either, how)
    folder, to = either.server.folder("user/joe/Archive"), either.server.folder("user/joe/Sent")
    samplespool.recreate_folder(folder)
    uids = large(folder)
    either.sync()
    move(folder, uids, to, how)
    assert either.sync()["messages"]["linked"] == COUNT
    either.assert_same()


@pytest.mark.parametrize("prefix", ["", "DELETED", "GONE"], ids=["at once", "with a delay", "another prefix"])
@pytest.mark.parametrize("how", [MOVES[1], MOVES[3]])
def test_a_mailbox_that_has_lost_all_and_was_deleted(pair: Pair, how: str, prefix: str) -> None:
    """Also where mailboxes are read before it that have got some: one that was there, and a new one.

    With a delay, it has another name then, with a prefix.
    """
    expunging(pair, how)
    if prefix:
        with pair.server.conf.open("a") as stream:
            stream.write(f"deletedprefix: {prefix}\n")
    folder, to = pair.server.folder("user/joe/Sent"), pair.server.folder("user/joe/Archive")
    uids, more = large(folder), large(folder)
    pair.sync()
    new = samplespool.create_folder(pair.server.spool, "user/joe/New")
    move(folder, uids, to, how)
    move(folder, more, new, how)
    if prefix:
        deleted = pair.server.spool / f"u/{prefix}/user/joe/Sent/6B039BC5"
        deleted.parent.mkdir(parents=True)
        folder.rename(deleted)
        pair.server.record()
    else:
        pair.server.delete(folder)
    report = pair.sync()
    assert report["bytes_sent"] < SIZE
    assert report["messages"]["linked"] == 2 * COUNT
    pair.assert_same()


def test_where_a_mailbox_was_only_renamed_nothing_is_asked(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lost, "Question", None)
    folder = pair.server.folder("user/joe/Sent")
    large(folder, 1)
    pair.sync()
    samplespool.deliver(folder, 1)
    folder.rename(folder.with_name("New"))
    pair.server.record()
    assert pair.sync()["messages"]["send"] == 1
    pair.assert_same()


def test_a_large_mailbox_is_not_asked_for_because_of_one_message(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lost, "Question", None)
    monkeypatch.setattr(lost, "_WORTH", 2)
    folder = pair.server.folder("user/joe/Sent")
    large(folder, 3)
    pair.sync()
    samplespool.deliver(pair.server.folder("user/joe"), 1)
    pair.server.delete(folder)
    assert pair.sync("--max-delete", "100%")["messages"]["send"] == 1
    pair.assert_same()


def test_mailboxes_of_one_uidvalidity_that_were_swapped(pair: Pair) -> None:
    """As Cyrus gives it to those that are made in the same second: the uniqueid tells whose a record is."""
    expunging(pair, "MOVE, semidelayed")
    one, other, to = (pair.server.folder(f"user/joe/{name}") for name in ("Drafts", "Trash", "Sent"))
    for folder in (one, other):
        samplespool.recreate_folder(folder)
    uids = large(one, 5)
    assert large(other, 5) == uids
    with (other / "cyrus.index").open("r+b") as stream:
        stream.seek(44)
        stream.write((one / "cyrus.index").read_bytes()[44:48])
    samplespool.set_flags(other)
    os.utime(other / "cyrus.cache", (10**9, 10**9))  # else the two may look alike
    pair.sync()
    (copied,) = move(other, uids[2:3], to, "MOVE, semidelayed")
    samplespool.swap(one, other)
    pair.sync()
    assert (pair.there(to) / f"{copied}.").read_bytes() == (to / f"{copied}.").read_bytes()
    pair.assert_same()


@pytest.mark.parametrize("what", ["withheld", "without --delete"])
def test_what_was_lost_stays_on_the_replica(pair: Pair, what: str) -> None:
    """Then both names are one file there."""
    expunging(pair, "MOVE, immediate")
    folder, to = pair.server.folder("user/joe"), pair.server.folder("user/joe/Sent")
    uids = large(folder)
    pair.sync()
    (copied, *_) = move(folder, uids, to, "MOVE, immediate")
    words = ("--max-delete", "1") if what == "withheld" else ()
    report = pair.sync(*words, delete=what == "withheld", expect=25 if what == "withheld" else 0)
    assert report["messages"]["linked"] == COUNT
    assert_linked(pair, (to, copied), (folder, uids[0]))
    pair.sync("--max-delete", "100%")
    pair.assert_same()


def test_what_the_replica_has_lost_too_is_sent(pair: Pair) -> None:
    expunging(pair, "MOVE, immediate")
    folder, to = pair.server.folder("user/joe"), pair.server.folder("user/joe/Sent")
    uids = large(folder)
    pair.sync()
    move(folder, uids, to, "MOVE, immediate")
    (pair.there(folder) / f"{uids[0]}.").unlink()
    report = pair.sync()
    assert (report["messages"]["send"], report["messages"]["linked"], report["errors"]) == (COUNT, 0, [])
    pair.assert_same()


def test_where_cyrus_expunges_with_a_delay_nothing_is_looked_for(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(lost, "find", None)
    folder, to = pair.server.folder("user/joe"), pair.server.folder("user/joe/Sent")
    uids = large(folder)
    pair.sync()
    move(folder, uids, to, "MOVE, delayed")
    assert pair.sync()["messages"]["linked"] == COUNT


def test_an_index_that_has_lost_nothing_is_not_read_for_that(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its header tells that as many records have come as UIDs."""
    kept, read = lost.have_file, []

    def noting(index: Index) -> array[int]:
        read.append(index)
        return kept(index)

    monkeypatch.setattr(lost, "have_file", noting)
    expunging(pair, "MOVE, immediate")
    for folder in pair.folders:
        uids = samplespool.deliver(folder, 3)
    pair.sync()
    for folder in pair.folders:
        samplespool.deliver(folder, 3)
    samplespool.set_flags(pair.folders[0])
    read.clear()
    pair.sync()
    assert read == []
    samplespool.deliver(pair.folders[-2], 1)
    samplespool.remove(pair.folders[-1], uids, mode="immediate")
    pair.sync()
    assert len(read) == 1
    pair.assert_same()


@pytest.mark.parametrize("portion", [1, 5])
def test_what_is_asked_at_once_is_only_a_matter_of_memory(
    either: Pair, portion: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(lost, "_PORTION", portion)
    monkeypatch.setattr(linking, "_MOST", 3)
    expunging(either, "MOVE, immediate")
    folder, to = either.server.folder("user/joe"), either.server.folder("user/joe/Sent")
    uids, others = large(folder), large(to)
    either.sync()
    move(folder, uids, to, "MOVE, immediate")
    samplespool.copy(to, others, folder)
    report = either.sync()
    assert report["messages"]["linked"] == 2 * COUNT
    either.assert_same()


@pytest.mark.parametrize("limit", [1, 16 << 20])
@pytest.mark.parametrize("what", ["gone", "longer", "another mode", "a link", "no folder"])
def test_what_was_copied_is_not_on_the_replica_as_it_was(
    pair: Pair, what: str, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Then it is sent, and nothing is linked to what is there."""
    monkeypatch.setattr(sender, "_PORTION_BYTES", limit)
    folder, to = pair.server.folder("user/joe/Trash"), pair.server.folder("user/joe/Sent")
    uids = large(folder)
    pair.sync()
    copies = samplespool.copy(folder, uids, to)
    path = pair.there(folder) / f"{uids[3]}."
    if what == "gone":
        path.unlink()
    elif what == "longer":
        path.write_bytes(bytes(SIZE + 1))
    elif what == "another mode":
        path.chmod(0o444)
    elif what == "a link":
        path.rename(pair.replica / "elsewhere")
        path.symlink_to(pair.replica / "elsewhere")
    else:
        (pair.there(folder) / "cyrus.index").rename(pair.replica / "cyrus.index")
        pair.there(folder).rename(pair.replica / "elsewhere")
        pair.there(folder).mkdir()
        (pair.replica / "cyrus.index").rename(pair.there(folder) / "cyrus.index")
    report = pair.sync()
    assert (report["messages"]["send"], report["messages"]["linked"], report["errors"]) == (COUNT, 0, [])
    assert report["bytes_sent"] > COUNT * SIZE
    for uid in copies:
        assert (pair.there(to) / f"{uid}.").read_bytes() == (to / f"{uid}.").read_bytes()


def test_a_copy_of_another_users_message_is_sent(pair: Pair) -> None:
    """Nobody looks through the indexes of all users for it."""
    folder, to = pair.server.folder("user/joe"), pair.server.folder("user/ann")
    uids = large(folder, 1)
    pair.sync()
    samplespool.copy(folder, uids, to)
    report = pair.sync()
    assert (report["messages"]["send"], report["messages"]["linked"]) == (1, 0)
    pair.assert_same()


def test_a_message_of_the_same_contents_is_no_link(pair: Pair) -> None:
    """On the source both have a file, and a time of their own."""
    folder, to = pair.server.folder("user/joe"), pair.server.folder("user/joe/Sent")
    (uid,) = large(folder, 1)
    pair.sync()
    (copied,) = samplespool.copy(folder, [uid], to)
    data = (to / f"{copied}.").read_bytes()
    (to / f"{copied}.").unlink()
    (to / f"{copied}.").write_bytes(data)
    (to / f"{copied}.").chmod(0o600)
    os.link(to / f"{copied}.", pair.server.root / "second")
    report = pair.sync()
    assert (report["messages"]["send"], report["messages"]["linked"]) == (1, 0)
    assert not (pair.there(to) / f"{copied}.").samefile(pair.there(folder) / f"{uid}.")
    pair.assert_same()


def test_a_mailbox_that_was_made_anew_is_not_linked_to(pair: Pair) -> None:
    """What the replica has of it is another mailbox's."""
    folder, to = pair.server.folder("user/joe/Trash"), pair.server.folder("user/joe/Sent")
    large(folder)
    pair.sync()
    samplespool.recreate_folder(folder)
    uids = large(folder)
    samplespool.copy(folder, uids, to)
    pair.sync()
    pair.assert_same()


def fail_first_link(monkeypatch: pytest.MonkeyPatch, number: int) -> list[object]:
    """Let the first link of a message fail in this process, where the replica is served; return what was asked for."""
    kept, calls = os.link, list[object]()

    def link(*words: object, **options: object) -> None:
        calls.append(words)
        if len(calls) == 1:
            raise OSError(number, os.strerror(number))
        kept(*words, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "link", link)
    return calls
