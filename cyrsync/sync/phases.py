"""How long the parts of a run take. Their sum is the run's time, but for waiting, connecting and the like."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, fields


@dataclass(slots=True)
class PhaseSeconds:
    """Seconds by phase."""

    scan: float = 0.0
    transfer: float = 0.0
    delete: float = 0.0


class Phases:
    """A stopwatch. No moment counts twice: while any job deletes it is deleting, whatever the others do."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._since = clock()
        self._seconds = PhaseSeconds()
        #: The later a phase, the more it counts: it takes place within the others.
        self._active = {field.name: 0 for field in reversed(fields(PhaseSeconds))}

    @contextmanager
    def phase(self, name: str) -> Iterator[None]:
        """Count the time of this block for this phase."""
        self._record()
        self._active[name] += 1
        try:
            yield
        finally:
            self._record()
            self._active[name] -= 1

    def seconds(self) -> PhaseSeconds:
        """Return what each phase took so far."""
        return PhaseSeconds(*(round(getattr(self._seconds, field.name), 3) for field in fields(PhaseSeconds)))

    def _record(self) -> None:
        now = self._clock()
        current = next((name for name, jobs in self._active.items() if jobs), None)
        if current:
            setattr(self._seconds, current, getattr(self._seconds, current) + now - self._since)
        self._since = now
