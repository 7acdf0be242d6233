"""`sync --watch` without a Cyrus: what it is not for, and what a service manager hears of it."""

from __future__ import annotations

import hashlib
import os
import shutil
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from functools import partial
from pathlib import Path
from types import SimpleNamespace

import pytest

import samplespool
from cyrsync.cli.options import read_conf
from cyrsync.ends import address
from cyrsync.ends.address import Address
from cyrsync.far.store import STORE
from cyrsync.rolling import server as rolling
from cyrsync.rolling.alive import Alive
from cyrsync.rolling.plain import Event, Pace, Status
from cyrsync.server import changes, last_looks
from cyrsync.server.run import ServerRun
from cyrsync.server.snapshots import Snapshots
from cyrsync.server.transition import Transitions
from cyrsync.state import watching
from cyrsync.state.pending import PendingTable, Waiting
from cyrsync.state.store import Store
from cyrsync.sync.guard import MaxDelete
from cyrsync.sync.options import History, Options
from cyrsync.sync.session import Session
from support.servers import SampleServer, below
from support.tools import requires, requires_root, unavailable
from support.tree import messages, run_cyrsync
from support.watcher import Watcher


@pytest.mark.parametrize(
    "words",
    [
        ["/spool", "/replica"],
        ["-C", "/imapd.conf", "--json", "/replica"],
        ["-C", "/imapd.conf", "--dry-run", "/replica"],
        ["-C", "/imapd.conf", "--user", "joe", "/replica"],
        ["-C", "/imapd.conf", "--on-failure", "true", "/replica"],
        ["-C", "/imapd.conf", "/replica", "--", "-v"],
    ],
)
def test_what_it_is_not_for(words: list[str]) -> None:
    done = run_cyrsync("sync", "--watch", *words)
    assert done.returncode == 2
    assert "--watch is for -C and DEST, without SRC, " in done.stderr


def test_a_name_that_is_no_channel(tmp_path: Path) -> None:
    server = SampleServer(tmp_path / "mail")
    done = run_cyrsync("sync", "--watch", "--channel", "a/b", "-C", server.conf, tmp_path)
    assert done.returncode == 2
    assert "--channel a/b" in done.stderr


def test_no_imapd_conf(tmp_path: Path) -> None:
    assert run_cyrsync("sync", "--watch", "-C", tmp_path / "none", tmp_path).returncode == 3


def test_a_replica_that_comes_later_and_what_the_service_manager_hears(
    open_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = SampleServer(tmp_path / "mail")
    replica = tmp_path / "replica"
    watcher = Watcher(server.conf, replica, said=tmp_path / "said")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(open_dir / "notify"))
        manager.settimeout(60)
        try:
            watcher.start_only(NOTIFY_SOCKET=str(open_dir / "notify"), WATCHDOG_USEC="1000000")
            assert manager.recv(1000) == b"READY=1"
            watcher.wait(lambda: "no such directory" in watcher.said(), name="it says that there is no replica")
            replica.mkdir()
            watcher.wait(lambda: messages(Path(f"{replica}{server.spool}")) == messages(server.spool), name="a copy")
            assert manager.recv(1000) == b"WATCHDOG=1"
            assert watcher.stop() == 0
        finally:
            watcher.close()
    # Cyrus does not log here, which is told once.
    assert watcher.said().count("`sync_log: yes` and `sync_log_channels: cyrsync`") == 1


# --- In this process, with what happens between and during its passes


class Inside:
    """A watcher in this process, and its orders: it does something before each of its passes, and then ends."""

    def __init__(self, root: Path, state: Path, **options: object) -> None:
        self.server = SampleServer(root / "mail", messages=60, folder_count=4)
        self.replica = root / "replica"
        self.replica.mkdir()
        words = {"delete": True, "state": state, **options}
        where = Address(str(self.server.conf), os.fsencode(self.server.conf))
        self.session = Session(where, address.parse(str(self.replica)), Options(**words), engine="index")  # type: ignore[arg-type]
        self.in_full: list[bool] = []  # of each pass, whether it compared everything
        self.sessions: list[Session] = []
        self.events: list[Event] = []
        self.published: list[Status] = []
        self.stop = self.reload = False

    def run(self, monkeypatch: pytest.MonkeyPatch, *before: Callable[[], None]) -> None:
        """Do as many passes as there are functions, one `before` each."""
        over, todo = ServerRun.over, list(before)
        self.stop = False

        def do(run: ServerRun, store: Store, replica: object) -> None:
            todo.pop(0)()
            self.stop = self.stop or not todo
            self.in_full.append(run._session.options.full)
            over(run, store, replica)  # type: ignore[arg-type]

        monkeypatch.setattr(ServerRun, "over", do)
        read = partial(read_conf, str(self.server.conf))
        told = rolling.Told(self.events.append, self.published.append, self.sessions.append)
        self._reader, writer = os.pipe()
        try:
            rolling.watch(self.session, read, "cyrsync", Pace(blind=0.1, status=0.0), self, told)
        finally:
            os.close(self._reader)
            os.close(writer)
            monkeypatch.setattr(ServerRun, "over", over)

    def changes(self, folder: Path) -> None:
        """Have a message come, and the log name its mailbox long ago."""
        samplespool.deliver(folder, 1)
        state, key = self.session.options.state, self.session.key
        with closing(Store(state / f"{key}.sqlite", key)) as store:
            PendingTable(store.file).add([Waiting("mailbox", self.name(folder), 1000.0)])
        time.sleep(0.03)  # what was written just now may change again unseen, and is not known to have arrived

    def name(self, folder: Path) -> bytes:
        """What mailboxes.db calls a mailbox."""
        return ".".join(folder.relative_to(self.server.spool).parts[1:]).encode()

    def pending(self) -> list[Waiting]:
        """What waits when it has ended."""
        state, key = self.session.options.state, self.session.key
        with closing(Store(state / f"{key}.sqlite", key)) as store:
            return PendingTable(store.file).all()

    @property
    def ends(self) -> bool:
        return self.stop or self.reload

    def clear(self) -> None:
        self.reload = False

    def fileno(self) -> int:
        return self._reader

    @contextmanager
    def breaking_off(self) -> Iterator[None]:
        yield


