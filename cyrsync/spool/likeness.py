"""Whether the messages that the replica has under their UIDs are the source's, by what both indexes say. Pure."""

from __future__ import annotations

from enum import Enum

from cyrsync.far.digests import Digests


class Likeness(Enum):
    """How the records of the replica's index compare with the source's."""

    SAME = "the same messages"
    #: The same by their contents, or not known: rsync's quick check has to compare.
    DOUBTFUL = "doubtful"
    #: Another message has some UID.
    OTHER = "other messages"


def likeness(source: Digests | None, replica: Digests | None) -> Likeness:
    """Compare what both sides' indexes say of the same UIDs; None: it cannot be read."""
    if source is None or replica is None:
        return Likeness.DOUBTFUL
    alike = source.sizes == replica.sizes and not _differ(source.dates, replica.dates)
    if source.guids and replica.guids:
        if source.guids != replica.guids:
            return Likeness.OTHER
        return Likeness.SAME if alike else Likeness.DOUBTFUL
    return Likeness.SAME if alike else Likeness.OTHER


def _differ(left: str, right: str) -> bool:
    return bool(left and right) and left != right
