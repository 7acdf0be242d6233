"""What is told of a file that may have grown elsewhere."""

from __future__ import annotations

import hashlib
import os
from pathlib import Path

from cyrsync.cyrus.mailbox.regular_file import LARGEST
from cyrsync.far.beginning import Beginning, whole


def test_a_file_is_told_by_size_and_digest(tmp_path: Path) -> None:
    cache = tmp_path / "cyrus.cache"
    cache.write_bytes(b"x" * 3_000_000)
    assert whole(os.fsencode(cache)) == Beginning(3_000_000, hashlib.sha1(b"x" * 3_000_000).hexdigest())
    (tmp_path / "kept").hardlink_to(cache)
    assert whole(os.fsencode(cache)) is None


def test_a_file_whose_size_is_made_up_is_not_read(tmp_path: Path) -> None:
    cache = tmp_path / "cyrus.cache"
    cache.touch()
    os.truncate(cache, LARGEST + 1)
    assert whole(os.fsencode(cache)) is None
