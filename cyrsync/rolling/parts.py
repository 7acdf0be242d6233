"""The parts of a watcher: sender, log, waiting rows, and clock; each is handed in."""

from __future__ import annotations

import random
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from cyrsync.rolling.log_lines import Lines
from cyrsync.rolling.plain import Event, Status
from cyrsync.state.pending import Waiting


class Passed(NamedTuple):
    """The result of a pass over all mailboxes; `seconds` is what one costs that finds no change, without any wait."""

    exit: int
    error: str  # "" if it did all that is to be done
    failed: dict[bytes, str]  # mailboxes that could not be sent, with the reasons
    changed: dict[bytes, bool]  # mailboxes that it sent; True where the replica knew them before
    text: str  # what it did, in a line; "" for nothing
    seconds: float
    unsent: frozenset[bytes] = frozenset()  # after an error, mailboxes that are not known to be on the replica


class Sender(Protocol):
    """Brings the replica up to date. Each method may raise ConnectionFailed, RefusedError and UnusableError."""

    def everything(self, between: Callable[[], None]) -> Passed:
        """Look at all mailboxes and files, and send what has changed.

        `between` two mailboxes, others may be sent by `mailboxes`: they are on the replica's disks when it returns.
        """

    def mailboxes(self, names: Sequence[bytes]) -> dict[bytes, str | None]:
        """Send mailboxes together; return why each could not be sent, None if a pass has to do it."""

    def files(self, names: Sequence[bytes]) -> dict[bytes, str | None]:
        """Send the files beside the partitions that change with mailboxes, or all, where a name is b""; likewise."""

    def look(self) -> None:
        """See whether the replica is there."""

    def rest(self) -> None:
        """Release the replica; all that was sent is on its disks then."""

    def close(self) -> None:
        """Close the connection, whatever its state."""


class Log(Protocol):
    """The sync log."""

    def take(self) -> Lines | None:
        """Return what it says, None for nothing."""

    def done(self) -> None:
        """Remove what was taken."""


class Table(Protocol):
    """What waits: see state/pending.py."""

    def add(self, rows: Iterable[Waiting]) -> None: ...
    def fail(self, rows: Iterable[Waiting]) -> None: ...
    def drop(self, rows: Iterable[Waiting], *, follows: Iterable[Waiting] = ()) -> None: ...
    def due(self, kind: str, now: float, most: int) -> list[Waiting]: ...
    def find(self, kind: str, name: bytes) -> Waiting | None: ...
    def all(self) -> list[Waiting]: ...
    def next(self) -> float | None: ...


class Orders(Protocol):
    """The orders that the user gives by signals."""

    @property
    def ends(self) -> bool:
        """Whether to stop, or to read the settings again."""

    @contextmanager
    def breaking_off(self) -> Iterator[None]:
        """Let the order to stop interrupt this block, by InterruptedRun: the block may take hours."""
        yield


@dataclass(slots=True)
class Parts:
    """What a watcher works with."""

    sender: Sender
    log: Log
    table: Table
    orders: Orders
    wait: Callable[[float], object]  # until there is a log, or orders; seconds at most
    pause: Callable[[float], object]  # until there are orders; seconds at most
    tell: Callable[[Event], None]
    publish: Callable[[Status], None]
    blind: Callable[[], str]  # why the log cannot be believed just now
    wants_pass: Callable[[], bool] = lambda: False  # whether somebody has asked for one
    relisted: Callable[[], bool] = lambda: False  # whether mailboxes.db is not as it was when the last pass began
    alive: Callable[[], None] = lambda: None  # tells the watchdog
    clock: Callable[[], float] = time.time
    luck: Callable[[], float] = random.random
