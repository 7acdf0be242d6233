"""Compares the imapd.conf that a Cyrus on the replica would have with that of the source."""

from __future__ import annotations

from collections.abc import Iterator

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
    said = [one._replace(text=f"{one.text.removesuffix('here')}there") for one in found]
    return [*_elsewhere(replica, config, theirs), *said]


def _elsewhere(replica: Replica, config: Config, theirs: Config) -> Iterator[Difference]:
    """Yield the directories that the standby looks for elsewhere than they are sent to, by its own imapd.conf.

    That leads to the replica itself only where the prefix is /.
    """
    if replica.address.path.strip(b"/"):
        return
    for name, ours, wanted in _directories(config, theirs):
        place = replica.path(ours)
        if place != wanted and replica.agent.resolve(place).root != replica.agent.resolve(wanted).root:
            there, option = path_text(wanted), f"--map {path_text(ours)}={path_text(wanted)}"
            yield Difference(f"{name}: {there} there, and sent to {path_text(place)}: give {option}", fatal=True)


def _directories(config: Config, theirs: Config) -> Iterator[tuple[str, bytes, bytes]]:
    yield "configdirectory", config.configdirectory, theirs.configdirectory
    for name in sorted(config.partitions.keys() & theirs.partitions.keys()):
        ours, wanted = config.partitions[name], theirs.partitions[name]
        yield f"partition-{name}", ours.data, wanted.data
        if ours.archive != ours.data and wanted.archive != wanted.data:
            yield f"archivepartition-{name}", ours.archive, wanted.archive


def warnings(replica: Replica, conf: bytes, config: Config) -> list[str]:
    """Return what would keep a Cyrus on the replica from reading what is sent, a line each."""
    where = path_text(replica.path(conf))
    try:
        found = differing(replica, conf, config) or []
    except (ConfigError, OSError) as error:
        return [f"{where}: it cannot be compared with the source's: {error_text(error)}"]
    return [f"{where}: {one.text}: Cyrus could not find the mail there" for one in found if one.fatal]
