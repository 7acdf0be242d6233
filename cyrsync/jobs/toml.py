"""Reading TOML, and finding the lines of what is wrong with it."""

from __future__ import annotations

import re
import sys
from collections.abc import Iterator
from typing import Any

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

_WHERE = re.compile(r" \(at (?:line (\d+), column \d+|end of document)\)\Z")
#: What tells where a statement of valid TOML ends: texts, comments, brackets and line ends.
_TOKEN = re.compile(
    r'''"""(?:[^\\]|\\.)*?"{3,5}|\'{3}.*?\'{3,5}|"(?:[^"\\\n]|\\.)*"|\'[^\'\n]*\'|#[^\n]*|[][{}\n]''', re.DOTALL
)

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
    except ValueError:
        raise NotToml("a number has more digits than can be read", _line_of_number(text)) from None
    except RecursionError:
        raise NotToml("nested too deep", None) from None


def lines_of(text: str) -> Lines:
    """Return where the tables and keys of a text begin that `parse` accepts."""
    found: Lines = {}
    table: tuple[str, ...] = ()
    for began, statement in _statements(text):
        parsed = tomllib.loads(statement)
        if statement.lstrip().startswith("["):
            table = _first_path(parsed)
            _note(found, table, began)
        else:
            for key, value in parsed.items():
                _note(found, (*table, key), began)
                for below in value if isinstance(value, dict) else ():
                    _note(found, (*table, key, below), began)
    return found


def _statements(text: str) -> Iterator[tuple[int, str]]:
    """Yield each statement with the number of its first line, as far as the text is TOML."""
    line, start, depth = 1, 0, 0
    for token in _TOKEN.finditer(text + "\n"):
        if token[0] in ("[", "{"):
            depth += 1
        elif token[0] in ("]", "}"):
            depth -= 1
        elif token[0] == "\n" and not depth:
            statement = text[start : token.end()]
            yield line, statement
            line, start = line + statement.count("\n"), token.end()


def _line_of_number(text: str) -> int | None:
    """Return the line of the first statement with a number that cannot be read."""
    for line, statement in _statements(text):
        try:
            tomllib.loads(statement)
        except tomllib.TOMLDecodeError:
            break
        except ValueError:
            return line
    return None


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
