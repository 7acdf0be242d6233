"""How a watcher is: metrics for Prometheus, and lines of `status`."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from datetime import datetime, timezone
from itertools import accumulate
from typing import Any

from cyrsync.report.known import local
from cyrsync.report.metrics import escaped, head
from cyrsync.rolling.plain import BOUNDS, Status
from cyrsync.text import human_bytes, human_count, human_seconds

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
        ("failed", "What could not be sent when it was last tried.", status.failed),
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
    counts, lag, link = found["counts"], found["lag_seconds"], "connected" if found["connected"] else "not connected"
    waits = f"{human_count(found['pending'])} pending, {human_count(found['failed'])} failed"
    yield "Lag", f"{human_seconds(lag)}, {waits}", lag > 60
    lost = f"lost {human_count(counts['connections_lost'])} times"
    yield "Connection", f"{link} since {_local(found['since'])}, {lost}", not found["connected"]
    missed, doubts = human_count(counts["log_missed"]), human_count(counts["log_doubts"])
    yield "Log", found["blind"] or "believed", bool(found["blind"])
    yield "Not logged", f"{missed} changed mailboxes; {doubts} logs were not believed", False
    if found["last_pass"]:
        passes = f"{_local(found['last_pass'])}, exit {found['last_pass_exit']}; {human_count(counts['passes'])} in all"
        yield "Last pass", passes, found["last_pass_exit"] != 0
    sent = f"{human_count(counts['messages'])} messages, {human_bytes(counts['bytes_sent'])}"
    sent += f", {human_count(counts['sent'])} mailboxes; {human_count(counts['deleted'])} files deleted"
    yield "Sent", f"{sent}, since {_local(found['began'])}", False
    if any(counts["delays"]):
        yield "Delay", ", ".join(_within(counts["delays"], share) for share in (0.5, 0.99, 1.0)), False
    for one in found["waiting"][:_FEW]:
        tries = f"{one['tries']} tries" if one["tries"] else "not tried yet"
        reason = f": {one['reason']}" if one["reason"] else ""
        yield "Waits", f"{one['name']}: since {_local(one['since'])}, {tries}{reason}", one["tries"] > 0
    more = max(found["pending"], len(found["waiting"])) - _FEW
    if more > 0:
        yield "", f"... and {human_count(more)} more", found["failed"] > _FEW


def _within(delays: Sequence[int], share: float) -> str:
    """Say how long such a share of the mailboxes took at the most, from a line in the log to the replica."""
    sums = list(accumulate(delays))
    at = next(number for number, total in enumerate(sums) if total >= share * sums[-1])
    return f"{share:.0%} within {BOUNDS[at]:g} s" if at < len(BOUNDS) else f"{share:.0%} in more than {BOUNDS[-1]:g} s"


def _local(seconds: float) -> str:
    return local(datetime.fromtimestamp(seconds, timezone.utc))
