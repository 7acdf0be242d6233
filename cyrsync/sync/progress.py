"""What receives the progress of a run, and a receiver that shows nothing."""

from __future__ import annotations

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
