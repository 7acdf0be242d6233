"""One UID, two messages: two servers were at work on one mailbox, and neither name, size nor time tells."""

from __future__ import annotations

import json
import os
import random
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sampleindex
import samplespool
from support.inside import sync_here
from support.sshd import Sshd
from support.strace import OPEN_CALLS, STAT_CALLS, strace_calls
from support.tree import assert_same_tree, cyrsync_argv, messages, plain_env, run_cyrsync

SIZE = 900
TIME = 1_700_000_000


def deliver(folder: Path, text: str, number: int = 1) -> None:
    """Deliver messages of one size and time, with the GUIDs of what is in them."""
    real = samplespool.mail, samplespool._write_message

    def mail(ident: str, *_: Any) -> tuple[bytes, bytes]:
        return b"Subject: x\r\n\r\n", f"{text} {ident}".ljust(SIZE).encode()

    def write(path: str, content: bytes, _: int) -> None:
        real[1](path, content, TIME)

    samplespool.mail, samplespool._write_message = mail, write
    try:
        samplespool.deliver(folder, number, rng=random.Random(1), age=0)
    finally:
        samplespool.mail, samplespool._write_message = real
    # Two of these in a row may be of one tick of the clock, which two servers' are not.
    index, when = folder / "cyrus.index", int.from_bytes(text.encode()[-6:], "big")
    os.utime(index, ns=(when, index.stat().st_mtime_ns // 10**9 * 10**9 + when % 10**9))


def every_day(folder: Path) -> None:
    """Mail is expunged and flagged."""
    samplespool.expunge(folder, 1, rng=random.Random(7))
    samplespool.set_flags(folder, rng=random.Random(8))


class Pair:
    def __init__(self, directory: Path, source: Path | None = None, replica: Path | None = None) -> None:
        self.source, self.replica = source or directory / "source", replica or directory / "replica"
        self.folder = samplespool.create_folder(self.source, "user/joe/Sent", rng=random.Random(1))
        samplespool.create_folder(self.source, "user/ann", rng=random.Random(2))
        deliver(self.folder, "first", 5)
        sync_here(self.source, self.replica)

    @property
    def copy(self) -> Path:
        return self.replica / self.folder.relative_to(self.source)

    def assert_same(self) -> None:
        assert messages(self.replica) == messages(self.source)
        assert_same_tree(self.source, self.replica)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


def walk(pair: Pair) -> None:
    sync_here("--delete", pair.source, pair.replica)


def drop_in(pair: Pair) -> None:
    done = run_cyrsync("rsync", "-a", "--delete", f"{pair.source}/", f"{pair.replica}/")
    assert (done.returncode, done.stderr) == (0, "")


@pytest.mark.parametrize("run", [walk, drop_in])
@pytest.mark.parametrize("more", [0, 3])
def test_the_standby_took_mail_for_a_moment(pair: Pair, run: Callable[[Pair], None], more: int) -> None:
    """UID 6 was given on both sides, with the same size and time; the source may have gone on."""
    deliver(pair.folder, "of the master", 1 + more)
    deliver(pair.copy, "of the standby")
    run(pair)
    pair.assert_same()


def test_verify_tells_of_it(pair: Pair, sshd: Sshd) -> None:
    """Not of an older replica, nor of one that has what the source lacks."""
    deliver(pair.folder, "of the master", 2)
    samplespool.expunge(pair.folder, 1, rng=random.Random(6))
    done = run_cyrsync("verify", pair.source, pair.replica)
    assert (done.returncode, "other message" in done.stderr) == (1, False), done
    deliver(pair.copy, "of the standby")
    for words in ((pair.source, pair.replica), ("-e", sshd.rsh, sshd.at(pair.source), pair.replica)):
        done = run_cyrsync("verify", *words)
        assert (done.returncode, "user/joe/Sent: other message" in done.stderr) == (1, True), done


def test_the_standby_went_further(pair: Pair) -> None:
    """What only it has goes; the UIDs are given on the source later."""
    deliver(pair.copy, "of the standby", 2)
    samplespool.set_flags(pair.folder, rng=random.Random(3))
    walk(pair)
    pair.assert_same()
    deliver(pair.folder, "of the master", 2)
    walk(pair)
    pair.assert_same()


def test_two_servers_in_turn(pair: Pair, tmp_path: Path) -> None:
    other = tmp_path / "other"
    shutil.copytree(pair.source, other)
    deliver(pair.folder, "of the one")
    deliver(other / pair.folder.relative_to(pair.source), "of the other", 2)
    walk(pair)
    sync_here("--delete", other, pair.replica)
    assert messages(pair.replica) == messages(other)
    walk(pair)
    pair.assert_same()


def test_over_ssh(pair: Pair, sshd: Sshd) -> None:
    """Both ways: the replica is asked, or the source."""
    deliver(pair.folder, "of the master")
    deliver(pair.copy, "of the standby")
    sync_here("--delete", "-e", sshd.rsh, pair.source, sshd.at(pair.replica))
    pair.assert_same()
    deliver(pair.folder, "of the master")
    deliver(pair.copy, "of the standby")
    sync_here("--delete", "-e", sshd.rsh, sshd.at(pair.source), pair.replica)
    pair.assert_same()


@pytest.mark.parametrize("far", ["daemon", "sshd_without_python"])
@pytest.mark.parametrize("pulls", [False, True])
def test_nobody_there_who_could_be_asked(request: pytest.FixtureRequest, tmp_path: Path, far: str, pulls: bool) -> None:
    """The indexes that differ are fetched. What happens every day makes no look at messages there either."""
    server = request.getfixturevalue(far)
    there = server.directory("rw") if far == "daemon" else tmp_path / "there"
    url = server.url("rw") if far == "daemon" else server.at(there)
    words = () if far == "daemon" else ("-e", server.rsh)
    pair = Pair(tmp_path, *((there, tmp_path / "replica") if pulls else (tmp_path / "source", there)))
    ends = (url, pair.replica) if pulls else (pair.source, url)
    deliver(pair.folder, "of the master")
    deliver(pair.copy, "of the standby")
    os.utime(pair.copy / "cyrus.index", (TIME, TIME))  # a daemon's listing has whole seconds
    for happens in (every_day, every_day):
        done = run_cyrsync("rsync", "-a", "--delete", *words, *(f"{end}/" for end in ends))
        assert (done.returncode, done.stderr) == (0, "")
        assert messages(pair.replica) == messages(pair.source)
        assert_same_tree(pair.source, pair.replica, whole_seconds=True)
        happens(pair.folder)
    deliver(pair.folder, "new", 2)
    done = run_cyrsync("sync", "--delete", *words, *(f"{end}/" for end in ends), "--json")
    said = json.loads(done.stdout)
    assert (done.returncode, said["messages"]["send"], said["folders"]["changed"]) == (0, 2, 1), said


def test_an_index_that_cannot_be_read_there_is_no_proof(pair: Pair) -> None:
    """Its header is whole, its records are not: messages are compared."""
    deliver(pair.folder, "of the master")
    index = pair.copy / "cyrus.index"
    os.truncate(index, index.stat().st_size - 5)
    os.truncate(pair.copy / "1.", 3)
    walk(pair)
    pair.assert_same()


def test_what_happens_every_day_costs_no_look_at_messages(pair: Pair, tmp_path: Path) -> None:
    """New mail, flags, expunged mail, and a repack that takes its records away."""
    samplespool.expunge(pair.folder, 2, rng=random.Random(4))
    index = sampleindex.read_index(pair.folder)
    kept = [index[at : at + 112] for at in sampleindex.live_records(index)]
    repacked = index[:160] + b"".join(kept)
    repacked[20:24] = len(kept).to_bytes(4, "big")
    (pair.folder / "cyrus.index").write_bytes(b"")
    sampleindex.write_index(pair.folder, repacked, sampleindex.get_long(index, 68))
    samplespool.set_flags(pair.folder, rng=random.Random(5))
    both = {
        os.path.join(os.fsencode(root), path) for path in messages(pair.source) for root in (pair.source, pair.replica)
    }
    deliver(pair.folder, "more", 3)
    argv = cyrsync_argv("sync", "--delete", pair.source, pair.replica)
    calls = strace_calls(argv, env=plain_env(), output=tmp_path / "calls")
    assert not both & {call.path for call in calls if call.name in (*STAT_CALLS, *OPEN_CALLS)}
    pair.assert_same()
