"""What `check` says of the sync log, by which Cyrus tells others of changes: no run needs it, so nothing here fails."""

from __future__ import annotations

import os
import time
from contextlib import suppress

from cyrsync.cyrus.mailbox import regular_file
from cyrsync.cyrus.server.config import Config
from cyrsync.errors import error_text
from cyrsync.far import host
from cyrsync.rolling import channel as channels
from cyrsync.rolling.channel import Channel
from cyrsync.rolling.log_lines import parse
from cyrsync.rolling.readers import WATCHER, Reader, older_than, readers, watcher
from cyrsync.standby.check import Findings, Source, note, ok, told
from cyrsync.text import human_bytes, human_seconds, path_text

_CHECK = "sync_log"
#: Seconds after which a log waits for its reader too long, and bytes of it that are looked into.
_LATE, _LOOKED_INTO = 60.0, 16 << 20


def log_findings(source: Source) -> Findings:
    """Look at the channels that imapd.conf has, if that is understood."""
    if source.config:
        yield from told(_CHECK, _findings(source.config, source.conf, source.channel))


def _findings(config: Config, conf: str, ours: str) -> Findings:
    """Say which channels there are, and what keeps a change from being logged to them, or read."""
    names = config.sync_log_channels
    if not names:
        lines = channels.lines_to_add(config, ours)
        yield ok(
            _CHECK,
            "off: Cyrus logs no changes",
            f"for sync --watch, put {lines} into {conf}, restart Cyrus",
        )
        return
    owner = os.stat(config.database("mboxlist")[1]).st_uid
    known = readers(os.fsencode(conf))
    for name in dict.fromkeys(names):
        one = channels.channel(config, name)
        yield from _rights(one, owner)
        found = [*watcher(one), *(reader for reader in known if reader.channel == name)]
        yield from _reading(one, config, conf, found, is_ours=name == ours)
        yield from _contents(one)
    yield from _ours(config, conf, ours)
    yield from _old_processes(conf)
    yield ok(_CHECK, f"{conf}: on, for {', '.join(map(_shown, names))}")


def _ours(config: Config, conf: str, name: str) -> Findings:
    """Say what imapd.conf lacks for a watcher, if it has its channel."""
    if not channels.is_set(config, name):
        yield ok(
            _CHECK,
            f"no channel {name}",
            f"for sync --watch, put {channels.lines_to_add(config, name)} into {conf}",
        )
        return
    lines = channels.lines_for_arriving_users(config, name)
    if lines:
        what = f"users who arrive by replication (sync_client -u) are not logged for {name}"
        yield note(_CHECK, what, f"put {lines} into {conf}")
    if config.text("sync_rightnow_channel") == name:
        what = f"sync_rightnow_channel is {name}: Cyrus does not log what it sends at once"
        yield note(_CHECK, what, "name another channel there")


def _rights(one: Channel, owner: int) -> Findings:
    """Check whether Cyrus can write its log: if not, it still answers OK, and tells only syslog."""
    try:
        path = channels.not_writable(one, owner)
    except OSError as error:
        yield note(_CHECK, error_text(error), "run cyrsync as root, or as Cyrus's own user")
        return
    if path:
        user = host.user_name(owner)
        what = f"{path_text(path)}: {user} may not write there: changes are not logged"
        yield note(_CHECK, what, f"`chown {user} {path_text(path)}` and `chmod u+rwX {path_text(path)}`")


def _reading(one: Channel, config: Config, conf: str, found: list[Reader], *, is_ours: bool) -> Findings:
    """Report who reads a channel; a log that nobody reads grows for ever."""
    for reader in found:
        yield ok(_CHECK, f"{_shown(one.name)}: read by {reader.program} (process {reader.pid})")
    if len(found) > 1 or (is_ours and any(reader.program != WATCHER for reader in found)):
        names = ", ".join(f"{reader.program} (process {reader.pid})" for reader in found)
        advice = "each reader needs its own: the lines that one reads are gone for the others"
        yield note(_CHECK, f"{_shown(one.name)}: read by {names}", advice)
    waits = [(path, status) for path in (one.taken, one.log) if (status := _status(path))]
    late = [path for path, status in waits if time.time() - _born(path, status) > _LATE]
    if found or not late:
        return
    size = human_bytes(sum(status.st_size for _, status in waits))
    advice = "start its reader"
    if not is_ours:
        others = [name for name in config.sync_log_channels if name != one.name]
        rest = " ".join(name or '""' for name in others)
        lines = f"`sync_log_channels: {rest}`" if rest else "`sync_log: no`"
        advice = f"start its reader, or put {lines} into {conf} and delete the log"
    yield note(_CHECK, f"{_shown(one.name)}: nobody reads it, and it grows ({path_text(late[0])}: {size})", advice)


def _contents(one: Channel) -> Findings:
    """Look for lines that every reader drops: no reader learns of what they name."""
    for path in (one.taken, one.log):
        with suppress(OSError):
            descriptor, _ = regular_file.opened(path)
            try:
                data = os.read(descriptor, _LOOKED_INTO)
            finally:
                os.close(descriptor)
            # The last one may be on its way.
            for doubt in parse(data[: data.rfind(b"\n") + 1]).doubts[:1]:
                advice = "was its disk full? Cyrus's readers drop such lines, and miss what they name"
                yield note(_CHECK, f"{path_text(path)}: {doubt}", advice)


def _old_processes(conf: str) -> Findings:
    """Report processes of Cyrus that are older than imapd.conf: they read it only when they start."""
    changed, old = older_than(conf)
    if old:
        age = human_seconds(max(time.time() - changed, 0))
        number = "1 process is" if len(old) == 1 else f"{len(old)} processes are"
        what = f"{number} older than {conf}, which was changed {age} ago (first {min(old)})"
        yield note(_CHECK, what, "they log by what it said before: restart Cyrus, or wait until they have ended")


def _status(path: bytes) -> os.stat_result | None:
    try:
        return os.lstat(path)
    except OSError:
        return None


def _born(path: bytes, status: os.stat_result) -> float:
    """Return since when a log has been waiting, as far as its directory tells: it changes as the log is made."""
    with suppress(OSError):
        return min(status.st_mtime, os.stat(os.path.dirname(path)).st_mtime)
    return status.st_mtime


def _shown(name: str) -> str:
    return f"channel {name}" if name else 'the channel without a name ("")'
