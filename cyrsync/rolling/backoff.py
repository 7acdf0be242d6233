"""How long to wait before what failed is tried again."""

from __future__ import annotations

#: Seconds at most before a mailbox, and before a connection is tried again.
_MAILBOX, _CONNECTION = 300.0, 60.0


def mailbox_pause(tries: int) -> float:
    """Return the seconds after so many tries of one mailbox: 1, 2, 4 ... 300."""
    return min(2.0 ** min(tries - 1, 30), _MAILBOX)


def connection_pause(tries: int, luck: float) -> float:
    """Return the seconds after so many lost connections: 1, 2, 4 ... 60, a half of them by `luck`, from 0 to 1.

    Many watchers that lost the same replica should not connect again at the same moment.
    """
    longest = min(2.0 ** min(tries - 1, 30), _CONNECTION)
    return max(1.0, longest / 2 + longest / 2 * luck)
