"""What rsync prints and logs of each deletion, for those that it does not do itself (log.c, log_delete). Pure."""

from __future__ import annotations

import re
from typing import NamedTuple

#: An escape: flags and a width, apostrophes for people, a letter.
_ESCAPE = re.compile(r"%'*(-?\d*)'*([A-Za-z%])")
#: The escapes whose values for a deletion are known.
_KNOWN = frozenset("nfiolLtpbc")
_DEFAULT = "%i %n%L"
_PLAIN = "deleting %n"
_TOKEN = re.compile(r"(no)?([a-z]+)(\d*)\Z")
_ESCAPED = re.compile(rb"\\(?=#\d{3})|[\x00-\x08\x0a-\x1f]")
_ESCAPED_ASCII = re.compile(rb"\\(?=#\d{3})|[\x00-\x08\x0a-\x1f\x7f-\xff]")


class DeletionLines(NamedTuple):
    """How deletions are reported: formats for standard output and for the log, None for no report."""

    shown: str | None = None
    logged: str | None = None
    log_file: str | None = None
    as_they_are: bool = False  # bytes that are not ASCII are printed


def deletion_lines(
    *,
    verbose: int,
    quiet: bool,
    itemize: bool,
    progress: bool,
    info: list[str],
    out_format: str | None,
    log_file: str | None,
    log_format: str | None,
    as_they_are: bool,
) -> DeletionLines:
    """Return what rsync would say, given its options."""
    levels = {"name": int(progress or verbose > 0), "del": min(verbose, 1)}
    for owner_file in (owner_file for value in info for owner_file in value.lower().split(",")):
        match = _TOKEN.match(owner_file)
        if match:
            level = 0 if match[1] or match[2] == "none" else int(match[3] or 1)
            names = levels.keys() if match[2] in ("all", "none") else {match[2]} & levels.keys()
            levels.update(dict.fromkeys(names, level))
    given = out_format or (_DEFAULT if itemize else "%n%L" if levels["name"] else None)
    shown = _of_deletions(given) if given else _PLAIN if levels["del"] else None
    kept = _DEFAULT if log_format is None else log_format
    logged = _of_deletions(kept) if log_file and kept else None
    return DeletionLines(None if quiet else shown, logged, log_file, as_they_are)


def unknown_escape(text: str | None) -> str | None:
    """Return the first escape of a format whose value for a deletion is not known here."""
    matches = _ESCAPE.finditer(text or "")
    return next((match[0] for match in matches if match[2] not in _KNOWN), None)


def line(text: str, path: bytes, now: str, pid: int) -> bytes:
    """Return what a format makes of a deleted path, a folder's with a slash behind; `now` as rsync writes times."""
    values = {
        "n": path,
        "f": path.strip(b"/"),
        "i": b"*deleting  ",
        "o": b"del.",
        "L": b"",
        "t": now.encode(),
        "p": b"%d" % pid,
        **dict.fromkeys("lbc", b"0"),
    }
    return _ESCAPE_BYTES.sub(lambda match: _padded(values[match[2].decode()], match[1]), text.encode()) + b"\n"


def escape(shown: bytes, *, as_they_are: bool) -> bytes:
    """Return a line as rsync writes it: control characters, and what is not UTF-8 or ASCII, as `\\#ooo`."""
    text, end = (shown[:-1], b"\n") if shown.endswith(b"\n") else (shown, b"")
    pattern = _ESCAPED if as_they_are else _ESCAPED_ASCII
    return pattern.sub(lambda match: b"\\#%03o" % match[0][0], text) + end


_ESCAPE_BYTES = re.compile(_ESCAPE.pattern.encode())


def _padded(value: bytes, width: bytes) -> bytes:
    number = int(width.lstrip(b"-") or 0)
    return value.ljust(number) if width.startswith(b"-") else value.rjust(number)


def _of_deletions(text: str) -> str:
    return text if any(match[2] in "oi" for match in _ESCAPE.finditer(text)) else _PLAIN
