"""`sync --watch` of a made-up server with a sync log: what single mailboxes cost, and what becomes of each of some."""

from __future__ import annotations

import os
import shutil
import time
from collections.abc import Iterator
from pathlib import Path

import pytest

import samplespool
from cyrsync.cyrus.mailbox import snapshot
from support.campaign import amount
from support.cyrusdb import Skiplist
from support.locked import locked
from support.servers import SampleServer, below
from support.strace import OPEN_CALLS, STAT_CALLS, attached
from support.tree import messages, run_cyrsync
from support.watcher import Watcher, watching

#: How much more may be asked by chance: a status is written now and then, and a wait is broken off.
_ROUGHLY = 1.2
#: Calls that name files, and those that SQLite reads its pages with.
_CALLS = (
    *STAT_CALLS,
    *OPEN_CALLS,
    "getdents64",
    "read",
    "pread64",
    "readlink",
    "rename",
    "renameat",
    "unlink",
    "unlinkat",
)
#: It is looked with each message whether the replica is still ours: else it would be once in half a minute.
_ALWAYS = "from cyrsync.rolling import sender; sender._LOOK = -1.0"
#: Reading a mailbox takes long, by the clock: somebody keeps it locked, or there is much to send.
_SLOW = """
import time
real, late = time.monotonic, [0.0]
time.monotonic = lambda: real() + late[0]
from cyrsync.server import snapshots
read = snapshots.Snapshots.read
def slow(*words):
    late[0] += 10.0
    return read(*words)
snapshots.Snapshots.read = slow
"""
#: It is told how long was waited in vain for each lock.
_TOLD = """
from cyrsync.cyrus.mailbox import locks
class Told(locks.LockTimeout):
    def __init__(self, path, patience):
        print("waited", patience, flush=True)
        super().__init__(path, patience)
locks.LockTimeout = Told
"""


class Server:
    """A made-up server with a sync log, whose users have files; and a watcher of it."""

    def __init__(self, root: Path, mailboxes: int, before: str = _ALWAYS) -> None:
        self.sample = SampleServer(root / "mail", messages=mailboxes, folder_count=mailboxes)
        self.conf = root / "mail/conf"
        with self.sample.conf.open("a") as conf:
            conf.write("sync_log: yes\nsync_log_channels: cyrsync\nexpunge_mode: immediate\n")
        self.log = self.conf / "sync/cyrsync/log"
        self.log.parent.mkdir(parents=True)
        for folder in self.sample.spool.glob("?/user/*"):
            for file in self.files(folder):
                file.parent.mkdir(parents=True, exist_ok=True)
                file.write_text("0\n")
        self.replica = root / "replica"
        self.replica.mkdir()
        self.watcher = Watcher(self.sample.conf, "--delete", self.replica, said=root / "said", before=before)

    def files(self, inbox: Path) -> list[Path]:
        """The subscriptions of a user, and the quota."""
        letter, name = inbox.name[0], inbox.name
        return [self.conf / f"user/{letter}/{name}.sub", self.conf / f"quota/{letter}/user.{name}"]

    def inboxes(self) -> list[Path]:
        return [folder for folder in self.sample.folders() if folder.parent.name == "user"]

    def logs(self, *folders: Path) -> None:
        """Have the log name mailboxes."""
        time.sleep(0.03)  # what was written just now may change again unseen, and is looked at once more
        half = self.log.with_name("half")
        names = [".".join(folder.relative_to(self.sample.spool).parts[1:]) for folder in folders]
        half.write_text("".join(f"MAILBOX {name}\n" for name in names))
        half.rename(self.log)

    def is_there(self, folder: Path) -> bool:
        return messages(below(self.replica, folder)) == messages(folder)

    def deliver(self, inbox: Path) -> None:
        """Have a message come, and the user's files change; wait until all of that is on the replica."""
        samplespool.deliver(inbox, 1)
        for file in self.files(inbox):
            file.write_text(f"{time.time()}\n")
        self.logs(inbox)
        self.watcher.wait(lambda: self.is_there(inbox), name="the message")
        for file in self.files(inbox):
            there = below(self.replica, file)
            self.watcher.wait(lambda: there.read_bytes() == file.read_bytes(), name="the user's file")  # noqa: B023
        time.sleep(1.5)  # until the replica is let go of


