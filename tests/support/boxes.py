"""The real servers of tests/data: unpacked, with an imapd.conf that leads to where they are now."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from support.tree import DATA, unpack_spool

#: What of tests/data holds a whole server.
NAMES = sorted(path.name.removeprefix("cyrus-").removesuffix(".tar.xz") for path in DATA.glob("cyrus-*.tar.xz"))


class Box:
    """One server's files, and what was true of it."""

    def __init__(self, name: str, directory: Path) -> None:
        self.root = unpack_spool(name, directory)
        self.truth: dict[str, Any] = json.loads((self.root / "truth.json").read_text())
        self.conf = self.root / "imapd.conf"
        self.conf.write_text(self.conf.read_text().replace(self.truth["root"], str(self.root)))

    @property
    def mailboxes(self) -> list[dict[str, Any]]:
        """Those that have a directory."""
        return [mailbox for mailbox in self.truth["mailboxes"] if not mailbox["tombstone"]]

    def mailbox(self, name: str) -> dict[str, Any]:
        """One mailbox by its internal name."""
        return next(mailbox for mailbox in self.mailboxes if mailbox["name"] == name)
