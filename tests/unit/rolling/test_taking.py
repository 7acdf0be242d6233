"""The log is taken as Cyrus's own reader does it, beside writers that do as Cyrus's do."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from pathlib import Path

import pytest

from cyrsync.rolling import taking
from cyrsync.rolling.channel import Channel
from cyrsync.rolling.taking import LogError, SyncLog
from cyrsync.rolling.waiting import LogWait
from support.tools import requires_root, unprivileged
from support.tree import plain_env

#: Appends lines as imap/sync_log.c does.
WRITER = """
import fcntl, os, sys
path, name, count = sys.argv[1], sys.argv[2], int(sys.argv[3])
for number in range(count):
    while True:
        fd = os.open(path, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o640)
        fcntl.lockf(fd, fcntl.LOCK_EX)
        try:
            there = os.stat(path)
        except FileNotFoundError:
            there = None
        mine = os.fstat(fd)
        if there and (there.st_dev, there.st_ino) == (mine.st_dev, mine.st_ino):
            break
        os.close(fd)
    os.write(fd, b"MAILBOX user.%s.%d\\n" % (name.encode(), number))
    os.close(fd)
"""


@pytest.fixture
def channel(tmp_path: Path) -> Channel:
    directory = tmp_path / "sync/cyrsync"
    directory.mkdir(parents=True)
    return Channel("cyrsync", bytes(directory))


@pytest.fixture
def log(channel: Channel) -> Iterator[SyncLog]:
    log = SyncLog(channel, os.geteuid)
    yield log
    log.close()


def put(path: bytes, data: bytes) -> None:
    with open(path, "ab") as file:
        file.write(data)


def names(log: SyncLog) -> list[bytes]:
    lines = log.take()
    assert lines
    assert not lines.doubts
    return [name for _, name in lines.changes]


def test_it_is_there_until_it_is_done(log: SyncLog, channel: Channel) -> None:
    assert log.take() is None
    put(channel.log, b"MAILBOX a\n")
    assert names(log) == [b"a"]
    put(channel.log, b"MAILBOX b\n")
    assert names(log) == [b"a"]  # whoever took it may have been killed
    log.done()
    assert names(log) == [b"b"]
    log.done()
    log.done()
    assert log.take() is None
    assert os.listdir(channel.directory) == []


def test_a_log_without_a_line_was_to_have_one(log: SyncLog, channel: Channel) -> None:
    """As when there was no room for it."""
    put(channel.log, b"")
    lines = log.take()
    assert lines
    assert [doubt for doubt in lines.doubts if "it is empty" in doubt]


def test_who_has_just_made_the_log_writes_to_it(log: SyncLog, channel: Channel) -> None:
    put(channel.log, b"")
    writer = threading.Timer(0.05, put, (channel.log, b"MAILBOX a\n"))
    writer.start()
    assert names(log) == [b"a"]
    writer.join()


def test_what_another_reader_has_left_comes_first(log: SyncLog, channel: Channel) -> None:
    put(channel.taken, b"MAILBOX old\n")
    put(channel.log, b"MAILBOX new\n")
    assert names(log) == [b"old"]
    log.done()
    assert names(log) == [b"new"]


def test_nothing_is_lost_between_writers(log: SyncLog, channel: Channel) -> None:
    count = 200
    words = [sys.executable, "-c", WRITER, os.fsdecode(channel.log)]
    writers = [subprocess.Popen([*words, name, str(count)]) for name in ("a", "b")]
    found: set[bytes] = set()
    while any(writer.poll() is None for writer in writers) or os.path.exists(channel.log):
        lines = log.take()
        if lines:
            assert lines.doubts == []
            found.update(change.name for change in lines.changes)
            log.done()
    assert [writer.wait() for writer in writers] == [0, 0]
    assert found == {b"user.%s.%d" % (name, number) for name in (b"a", b"b") for number in range(count)}


def test_a_writer_is_waited_for(log: SyncLog, channel: Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taking, "_PATIENCE", 0.05)
    script = f"import fcntl, sys; f = open({os.fsdecode(channel.log)!r}, 'ab'); fcntl.lockf(f, fcntl.LOCK_EX)"
    script += "; print(flush=True); input(); f.write(b'MAILBOX a\\n'); f.close()"
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", script], stdin=pipe, stdout=pipe) as writer:
        assert writer.stdout
        writer.stdout.readline()
        with pytest.raises(LogError, match="a writer has kept it locked"):
            log.take()
        assert os.listdir(channel.directory) == [b"log-run"]
        writer.communicate(b"\n")
    assert names(log) == [b"a"]


def test_the_lock_is_let_go_of(log: SyncLog, channel: Channel) -> None:
    put(channel.log, b"MAILBOX a\n")
    log.take()
    script = (
        f"import fcntl; f = open({os.fsdecode(channel.taken)!r}, 'ab'); fcntl.lockf(f, fcntl.LOCK_EX | fcntl.LOCK_NB)"
    )
    subprocess.run([sys.executable, "-c", script], check=True)


@pytest.mark.parametrize("name", ["log", "log-run"])
@pytest.mark.parametrize("kind", ["fifo", "link", "directory"])
def test_what_is_no_log(log: SyncLog, channel: Channel, tmp_path: Path, name: str, kind: str) -> None:
    path = os.path.join(channel.directory, name.encode())
    secret = tmp_path / "secret"
    secret.write_text("MAILBOX a\n")
    if kind == "fifo":
        os.mkfifo(path)
    elif kind == "link":
        os.symlink(secret, path)
    else:
        os.mkdir(path)
    with pytest.raises(LogError):
        log.take()
    assert secret.exists()


def test_a_log_that_nobody_read_for_long(log: SyncLog, channel: Channel, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(taking, "_LARGEST", 5)
    put(channel.log, b"MAILBOX a\n")
    lines = log.take()
    assert lines
    assert "nobody has read it for long" in lines.doubts[0]


def test_a_log_of_somebody_else(log: SyncLog, channel: Channel) -> None:
    """Cyrus answers OK all the same where it cannot write to it."""
    requires_root()
    put(channel.log, b"MAILBOX a\n")
    os.chown(channel.log, 1, 1)
    lines = log.take()
    assert lines
    assert [name for _, name in lines.changes] == [b"a"]
    assert lines.doubts == [f"{os.fsdecode(channel.log)}: it belongs to uid 1: could Cyrus's user (uid 0) write to it?"]


def test_a_directory_of_somebody_else(channel: Channel) -> None:
    put(channel.log, b"MAILBOX a\n")
    with pytest.raises(LogError, match="it belongs to uid"):
        SyncLog(channel, lambda: os.geteuid() + 1).take()
    assert os.listdir(channel.directory) == [b"log"]


def test_a_directory_whose_owner_is_cyruss_only_later(channel: Channel) -> None:
    """mailboxes.db was put there by root, and is given to Cyrus."""
    put(channel.log, b"MAILBOX a\n")
    owners = iter([os.geteuid() + 1, os.geteuid()])
    log = SyncLog(channel, lambda: next(owners))
    with pytest.raises(LogError, match="it belongs to uid"):
        log.take()
    for _ in range(3):
        assert names(log) == [b"a"]
    log.close()


def test_a_channel_has_one_watcher(log: SyncLog, channel: Channel) -> None:
    put(channel.log, b"MAILBOX a\n")
    assert names(log) == [b"a"]
    log.done()
    other = SyncLog(channel, os.geteuid)
    put(channel.log, b"MAILBOX b\n")
    with pytest.raises(LogError, match="another watcher reads this log: give each watcher a --channel of its own"):
        other.take()
    assert names(log) == [b"b"]
    log.done()
    os.rename(channel.directory, channel.directory + b"-old")
    os.mkdir(channel.directory)
    put(channel.log, b"MAILBOX c\n")
    assert names(other) == [b"c"]
    with pytest.raises(LogError, match="another watcher"):
        log.take()
    other.close()
    assert names(log) == [b"c"]


def test_a_log_that_may_not_be_renamed(log: SyncLog, channel: Channel) -> None:
    put(channel.log, b"MAILBOX a\n")
    os.chmod(channel.directory, 0o555)
    code = "import os, sys; from cyrsync.rolling.taking import *; from cyrsync.rolling.channel import Channel\n"
    code += "try: SyncLog(Channel('c', os.fsencode(sys.argv[1])), os.geteuid).take()\n"
    code += "except LogError as error: print(error)"
    words = unprivileged([sys.executable, "-c", code, os.fsdecode(channel.directory)])
    done = subprocess.run(words, capture_output=True, text=True, check=True, env=plain_env())
    os.chmod(channel.directory, 0o755)
    assert "Permission denied" in done.stdout
    assert names(log) == [b"a"]


# --- Waiting for it


def test_waiting_ends_when_the_log_is_written_to(channel: Channel) -> None:
    with LogWait(channel) as wait:
        assert not wait.wait(0.01)
        assert wait.is_told
        timer = threading.Timer(0.05, put, (channel.log, b"MAILBOX a\n"))
        timer.start()
        assert wait.wait(60)
        timer.join()


def test_waiting_for_what_was_left(channel: Channel) -> None:
    put(channel.taken, b"MAILBOX a\n")
    with LogWait(channel) as wait:
        assert wait.wait(60)


def test_waiting_without_a_directory_and_in_a_new_one(channel: Channel) -> None:
    os.rmdir(channel.directory)
    with LogWait(channel) as wait:
        assert not wait.wait(0.01)
        assert not wait.is_told

        def arrive() -> None:
            os.mkdir(channel.directory)
            put(channel.log, b"MAILBOX a\n")

        timer = threading.Timer(0.05, arrive)
        timer.start()
        assert wait.wait(60)
        timer.join()


def test_the_directory_is_removed_and_made_again(channel: Channel) -> None:
    with LogWait(channel) as wait:
        wait.wait(0.01)
        os.rmdir(channel.directory)
        wait.wait(0.01)
        os.mkdir(channel.directory)
        assert not wait.wait(0.3)
        timer = threading.Timer(0.05, put, (channel.log, b"MAILBOX a\n"))
        timer.start()
        assert wait.wait(60)
        timer.join()


def test_another_directory_has_its_name(channel: Channel) -> None:
    """The one above was moved away, of which the kernel says nothing to who watches the one below."""
    above = os.path.dirname(channel.directory)
    reading, writing = os.pipe()

    def give_up() -> None:
        os.unlink(channel.log)
        os.write(writing, b"x")

    with LogWait(channel, reading) as wait:
        wait.wait(0.01)
        os.rename(above, above + b"-old")
        os.makedirs(channel.directory)
        timer = threading.Timer(0.05, put, (channel.log, b"MAILBOX a\n"))
        timer.start()
        assert wait.wait(0.5)  # it is seen at the end
        timer.join()
        os.unlink(channel.log)
        timers = [threading.Timer(0.05, put, (channel.log, b"MAILBOX a\n")), threading.Timer(5, give_up)]
        for timer in timers:
            timer.start()
        assert wait.wait(60)
        for timer in timers:
            timer.cancel()
            timer.join()
    os.close(reading)
    os.close(writing)


def test_orders_end_the_waiting(channel: Channel) -> None:
    reading, writing = os.pipe()
    with LogWait(channel, reading) as wait:
        os.write(writing, b"x")
        assert not wait.wait(60)
    os.close(reading)
    os.close(writing)