@pytest.fixture
def server(tmp_path: Path, state_dir: Path) -> Iterator[Server]:
    server = Server(tmp_path, 20)
    try:
        server.watcher.start()
        yield server
    finally:
        server.watcher.close()


def cost(root: Path, mailboxes: int) -> int:
    """System calls for a message, after another one, of the watcher and of the far end; not those about processes."""
    server = Server(root, mailboxes)
    try:
        server.watcher.start()
        first, second = server.inboxes()[:2]
        server.deliver(first)
        with attached(server.watcher.pid, output=root / "strace", calls=_CALLS) as calls:
            server.deliver(second)
        return sum(not call.path.startswith(b"/proc/") for call in calls.calls())
    finally:
        server.watcher.close()


def test_a_message_costs_no_more_where_there_are_more_mailboxes(tmp_path: Path, state_dir: Path) -> None:
    small = cost(tmp_path / "small", 20)
    large = cost(tmp_path / "large", amount(600, long=5000))
    assert large < _ROUGHLY * small


def test_a_mailbox_that_cannot_be_sent_holds_up_none_that_is_sent_with_it(server: Server, state_dir: Path) -> None:
    some = server.inboxes()[:3]
    for inbox in some:
        samplespool.deliver(inbox, 1)
    there = below(server.replica, some[1])
    (new,) = messages(some[1]).keys() - messages(there).keys()
    in_the_way = there / os.fsdecode(new) / "directory"
    in_the_way.mkdir(parents=True)
    server.logs(*some)
    server.watcher.wait(lambda: server.is_there(some[0]) and server.is_there(some[2]), name="the others")
    server.watcher.wait(lambda: server.watcher.status(state_dir)["failed"] == 1, name="it is told")
    assert server.watcher.status(state_dir)["waiting"][0]["name"] == f"user.{some[1].name}"
    shutil.rmtree(in_the_way.parent)
    server.watcher.wait(lambda: server.is_there(some[1]), name="the message")


def test_check_knows_who_reads_the_channel(server: Server) -> None:
    server.deliver(server.inboxes()[0])
    done = run_cyrsync("check", "-C", server.sample.conf, server.replica)
    assert f"channel cyrsync: read by cyrsync (process {server.watcher.pid})" in done.stdout
    assert "each reader needs its own" not in done.stdout


def test_messages_that_were_moved_at_once_are_linked(server: Server) -> None:
    """The log names both mailboxes together, and the one that has lost them has no files of theirs any more."""
    other = next(folder for folder in server.sample.folders() if folder.parent in server.inboxes())
    inbox = other.parent
    server.deliver(inbox)
    uid = int(next(inbox.glob("[0-9]*.")).name[:-1])
    inode = (below(server.replica, inbox) / f"{uid}.").stat().st_ino
    (moved,) = samplespool.copy(inbox, [uid], other)
    samplespool.remove(inbox, [uid], mode="immediate")
    server.logs(other, inbox)
    server.watcher.wait(lambda: server.is_there(other) and server.is_there(inbox), name="the move")
    assert (below(server.replica, other) / f"{moved}.").stat().st_ino == inode


def test_what_somebody_keeps_locked_holds_up_nothing_else(tmp_path: Path, state_dir: Path) -> None:
    """Neither in a pass nor after it: whoever stands still may hold many locks."""
    server = Server(tmp_path, 20, before=_ALWAYS + _TOLD)
    *some, other = server.inboxes()[:5]
    files = [server.files(inbox)[0].with_suffix(".seen") for inbox in some]

    def waited() -> float:
        lines = server.watcher.said().splitlines()
        return sum(float(line.split()[1]) for line in lines if line.startswith("waited "))

    try:
        for file in files:
            file.write_bytes(bytes(Skiplist({b"a": b"b"}).data))
        server.watcher.start()
        for inbox, file in zip(some, files, strict=True):
            samplespool.deliver(inbox, 1)
            file.write_bytes(bytes(Skiplist({b"a": b"c"}).data))
        with locked(*files, *(inbox / "cyrus.index" for inbox in some)):
            (wish,) = [path.with_suffix(".full") for path in state_dir.glob("*.watch")]
            wish.touch()
            server.logs(*some)
            for _ in range(2):
                before = waited()
                samplespool.deliver(other, 1)
                server.logs(other)
                server.watcher.wait(lambda: server.is_there(other), name="the message")
                assert waited() - before < snapshot.PATIENCE
            server.watcher.wait(lambda: not wish.exists(), name="a pass")
            assert waited()
            server.logs(other)
        for inbox in some:
            server.watcher.wait(lambda: server.is_there(inbox), name="what was locked")  # noqa: B023
    finally:
        server.watcher.close()


