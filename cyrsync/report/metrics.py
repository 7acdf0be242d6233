"""Metrics of a run for Prometheus, by way of the node exporter's textfile collector."""

from __future__ import annotations

from dataclasses import asdict
from typing import TYPE_CHECKING

from cyrsync.text import printable

if TYPE_CHECKING:
    from cyrsync.state.history import Pair, Record
    from cyrsync.sync.result import RunResult


def render(result: RunResult, known: Pair) -> str:
    """Return the text of a metrics file: of a run, and of those before it."""
    labels = f'source="{escaped(result.source)}",destination="{escaped(result.destination)}"'
    lines = []
    for name, meaning, value in _gauges(result, known):
        lines += head(name, meaning)
        lines.append(f"cyrsync_{name}{{{labels}}} {value}")
    lines += head("run_phase_seconds", "How long a phase of the last run took.")
    for phase, seconds in asdict(result.seconds_by_phase).items():
        lines.append(f'cyrsync_run_phase_seconds{{{labels},phase="{phase}"}} {seconds}')
    return "\n".join(lines) + "\n"


def _gauges(result: RunResult, known: Pair) -> list[tuple[str, str, float]]:
    """Return name, meaning and value of all that has no labels of its own."""
    folders, files = result.folders, result.files
    return [
        (
            "last_success_timestamp_seconds",
            "Start of the last run that succeeded, 0 for none.",
            _moment(known.last_success),
        ),
        (
            "last_attempt_timestamp_seconds",
            "Start of the last run that was not skipped because of the lock.",
            _moment(known.last_attempt),
        ),
        ("runs_skipped", "Runs since the last success that found the lock held.", known.skipped),
        ("run_exit_code", "Exit code of the last run.", int(result.exit)),
        ("run_seconds", "How long the last run took.", result.seconds),
        ("run_messages", "Messages that the last run had to send.", result.messages.send),
        ("run_bytes_sent", "Bytes that the last run sent.", result.bytes_sent),
        ("run_files_sent", "Files of any kind that the last run sent.", files.sent),
        ("run_files_failed", "Files that the last run could not send.", files.failed),
        ("run_files_deleted", "Files and folders that the last run deleted.", files.deleted),
        ("run_files_withheld", "Files and folders that the last run should have deleted.", result.withheld),
        ("folders", "Folders, or mailboxes, of the source.", folders.seen),
        ("folders_behind", "Of these, the ones that could not be read, or not be sent whole.", folders.behind()),
    ]


def _moment(record: Record | None) -> float:
    return record.began.timestamp() if record else 0.0


def head(name: str, meaning: str, kind: str = "gauge") -> list[str]:
    """Return the lines in front of a metric."""
    return [f"# HELP cyrsync_{name} {meaning}", f"# TYPE cyrsync_{name} {kind}"]


def escaped(text: str) -> str:
    """Return a label's value; what is no text has to be made some first."""
    return printable(text).replace("\\", "\\\\").replace('"', '\\"').replace("\n", "\\n")
