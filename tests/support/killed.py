"""Work in a process of its own that ends before one of its calls."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterable
from typing import Any

_KILLED = 7


def killed_before(
    number: int, work: Callable[[], None], calls: Iterable[str], counts: Callable[..., bool] = lambda *_: True
) -> bool:
    """Do some work in a process that ends before the call of that number, from 0; tell whether it did.

    `calls` are names of functions in `os`; of these, `counts` tells by their names and arguments which calls count.
    """
    child = os.fork()
    if child:
        ended = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
        assert ended in (0, _KILLED)
        return ended == _KILLED
    left = [number]

    def dying(name: str, kept: Callable[..., Any]) -> Callable[..., Any]:
        def call(*words: Any, **options: Any) -> Any:
            if counts(name, *words):
                if not left[0]:
                    os._exit(_KILLED)
                left[0] -= 1
            return kept(*words, **options)

        return call

    try:
        for name in calls:
            setattr(os, name, dying(name, getattr(os, name)))
        work()
        os._exit(0)
    finally:
        os._exit(1)
