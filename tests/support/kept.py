"""A replica that keeps what it loses, made by a few lines: what a store has on disk, as readers have to expect it."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
import struct
import time
from collections.abc import Iterator
from pathlib import Path

from cyrsync.cyrus.mailbox import header
from support.servers import SampleServer

STORE = ".cyrsync-history"
HEADER_SIZE, RECORD_SIZE = 160, 112


class KeepingReplica:
    """A replica of a made up server below `top`; `pack` tells how indexes are kept: `no`, `gz` or `pieces`."""

    def __init__(self, server: SampleServer, top: Path, *, pack: str = "no") -> None:
        self.server = server
        self.top = top
        self._pack = pack
        self.conf = top.with_name(f"{top.name}.conf")
        self.conf.write_text(server.conf.read_text())

    def here(self, path: Path) -> Path:
        """Where something of the source is on the replica."""
        return Path(f"{self.top}{path}")

    @property
    def stores(self) -> list[Path]:
        """The stores there are."""
        return sorted(self.top.rglob(STORE))

    def sync(self) -> None:
        """Bring the replica up to date, and keep what that takes away."""
        for spool in self.server.spools.values():
            self._sync_root(spool)
        self._sync_file(self.server.database)

    def _sync_root(self, root: Path) -> None:
        replica = self.here(root)
        for folder in sorted({*_folders(root), *_folders(replica)}):
            source, dest = root / folder, replica / folder
            new, old = source / "cyrus.index", dest / "cyrus.index"
            if old.exists() and (not new.exists() or new.read_bytes() != old.read_bytes()):
                self.keep_state(replica, folder)
            gone = self._lost(source, dest)
            dest.mkdir(parents=True, exist_ok=True)
            for path in source.glob("[0-9]*."):
                if path.name in gone or not (dest / path.name).exists():
                    _move_into_pool(replica, dest / path.name)
                    shutil.copy2(path, dest / path.name)
            for name in ("cyrus.cache", "cyrus.header", "cyrus.index"):
                _replace(source / name, dest / name)
            for path in dest.glob("[0-9]*."):
                if not (source / path.name).exists():
                    _move_into_pool(replica, path)
            if not new.exists():
                shutil.rmtree(dest) if not any(one.is_dir() for one in dest.iterdir()) else None

    def _lost(self, source: Path, dest: Path) -> set[str]:
        """Names of messages that are others under the same UID, as the mailbox is another."""
        heads = [folder / "cyrus.header" for folder in (source, dest)]
        if all(head.exists() for head in heads):
            ids = [header.uniqueid(head.read_bytes()) for head in heads]
            if ids[0] != ids[1]:
                return {path.name for path in source.glob("[0-9]*.")}
        return set()

    def keep_state(self, root: Path, folder: Path, suffix: str = "") -> Path:
        """Keep the state of a mailbox."""
        source = root / folder
        uniqueid = header.uniqueid((source / "cyrus.header").read_bytes())
        mailbox = root / STORE / "mailboxes" / uniqueid
        state = mailbox / (since((source / "cyrus.index").stat().st_mtime_ns) + suffix)
        state.mkdir(parents=True, mode=0o700)
        (state / "folder").symlink_to(folder)
        os.link(source / "cyrus.header", state / "cyrus.header")
        index = (source / "cyrus.index").read_bytes()
        if self._pack == "no":
            os.link(source / "cyrus.index", state / "cyrus.index")
        elif self._pack == "gz":
            (state / "cyrus.index.gz").write_bytes(gzip.compress(index))
        else:
            lines = [_piece(mailbox / "pieces", piece) for piece in _pieces(index)]
            (state / "cyrus.index.pieces").write_bytes(b"".join(lines))
        return state

    def keep_gone(self, folder: Path, uids: set[int]) -> Path:
        """Keep records of messages alone, as of a state that is not kept."""
        root = self.here(self.server.spool)
        index = (root / folder / "cyrus.index").read_bytes()
        records = [index[at : at + RECORD_SIZE] for at in range(HEADER_SIZE, len(index), RECORD_SIZE)]
        state = self.keep_state(root, folder, ".gone")
        for path in state.glob("cyrus.index*"):
            path.unlink()
        chosen = [record for record in records if struct.unpack_from(">I", record)[0] in uids]
        (state / "cyrus.index").write_bytes(index[:HEADER_SIZE] + b"".join(chosen))
        return state

    def _sync_file(self, path: Path) -> None:
        replica = self.here(path)
        if replica.exists() and replica.stat().st_mtime_ns != path.stat().st_mtime_ns:
            versions = self.here(self.server.root / "conf") / STORE / "files" / f"{path.name}.versions"
            versions.mkdir(parents=True, exist_ok=True)
            name = since(replica.stat().st_mtime_ns)
            if self._pack == "no":
                os.link(replica, versions / name)
            elif self._pack == "gz":
                (versions / f"{name}.gz").write_bytes(gzip.compress(replica.read_bytes()))
            else:
                lines = [_piece(versions.parent / "pieces.gz", piece) for piece in _pieces(replica.read_bytes())]
                (versions / f"{name}.pieces").write_bytes(b"".join(lines))
        replica.parent.mkdir(parents=True, exist_ok=True)
        _replace(path, replica)


def since(mtime: int) -> str:
    """The name of a state."""
    return time.strftime("%Y%m%dT%H%M%S", time.gmtime(mtime // 10**9)) + f".{mtime % 10**9:09d}Z"


def _folders(root: Path) -> set[Path]:
    found = (path.parent.relative_to(root) for path in root.rglob("cyrus.index"))
    return {path for path in found if path.parts[0] != STORE}


def _replace(source: Path, dest: Path) -> None:
    if not source.exists():
        dest.unlink(missing_ok=True)
        return
    fresh = dest.with_name(f".{dest.name}")
    shutil.copy2(source, fresh)
    fresh.replace(dest)


def _move_into_pool(root: Path, path: Path) -> None:
    if path.exists():
        digest = hashlib.sha1(path.read_bytes()).hexdigest()
        kept = root / STORE / "messages" / digest[:2] / digest
        kept.parent.mkdir(parents=True, exist_ok=True)
        path.replace(kept)


def _pieces(data: bytes) -> Iterator[bytes]:
    for at in range(0, len(data), 1000):
        yield data[at : at + 1000]


def _piece(directory: Path, data: bytes) -> bytes:
    digest = hashlib.sha1(data).hexdigest()
    path = directory / digest[:2] / f"{digest}.gz"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(gzip.compress(data))
    return f"{digest[:2]}/{digest}.gz\n".encode()