def test_an_index_that_somebody_else_has_written_ends_it(server: Server) -> None:
    inbox = server.inboxes()[0]
    index = below(server.replica, inbox) / "cyrus.index"
    later = time.time() + 100
    os.utime(index, (later, later))
    samplespool.deliver(inbox, 1)
    server.logs(inbox)
    assert server.watcher.end() == 4
    assert "was Cyrus started there?" in server.watcher.said()
    assert not server.is_there(inbox)


def test_an_index_that_is_gone_has_everything_compared(server: Server) -> None:
    inbox = server.inboxes()[0]
    (below(server.replica, inbox) / "cyrus.index").unlink()
    (below(server.replica, server.inboxes()[1]) / "cyrus.index").unlink()
    samplespool.deliver(inbox, 1)
    server.logs(inbox)
    server.watcher.wait(lambda: server.is_there(inbox), name="the message")
    server.watcher.wait((below(server.replica, server.inboxes()[1]) / "cyrus.index").exists, name="the other index")


def test_a_pass_that_took_long_to_send_does_not_delay_the_next_one(tmp_path: Path, state_dir: Path) -> None:
    """What passes cost is told by those that find nothing: else a new mailbox would wait ten times as long."""
    server = Server(tmp_path, 20, before=_SLOW)
    try:
        server.watcher.start()
        new = samplespool.create_folder(server.sample.spool, f"user/{server.inboxes()[0].name}/New")
        samplespool.deliver(new, 1)
        server.sample.record()
        server.logs(new)
        server.watcher.wait(lambda: server.is_there(new), name="the new mailbox")
    finally:
        server.watcher.close()


def test_a_mailbox_that_is_made_unlogged_is_there_before_the_next_regular_pass(server: Server) -> None:
    new = samplespool.create_folder(server.sample.spool, f"user/{server.inboxes()[0].name}/New")
    samplespool.deliver(new, 1)
    time.sleep(0.03)
    server.sample.record()
    server.watcher.wait(lambda: server.is_there(new), name="the new mailbox")
    server.watcher.wait(lambda: "did users arrive by replication?" in server.watcher.said(), name="it is told")


def test_two_watchers_of_one_channel_miss_nothing(server: Server, tmp_path: Path) -> None:
    """One has the log, and the other looks at all mailboxes, and says why."""
    other = tmp_path / "other"
    other.mkdir()
    words = ("--delete", "--pass-every", "1", other)
    with watching(server.sample.conf, *words, said=tmp_path / "other-said") as second:
        second.wait(lambda: "another watcher reads this log" in second.said(), name="it is told")
        for inbox in server.inboxes()[:2]:
            samplespool.deliver(inbox, 1)
            server.logs(inbox)
            server.watcher.wait(lambda: server.is_there(inbox), name="the message")  # noqa: B023
            second.wait(lambda: messages(below(other, inbox)) == messages(inbox), name="the message")  # noqa: B023
        assert server.watcher.stop() == 0
        second.wait(lambda: "no longer: " in second.said(), name="the log is its own now")
        assert second.stop() == 0


def test_a_list_of_mailboxes_that_is_away_for_a_while(tmp_path: Path, state_dir: Path) -> None:
    """It is being put in place while the watcher starts, and again later."""
    server = Server(tmp_path, 20)
    aside = server.sample.database.with_suffix(".aside")
    server.sample.database.rename(aside)
    try:
        server.watcher.start_only()
        server.watcher.wait(lambda: "mailboxes.db cannot be read" in server.watcher.said(), name="it is told")
        aside.rename(server.sample.database)
        inbox = server.inboxes()[0]
        server.watcher.wait(lambda: server.is_there(inbox), name="a copy")
        server.sample.database.rename(aside)
        samplespool.deliver(inbox, 1)
        server.logs(inbox)
        server.watcher.wait(lambda: server.is_there(inbox), name="the message")
        aside.rename(server.sample.database)
        assert server.watcher.stop() == 0
    finally:
        server.watcher.close()
