"""Reading TOML, and finding the lines of what is wrong with it."""

from __future__ import annotations

import re
import sys
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_WHERE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)\Z")

#: The line, from 1, of each table and of each key in one: `("standby",)`, `("standby", "delete")`.
Lines = dict[tuple[str, ...], int]


class NotToml(Exception):
    """The text is no TOML; `line` is the number of the line, None for its end."""

    def __init__(self, message: str, line: int | None) -> None:
        super().__init__(message)
        self.line = line


def parse(text: str) -> dict[str, Any]:
    """Return the tables of a text. Raise NotToml."""
    try:
        return tomllib.loads(text)
    except tomllib.TOMLDecodeError as error:
        message = str(error)
        where = _WHERE.search(message)
        line = int(where[1]) if where and where[1] else None
        raise NotToml(message[: where.start()] if where else message, line) from None
    except RecursionError:
        raise NotToml("nested too deep", None) from None


def lines_of(text: str) -> Lines:
    """Return where the tables and keys of a text begin that `parse` accepts.

    A statement is as many lines as it takes to be TOML by itself: no part of one is.
    """
    found: Lines = {}
    table: tuple[str, ...] = ()
    statement, began = "", 1
    for number, line in enumerate(text.split("\n"), 1):
        statement += line + "\n"
        try:
            parsed = tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            continue
        if statement.lstrip().startswith("["):
            table = _first_path(parsed)
            _note(found, table, began)
        else:
            for key, value in parsed.items():
                _note(found, (*table, key), began)
                for below in value if isinstance(value, dict) else ():
                    _note(found, (*table, key, below), began)
        statement, began = "", number + 1
    return found


def _first_path(parsed: Any) -> tuple[str, ...]:
    """Return the name of the table that a header begins."""
    path: tuple[str, ...] = ()
    while parsed:
        if isinstance(parsed, list):
            parsed = parsed[0]
            continue
        key, parsed = next(iter(parsed.items()))
        path = (*path, key)
    return path


def _note(found: Lines, path: tuple[str, ...], line: int) -> None:
    for depth in (1, 2):
        if path[:depth]:
            found.setdefault(path[:depth], line)
