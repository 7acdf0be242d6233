"""How a watcher is: metrics for Prometheus, and lines of `status`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from datetime import datetime
from itertools import accumulate
from typing import Any

from cyrsync.report.metrics import escaped, head
from cyrsync.rolling.plain import BOUNDS, Status
from cyrsync.text import human_count, human_seconds

#: Mailboxes that wait and are named.
_FEW = 10


def render_metrics(status: Status, source: str, destination: str) -> str:
    """Return the text of a metrics file."""
    labels = f'source="{escaped(source)}",destination="{escaped(destination)}"'
    lines: list[str] = []
    for name, meaning, value in _gauges(status):
        lines += head(name, meaning, "counter" if name.endswith("_total") else "gauge")
        lines.append(f"cyrsync_{name}{{{labels}}} {value}")
    counts, name = status.counts, "delay_seconds"
    lines += head(name, "Time from a line in the sync log to the replica.", "histogram")
    sums = list(accumulate(counts.delays))
    for bound, total in zip([*map(str, BOUNDS), "+Inf"], sums, strict=True):
        lines.append(f'cyrsync_{name}_bucket{{{labels},le="{bound}"}} {total}')
    lines += [f"cyrsync_{name}_sum{{{labels}}} {counts.delay_sum}", f"cyrsync_{name}_count{{{labels}}} {sums[-1]}"]
    return "\n".join(lines) + "\n"


def _gauges(status: Status) -> list[tuple[str, str, float]]:
    counts = status.counts
    return [
        ("lag_seconds", "Age of the oldest change that is not on the replica, 0 for none.", status.lag(status.written)),
        ("pending", "Mailboxes and files that have changed and are not on the replica.", status.pending),
        ("connected", "Whether the replica can be reached.", int(status.connected)),
        ("failed", "What could not be sent when it was last tried.", len(status.failed)),
        ("log_trusted", "Whether the sync log can be believed.", int(not status.blind)),
        ("last_pass_timestamp_seconds", "When all mailboxes were last looked at, 0 for never.", status.last_pass),
        ("last_pass_exit_code", "Exit code of that pass.", status.last_pass_exit),
        ("written_timestamp_seconds", "When this file was written.", status.written),
        ("passes_total", "Passes over all mailboxes.", counts.passes),
        ("messages_total", "Messages that were sent.", counts.messages),
        ("bytes_sent_total", "Bytes that were sent.", counts.bytes_sent),
        ("files_deleted_total", "Files and folders that were deleted.", counts.deleted),
        ("mailboxes_sent_total", "Mailboxes that were sent.", counts.sent),
        ("log_missed_total", "Changed mailboxes that the sync log did not name.", counts.log_missed),
        ("log_doubted_total", "Logs with lines that could not be believed.", counts.log_doubts),
        ("connections_lost_total", "How often the connection was lost.", counts.connections_lost),
    ]


def facts(found: Mapping[str, Any], now: datetime) -> Iterator[tuple[str, str, bool]]:
    """Yield what `status` shows of a watcher: name, value, and whether it is alarming."""
    written = max(now.timestamp() - found["written"], 0.0)
    late = written > 60
    age = f", {human_seconds(written)} ago" if late else ""
    yield "Watcher", f"process {found['pid']}, channel {found['channel']}{age}", late
    lag, link = found["lag_seconds"], "connected" if found["connected"] else "not connected"
    since = datetime.fromtimestamp(found["since"]).strftime("%Y-%m-%d %H:%M:%S")
    yield "Lag", f"{human_seconds(lag)}, {human_count(found['pending'])} pending", lag > 60
    yield "Connection", f"{link} since {since}", not found["connected"]
    if found["blind"]:
        yield "Log", found["blind"], True
    for one in found["failed"][:_FEW]:
        when = datetime.fromtimestamp(one["since"]).strftime("%Y-%m-%d %H:%M:%S")
        yield "Waits", f"{one['name']}: since {when}, {one['tries']} tries: {one['reason']}", True
    if len(found["failed"]) > _FEW:
        yield "", f"... and {human_count(len(found['failed']) - _FEW)} more", True
