"""A small server with a replica, whose owner files are looked at and forged."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import samplespool
from cyrsync.far import owner_file
from cyrsync.far.owner_file import OwnerFile
from support.inside import sync_server_here
from support.servers import SampleServer, below
from support.spool import leaves
from support.tree import Entry, assert_same_tree, snapshot


class Pair:
    """A server and its replica."""

    def __init__(self, directory: Path) -> None:
        self.server = SampleServer(directory / "server", messages=30, folder_count=4)
        self.conf = self.server.conf
        self.home = self.server.root / "conf"
        self.sieve = self.server.root / "sieve"
        self.roots = (self.server.spool, self.home)
        self.replica = directory / "replica"
        self.replica.mkdir()
        with self.conf.open("a") as conf:
            conf.write(f"sievedir: {self.sieve}\n")
        self.write("user/j/joe.sub", "user.joe\t\n")
        self.write("quota/j/user.joe", "0\n100\n")

    def write(self, name: str | Path, text: str | bytes = "text") -> Path:
        """Write a file of the configdirectory, as most are written: by rename."""
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        fresh = path.with_name(f"{path.name}.NEW")
        fresh.write_bytes(text.encode() if isinstance(text, str) else text)
        fresh.replace(path)
        return path

    def sync(self, *words: str | Path, expect: int = 0, to: str | Path | None = None) -> dict[str, Any]:
        """Sync with --delete, and return the report."""
        return self.sync_only("--delete", *words, expect=expect, to=to)

    def sync_only(self, *words: str | Path, expect: int = 0, to: str | Path | None = None) -> dict[str, Any]:
        """Sync, and return the report."""
        return sync_server_here(self.conf, *words, to or self.replica, expect=(expect,))

    def change(self) -> None:
        """New mail, so that there is something to do."""
        samplespool.deliver(leaves(self.server.spool)[0], 1)

    def there(self, path: Path) -> Path:
        return below(self.replica, path)

    def owner_files(self, roots: tuple[Path, ...] = ()) -> list[OwnerFile | None]:
        """Those of all roots."""
        return [owner_file.read(os.fsencode(self.there(root))) for root in roots or self.roots]

    def forge(self, root: Path, **words: str | int | float) -> None:
        """Change what the owner file of one root says."""
        place = os.fsencode(self.there(root))
        found = owner_file.read(place)
        assert found
        owner_file.write(place, found._replace(**words))  # type: ignore[arg-type]

    def everything(self) -> dict[bytes, Entry]:
        """All that the replica has, owner files included."""
        return snapshot(self.replica, skip_hidden=False)

    def assert_same(self) -> None:
        """The replica has all that the source has, and no more."""
        for path in (self.server.spool, self.home / "user", self.home / "quota", self.home / "domain", self.sieve):
            if path.exists() or self.there(path).exists():
                assert_same_tree(path, self.there(path), dir_mtimes=False)
        assert (self.home / "mailboxes.db").read_bytes() == self.there(self.home / "mailboxes.db").read_bytes()
