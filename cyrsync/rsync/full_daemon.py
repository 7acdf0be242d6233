"""A daemon that lets no more clients in (`max connections`), perhaps as it has not seen yet that one left."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import TypeVar

Result = TypeVar("Result")

_REFUSAL = b"@ERROR: max connections"
#: Seconds in all that a client waits, and between two tries.
_PATIENCE, _FIRST_PAUSE, _LONGEST_PAUSE = 15.0, 0.05, 2.0


def is_full(said: Iterable[bytes]) -> bool:
    """Return whether a daemon has refused a client for now, by what rsync said on standard error."""
    return any(line.startswith(_REFUSAL) for line in said)


def wait_for_place(
    run: Callable[[], Result],
    said: Callable[[Result], Iterable[bytes]],
    are_in_the_way: Callable[[], bool] = lambda: False,
) -> Result:
    """Run an rsync until the daemon lets it in, or for a while; as long as others of ours `are_in_the_way`, longer.

    Return what the last one came to.
    """
    deadline, pause = time.monotonic() + _PATIENCE, _FIRST_PAUSE
    while True:
        result = run()
        if not is_full(said(result)) or (time.monotonic() > deadline and not are_in_the_way()):
            return result
        time.sleep(pause)
        pause = min(2 * pause, _LONGEST_PAUSE)
