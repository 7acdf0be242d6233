"""Mailboxes with little to send go without an rsync, each as one piece; what is out of the ordinary goes by rsync."""

from __future__ import annotations

import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import samplespool
from cyrsync.far import place
from cyrsync.far.folder import File
from cyrsync.server import quick
from cyrsync.server.reading import MailboxReader
from support.inside import sync_server_here
from support.servers import SampleServer, assert_sound, below, problems, replica_conf
from support.sshd import Sshd
from support.strace import OPEN_CALLS, STAT_CALLS, strace_calls
from support.tools import requires, requires_root
from support.tree import assert_same_tree, cyrsync_argv, plain_env

PAUSE = 0.03  # seconds after which a file has rested


class Quick:
    """A server whose replica is up to date, over ssh if it has an sshd."""

    def __init__(self, directory: Path, sshd: Sshd | None = None) -> None:
        self.server = SampleServer(directory / "server")
        self.replica = directory / "replica"
        self.replica.mkdir()
        self.words: tuple[str, ...] = ("-e", sshd.rsh, sshd.at(self.replica)) if sshd else (str(self.replica),)
        self.folders = self.server.folders()
        self.sync()
        assert self.sync()["rsync_runs"] == 0

    def sync(self, *words: str, delete: bool = True, expect: int = 0) -> dict[str, Any]:
        """Sync, and return the report."""
        time.sleep(PAUSE)
        deleting = ("--delete",) if delete else ()
        return sync_server_here(self.server.conf, *deleting, *words[:2], *self.words, *words[2:], expect=(expect,))

    def there(self, folder: Path) -> Path:
        return below(self.replica, folder)

    def assert_same(self) -> None:
        """The replica is what it should be, and the state knows."""
        assert_same_tree(self.server.spool, self.there(self.server.spool))
        assert_sound(self.server.conf, self.replica)
        report = self.sync()
        assert (report["folders"]["changed"], report["files"]["planned"], report["warnings"]) == (0, 0, [])


@pytest.fixture
def pair(tmp_path: Path) -> Quick:
    return Quick(tmp_path)


