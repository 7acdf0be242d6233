"""A sample spool in which everything happens that happens on a server."""

from __future__ import annotations

import random
from pathlib import Path

import samplespool


def leaves(root: Path) -> list[Path]:
    """Folders without folders below them, the smallest first."""
    found = samplespool.folders(root)
    return sorted((folder for folder in found if not any(folder in other.parents for other in found)), key=count)


def count(folder: Path) -> int:
    """How many message files lie in a folder."""
    return sum(1 for _ in folder.glob("[0-9]*."))


def everything_happens(source: Path, *, seed: int = 1, size: int | None = None) -> None:
    """New, expunged and flagged mail; two folders swapped, one recreated, one deleted, one new.

    The spool stays as large as it was, and no rail against deletions is met.
    """
    rng = random.Random(seed)
    samplespool.change(source, new=0.1, expunged=0.1, flags=0.5, seed=seed, size=size)
    swapped, with_it, recreated, deleted = rng.sample(leaves(source)[:-1], 4)
    samplespool.swap(swapped, with_it)
    samplespool.recreate_folder(recreated, count(recreated), rng=rng)
    created = samplespool.create_folder(source, f"user/ann/Folder {seed}", rng=rng)
    samplespool.deliver(created, count(deleted), rng=rng, size=size)
    samplespool.delete_folder(deleted)
