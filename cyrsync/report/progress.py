"""Progress on the terminal, without a thread: the process library forks, and would copy the thread's locks.

rich is imported when a display is made, not for a run without one.
"""

from __future__ import annotations

import time
from typing import TYPE_CHECKING

from cyrsync.sync.progress import NoProgress, Reporter
from cyrsync.text import human_bytes, human_count

if TYPE_CHECKING:
    from collections.abc import Callable
    from types import TracebackType

    from rich.console import Console
    from typing_extensions import Self

#: Seconds between two refreshes.
INTERVAL = 0.1
_SCANNING = "scanning"


class Progress:
    """One line on stderr, refreshed by hand at most ten times a second, and gone at the end."""

    def __init__(self, console: Console | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        from rich.console import Console
        from rich.progress import BarColumn, TextColumn, TimeRemainingColumn
        from rich.progress import Progress as Display

        self._clock = clock
        self._due = self._first = clock()
        self._step = _SCANNING
        self._started = self._due
        self._display = Display(
            TextColumn("{task.description}", markup=False),
            BarColumn(bar_width=10),
            TextColumn("{task.fields[amount]}", markup=False),
            TimeRemainingColumn(compact=True, elapsed_when_finished=False),
            console=console or Console(stderr=True),
            auto_refresh=False,
            transient=True,
            # The report may go to a pipe: rich would send it to stderr instead.
            redirect_stdout=False,
            get_time=clock,
        )
        self._task = self._display.add_task(_SCANNING, total=None, amount="")

    def __enter__(self) -> Self:
        self._display.start()
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._display.stop()

    def scan(self, folders: int, messages: int) -> None:
        """Show how many folders and messages have been looked at so far, and how many messages a second."""
        now = self._clock()
        if self._step != _SCANNING:
            self._begin(_SCANNING, now)
        elif now < self._due:
            return
        amount = f"{human_count(folders)} folders, {human_count(messages)} messages"
        if now > self._first:
            amount += f", {human_count(int(messages / (now - self._first)))}/s"
        self._show(amount, None, 0)

    def transfer(self, step: str, files_done: int, files_total: int, bytes_done: int) -> None:
        """Show how far a step is: files, bytes, bytes a second, time left."""
        now = self._clock()
        if step != self._step:
            self._begin(step, now)
        elif now < self._due:
            return
        amount = f"{human_count(files_done)}/{human_count(files_total)}, {human_bytes(bytes_done)}"
        if now > self._started:
            amount += f", {human_bytes(int(bytes_done / (now - self._started)))}/s"
        self._show(amount, files_total, files_done)

    def _begin(self, step: str, now: float) -> None:
        self._step, self._started = step, now
        # Reset, so that the time left is estimated from the speed of this step alone.
        self._display.reset(self._task, description=step, amount="")

    def _show(self, amount: str, total: int | None, completed: int) -> None:
        self._due = self._clock() + INTERVAL
        self._display.update(self._task, total=total, completed=completed, amount=amount, refresh=True)


def progress_for(enabled: bool) -> Reporter:
    """Return a display on stderr, or one that shows nothing."""
    return Progress() if enabled else NoProgress()
