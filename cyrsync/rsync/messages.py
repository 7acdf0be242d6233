"""What rsync says on standard error, read entry by entry: its exit code alone hides one failure behind another."""

from __future__ import annotations

import errno
import re
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from enum import Enum


class Kind(Enum):
    """What a message of rsync's means for the entry it names."""

    VANISHED = "vanished"
    FAILED = "failed"
    #: It arrived, but its owner, mode or time could not be set.
    ATTRIBUTES = "attributes"
    #: The daemon is configured to refuse files of this name (`exclude`).
    REFUSED = "refused"
    #: No entry is named: rsync itself is in trouble.
    GENERAL = "general"


@dataclass(frozen=True, slots=True)
class Complaint:
    """One complaint of rsync's: the path as rsync gave it (absolute, or below a module), and the reason."""

    kind: Kind
    path: bytes
    reason: str
    number: int = 0  # errno, 0 if rsync gave none

    def worth_another_try(self) -> bool:
        """Return whether the same may succeed a moment later."""
        return self.kind is Kind.FAILED and (self.number in _PASSING or "verification" in self.reason)


_PASSING = {
    errno.EINTR, errno.EAGAIN, errno.EBUSY, errno.ENFILE, errno.EMFILE, errno.ETXTBSY, errno.ESTALE, errno.ENOMEM,
}  # fmt: skip
_WHO = rb"(?:rsync: )?(?:\[\w+\] )?"
_VANISHED = re.compile(_WHO + rb'(?:file|directory) has vanished: "(.*)"(?: \(in [^)]*\))?\Z', re.DOTALL)
_QUOTED = re.compile(_WHO + rb'(.*?)"(.*)"(?: \(in [^)]*\))?([^"]*)\Z', re.DOTALL)
_UNQUOTED = re.compile(
    _WHO + rb"(cannot delete non-empty directory|could not make way for (?:new )?[a-z ]+|temporary filename too long)"
    rb": (.*)\Z",
    re.DOTALL,
)
_VERIFICATION = re.compile(rb"(?:ERROR|WARNING): (.*) failed verification -- (update .*)\Z", re.DOTALL)
_NO_DIRECTORY = re.compile(rb"Unable to create partial-dir for (.*) -- discarding [a-z ]+\.\Z", re.DOTALL)
_ERRNO = re.compile(rb": ([^:]*) \((\d+)\)\Z")
_ATTRIBUTE_CALLS = (
    b"failed to set times", b"failed to set permissions", b"failed to modify permissions", b"chown", b"chgrp",
    b"set_acl", b"rsync_xal",
)  # fmt: skip
_REFUSED = re.compile(rb"daemon refused to receive|skipping daemon-excluded")
#: What rsync puts behind the path it is about: another path, or an attribute's name.
_BEHIND_PATH = re.compile(rb'"(?: \(in [^()]*\))?(?: -> "|,")')
_NOISE = (b"rsync error:", b"rsync warning:", b"*** Skipping", b"IO error encountered", b"Warning: Permanently added")
_TEMPORARY = re.compile(rb"\.(.+)\.[A-Za-z0-9]{6}\Z", re.DOTALL)
#: A pipe or a connection breaks because of something else, and does so too at the end of an empty pull (3.1.3 on).
_CONSEQUENCE = re.compile(
    rb"(?:read|write) error: [^\"]*\((?:32|104)\)\Z|: Broken pipe \(32\)\Z|connection unexpectedly closed"
)
_ESCAPED = re.compile(rb"\\#([0-7]{3})")


def read(lines: Iterable[bytes]) -> Iterator[Complaint]:
    """Yield what the lines of rsync's standard error say, without its own summing up."""
    for line in lines:
        line = line.rstrip(b"\r\n")
        if line and not line.startswith(_NOISE) and not _CONSEQUENCE.search(line):
            message = _read_line(line)
            if message:
                yield message


#: A daemon does not say whether the password was wrong, or there was none.
_PASSWORD = ": set RSYNC_PASSWORD, or give rsync --password-file=FILE"


