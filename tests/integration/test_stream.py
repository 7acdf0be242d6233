"""Mailboxes are sent as they are read, each as one piece: all of it takes its place, or nothing does."""

from __future__ import annotations

import errno
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from array import array
from collections.abc import Iterable, Iterator
from pathlib import Path

import pytest

import samplespool
from cyrsync.far import folder_writer, owner_file
from cyrsync.far.folder import Entry
from cyrsync.server import contents, large_metadata, same_messages, sender
from cyrsync.server.reading import MailboxReader
from cyrsync.server.sender import Sender
from cyrsync.state.mailbox_row import MailboxRow, StateDamaged
from cyrsync.state.store import Store
from cyrsync.sync.progress import NoProgress
from support.meanwhile import before_part
from support.pairs import PAUSE, Pair
from support.servers import assert_sound, problems, replica_conf, sync_server
from support.sshd import Sshd
from support.strace import OPEN_CALLS, STAT_CALLS, strace_calls
from support.tools import requires_root
from support.tree import assert_same_tree, cyrsync_argv, plain_env, snapshot


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


@pytest.fixture(params=["here", "over ssh"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    return Pair(tmp_path, request.getfixturevalue("sshd") if request.param == "over ssh" else None)


def test_new_mail_and_flags(either: Pair) -> None:
    for folder in either.folders[:3]:
        samplespool.deliver(folder, 4)
    samplespool.set_flags(either.folders[4])
    report = either.sync()
    assert (report["folders"]["changed"], report["messages"]["send"]) == (4, 12)
    # Four indexes, and the caches as they are found.
    assert report["files"]["sent"] == report["files"]["planned"] == 12 + 4 + 4
    assert (report["files"]["failed"], report["files"]["vanished"], report["errors"]) == (0, 0, [])
    assert report["bytes_sent"] > 0
    either.assert_same()


def test_owners_and_modes(either: Pair) -> None:
    requires_root()
    folder = either.folders[0]
    (uid,) = samplespool.deliver(folder, 1)
    os.chown(folder / f"{uid}.", 8, 12)
    (folder / f"{uid}.").chmod(0o640)
    folder.chmod(0o2750)
    either.sync()
    either.assert_same()


@pytest.mark.parametrize("words", [("--bwlimit", "9999"), ("--compress",), ("--numeric-ids",), ("--jobs", "2")])
def test_options_of_the_stream(either: Pair, words: tuple[str, ...]) -> None:
    samplespool.deliver(either.folders[0], 3)
    samplespool.expunge(either.folders[1], 1)
    report = either.sync(*words)
    assert (report["messages"]["send"], report["messages"]["delete"]) == (3, 1)
    either.assert_same()


def test_what_can_be_made_again_is_left_alone_if_asked(pair: Pair) -> None:
    """It is neither sent nor deleted."""
    folder = pair.folders[0]
    there = pair.there(folder) / "cyrus.cache"
    before = there.read_bytes()
    for change in (lambda: None, (folder / "cyrus.cache").unlink):
        samplespool.deliver(folder, 1)
        change()
        report = pair.sync("--skip-derived")
        assert report["files"]["sent"] == 2  # the message and the index
        assert there.read_bytes() == before
    samplespool.set_flags(folder)
    pair.sync()
    assert not there.exists()


def test_a_dry_run_sends_nothing(either: Pair) -> None:
    samplespool.deliver(either.folders[0], 3)
    before = snapshot(either.replica)
    report = either.sync("--dry-run")
    assert (report["messages"]["send"], report["files"]["sent"]) == (3, 0)
    assert snapshot(either.replica) == before
    either.sync()
    either.assert_same()


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("limit", ["_PORTION", "_PORTION_BYTES", "_GROUP", "_GROUP_BYTES"])
def test_portions_and_groups_are_only_a_matter_of_memory(
    either: Pair, limit: str, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sender, limit, 1)
    for number, folder in enumerate(either.folders[:4]):
        samplespool.deliver(folder, 2)
        if not number:
            (folder / "cyrus.squat").write_bytes(bytes(20_000))
    report = either.sync("--jobs", str(jobs))
    assert report["files"]["sent"] == report["files"]["planned"] == 8 + 4 * 2 + 1
    either.assert_same()


def test_a_stream_that_fails_in_part_takes_nothing_from_those_behind_it(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two are on their way: the first with two mailboxes, of which one cannot be written, and one with the third."""
    monkeypatch.setattr(sender, "_PORTION", 1)
    monkeypatch.setattr(sender, "_GROUP", 4)
    first, second, third = pair.folders[:3]
    uids = [samplespool.deliver(folder, 1)[0] for folder in (first, second, third)]
    in_the_way = pair.there(second) / f"{uids[1]}."
    (in_the_way / "x").mkdir(parents=True)
    (error,) = pair.sync(expect=23)["errors"]
    assert error.startswith(str(in_the_way))
    arrived = [(pair.there(folder) / f"{uid}.").is_file() for folder, uid in zip(pair.folders, uids, strict=False)]
    assert arrived == [True, False, True]
    shutil.rmtree(in_the_way)
    assert pair.sync()["messages"]["send"] == 1
    pair.assert_same()


def test_what_is_large_is_not_in_memory(either: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Here everything is."""
    monkeypatch.setattr(large_metadata, "IN_MEMORY", 0)
    samplespool.deliver(either.folders[0], 3)
    samplespool.expunge(either.folders[1], 1)
    samplespool.set_flags(either.folders[2])
    with (either.folders[3] / "cyrus.annotations").open("wb") as annotations:
        annotations.write(os.urandom(3 << 20))
    samplespool.deliver(either.folders[3], 1)
    report = either.sync()
    assert (report["messages"]["send"], report["messages"]["delete"], report["errors"]) == (4, 1, [])
    either.assert_same()


def test_messages_that_may_be_there_are_asked_for_some_at_a_time(either: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is known of a million at once would fill the memory."""
    monkeypatch.setattr(same_messages, "_ASKED", 2)
    kept, asked = MailboxReader.entries, list[int]()

    def entries(self: MailboxReader, root: bytes, path: bytes, uids: array[int]) -> list[tuple[int, Entry]]:
        asked.append(len(uids))
        return kept(self, root, path, uids)

    monkeypatch.setattr(MailboxReader, "entries", entries)
    place = os.fsencode(either.there(either.server.spool))
    found = owner_file.read(place)
    assert found
    owner_file.write(place, found._replace(writing="another boot"))  # so that nothing is proven
    samplespool.deliver(either.folders[0], 1)
    report = either.sync()
    assert (max(asked), report["messages"]["send"]) == (2, 1)
    either.assert_same()


def test_a_directory_above_that_is_somebody_elses(tmp_path: Path) -> None:
    """Who is not root cannot change its mode or time. It is named, once, and what is in it is sent, as by rsync."""
    requires_root()
    pair = Pair(tmp_path)
    for folder in pair.folders[:3]:
        samplespool.deliver(folder, 1)
    above = pair.there(pair.server.spool / pair.folders[0].relative_to(pair.server.spool).parts[0])
    above.chmod(0o777)
    os.chown(above, 8, 8)
    report = sync_server(pair.server.conf, "--delete", *pair.words, user=True, expect=(23,))
    (error,) = report["errors"]
    assert f"{above}: its owner, permissions or time cannot be set: Operation not permitted" in error
    assert (report["folders"]["failed"], report["files"]["failed"], report["messages"]["send"]) == (0, 0, 3)
    assert above.stat().st_mode & 0o777 == 0o777
    assert pair.sync()["messages"]["send"] == 0
    assert_sound(pair.server.conf, pair.replica)


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("limit", [10_000, 16 << 20])
def test_a_first_copy(either: Pair, limit: int, jobs: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "_PORTION_BYTES", limit)
    if jobs > 1:
        monkeypatch.setattr(sender, "_GROUP", 4)
    shutil.rmtree(either.replica)
    either.replica.mkdir()
    report = either.sync("--full", "--jobs", str(jobs))
    assert report["messages"]["send"] == report["messages"]["seen"] > 0
    assert report["folders"]["new"] == len(either.folders)
    either.assert_same()
    assert not [path for path in either.replica.rglob(".cyrsync*") if path.is_dir()]


def test_a_message_larger_than_a_frame(either: Pair) -> None:
    folder = either.folders[0]
    (uid,) = samplespool.deliver(folder, 1)
    status = (folder / f"{uid}.").stat()
    (folder / f"{uid}.").write_bytes(os.urandom(40 << 20))
    os.utime(folder / f"{uid}.", ns=(status.st_atime_ns, status.st_mtime_ns))
    report = either.sync(expect=23)  # the index has another size
    assert len(report["errors"]) == 1
    assert_same_tree(either.server.spool, either.there(either.server.spool))


def test_of_a_large_mailbox_it_is_told_how_far_it_is(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """A watchdog waits for that, too."""
    monkeypatch.setattr(sender, "_PORTION_BYTES", 1)
    told = []
    monkeypatch.setattr(NoProgress, "transfer", lambda _, *words: told.append(words))
    folder = pair.folders[0]
    below_spool = os.fsencode(folder.relative_to(pair.server.spool))
    samplespool.deliver(folder, 30)
    pair.sync()
    assert sorted({done for _, done, _, _ in told}) == list(range(31))
    assert {(os.fsencode(text), total) for text, _, total, _ in told} == {(below_spool, 30)}


def test_a_message_that_is_not_what_its_record_says(either: Pair) -> None:
    """It is sent, and named."""
    folder = either.folders[0]
    first, second = samplespool.deliver(folder, 2)
    data = bytearray((folder / f"{second}.").read_bytes())
    data[len(data) // 2] ^= 1
    (folder / f"{second}.").write_bytes(data)
    report = either.sync(expect=23)
    (error,) = report["errors"]
    assert f"{folder.name}/{second}.: its contents are not what the index says" in error
    assert (either.there(folder) / f"{second}.").read_bytes() == data
    assert (either.there(folder) / f"{first}.").exists()
    assert either.sync()["errors"] == []  # nobody looks at it again


@pytest.mark.parametrize("what", ["grown", "the same", "rewritten", "another there", "kept there"])
def test_of_a_large_cache_that_has_grown_the_end_is_sent(sshd: Sshd, tmp_path: Path, what: str) -> None:
    """Any other is sent whole: also where the replica only then proves to have another one."""
    pair = Pair(tmp_path, sshd)
    folder = pair.folders[0]
    cache, there = folder / "cyrus.cache", pair.there(folder) / "cyrus.cache"
    cache.write_bytes(os.urandom(3_000_000))
    samplespool.deliver(folder, 1)
    pair.sync()
    samplespool.deliver(folder, 1)
    if what != "the same":
        with cache.open("r+b" if what == "rewritten" else "ab") as file:
            file.write(bytes(1_500_000))
    if what == "another there":
        there.write_bytes(os.urandom(3_000_000))
    if what == "kept there":
        os.link(there, tmp_path / "kept")
        kept = there.read_bytes()
    report = pair.sync()
    least = {"grown": 1_500_000, "the same": 0, "rewritten": 3_000_000}.get(what, 1_500_000 + 4_500_000)
    assert least < report["bytes_sent"] < least + 100_000
    pair.assert_same()
    if what == "kept there":
        assert (tmp_path / "kept").read_bytes() == kept


@pytest.mark.parametrize("limit", [1, 16 << 20])
def test_a_message_that_cannot_be_read_keeps_the_index(pair: Pair, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The others are sent, and so is every other mailbox."""
    folder = pair.folders[0]
    first, second = samplespool.deliver(folder, 2)
    samplespool.deliver(pair.folders[1], 1)
    data = (folder / f"{first}.").read_bytes()
    (folder / f"{first}.").unlink()
    (folder / f"{first}.").mkdir()  # root can read everything else
    index = (pair.there(folder) / "cyrus.index").read_bytes()
    with monkeypatch.context() as patched:
        patched.setattr(sender, "_PORTION_BYTES", limit)
        patched.setattr(Sender, "_leave_same", lambda self, *_: self._end_group())
        report = pair.sync(expect=23)
    (error,) = report["errors"]
    assert f"{folder.name}/{first}.: no regular file" in error
    assert (report["folders"]["failed"], report["files"]["failed"] > 0) == (1, True)
    assert (pair.there(folder) / "cyrus.index").read_bytes() == index
    assert (pair.there(folder) / f"{second}.").exists()
    assert_same_tree(pair.folders[1], pair.there(pair.folders[1]))
    (folder / f"{first}.").rmdir()
    (folder / f"{first}.").write_bytes(data)
    assert pair.sync()["messages"]["send"] == 1  # the other one is there
    pair.assert_same()


def test_a_state_that_proves_damaged_in_the_middle(either: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """What is under way is given up, and the far end is asked for something else."""
    monkeypatch.setattr(sender, "_PORTION", 1)
    for folder in either.folders[:3]:
        samplespool.deliver(folder, 2)
    kept, calls = Store.put, []

    def put(self: Store, rows: Iterable[MailboxRow]) -> None:
        calls.append(self)
        if len(calls) == 2:
            raise StateDamaged("a test says so")
        kept(self, rows)

    with monkeypatch.context() as patched:
        patched.setattr(Store, "put", put)
        report = either.sync()
    (warning,) = report["warnings"]
    assert "a test says so" in warning
    either.assert_same()


def test_what_rsync_has_left_does_no_harm(either: Pair) -> None:
    folder = either.folders[0]
    samplespool.deliver(folder, 1)
    (either.there(folder) / ".~tmp~").mkdir()
    (either.there(folder) / ".~tmp~/cyrus.index").write_bytes(b"old")
    either.sync()
    shutil.rmtree(either.there(folder) / ".~tmp~")
    assert_same_tree(either.server.spool, either.there(either.server.spool), dir_mtimes=False)


def test_a_folder_in_the_place_of_a_message_costs_its_mailbox_only(either: Pair) -> None:
    folder, other = either.folders[:2]
    (uid,) = samplespool.deliver(folder, 1)
    samplespool.deliver(other, 1)
    (either.there(folder) / f"{uid}.").mkdir()
    report = either.sync(expect=23)
    (error,) = report["errors"]
    assert f"{uid}.: Is a directory" in error
    assert report["files"]["planned"] == report["files"]["sent"] + report["files"]["failed"]
    assert_same_tree(other, either.there(other))
    (either.there(folder) / f"{uid}.").rmdir()
    either.sync()
    either.assert_same()


@pytest.mark.parametrize("limit", [1, 16 << 20])
def test_a_message_that_goes_meanwhile(pair: Pair, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "_PORTION_BYTES", limit)
    folder = pair.folders[0]
    uids = samplespool.deliver(folder, 2)
    before_part(monkeypatch, 0, lambda: samplespool.expunge(folder, len(list(folder.glob("[0-9]*."))) - 1))
    assert len(uids) == 2
    pair.sync()
    assert_same_tree(pair.server.spool, pair.there(pair.server.spool))
    pair.sync()  # what has just changed is looked into once more
    pair.assert_same()


@pytest.mark.parametrize("limit", [1, 16 << 20])
def test_a_message_of_another_mailbox_under_the_name_goes_meanwhile(
    pair: Pair, limit: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has arrived of the new one at the first look is still there after the second."""
    monkeypatch.setattr(sender, "_PORTION_BYTES", limit)
    folder = pair.folders[0]
    uids = samplespool.deliver(folder, 4)
    pair.sync()
    samplespool.recreate_folder(folder, max(uids))
    before_part(monkeypatch, 0, lambda: samplespool.expunge(folder, 1))
    report = pair.sync()
    assert report["folders"]["failed"] == 0
    assert_same_tree(pair.server.spool, pair.there(pair.server.spool))
    pair.sync()  # what has just changed is looked into once more
    pair.assert_same()


@pytest.mark.parametrize("limit", [1, 16 << 20])
def test_a_message_of_which_the_end_cannot_be_read(pair: Pair, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is tried once, and left out: the others are not sent over and over again."""
    folder = pair.folders[0]
    first, second = samplespool.deliver(folder, 2)
    (folder / f"{first}.").write_bytes(bytes(contents.PIECE + 4321))
    index = (pair.there(folder) / "cyrus.index").read_bytes()
    kept = contents._pieces

    def pieces(descriptor: int, left: int) -> Iterator[bytes]:
        if left == 4321:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return kept(descriptor, left)

    with monkeypatch.context() as patched:
        patched.setattr(sender, "_PORTION_BYTES", limit)
        patched.setattr(contents, "_pieces", pieces)
        paths = before_part(patched, 0, lambda: None)
        report = pair.sync(expect=23)
    (error,) = report["errors"]
    assert f"{folder.name}/{first}.: Input/output error" in error
    assert len(paths) == 2
    assert (pair.there(folder) / "cyrus.index").read_bytes() == index
    assert (pair.there(folder) / f"{second}.").exists()


@pytest.mark.parametrize("limit", [1, 16 << 20])
def test_a_cache_that_cannot_be_read_keeps_the_index(pair: Pair, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The messages are sent, once."""
    monkeypatch.setattr(sender, "_PORTION_BYTES", limit)
    folder = pair.folders[0]
    (uid,) = samplespool.deliver(folder, 1)
    (folder / "cyrus.cache").rename(folder / "kept")
    (folder / "cyrus.cache").mkdir()
    index = (pair.there(folder) / "cyrus.index").read_bytes()
    paths = before_part(monkeypatch, 0, lambda: None)
    report = pair.sync(expect=23)
    (error,) = report["errors"]
    assert f"{folder.name}/cyrus.cache: Is a directory" in error
    assert len(paths) == 1
    assert (pair.there(folder) / "cyrus.index").read_bytes() == index
    assert (pair.there(folder) / f"{uid}.").exists()
    (folder / "cyrus.cache").rmdir()
    (folder / "kept").rename(folder / "cyrus.cache")
    pair.sync()
    pair.assert_same()


@pytest.mark.parametrize("limit", [1, 16 << 20])
def test_another_mailbox_takes_the_name_meanwhile(pair: Pair, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "_PORTION_BYTES", limit)
    folder = pair.folders[0]
    uids = samplespool.deliver(folder, 2)
    before_part(monkeypatch, 0, lambda: samplespool.recreate_folder(folder, max(uids)))
    pair.sync()
    assert_same_tree(pair.server.spool, pair.there(pair.server.spool))
    pair.sync()  # what has just changed is looked into once more
    pair.assert_same()


def test_there_is_no_room_for_one(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of that folder nothing is in its place then; it is tried again when others are."""
    folders = pair.folders[:2]
    for folder in folders:
        samplespool.deliver(folder, 2)
    kept, calls = folder_writer.write_all, []

    def full(descriptor: int, data: bytes) -> None:
        calls.append(descriptor)
        if len(calls) == 1:
            raise OSError(28, "No space left on device")
        kept(descriptor, data)

    monkeypatch.setattr(folder_writer, "write_all", full)
    report = pair.sync()
    assert report["files"]["sent"] == report["files"]["planned"]
    pair.assert_same()


def test_there_is_no_room_at_all(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    samplespool.deliver(pair.folders[0], 2)
    samplespool.deliver(pair.folders[1], 1)
    before = snapshot(pair.replica)

    def full(descriptor: int, data: bytes) -> None:
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(folder_writer, "write_all", full)
        report = pair.sync(expect=11)
    assert "No space left on device" in report["errors"][0]
    after = {path: entry._replace(mtime_ns=0) for path, entry in snapshot(pair.replica).items()}
    assert after == {path: entry._replace(mtime_ns=0) for path, entry in before.items()}
    pair.sync()
    pair.assert_same()


def test_a_doubtful_replica_is_compared_first(pair: Pair) -> None:
    """Nothing is written to it before."""
    folder = pair.folders[0]
    shutil.rmtree(pair.there(pair.folders[1]))
    samplespool.deliver(folder, 1)
    report = pair.sync()
    assert len(report["warnings"]) == 1
    pair.assert_same()


def test_a_replica_that_is_used_is_refused(pair: Pair) -> None:
    samplespool.set_flags(pair.there(pair.folders[1]))
    index = (pair.there(pair.folders[0]) / "cyrus.index").read_bytes()
    samplespool.deliver(pair.folders[0], 1)
    pair.sync(expect=4)
    assert (pair.there(pair.folders[0]) / "cyrus.index").read_bytes() == index


#: Runs cyrsync, and kills it before one of the calls of a function.
KILLER = """\
import os, signal
import cyrsync.server.sender, cyrsync.state.store, cyrsync.server.ownership
from {module} import {victim} as victim
kept, calls = victim.{name}, [0]
def dying(*words, **options):
    if calls[0] == {number}:
        os.kill(0, signal.SIGKILL)
    calls[0] += 1
    return kept(*words, **options)
victim.{name} = dying
from cyrsync.cli.app import main
main()
"""
STORE, OWNERSHIP = ("cyrsync.state.store", "Store"), ("cyrsync.server.ownership", "Ownership")


@pytest.mark.parametrize(
    ("where", "name", "number"),
    [
        *(((STORE, "put", number)) for number in range(2)),
        *((("cyrsync.far.receive", "Receiver"), "commit", number) for number in range(3)),
        *(
            (("cyrsync.far.folder_writer", "os"), "rename", number)
            for number in random.Random(1).sample(range(1, 12), 5)
        ),
        (OWNERSHIP, "end", 0),
    ],
)
def test_killed_on_the_way(pair: Pair, where: tuple[str, str], name: str, number: int) -> None:
    for folder in pair.folders[:3]:
        samplespool.deliver(folder, 3)
    time.sleep(PAUSE)
    script = KILLER.format(module=where[0], victim=where[1], name=name, number=number)
    argv = [sys.executable, "-c", script, "sync", "-C", str(pair.server.conf), "--delete", str(pair.replica)]
    done = subprocess.run(argv, env=plain_env(), capture_output=True, start_new_session=True, check=False)
    assert done.returncode == -signal.SIGKILL, done.stderr
    left = {kind for kind, _, _ in problems(replica_conf(pair.server.conf, pair.replica))}
    assert left <= {"orphan"}  # every index has its messages
    samplespool.expunge(pair.folders[0], 1)
    pair.sync()
    for found in pair.replica.rglob(".*.??????"):
        found.unlink()  # what a killed run leaves is not a day old yet
    assert_same_tree(pair.server.spool, pair.there(pair.server.spool), dir_mtimes=False)
    assert_sound(pair.server.conf, pair.replica)


def test_no_program_is_started(pair: Pair, tmp_path: Path) -> None:
    """And messages of before are neither stat'ed nor opened, on either side."""
    folder = pair.folders[0]
    old = {os.fsencode(path.name) for path in folder.glob("[0-9]*.")}
    (uid,) = samplespool.deliver(folder, 1)
    time.sleep(PAUSE)
    argv = cyrsync_argv("sync", "-C", pair.server.conf, "--delete", pair.replica)
    calls = strace_calls(argv, env=plain_env(), output=tmp_path / "calls")
    assert len([call for call in calls if call.name == "execve" and b" = 0" in call.line]) == 1
    paths = [call.path for call in calls if call.name in (*STAT_CALLS, *OPEN_CALLS)]
    assert any(path.endswith(b"/%d." % uid) for path in paths)
    assert [path for path in paths if os.path.basename(path) in old and os.fsencode(folder.name) in path] == []
    pair.assert_same()


def test_a_directory_that_a_killed_run_has_emptied_goes(pair: Pair) -> None:
    folder = pair.folders[-1]
    there = pair.replica / folder.relative_to("/")
    shutil.rmtree(folder)
    pair.server.record()
    for path in [path for path in there.iterdir() if path.is_file()]:
        path.unlink()
    pair.sync()
    assert not there.exists()
    pair.assert_same()
