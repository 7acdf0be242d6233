"""What must hold on a replica at any moment, also after a run that failed or was killed."""

from __future__ import annotations

import hashlib
import os
from collections import defaultdict
from pathlib import Path

from support.tree import messages

_GONE = 1 << 31 | 1 << 30  # expunged, unlinked


class History:
    """Every content that each message file of a source ever had."""

    def __init__(self) -> None:
        self._digests: dict[bytes, set[bytes]] = defaultdict(set)

    def remember(self, source: Path) -> None:
        """Take in what the source holds now."""
        for path, content in messages(source).items():
            self._digests[path].add(_digest(content))

    def assert_whole(self, replica: Path) -> None:
        """No message file on the replica is cut off, or holds what the source never held."""
        broken = [path for path, content in messages(replica).items() if _digest(content) not in self._digests[path]]
        assert not broken, broken


def assert_indexed_messages_exist(replica: Path) -> None:
    """Every live record in every `cyrus.index` has its message file (minor version 17 only)."""
    missing = [
        os.path.join(path, f"{uid}.")
        for path, _, names in os.walk(replica)
        if "cyrus.index" in names and not path.endswith("/.~tmp~")  # not in its place yet
        for uid in live_uids(Path(path, "cyrus.index"))
        if f"{uid}." not in names
    ]
    assert not missing, missing


def live_uids(index: Path) -> list[int]:
    """UIDs of the messages that a client would see."""
    data = index.read_bytes()
    assert _number(data, 8) == 17, "not the format that samplespool writes"
    start, size, count = _number(data, 12), _number(data, 16), _number(data, 20)
    records = range(start, start + size * count, size)
    assert len(data) == records.stop, f"{index} is cut off"
    return [_number(data, at) for at in records if not _number(data, at + 32) & _GONE]


def _number(data: bytes, at: int) -> int:
    return int.from_bytes(data[at : at + 4], "big")


def _digest(content: bytes) -> bytes:
    return hashlib.sha1(content).digest()
