"""Options that several commands have, and what is made of them."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated

import typer

from cyrsync.ends.link import LEAST_SILENCE, Patience
from cyrsync.errors import UnusableError, UsageError
from cyrsync.rsync.options import Settings
from cyrsync.sync.policy import Policy

if TYPE_CHECKING:
    from cyrsync.cyrus.server.config import Config

#: Where Cyrus itself looks.
CONF = "/etc/imapd.conf"

Conf = Annotated[str | None, typer.Option("-C", "--conf", metavar="FILE", help=f"The server's imapd.conf ({CONF}).")]
Rsh = Annotated[str | None, typer.Option("-e", "--rsh", metavar="COMMAND", help="The remote shell to use.")]
RsyncPath = Annotated[str | None, typer.Option(metavar="PROGRAM", help="The rsync to run at the far end.")]
Users = Annotated[
    list[str] | None,
    typer.Option("--user", metavar="NAME", help="Only this user's folders (repeatable), where the path tells."),
]
StateDirectory = Annotated[
    str | None, typer.Option("--state", metavar="DIR", help="Where to keep locks, what was sent last, and past runs.")
]
SkipDerived = Annotated[
    bool,
    typer.Option("--skip-derived", help="Leave out cyrus.cache and cyrus.squat, which Cyrus can rebuild."),
]


def policy_of(settings: Settings, *, skip_derived: bool) -> Policy:
    """Return which differences matter with these rsync options."""
    return Policy(
        skip_derived=skip_derived,
        preserve=settings.preserve,
        own_quick_check=settings.own_quick_check,
        size_only=settings.size_only,
        rules=settings.rules,
        # An entry for a whole folder would stand for what is left out, too.
        one_by_one=bool(settings.rules) or settings.size_only,
    )


def patience_of(settings: Settings, seconds: float | None = None, *, answer: float | None = None) -> Patience:
    """Return how long to wait for a far end: what is given to us, or else to rsync.

    `answer` is for a first answer, where no other than the usual time is right.
    """
    usual = Patience()
    given = seconds if seconds is not None else settings.timeout
    silence = usual.silence if given is None else max(given, LEAST_SILENCE) if given > 0 else 0.0
    return Patience(silence, min(answer or usual.answer, silence or usual.answer))


def read_conf(path: str | None) -> Config:
    """Return what imapd.conf says. Raise UnusableError where it cannot be understood."""
    from cyrsync.cyrus.server import config  # what few commands need is not loaded by all

    try:
        return config.read(path or CONF)
    except config.ConfigError as error:
        raise UnusableError(str(error)) from None


def users_of(names: list[str] | None) -> frozenset[str]:
    """Return the users named. Raise UsageError for an empty name."""
    if names and not all(names):
        raise UsageError("--user needs a name")
    return frozenset(names or ())
