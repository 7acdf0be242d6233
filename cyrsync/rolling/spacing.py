"""How often a mailbox is sent at the most."""

from __future__ import annotations

#: Times of mailboxes that are remembered.
_REMEMBERED = 10_000


class Spacing:
    """When each mailbox was last sent: a busy one is not sent all the time, least of all where there is much to do."""

    def __init__(self, least: float, most: float) -> None:
        """Seconds between two times that one mailbox is sent: at least so many, and where there is much to do."""
        self._least, self._most = least, most
        self._interval = least
        self._sent_at: dict[bytes, float] = {}  # the last ones, the oldest first

    def due(self, name: bytes, now: float) -> float:
        """Return when a mailbox may be sent."""
        return max(now, self._sent_at.get(name, 0.0) + self._interval)

    def sent(self, name: bytes, now: float) -> None:
        """Note that a mailbox was sent, or tried."""
        self._sent_at.pop(name, None)
        self._sent_at[name] = now
        if len(self._sent_at) > _REMEMBERED:
            self._sent_at.pop(next(iter(self._sent_at)))

    def worked(self, seconds: float) -> None:
        """Adapt to the seconds that the last work took: who has much to do does it less often."""
        self._interval = min(max(self._least, 2 * seconds), self._most)

    def clear(self) -> None:
        """Forget all times: the clock was set back."""
        self._sent_at.clear()