@pytest.fixture(params=["here", "over ssh"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Quick:
    return Quick(tmp_path, request.getfixturevalue("sshd") if request.param == "over ssh" else None)


def test_new_mail_and_flags(either: Quick) -> None:
    for folder in either.folders[:3]:
        samplespool.deliver(folder, 4)
    samplespool.set_flags(either.folders[4])
    report = either.sync()
    assert (report["rsync_runs"], report["folders"]["changed"], report["messages"]["send"]) == (0, 4, 12)
    # Four indexes, and the caches as they are found.
    assert report["files"]["sent"] == report["files"]["planned"] == 12 + 4 + 4
    assert (report["files"]["failed"], report["files"]["vanished"], report["errors"]) == (0, 0, [])
    assert report["bytes_sent"] > 0
    either.assert_same()


def test_owners_and_modes(either: Quick) -> None:
    requires_root()
    folder = either.folders[0]
    (uid,) = samplespool.deliver(folder, 1)
    os.chown(folder / f"{uid}.", 8, 12)
    (folder / f"{uid}.").chmod(0o640)
    folder.chmod(0o2750)
    assert either.sync()["rsync_runs"] == 0
    either.assert_same()


@pytest.mark.parametrize("words", [("--bwlimit", "9999"), ("--rsync-path", "rsync"), (), ("--dry-run", "--delete")])
def test_what_is_asked_for_in_other_words(pair: Quick, words: tuple[str, ...]) -> None:
    """Is for rsync, and so is all where something is to go."""
    if not words:
        samplespool.expunge(pair.folders[0], 1)  # before the new one is there, which might be the one that goes
    samplespool.deliver(pair.folders[0], 1)
    report = pair.sync(*words)
    assert report["messages"]["send"] == 1
    if "--dry-run" in words:
        assert not set(map(str, report["files"].values())) - {"0", "None"} or report["files"]["sent"] == 0
        report = pair.sync("--rsync-path", "rsync")
    assert report["rsync_runs"] > 0
    pair.assert_same()


def test_more_than_a_few(pair: Quick) -> None:
    samplespool.deliver(pair.folders[0], quick._FEW + 1)
    assert pair.sync()["rsync_runs"] > 0
    pair.assert_same()


@pytest.mark.parametrize(
    ("limit", "value"),
    [("_FEW_IN_ALL", 6), ("_MAILBOXES", 2), ("_SMALL", 10_000), ("_PORTION", 1), ("_PORTION_BYTES", 1)],
)
def test_some_of_them(pair: Quick, limit: str, value: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The rest goes by rsync; portions are only a matter of memory."""
    monkeypatch.setattr(quick, limit, value)
    for number, folder in enumerate(pair.folders[:4]):
        samplespool.deliver(folder, 2)
        if not number:
            (folder / "cyrus.squat").write_bytes(bytes(20_000))
    report = pair.sync()
    assert (report["rsync_runs"] > 0) == (not limit.startswith("_PORTION"))
    assert report["files"]["sent"] == report["files"]["planned"] == 8 + 4 * 2 + 1
    pair.assert_same()


def test_much_over_ssh_goes_as_what_differs(sshd: Sshd, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    pair = Quick(tmp_path, sshd)
    monkeypatch.setattr(quick, "_SMALL_IN_ALL", 20_000)
    for folder in pair.folders:
        samplespool.deliver(folder, 2)
    report = pair.sync()
    assert report["rsync_runs"] > 0
    assert report["files"]["sent"] == report["files"]["planned"]
    pair.assert_same()


@pytest.mark.parametrize("what", ["updates", "a folder for a message"])
def test_what_is_in_the_way_is_left_to_rsync(either: Quick, what: str) -> None:
    folder = either.folders[0]
    there = either.there(folder)
    (uid,) = samplespool.deliver(folder, 1)
    samplespool.deliver(either.folders[1], 1)
    if what == "updates":
        (there / ".~tmp~").mkdir()
        (there / ".~tmp~/cyrus.index").write_bytes(b"old")
    else:
        (there / f"{uid}.").mkdir()
    report = either.sync()
    assert report["files"]["sent"] == report["files"]["planned"]
    either.assert_same()


def while_read(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> None:
    """Let something happen after the mailbox was read, and before its messages are."""
    kept = MailboxReader.file
    calls = []

    def file(self: MailboxReader, root: bytes, path: bytes, name: bytes, most: int) -> File:
        if not calls:
            calls.append(happens())
        return kept(self, root, path, name, most)

    monkeypatch.setattr(MailboxReader, "file", file)


def test_a_message_that_goes_meanwhile(pair: Quick, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = pair.folders[0]
    uids = samplespool.deliver(folder, 2)
    while_read(monkeypatch, lambda: samplespool.expunge(folder, len(list(folder.glob("[0-9]*."))) - 1))
    assert len(uids) == 2
    report = pair.sync()
    assert report["rsync_runs"] > 0
    pair.assert_same()


def test_another_mailbox_takes_the_name_meanwhile(pair: Quick, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = pair.folders[0]
    uids = samplespool.deliver(folder, 2)
    while_read(monkeypatch, lambda: samplespool.recreate_folder(folder, max(uids)))
    report = pair.sync()
    assert report["rsync_runs"] > 0
    pair.assert_same()


def test_a_disk_that_is_full(pair: Quick, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of one folder nothing is in its place then, and rsync is left to try again."""
    folders = pair.folders[:2]
    for folder in folders:
        samplespool.deliver(folder, 2)
    replace, calls = place._replace, []

    def full(files: object, directory: int, *more: object) -> None:
        calls.append(directory)
        if len(calls) == 1:
            raise OSError(28, "No space left on device")
        replace(files, directory, *more)  # type: ignore[arg-type]

    monkeypatch.setattr(place, "_replace", full)
    report = pair.sync()
    assert len(calls) == 2
    assert report["rsync_runs"] > 0
    assert report["files"]["sent"] == report["files"]["planned"]
    pair.assert_same()


def test_a_doubtful_replica_is_compared_first(pair: Quick) -> None:
    """Nothing is written to it before."""
    folder = pair.folders[0]
    shutil.rmtree(pair.there(pair.folders[1]))
    samplespool.deliver(folder, 1)
    report = pair.sync()
    assert len(report["warnings"]) == 1
    assert report["rsync_runs"] > 0
    pair.assert_same()


def test_a_replica_that_is_used_is_refused(pair: Quick) -> None:
    samplespool.set_flags(pair.there(pair.folders[1]))
    index = (pair.there(pair.folders[0]) / "cyrus.index").read_bytes()
    samplespool.deliver(pair.folders[0], 1)
    pair.sync(expect=4)
    assert (pair.there(pair.folders[0]) / "cyrus.index").read_bytes() == index


#: Runs cyrsync, and kills it before one of the calls of a function.
KILLER = """\
import os, signal
import cyrsync.server.quick, cyrsync.state.store, cyrsync.server.claim
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
STORE, CLAIM = ("cyrsync.state.store", "Store"), ("cyrsync.server.claim", "Claim")


@pytest.mark.parametrize(
    ("where", "name", "number"),
    [
        *(((STORE, "put", number)) for number in range(2)),
        *((("cyrsync.far", "place"), "_replace", number) for number in range(3)),
        *((("cyrsync.far.place", "os"), "rename", number) for number in random.Random(1).sample(range(1, 12), 5)),
        (CLAIM, "end", 0),
    ],
)
def test_killed_on_the_way(pair: Quick, where: tuple[str, str], name: str, number: int) -> None:
    requires("rsync")
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


def test_no_program_is_started(pair: Quick, tmp_path: Path) -> None:
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
