"""What a run of a server is about."""

from __future__ import annotations

from typing import NamedTuple


class Scope(NamedTuple):
    """What of a server is sent, and how far what is known of its replica is believed."""

    full: bool = False  # what the replica has is looked up there
    with_conf: bool = True  # not the partitions alone
