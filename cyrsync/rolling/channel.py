"""The channel of the sync log that is ours: whether imapd.conf has it, where it lies, and which lines would add it."""

from __future__ import annotations

import os
import re
import stat
from typing import NamedTuple

from cyrsync.cyrus.server.config import Config
from cyrsync.errors import UsageError
from cyrsync.text import path_text

#: What the channel is called unless told otherwise.
DEFAULT = "cyrsync"
#: It is a directory's name, and a word of a setting that blanks part.
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9_-]{0,63}\Z", re.ASCII)


class Channel(NamedTuple):
    """One channel of a server's sync log; `name` "" for the one without."""

    name: str
    directory: bytes

    @property
    def log(self) -> bytes:
        """The file that Cyrus writes to."""
        return os.path.join(self.directory, b"log")

    @property
    def taken(self) -> bytes:
        """What its reader renames that to."""
        return os.path.join(self.directory, b"log-run")


def checked(name: str) -> str:
    """Return the name of a channel. Raise UsageError for what can be none."""
    if not _NAME.match(name):
        raise UsageError(f"--channel {name}: give letters, digits, - and _, as in sync_log_channels of imapd.conf")
    return name


def channel(config: Config, name: str) -> Channel:
    """Return where a channel's log lies, whether imapd.conf has it or not."""
    home = os.path.join(config.configdirectory, b"sync")
    return Channel(name, os.path.join(home, os.fsencode(name)) if name else home)


def is_set(config: Config, name: str) -> bool:
    """Tell whether Cyrus logs to a channel."""
    return name in config.sync_log_channels


def no_room(config: Config, channel: Channel) -> str:
    """Return why Cyrus cannot log, where the file system is full; "" if there is room."""
    for directory in (channel.directory, config.configdirectory):
        try:
            found = os.statvfs(directory)
        except OSError:
            continue  # it is made when there is something to log
        if not found.f_bavail or (found.f_files and not found.f_favail):
            return f"{path_text(directory)}: there is no room left for the log: Cyrus cannot say what changes"
        break
    return ""


def not_writable(channel: Channel, owner: int) -> bytes:
    """Return where Cyrus's user, who logs, may not write: in the log's directory, or to the log; b"" if nowhere.

    Cyrus tells only syslog of it. Raise OSError for what we cannot see.
    """
    directory = channel.directory if os.path.lexists(channel.directory) else os.path.dirname(channel.directory)
    for path in (directory, channel.log):
        try:
            status = os.stat(path)
        except FileNotFoundError:
            continue  # Cyrus makes it
        if not (status.st_uid == owner and status.st_mode & stat.S_IWUSR) and not status.st_mode & stat.S_IWOTH:
            return path
    return b""


def lines_to_add(config: Config, name: str) -> str:
    """Return what imapd.conf needs for a channel to be logged to, in one line; "" if it has it.

    Without `sync_log_channels` the one channel is that without a name: who reads it is not to lose it.
    """
    if is_set(config, name):
        return ""
    if not config.switch("sync_log"):
        return f"`sync_log: yes` and `sync_log_channels: {name}`"
    channels = " ".join(known or '""' for known in [*config.sync_log_channels, name])
    return f"`sync_log_channels: {channels}`"


def lines_for_arriving_users(config: Config, name: str) -> str:
    """Return what imapd.conf needs for users to be logged who arrive by replication; "" if it has it.

    sync_server logs to no other channels than these, unless it is told to log to all of them.
    """
    known = config.text("sync_log_unsuppressable_channels").split()
    if name in known or config.switch("sync_log_chain"):
        return ""
    return f"`sync_log_unsuppressable_channels: {' '.join([*known, name])}`"
