"""What receives the progress of a run, and a receiver that shows nothing."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Protocol

if TYPE_CHECKING:
    from types import TracebackType

    from typing_extensions import Self


class Reporter(Protocol):
    """Receives the progress of a run. Every method is cheap enough to be called for each folder or file."""

    def __enter__(self) -> Self: ...

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None: ...

    def scan(self, folders: int, messages: int) -> None:
        """Tell how many folders and messages have been looked at so far."""

    def transfer(self, step: str, files_done: int, files_total: int, bytes_done: int) -> None:
        """Tell how far a step ("messages", "metadata", ...) is; bytes are those of this step."""


class OfJobs:
    """The progress of jobs side by side as one: what all of them have done of the step that one is still at."""

    def __init__(self, show: Callable[[str, int, int, int], None]) -> None:
        """`show` is told as `Reporter.transfer` is."""
        self._show = show
        self._steps: dict[int, dict[str, tuple[int, int, int]]] = {}  # of each job, those begun

    def of(self, number: int) -> Callable[[str, int, int, int], None]:
        """Return what the job of this number, which begins anew, is to tell."""
        steps = self._steps[number] = {}

        def transfer(step: str, files_done: int, files_total: int, bytes_done: int) -> None:
            steps[step] = (files_done, files_total, bytes_done)
            at = [(len(one), *list(one.items())[-1]) for one in self._steps.values() if one]
            late = [(begun, name) for begun, name, (done, total, _) in at if done < total]
            shown = min(late)[1] if late else step
            found = [one[shown] for one in self._steps.values() if shown in one]
            self._show(shown, *map(sum, zip(*found, strict=True)))

        return transfer


class NoProgress:
    """Shows nothing: for cron, pipes and --quiet."""

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        pass

    def scan(self, folders: int, messages: int) -> None:
        """Show nothing."""

    def transfer(self, step: str, files_done: int, files_total: int, bytes_done: int) -> None:
        """Show nothing."""
