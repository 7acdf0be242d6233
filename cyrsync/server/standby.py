"""The imapd.conf that a Cyrus on the replica would have, where it is at hand, beside that of the source."""

from __future__ import annotations

from cyrsync.cyrus.server import config as imapd_conf
from cyrsync.cyrus.server.config import Config, ConfigError
from cyrsync.cyrus.server.settings import Difference, differences, layout_settings
from cyrsync.errors import error_text
from cyrsync.server.replica import Replica
from cyrsync.text import path_text


def differing(replica: Replica, conf: bytes, config: Config) -> list[Difference] | None:
    """Return what the replica's imapd.conf has otherwise than the source's `conf`; None if there is none.

    Raise ConfigError for one that cannot be understood, OSError for one that cannot be read.
    """
    try:
        replica.agent.read(replica.path(conf))
    except (FileNotFoundError, NotADirectoryError):
        return None
    theirs = imapd_conf.read(conf, load=lambda name: replica.agent.read(replica.path(name)))
    found = differences(layout_settings(config), layout_settings(theirs))
    return [one._replace(text=f"{one.text.removesuffix('here')}there") for one in found]


def warnings(replica: Replica, conf: bytes, config: Config) -> list[str]:
    """Return what would keep a Cyrus on the replica from reading what is sent there, a line each."""
    where = path_text(replica.path(conf))
    try:
        found = differing(replica, conf, config) or []
    except (ConfigError, OSError) as error:
        return [f"{where}: it cannot be compared with the source's: {error_text(error)}"]
    return [f"{where}: {one.text}: Cyrus could not find the mail there" for one in found if one.fatal]