@pytest.fixture
def inside(tmp_path: Path, state_dir: Path) -> Inside:
    return Inside(tmp_path, state_dir)


def nothing() -> None:
    pass


def test_what_is_asked_for_during_a_pass_is_done_by_the_next(
    inside: Inside, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A cron job's --full is not taken for done by an ordinary pass that was under way."""

    def ask() -> None:
        watching.ask_for_full(state_dir, inside.session.key)

    inside.run(monkeypatch, nothing, ask, nothing, nothing)
    assert inside.in_full == [False, False, True, False]


def test_a_mailbox_that_cannot_be_read_waits_by_itself(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever it is called in messages: with uniqueid directories, they name mailbox and directory."""
    monkeypatch.setattr(Snapshots, "text_of", lambda _, key: f"user/joe ({os.fsdecode(key.path)})")
    folder = inside.server.folders()[0]
    (folder / "cyrus.index").write_bytes(b"torn")
    inside.run(monkeypatch, nothing)
    (row,) = inside.pending()
    assert (row.kind, row.name) == ("mailbox", inside.name(folder))
    assert [event.text for event in inside.events if event.kind == "pass" and event.failed] == []


def test_a_mailbox_that_moves_all_the_time_holds_up_no_pass(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    inside.run(monkeypatch, nothing)
    folder = inside.server.folders()[0]
    index, pauses = (folder / "cyrus.index").read_bytes(), list[float]()
    with monkeypatch.context() as patch:
        patch.setattr(Transitions, "is_still", lambda *_: False)
        patch.setattr(last_looks, "time", SimpleNamespace(sleep=pauses.append))
        (folder / "cyrus.index").write_bytes(b"torn")
        inside.run(monkeypatch, nothing)
    assert 0 < sum(pauses) < 1
    (row,) = inside.pending()
    assert (row.kind, row.name) == ("mailbox", inside.name(folder))
    (folder / "cyrus.index").write_bytes(index)
    inside.run(monkeypatch, nothing)
    assert inside.pending() == []


def test_a_mailbox_that_cannot_be_written_waits_still(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    inside.run(monkeypatch, nothing)
    first, second = inside.server.folders()[-2:]
    inside.changes(first)
    inside.changes(second)
    there = below(inside.replica, second)
    (new,) = messages(second).keys() - messages(there).keys()
    in_the_way = there / os.fsdecode(new) / "directory"
    in_the_way.mkdir(parents=True)
    inside.run(monkeypatch, nothing)
    (row,) = [row for row in inside.pending() if row.kind == "mailbox"]
    assert (row.name, row.since, row.tries) == (inside.name(second), 1000.0, 1)
    assert inside.published[-1].counts.sent == 1
    shutil.rmtree(in_the_way.parent)
    inside.run(monkeypatch, nothing)
    assert inside.pending() == []
    assert messages(there) == messages(second)


@pytest.fixture
def small_disk(inside: Inside) -> Iterator[None]:
    """The replica is a file system of its own."""
    requires("mount", "umount")
    requires_root()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=4m", "none", str(inside.replica)], check=False).returncode:
        unavailable("not allowed to mount")
    yield
    subprocess.run(["umount", str(inside.replica)], check=True)


@pytest.mark.usefixtures("small_disk")
def test_a_replica_without_room(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    """What there was no room for waits, each mailbox by itself: it is no lost connection."""
    inside.run(monkeypatch, nothing)
    folder = inside.server.folders()[-1]
    inside.changes(folder)
    with suppress(OSError), (inside.replica / "fill").open("wb", buffering=0) as fill:
        while True:
            fill.write(bytes(4096))
    inside.run(monkeypatch, nothing, nothing)
    (row,) = [row for row in inside.pending() if row.kind == "mailbox"]
    assert (row.name, row.since, "No space left" in row.reason) == (inside.name(folder), 1000.0, True)
    assert row.tries > 1
    assert [event for event in inside.events if event.kind == "connection" and event.failed] == []
    (inside.replica / "fill").unlink()
    inside.run(monkeypatch, nothing)
    assert inside.pending() == []


def test_a_long_pass_without_a_change_tells_that_it_is_alive(
    inside: Inside, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """With each folder of the replica's that it compares, and while it looks at mailboxes of the source."""
    scans: list[int] = []
    counts: list[int] = []
    monkeypatch.setattr(changes, "_STEP", 2)
    monkeypatch.setattr(Alive, "scan", lambda _, folders, messages: scans.append(folders))
    inside.run(monkeypatch, nothing)
    time.sleep(0.03)

    def ordinary() -> None:
        scans.clear()

    def full() -> None:
        counts.append(len(scans))
        scans.clear()
        watching.ask_for_full(state_dir, inside.session.key)

    # The first one takes what was written just before.
    inside.run(monkeypatch, nothing, ordinary, full)
    assert inside.in_full[-1:] == [False]
    inside.run(monkeypatch, ordinary)
    assert inside.in_full[-1:] == [True]
    mailboxes = len(inside.server.folders())
    assert counts == [mailboxes // 2]
    # Each is compared, looked for, and read.
    assert len(scans) >= mailboxes + mailboxes // 2 + mailboxes


def test_what_was_deleted_within_the_hour_counts_when_the_settings_are_read_again(
    tmp_path: Path, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = Inside(tmp_path, state_dir, max_delete=MaxDelete(5, percent=False))
    folder = inside.server.folders()[-1]

    def delete() -> None:
        samplespool.expunge(folder, 4)
        time.sleep(0.03)

    def delete_and_reload() -> None:
        delete()
        inside.reload = True

    inside.run(monkeypatch, nothing, delete_and_reload, delete)
    assert inside.published[-1].counts.deleted == 4
    assert inside.sessions[-1].result.withheld


def test_an_imapd_conf_that_was_changed(inside: Inside, monkeypatch: pytest.MonkeyPatch) -> None:
    """Who forgets to tell the watcher of another channel, or another partition, hears of it."""
    monkeypatch.setattr(rolling, "_LOOK", 0.0)
    conf = inside.server.conf
    text = conf.read_text()

    def tell_nothing_new() -> None:
        conf.write_text(f"# A comment.\n{text}popminpoll: 5\n")

    def remove() -> None:
        conf.unlink()

    def write_half() -> None:
        conf.write_text("configdir")

    def write_all() -> None:
        lines = f"partition-second: {conf.parent}/second\nsync_log: yes\nsync_log_channels: cyrsync\n"
        conf.write_text(text + lines)

    def reload() -> None:
        inside.reload = True

    inside.run(monkeypatch, tell_nothing_new, remove, write_half, write_all, reload, nothing)
    assert [event for event in inside.events if event.kind == "connection" and event.failed] == []
    channel = "`sync_log: yes` and `sync_log_channels: cyrsync`"
    every, before = (
        "all mailboxes are looked at every 0.1 s",
        "until it is corrected, the settings that were read before are used",
    )
    assert [event.text.removesuffix(f": {every}") for event in inside.events if event.kind == "log"] == [
        f"{conf} has no channel cyrsync: put {channel} into it, and restart Cyrus",
        f"can't read {conf}: No such file or directory: {before}",
        f"{conf}:1: not an option's name with a colon after it: {before}",
        f"{conf} was changed: send SIGHUP, so that it is read again",
    ]
    assert inside.published[-1].blind == ""
    assert inside.sessions[0].partitions == ("default",)
    assert inside.sessions[-1].partitions == ("default", "second")


def test_a_watcher_keeps_what_the_replica_loses_but_not_each_state(
    tmp_path: Path, state_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    inside = Inside(tmp_path, state_dir, history=History(3600))
    folder = inside.server.folders()[0]
    gone: list[str] = []

    def expunge() -> None:
        before = {path: path.read_bytes() for path in folder.glob("*[0-9].")}
        samplespool.expunge(folder, 1)
        gone.extend(hashlib.sha1(body).hexdigest() for path, body in before.items() if not path.exists())

    inside.run(monkeypatch, lambda: None, expunge, expunge, expunge)
    kept = below(inside.replica, inside.server.spool) / os.fsdecode(STORE)
    assert sorted(path.name for path in kept.glob("messages/*/*")) == sorted(gone)
    # That of long ago; those after it were there for less than the hour since it was kept.
    (state,) = kept.glob("mailboxes/*/*Z")
    assert (state / "cyrus.index").exists()
