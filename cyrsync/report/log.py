"""A line in a log for each run, and one for each of its errors: syslog's, the journal's, or a file's."""

from __future__ import annotations

import errno
import os
import re
import socket
import struct
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from datetime import datetime, timezone
from typing import TYPE_CHECKING

from cyrsync.errors import Exit
from cyrsync.text import printable, summed

if TYPE_CHECKING:
    from cyrsync.sync.result import RunResult

#: Priorities of syslog(3) and the journal.
ERROR, WARNING, NOTICE, INFO = 3, 4, 5, 6
#: Where syslog(3) writes to. It does not tell whether it could.
SYSLOG_SOCKET = "/dev/log"
JOURNAL_SOCKET = "/run/systemd/journal/socket"
_PRIORITIES: dict[int, int] = {Exit.DONE: INFO, Exit.LOCKED: NOTICE}  # of a run, by its exit code; else ERROR
_IDENTIFIER = "cyrsync"
_PATIENCE = 5.0  # seconds for a journal that does not read
_PLAIN = re.compile(r"[^\s\"=\\]+\Z")


@dataclass(frozen=True, slots=True)
class Line:
    """One line: what it is about, and its facts by name."""

    priority: int
    kind: str
    facts: dict[str, str]

    @property
    def text(self) -> str:
        """The line as logfmt has it; a value with a blank in it is quoted."""
        return " ".join([self.kind, *(f"{name}={_value(value)}" for name, value in self.facts.items())])


def lines(result: RunResult) -> Iterator[Line]:
    """Yield what there is to say of a run: what went wrong, then what came of it."""
    pair = {"source": result.source, "destination": result.destination}
    if result.part:
        pair["part"] = " ".join(result.part)
    for priority, kind, messages in ((WARNING, "warning", result.warnings), (ERROR, "error", result.errors)):
        for message in summed(messages):
            yield Line(priority, kind, {**pair, "text": message})
    counts = {
        "engine": result.engine,
        "exit": int(result.exit),
        "seconds": result.seconds,
        "folders": result.folders.seen,
        "behind": result.folders.behind(),
        "messages": result.messages.send,
        "sent": result.files.sent,
        "failed": result.files.failed,
        "bytes": result.bytes_sent,
        "deleted": result.files.deleted,
        "withheld": result.withheld,
    }
    yield Line(
        _PRIORITIES.get(result.exit, ERROR), "run", {**pair, **{name: str(value) for name, value in counts.items()}}
    )


def send(where: str, result: RunResult) -> None:
    """Write what there is to say of a run. Raise OSError where that cannot be done."""
    write(where, lines(result))


def write(where: str, said: Iterable[Line]) -> None:
    """Write to `syslog`, the `journal`, or else to a file. Raise OSError where that cannot be done."""
    writer = {"syslog": _to_syslog, "journal": _to_journal}.get(where)
    if writer:
        writer(said)
    else:
        _to_file(where, said)


def _to_syslog(said: Iterable[Line]) -> None:
    import syslog

    if not os.path.exists(SYSLOG_SOCKET):
        raise FileNotFoundError(errno.ENOENT, "nobody listens to syslog", SYSLOG_SOCKET)
    syslog.openlog(_IDENTIFIER, syslog.LOG_PID, syslog.LOG_MAIL)
    for line in said:
        syslog.syslog(line.priority, line.text)


def _to_journal(said: Iterable[Line]) -> None:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as out:
        out.settimeout(_PATIENCE)
        try:
            out.connect(JOURNAL_SOCKET)
            for line in said:
                out.send(_datagram(line))
        except OSError as error:
            raise OSError(error.errno or errno.ETIMEDOUT, error.strerror or "timed out", JOURNAL_SOCKET) from None


def _datagram(line: Line) -> bytes:
    """Return a line in systemd's native protocol: of every field the name, the value's length, and the value."""
    fields = {"MESSAGE": line.text, "PRIORITY": str(line.priority), "SYSLOG_IDENTIFIER": _IDENTIFIER}
    fields |= {f"CYRSYNC_{name.upper()}": value for name, value in {"kind": line.kind, **line.facts}.items()}
    encoded = ((name.encode(), value.encode("utf-8", "surrogateescape")) for name, value in fields.items())
    return b"".join(b"%s\n%s%s\n" % (name, struct.pack("<Q", len(value)), value) for name, value in encoded)


def _to_file(path: str, said: Iterable[Line]) -> None:
    """Append lines, each by one write: those of several runs do not mix."""
    descriptor = os.open(
        path, os.O_WRONLY | os.O_APPEND | os.O_CREAT | os.O_CLOEXEC | os.O_NONBLOCK | os.O_NOCTTY, 0o640
    )
    try:
        for line in said:
            now = datetime.now(timezone.utc).isoformat(timespec="seconds")
            data = f"{now} {_IDENTIFIER}[{os.getpid()}]: {line.text}\n".encode()
            if os.write(descriptor, data) < len(data):
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
    finally:
        os.close(descriptor)


def _value(value: str) -> str:
    shown = printable(value)
    if _PLAIN.match(shown):
        return shown
    return '"' + shown.replace("\\", "\\\\").replace('"', '\\"') + '"'
