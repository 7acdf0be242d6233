"""A small server with a replica, whose tokens are looked at and forged."""

from __future__ import annotations

import os
from pathlib import Path

import samplespool
from cyrsync.tree import token
from cyrsync.tree.token import Token
from support.servers import SampleServer, below, sync_server
from support.spool import leaves
from support.tree import Entry, assert_same_tree, snapshot


class Pair:
    """A server and its replica."""

    def __init__(self, directory: Path) -> None:
        self.server = SampleServer(directory / "server", messages=30, folder_count=4)
        self.conf = self.server.conf
        self.home = self.server.root / "conf"
        self.roots = (self.server.spool, self.home)
        self.replica = directory / "replica"
        self.replica.mkdir()
        with self.conf.open("a") as conf:
            conf.write(f"sievedir: {self.server.root}/sieve\n")
        self.write("user/j/joe.sub", "user.joe\t\n")
        self.write("quota/j/user.joe", "0\n100\n")

    def write(self, name: str, text: str = "text") -> Path:
        """Write a file of the configdirectory."""
        path = self.home / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text)
        return path

    def sync(self, *words: str | Path, expect: int = 0, to: str | Path | None = None) -> dict[str, list[str]]:
        """Sync with --delete; what was found."""
        return sync_server(self.conf, "--delete", *words, to or self.replica, expect=(expect,))

    def change(self) -> None:
        """New mail, so that there is something to do."""
        samplespool.deliver(leaves(self.server.spool)[0], 1)

    def there(self, path: Path) -> Path:
        return below(self.replica, path)

    def tokens(self, roots: tuple[Path, ...] = ()) -> list[Token | None]:
        """Those of all roots."""
        return [token.read(os.fsencode(self.there(root))) for root in roots or self.roots]

    def forge(self, root: Path, **words: str | int | float) -> None:
        """Change what the token of one root says."""
        place = os.fsencode(self.there(root))
        found = token.read(place)
        assert found
        token.write(place, found._replace(**words))  # type: ignore[arg-type]

    def everything(self) -> dict[bytes, Entry]:
        """All that the replica has, tokens included."""
        return snapshot(self.replica, skip_hidden=False)

    def assert_same(self) -> None:
        """The replica has all that the source has, and no more."""
        for path in (self.server.spool, self.home / "user", self.home / "quota"):
            assert_same_tree(path, self.there(path), dir_mtimes=False)
        assert (self.home / "mailboxes.db").read_bytes() == self.there(self.home / "mailboxes.db").read_bytes()
