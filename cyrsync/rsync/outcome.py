"""What became of the entries of an rsync: told by its code, its complaints and its output."""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import IO

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.errors import CONNECTION_CODES, ConnectionFailed, Exit, InterruptedRun, ReplicaFull, RsyncFailed, hint
from cyrsync.rsync import full_daemon, messages
from cyrsync.rsync.messages import Complaint, Kind

#: Codes after which the other entries are done: 23 some failed, 24 some vanished, 25 some deletions left out.
_GONE_THROUGH = frozenset({Exit.DONE, Exit.PARTIAL, Exit.VANISHED, Exit.WITHHELD})
_NO_FILE = re.compile(rb'(?:ignoring unsafe symlink "(.*)" -> ".*"|skipping non-regular file "(.*)")\Z')
_NOT_TAKEN = "the source has no file there, but a device or a link that leads out of it: see what that is"
#: What rsync says of all its bytes, when it has come to its end.
TOTAL = re.compile(rb"^Total bytes (sent|received): ([\d,]+)$", re.MULTILINE)
_FULL = (b"No space left on device", b"Disk quota exceeded")


@dataclass(slots=True)
class Outcome:
    """The outcome of one rsync; the paths are below the root."""

    code: int = 0
    failed: dict[bytes, Complaint] = field(default_factory=dict)
    vanished: set[bytes] = field(default_factory=set)
    attributes: dict[bytes, Complaint] = field(default_factory=dict)
    bytes_sent: int = 0
    deleted: list[bytes] = field(default_factory=list)

    def add(self, other: Outcome) -> None:
        """Add the outcome of another rsync."""
        self.code = max(self.code, other.code)
        self.failed.update(other.failed)
        self.vanished |= other.vanished
        self.attributes.update(other.attributes)
        self.bytes_sent += other.bytes_sent
        self.deleted += other.deleted


def read(code: int, said: list[bytes], roots: tuple[bytes, ...], without_name: Callable[[bytes], bytes]) -> Outcome:
    """Return what became of the entries of an rsync that ended with a code, and said this on standard error.

    Its paths are below one of the roots, or begin with a name that `without_name` takes off. Raise InterruptedRun,
    ConnectionFailed when the far end is lost, RsyncFailed when rsync gave up as a whole.
    """
    if code in (Exit.INTERRUPTED, -2, -15):
        raise InterruptedRun("rsync was interrupted")
    if code == Exit.STREAM and any(b"(code 11)" in line for line in said):
        code = Exit.FILE_IO  # rsync 3.0 has the receiver alone say so: a full disk is no lost connection
    if full_daemon.is_full(said):
        raise ConnectionFailed(f"rsync was refused: {messages.general_reason(said)}", code)
    if code in CONNECTION_CODES and not messages.refused(said):
        raise ConnectionFailed(f"rsync lost the connection: {messages.general_reason(said)}", code)
    if code not in _GONE_THROUGH:
        reason = messages.general_reason(said)
        full = code == Exit.FILE_IO and any(word in line for line in said for word in _FULL)
        failure = ReplicaFull if full else RsyncFailed
        raise failure(f"rsync gave up with code {code}: {hint(reason)}", code if code > 0 else 128 - code)
    outcome = Outcome(code)
    for message in messages.read(said):
        _sort(message, outcome, roots, without_name)
    if code != Exit.PARTIAL:
        outcome.failed.pop(b"", None)  # what has no place has done no harm either
    if code == Exit.PARTIAL and not (outcome.failed or outcome.attributes or outcome.vanished):
        raise RsyncFailed(f"rsync could not do all, and named nothing: {messages.general_reason(said)}", code)
    return outcome


def without(aliases: Sequence[bytes], code: int, said: list[bytes]) -> tuple[int, list[bytes]]:
    """Leave out that there is nothing by these names: that is as it should be."""
    left = [line for line in said if not (b"link_stat" in line and any(alias in line for alias in aliases))]
    if code == Exit.PARTIAL and len(left) < len(said) and not any(messages.read(left)):
        return Exit.DONE, []
    return code, left


def _sort(
    message: Complaint, outcome: Outcome, roots: tuple[bytes, ...], without_name: Callable[[bytes], bytes]
) -> None:
    """Note what a message says of the entry that it is about."""
    path = messages.relative(message.path, roots) if message.path else None
    if path is None:
        path = without_name(message.path) if message.path and not message.path.startswith(b"/") else None
    if path is None:
        # It may be any folder's: then no folder is safe. A host's banner is no complaint.
        path = b""
        if message.kind is Kind.GENERAL and not message.reason.startswith(("rsync:", "ERROR")):
            return
    if message.kind is Kind.VANISHED:
        outcome.vanished.add(path)
    elif message.kind is Kind.ATTRIBUTES:
        outcome.attributes[path] = message
    else:
        outcome.failed[path] = message


def _is_cyrus(name: bytes) -> bool:
    return kinds.is_message(name) or kinds.is_metadata(name)


def read_totals(out: IO[bytes], outcome: Outcome, direction: str) -> None:
    """Add what rsync said on standard output: bytes `sent` or `received`, what it deleted, and what was no file."""
    out.seek(0)
    for line in out:
        no_file = _NO_FILE.match(line.rstrip(b"\n"))
        if no_file:
            path = messages.unescape(no_file[1] or no_file[2])
            if _is_cyrus(path.rpartition(b"/")[2]):
                outcome.failed[path] = Complaint(Kind.FAILED, path, _NOT_TAKEN)
        if line.startswith(b"*deleting"):
            outcome.deleted.append(messages.unescape(line[12:].partition(b" ")[2].rstrip(b"\n")))
        total = TOTAL.match(line)
        if total and total[1] == direction.encode():
            outcome.bytes_sent = int(total[2].replace(b",", b""))
