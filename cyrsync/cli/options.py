"""Options that several commands have, and what is made of them.

What checks a value is loaded when there is one.
"""

from __future__ import annotations

import difflib
import math
from typing import TYPE_CHECKING, Annotated

import typer

from cyrsync.cyrus.server import CONF
from cyrsync.errors import UnusableError, UsageError

if TYPE_CHECKING:
    from cyrsync.cyrus.server.config import Config

_LOGS = ("syslog", "journal")


def _rate(value: str | None) -> str | None:
    if value is not None:
        from cyrsync.rsync.rate import Rate

        if Rate.parse(value) is None:
            raise UsageError(f"--bwlimit {value}: give a rate as rsync reads it: 500 (KiB a second), 5m, 1.5MB")
    return value


def _limit(value: str | None) -> str | None:
    if value is not None:
        from cyrsync.sync.guard import MaxDelete

        MaxDelete.parse(value)
    return value


def _maps(value: list[str] | None) -> list[str] | None:
    if value:
        from cyrsync.server import mapping

        mapping.parse(value)
    return value or []  # typer 0.16 counts what a callback returns


def _seconds(parameter: typer.CallbackParam, value: float | None) -> float | None:
    if value is not None and not math.isfinite(value):
        raise UsageError(f"{parameter.opts[-1]} {value}: give a number of seconds")
    return value


def _log(value: str | None) -> str | None:
    """Refuse a word that is more likely misspelled than a file's name."""
    if value is None or "/" in value or value in _LOGS:
        return value
    near = difflib.get_close_matches(value, _LOGS, n=1)
    meant = f"did you mean {near[0]}?" if near else "give syslog, journal or a file"
    raise UsageError(f"--log {value}: {meant} A file's name needs a slash: ./{value}")


Conf = Annotated[str | None, typer.Option("-C", "--conf", metavar="FILE", help=f"The server's imapd.conf ({CONF}).")]
Rsh = Annotated[str | None, typer.Option("-e", "--rsh", metavar="COMMAND", help="The remote shell to use.")]
RsyncPath = Annotated[str | None, typer.Option(metavar="PROGRAM", help="The rsync to run at the far end.")]
Partitions = Annotated[
    list[str] | None,
    typer.Option("--partition", metavar="NAME", help="With -C: only this partition (repeatable)."),
]
Maps = Annotated[
    list[str] | None,
    typer.Option(
        "--map",
        metavar="SOURCE_DIR=DEST_DIR",
        callback=_maps,
        help="With -C: the replica of SOURCE_DIR is DEST_DIR, not below DEST (repeatable).",
    ),
]
ShardOf = Annotated[
    str | None,
    typer.Option(
        "--shard", metavar="K/N", help="With -C: only part K of N of all users; auto: as an array of jobs says."
    ),
]
StateDirectory = Annotated[
    str | None,
    typer.Option("--state", metavar="DIR", help="The directory for locks, the state, and past runs."),
]
SkipDerived = Annotated[
    bool,
    typer.Option("--skip-derived", help="Leave out cyrus.cache and cyrus.squat, which Cyrus can rebuild."),
]
MostDeletions = Annotated[
    str | None,
    typer.Option(
        "--max-delete",
        metavar="N|N%",
        callback=_limit,
        help="Delete nothing if more than N files and folders, or N percent, would be deleted.",
    ),
]
Bandwidth = Annotated[
    str | None, typer.Option("--bwlimit", metavar="RATE", callback=_rate, help="Limit the bandwidth, as rsync does.")
]
Timeout = Annotated[
    float | None,
    typer.Option(
        min=0,
        metavar="SECONDS",
        callback=_seconds,
        help="Give up if the other host sends nothing for so long (600; 0: never).",
    ),
]
Wait = Annotated[
    float,
    typer.Option(
        min=0,
        metavar="SECONDS",
        callback=_seconds,
        help="How long to wait until another run has ended.",
    ),
]
Log = Annotated[
    str | None,
    typer.Option(metavar="WHERE", callback=_log, help="Log the run: to syslog, the journal, or a file."),
]
Full = Annotated[
    bool, typer.Option("--full", help="Compare every message; with -C, list the replica and compare names.")
]
OverwriteReplica = Annotated[
    bool,
    typer.Option(
        "--overwrite-replica",
        help="Write to a replica that was promoted, is another server's, or is used by a Cyrus.",
    ),
]
DryRun = Annotated[bool, typer.Option("-n", "--dry-run", help="Show what would be done, and do nothing.")]
AsJson = Annotated[bool, typer.Option("--json", help="Print the result as one JSON object.")]
Verbose = Annotated[bool, typer.Option("-v", "--verbose", help="Print the whole report, also without a terminal.")]
Quiet = Annotated[bool, typer.Option("-q", "--quiet", help="Print only errors.")]


def read_conf(path: str | None) -> Config:
    """Return what imapd.conf says. Raise UnusableError where it cannot be understood."""
    from cyrsync.cyrus.server import config

    try:
        return config.read(path or CONF)
    except config.ConfigError as error:
        raise UnusableError(str(error)) from None


def users_of(names: list[str] | None) -> frozenset[str]:
    """Return the users named. Raise UsageError for an empty name."""
    if names and not all(names):
        raise UsageError("--user needs a name")
    return frozenset(names or ())
