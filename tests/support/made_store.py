"""Stores of kept states, made as they are described, beside a spool that stands for a replica's root."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import time
from pathlib import Path

import samplespool
from cyrsync.cyrus.mailbox import header, records

SECOND = 10**9
DAY = 86400 * SECOND


def since(when: int) -> str:
    """The name of a state that has been so since a time, in nanoseconds since 1970."""
    seconds, rest = divmod(when, SECOND)
    return time.strftime("%Y%m%dT%H%M%S", time.gmtime(seconds)) + f".{rest:09d}Z"


def ago(days: float) -> int:
    return time.time_ns() - int(days * DAY)


def in_pieces(data: bytes, pieces: Path, size: int = 1000) -> str:
    """Put data into a directory of pieces, and return the list of them."""
    lines = []
    for at in range(0, len(data), size):
        piece = data[at : at + size]
        digest = hashlib.sha1(piece).hexdigest()
        place = pieces / digest[:2] / f"{digest}.gz"
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(gzip.compress(piece, mtime=0))
        lines.append(f"{digest[:2]}/{digest}.gz\n")
    return "".join(lines)


class MadeStore:
    """The store below one root."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.store = root / ".cyrsync-history"
        self.store.mkdir(mode=0o700, parents=True, exist_ok=True)

    def mailbox(self, folder: Path) -> Path:
        """Where the states of a mailbox are."""
        return self.store / "mailboxes" / header.uniqueid((folder / "cyrus.header").read_bytes())

    def keep(self, folder: Path, when: int, *, packed: str = "", gone: tuple[int, ...] | None = None) -> Path:
        """Keep the state that a mailbox is in, or of it only records of some messages that came and went."""
        state = self.mailbox(folder) / (since(when) + (".gone" if gone is not None else ""))
        state.mkdir(parents=True)
        (state / "folder").symlink_to(folder.relative_to(self.root))
        shutil.copyfile(folder / "cyrus.header", state / "cyrus.header")
        data = (folder / "cyrus.index").read_bytes()
        if gone is not None:
            index = records.read(data)
            start, size = index.header.start_offset, index.header.record_size
            wanted = [data[start + at * size :][:size] for at, uid in enumerate(index.uids) if uid in gone]
            data = data[:start] + b"".join(wanted)
        if packed == "gz":
            (state / "cyrus.index.gz").write_bytes(gzip.compress(data))
        elif packed == "pieces":
            (state / "cyrus.index.pieces").write_text(in_pieces(data, state.parent / "pieces"))
        else:
            (state / "cyrus.index").write_bytes(data)
        return state

    def expunge(self, folder: Path, count: int) -> dict[int, Path]:
        """Expunge messages, and return where they are in the pool, by UID."""
        before = {path: path.read_bytes() for path in folder.glob("[1-9]*.")}
        samplespool.expunge(folder, count)
        return {int(path.name[:-1]): self.put(data) for path, data in before.items() if not path.exists()}

    def put(self, data: bytes) -> Path:
        """Put a message into the pool."""
        place = self.pooled(data)
        place.parent.mkdir(parents=True, exist_ok=True)
        place.write_bytes(data)
        return place

    def pooled(self, data: bytes) -> Path:
        digest = hashlib.sha1(data).hexdigest()
        return self.store / "messages" / digest[:2] / digest

    def version(self, path: str, when: int, data: bytes = b"text", *, packed: str = "") -> Path:
        """Keep a version of another file."""
        place = self.store / "files" / f"{path}.versions" / since(when)
        place.parent.mkdir(parents=True, exist_ok=True)
        if packed == "pieces":
            place = place.with_name(f"{place.name}.pieces")
            place.write_text(in_pieces(data, self.store / "files" / "pieces.gz"))
        elif packed == "gz":
            place = place.with_name(f"{place.name}.gz")
            place.write_bytes(gzip.compress(data))
        else:
            place.write_bytes(data)
        return place

    def states(self, folder: Path) -> list[str]:
        """The names of the states of a mailbox, hidden ones too."""
        return sorted(os.listdir(self.mailbox(folder))) if self.mailbox(folder).exists() else []

    def pool(self) -> list[str]:
        return sorted(path.name for path in self.store.glob("messages/*/*"))
