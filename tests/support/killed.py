"""Work in a process of its own that ends before one of its calls, or finds a full disk there."""

from __future__ import annotations

import errno
import os
from collections.abc import Callable, Iterable
from contextlib import suppress
from typing import Any

_REACHED = 7


def killed_before(
    number: int, work: Callable[[], None], calls: Iterable[str], counts: Callable[..., bool] = lambda *_: True
) -> bool:
    """Do some work in a process that ends before the call of that number, from 0; tell whether it did.

    `calls` are names of functions in `os`; of these, `counts` tells by their names and arguments which calls count.
    """
    return _before(number, work, calls, counts, lambda: os._exit(_REACHED))


def full_before(
    number: int, work: Callable[[], None], calls: Iterable[str], counts: Callable[..., bool], *expected: type[Exception]
) -> bool:
    """Do the same, but for that call there is no room on the disk; the work may end with an `expected` exception."""

    def fill() -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return _before(number, work, calls, counts, fill, *expected)


def makes_a_file(name: str, *words: Any) -> bool:
    """Whether a call changes a disk: to open does only where a file is made."""
    return name != "open" or bool(words[1] & os.O_CREAT)


def _before(
    number: int,
    work: Callable[[], None],
    calls: Iterable[str],
    counts: Callable[..., bool],
    end: Callable[[], None],
    *expected: type[Exception],
) -> bool:
    child = os.fork()
    if child:
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert ended in (0, _REACHED)
        return ended == _REACHED
    left = number

    def watched(name: str, kept: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: Any, **options: Any) -> Any:
            nonlocal left
            if counts(name, *words):
                left -= 1
                if left == -1:
                    end()
            return kept(*words, **options)

        return call

    try:
        for name in calls:
            setattr(os, name, watched(name, getattr(os, name)))
        with suppress(*expected):
            work()
        os._exit(_REACHED if left < 0 else 0)
    finally:
        os._exit(1)
