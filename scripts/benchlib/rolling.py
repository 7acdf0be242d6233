"""From a client's OK to the message on the replica: `sync -C --watch` beside Cyrus's own rolling replication."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import statistics
import subprocess
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from benchlib import cyrus
from benchlib.bench import HOST, Link
from benchlib.running import say
from benchlib.ssh import ssh_server

#: Messages a second that are delivered, for so many seconds, to so many users, by so many clients.
RATES, SECONDS, USERS, CLIENTS = (50, 200), 10.0, 20, 4
_SETTLE, _PATIENCE, _LOOK = 3.0, 30.0, 0.002  # seconds
_MESSAGE = b"From: sender@example.org\r\nSubject: %d\r\nMessage-ID: <%d@example.org>\r\n\r\nA line.\r\n"
_APPENDED = re.compile(rb"APPENDUID [0-9]+ ([0-9]+)")
#: A user, and a UID of the INBOX.
Mail = tuple[str, int]


@dataclass(frozen=True)
class Way:
    """One way to keep a replica: a program that goes on, and where it puts mail."""

    name: str
    command: list[str]
    spool: Path


@dataclass
class Delays:
    """How long each message took, in seconds; and how many did not come."""

    delivered: int = 0
    seconds: list[float] = field(default_factory=list)
    cpu: float = 0.0  # seconds of the program's

    def cells(self) -> list[str]:
        """Return what a row of the table says."""
        shown = ["-"] * 3
        if self.seconds:
            ordered = sorted(self.seconds)
            values = (statistics.median(ordered), ordered[len(ordered) * 99 // 100], ordered[-1])
            shown = [f"{1000 * value:.0f} ms" for value in values]
        return [f"{self.delivered}", *shown, f"{self.delivered - len(self.seconds)}", f"{self.cpu:.1f} s"]


def ways(cyrsync: list[str], work: Path, master: cyrus.Server, replica: cyrus.Server, link: Link) -> list[Way]:
    """Return what is measured, in turn."""
    sync = [*cyrsync, "sync", "-C", str(master.conf), "--watch"]
    far = ["-e", shlex.join(link.rsh), f"{HOST}:{work}/far"]
    client = [f"{cyrus.PROGRAMS}/sync_client", "-R", "-C"]  # as -r does, in the foreground
    return [
        Way("--watch", [*sync, str(work / "near")], Path(f"{work}/near{master.spool}")),
        Way("--watch, ssh", [*sync, *far], Path(f"{work}/far{master.spool}")),
        Way("sync_client -r", [*client, str(master.conf)], replica.spool),
        Way("sync_client -r, interval 0", [*client, f"{master.conf}.0"], replica.spool),
    ]


def measure(cyrsync: list[str], messages: int, folders: int, size: int | None, runs: int, work: Path) -> list[str]:
    """Measure, and return the table."""
    del messages, folders, size, runs
    cyrus.install()
    os.environ.update(cyrus.identity())
    work.chmod(0o711)  # Cyrus runs as somebody else
    lines = ["| a second | way | delivered | median | 99 % | longest | missing | CPU |", f"|--:|---{'|--:' * 6}|"]
    with contextlib.ExitStack() as stack:
        (work / "ssh").mkdir()
        link = stack.enter_context(ssh_server(work / "ssh"))
        named = {"mailbox_legacy_dirs": "yes"}  # directories that are called as the users are
        replica = stack.enter_context(cyrus.started(cyrus.Server(work / "cyrus-replica", "sync_server", named)))
        settings = {**named, **cyrus.replicating(replica.port), "sync_log": "yes", "sync_log_channels": '"" cyrsync'}
        master = stack.enter_context(cyrus.started(cyrus.Server(work / "cyrus-master", "imapd", settings)))
        Path(f"{master.conf}.0").write_text(f"{master.conf.read_text()}sync_repeat_interval: 0\n")
        users = [f"user{number}" for number in range(USERS)]
        with master.login("cyrus") as imap:
            for user in users:
                imap.create(f"user.{user}")
        for name in ("near", "far", "state"):
            (work / name).mkdir(mode=0o700 if name == "state" else 0o755)
        for rate in RATES:
            for way in ways(cyrsync, work, master, replica, link):
                say(f"{rate} a second: {way.name}")
                with running(way) as program:
                    delays = deliver(master, way, users, rate, program.pid)
                lines.append(f"| {' | '.join([str(rate), way.name, *delays.cells()])} |")
    return [
        *lines,
        "",
        f"{cyrus.version()} at both ends; messages by IMAP. The goals: a median of 25 ms, by ssh 60 ms.",
    ]


@contextlib.contextmanager
def running(way: Way) -> Iterator[subprocess.Popen[bytes]]:
    """Run a program that goes on, and end it."""
    with subprocess.Popen(way.command, stdin=subprocess.DEVNULL) as program:
        try:
            time.sleep(_SETTLE)
            if program.poll() is not None:
                raise SystemExit(f"bench: {way.name} has ended: exit {program.returncode}")
            yield program
        finally:
            program.terminate()


def deliver(master: cyrus.Server, way: Way, users: list[str], rate: int, pid: int) -> Delays:
    """Deliver for a while, and see when each message arrives."""
    accepted: dict[Mail, float] = {}
    arrived: dict[Mail, float] = {}
    ended = threading.Event()
    known = set(messages_in(way.spool, users))

    def look() -> None:
        while not ended.is_set():
            for mail in messages_in(way.spool, users):
                if mail not in known:
                    arrived.setdefault(mail, time.monotonic())
            time.sleep(_LOOK)

    before = _cpu(pid)
    looking = threading.Thread(target=look)
    clients = [
        threading.Thread(target=_append, args=(master, users[number::CLIENTS], rate / CLIENTS, accepted))
        for number in range(CLIENTS)
    ]
    looking.start()
    for client in clients:
        client.start()
    for client in clients:
        client.join()
    deadline = time.monotonic() + _PATIENCE
    while accepted.keys() - arrived.keys() and time.monotonic() < deadline:
        time.sleep(_LOOK)
    ended.set()
    looking.join()
    seconds = [max(arrived[mail] - moment, 0.0) for mail, moment in accepted.items() if mail in arrived]
    return Delays(len(accepted), seconds, _cpu(pid) - before)


def messages_in(spool: Path, users: list[str]) -> Iterator[Mail]:
    """Yield the messages that are there."""
    for user in users:
        with contextlib.suppress(OSError):
            for name in os.listdir(spool / user[0] / "user" / user):
                if name.endswith(".") and name[:-1].isdigit():
                    yield user, int(name[:-1])


def _append(master: cyrus.Server, users: list[str], rate: float, accepted: dict[Mail, float]) -> None:
    """Append messages for a while, one after the other, each user's by the administrator."""
    with master.login("cyrus") as imap:
        for user in users:
            imap.setacl(f"user.{user}", "cyrus", "lrswipkxtecda")
        began, number = time.monotonic(), 0
        while time.monotonic() < began + SECONDS:
            user = users[number % len(users)]
            status, answer = imap.append(f"user.{user}", "", "", _MESSAGE % (number, number))
            moment = time.monotonic()
            found = _APPENDED.search(answer[0] or b"") if status == "OK" else None
            if found is None:
                raise SystemExit(f"bench: cannot append to {user}: {answer}")
            accepted[user, int(found[1])] = moment
            number += 1
            time.sleep(max(began + number / rate - time.monotonic(), 0.0))


def _cpu(pid: int) -> float:
    """Return the seconds of computing time that a process has used."""
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")
