"""Text that is safe to show, whoever chose it, and numbers as people read them."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterable, Iterator
from datetime import datetime, timezone

#: Unicode categories that show nothing, move the cursor, or turn the text around: controls, formats (bidi,
#: zero width), surrogates, private and unassigned characters, line and paragraph separators.
_UNSAFE = frozenset(["Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"])
_UNITS = ("KiB", "MiB", "GiB", "TiB", "PiB")


def printable(text: str) -> str:
    """Return the text with what is neither visible nor blank as `\\xNN`, `\\uNNNN` or `\\UNNNNNNNN`."""
    if text.isascii() and text.isprintable():
        return text
    return "".join(_escape(char) if unicodedata.category(char) in _UNSAFE else char for char in text)


def path_text(path: bytes) -> str:
    """Return a path as it is on disk, safe and unambiguous: `\\\\` is a backslash, `\\xNN` a byte."""
    return printable(path.replace(b"\\", rb"\\").decode("utf-8", "backslashreplace"))


class Reasons:
    """Counts messages by their reasons: of many with one reason, only the first few are shown."""

    def __init__(self, few: int = 5) -> None:
        self._few = few
        self._counts: dict[str, int] = {}

    def is_shown(self, reason: str) -> bool:
        """Count one, and tell whether it is among the first few; what has no reason always is."""
        self._counts[reason] = self._counts.get(reason, 0) + 1
        return not reason or self._counts[reason] <= self._few

    def more(self) -> Iterator[tuple[str, str]]:
        """Yield how many messages of each reason were not shown: `... and 7 more`, and the reason."""
        for reason, count in self._counts.items():
            if reason and count > self._few:
                yield f"... and {human_count(count - self._few)} more", reason


def summed(messages: Iterable[str]) -> Iterator[str]:
    """Yield messages; of those with one reason (after the first colon) only the first few, then their number."""
    reasons = Reasons()
    for message in messages:
        if reasons.is_shown(message.partition(": ")[2]):
            yield message
    for more, reason in reasons.more():
        yield f"{more}: {reason}"


def human_count(number: int) -> str:
    """Return 1234567 as `1,234,567`."""
    return f"{number:,}"


def human_bytes(size: int) -> str:
    """Return a number of bytes with a binary unit: `0 B`, `1.5 KiB`, `12.0 GiB`."""
    if size < 1024:
        return f"{size} B"
    value, power = size / 1024, 0
    # Not 1024: 1023.96 KiB would be rounded to "1024.0 KiB".
    while value >= 1023.95 and power < len(_UNITS) - 1:
        value, power = value / 1024, power + 1
    return f"{value:,.1f} {_UNITS[power]}"


def human_seconds(seconds: float) -> str:
    """Return a duration in seconds: `0.04 s`, `7.3 s`, `2 min 05 s`, `3 h 20 min`."""
    if seconds < 0.995:
        return f"{seconds:.2f} s"
    if seconds < 59.95:
        return f"{seconds:.1f} s"
    minutes, rest = divmod(round(seconds), 60)
    if minutes < 60:
        return f"{minutes} min {rest:02d} s"
    hours, minutes = divmod(round(seconds / 60), 60)
    return f"{human_count(hours)} h {minutes:02d} min"


def _escape(char: str) -> str:
    point = ord(char)
    # From U+0080 on not \xNN: that is what `path_text` writes for a byte that is no UTF-8.
    if point < 0x80:
        return f"\\x{point:02x}"
    return f"\\u{point:04x}" if point < 0x10000 else f"\\U{point:08x}"


def iso(when: float) -> str | None:
    """Return seconds since 1970 as ISO 8601, None for never."""
    return datetime.fromtimestamp(when, timezone.utc).isoformat(timespec="seconds") if when else None
