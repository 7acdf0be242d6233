"""A made-up server and its replica, synced in the process of the tests."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

from support.inside import sync_server_here
from support.servers import SampleServer, assert_sound, below
from support.sshd import Sshd
from support.tree import assert_same_tree

PAUSE = 0.03  # seconds after which a file has rested


class Pair:
    """A server whose replica is up to date, over ssh if it has an sshd; each run is given `always`."""

    def __init__(self, directory: Path, sshd: Sshd | None = None, *always: str) -> None:
        self.server = SampleServer(directory / "server")
        self.replica = directory / "replica"
        self.replica.mkdir()
        self.words: tuple[str, ...] = ("-e", sshd.rsh, sshd.at(self.replica)) if sshd else (str(self.replica),)
        self.always = always
        self.folders = self.server.folders()
        self.sync()
        assert self.sync()["files"]["planned"] == 0

    def sync(self, *words: str, delete: bool = True, expect: int = 0) -> dict[str, Any]:
        """Sync, and return the report."""
        time.sleep(PAUSE)
        deleting = ("--delete",) if delete else ()
        report = sync_server_here(self.server.conf, *deleting, *self.always, *words, *self.words, expect=(expect,))
        assert report["rsync_runs"] == 0
        return report

    def there(self, folder: Path) -> Path:
        return below(self.replica, folder)

    def assert_same(self) -> None:
        """The replica is what it should be, and the state knows."""
        assert_same_tree(self.server.spool, self.there(self.server.spool))
        assert_sound(self.server.conf, self.replica)
        report = self.sync()
        assert (report["folders"]["changed"], report["files"]["planned"], report["warnings"]) == (0, 0, [])