def refused(lines: Iterable[bytes]) -> bool:
    """Return whether the other rsync said no (a module that is read only, an option): asking again is no use."""
    return any(
        (line.startswith((b"ERROR:", b"@ERROR")) and b"try again" not in line) or b"is configured to refuse" in line
        for line in lines
    )


def general_reason(lines: Iterable[bytes]) -> str:
    """Return the line that says best why rsync gave up: the first complaint; what follows results from it."""
    said = [line.decode("utf-8", "backslashreplace").strip() for line in lines]
    said = [line for line in said if line]
    errors = [line for line in said if line.startswith(("ERROR:", "@ERROR"))]
    complaints = [line for line in said if not line.encode().startswith(_NOISE)]
    causes = [line for line in complaints if not _CONSEQUENCE.search(line.encode())]
    reason = (errors or causes or complaints or said or ["it said nothing"])[0]
    _, refusal, module = reason.partition("@ERROR: auth failed")  # behind a prompt where nobody could be asked
    return f"{refusal}{module}{_PASSWORD}" if refusal else reason


def relative(path: bytes, roots: Iterable[bytes]) -> bytes | None:
    """Return the path below the innermost root it is in, a temporary file under its real name; None if in none."""
    for root in sorted(roots, key=len, reverse=True):
        prefix = root.rstrip(b"/") + b"/"
        if path in (root, prefix, prefix + b"."):
            return b""
        if path.startswith(prefix):
            rest = path[len(prefix) :]
            while rest.startswith(b"./"):  # rsync 3.0.0 shows an entry as it was listed
                rest = rest[2:]
            folder, slash, name = rest.rpartition(b"/")
            temporary = _TEMPORARY.match(name)
            return folder + slash + (_real_name(temporary[1]) if temporary else name)
    return None


def _real_name(name: bytes) -> bytes:
    """Return whose temporary file it was: rsync does not write a dot twice, and messages end with one."""
    return name + b"." if name.isdigit() else name


def _read_line(line: bytes) -> Complaint | None:
    vanished = _VANISHED.match(line)
    if vanished:
        return Complaint(Kind.VANISHED, unescape(vanished[1]), "vanished")
    verification = _VERIFICATION.match(line)
    if verification:
        if b"will try again" in verification[2]:
            return None
        return Complaint(Kind.FAILED, unescape(verification[1]), "failed verification: it changed while it was read")
    no_directory = _NO_DIRECTORY.match(line)
    if no_directory:
        reason = "no directory could be made for the new file beside it"
        return Complaint(Kind.FAILED, unescape(no_directory[1]), reason)
    unquoted = _UNQUOTED.match(line)
    if unquoted:
        reason = "its name is too long" if unquoted[1].startswith(b"temp") else "a folder is in its place"
        return Complaint(Kind.FAILED, unescape(unquoted[2]), reason, errno.ENOTEMPTY)
    quoted = _QUOTED.match(line)
    if not quoted:
        return Complaint(Kind.GENERAL, b"", line.decode("utf-8", "backslashreplace"))
    return _with_path(quoted[1], _BEHIND_PATH.split(quoted[2])[0], quoted[3])


def _with_path(call: bytes, path: bytes, rest: bytes) -> Complaint:
    found = _ERRNO.search(rest)
    number = int(found[2]) if found else 0
    reason = (found[1] if found else call + rest).decode("utf-8", "backslashreplace").strip(" :")
    if number == errno.ENOENT and b"link_stat" in call:
        return Complaint(Kind.VANISHED, unescape(path), reason, number)
    if _REFUSED.search(call):
        return Complaint(Kind.REFUSED, unescape(path), "the daemon refuses files of this name")
    kind = Kind.ATTRIBUTES if call.startswith(_ATTRIBUTE_CALLS) else Kind.FAILED
    return Complaint(kind, unescape(path), reason, number)


def unescape(path: bytes) -> bytes:
    """Undo rsync's way of showing control characters (`\\#ooo`)."""
    return _ESCAPED.sub(lambda match: bytes([int(match[1], 8)]), path)
