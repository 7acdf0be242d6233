"""What a key of the configuration file takes: made from an option of `sync`, as it is declared."""

from __future__ import annotations

import json
import math
from collections.abc import Callable
from typing import Any, NamedTuple

#: Placeholders of options that take a path, which must not depend on where cyrsync is started.
_PATHS = ("FILE", "DIR")
#: Placeholders of options that take a number, or a text that begins with one.
_NUMBERS = ("N|N%", "RATE")
_LONGEST = 60  # characters of a value in a message
#: The whole numbers that TOML has: those of 64 bits.
_WHOLE_NUMBERS = range(-(1 << 63), 1 << 63)


class Key(NamedTuple):
    """A key of a job's table."""

    name: str
    help: str
    #: What it takes: "flag", "whole number", "number", "text" or "texts".
    kind: str
    #: What stands for a value in the help: `FILE`, `N`; "" for a flag.
    metavar: str = ""
    default: Any = None
    least: float | None = None
    most: float | None = None
    #: Raises ValueError for a value of the right kind that is wrong nevertheless.
    check: Callable[[Any], object] = lambda _value: None

    @property
    def takes(self) -> str:
        """Say what the key takes, in TOML."""
        if self.kind == "flag":
            return "true or false"
        if self.kind == "texts":
            return f"a list of texts: [{quoted(self.metavar)}]"
        if self.kind == "text":
            number = "a number or " if self.metavar in _NUMBERS else ""
            return f"{number}a text in quotes: {quoted(self.metavar)}"
        least = "" if self.least is None else f" from {self.least:g}"
        return f"a {self.kind}{least}{'' if self.most is None else f' to {self.most:g}'}"


def quoted(value: Any) -> str:
    """Return a value as TOML has it; a value that JSON cannot have, as Python prints it."""
    return json.dumps(value, ensure_ascii=False, default=str)


def shown(value: Any) -> str:
    """Return a value for a message, cut off if it is long."""
    try:
        text = quoted(value)
    except (ValueError, RecursionError):  # more digits, or tables in tables, than Python writes
        return "..."
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST - 3]}..."


def value_of(key: Key, value: Any) -> Any:
    """Return the value as the option is to be given it. Raise ValueError that says what the key takes."""
    if isinstance(value, int) and value not in _WHOLE_NUMBERS:
        raise ValueError("no number has more than 64 bits")
    value = _of_kind(key, value)
    texts = [value] if isinstance(value, str) else value if isinstance(value, list) else []
    if any("\0" in text for text in texts):
        raise ValueError("no text can have a NUL in it")
    if key.metavar in _PATHS and not all(text.startswith("/") for text in texts):
        raise ValueError("give the whole path, from / on")
    key.check(value)
    return value


def _of_kind(key: Key, value: Any) -> Any:
    number = isinstance(value, (int, float)) and not isinstance(value, bool)
    if key.kind == "text" and key.metavar in _NUMBERS and isinstance(value, int) and number:
        return str(value)
    right = {
        "flag": isinstance(value, bool),
        "whole number": number and isinstance(value, int),
        "number": number and math.isfinite(value),
        "text": isinstance(value, str),
        "texts": isinstance(value, list) and all(isinstance(one, str) for one in value),
    }[key.kind]
    outside = number and not ((key.least is None or value >= key.least) and (key.most is None or value <= key.most))
    if not right or outside:
        raise ValueError(f"give {key.takes}")
    return value
