"""What options for rsync mean here: which differences matter, and how long to wait for a far end."""

from __future__ import annotations

from cyrsync.ends.link import LEAST_SILENCE, Patience
from cyrsync.rsync.options import Settings
from cyrsync.sync.policy import Policy


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
