"""A user of a real Cyrus is erased from a history: nothing that is kept has the name any more."""

from __future__ import annotations

import gzip
import json
import os
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cyrsync.cyrus.mailbox import header
from support.imapd import CyrusServer, ok
from support.inside import sync_server_here
from support.tree import run_cyrsync

LAYOUTS = {
    "uniqueid directories": {"mailbox_legacy_dirs": "no", "reverseacls": "yes", "quota_db": "twoskip"},
    "name directories": {"mailbox_legacy_dirs": "yes", "hashimapspool": "yes"},
}
GONE, STAYS = "josephine", "ann"
#: Who was forgotten is recorded, and the pool has messages only.
BESIDE = ("forgotten", "messages")


class Site:
    """A server on which a user shares mailboxes with another one, and the replica that keeps its past."""

    def __init__(self, server: CyrusServer, top: Path) -> None:
        self.server, self.top, self.number = server, top, 0
        self.conf = server.root / "imapd.conf"
        top.mkdir()
        for user in (GONE, STAYS):
            server.create_user(user, quota=10000)
        for user, other in ((GONE, STAYS), (STAYS, GONE)):
            with server.login(user) as imap:
                for folder in ("INBOX.Shared", "INBOX.Own", "INBOX.Given"):
                    ok(imap.create(folder))
                ok(imap.setacl("INBOX.Shared", other, "lrswipkxtecdan"))
                ok(imap.setacl("INBOX.Own", f"-{other}", "x"))
                ok(imap.setacl("INBOX.Shared", "anyone", "l"))
        self.change()

    def change(self) -> None:
        """Give each mailbox another state."""
        self.number += 1
        for user, other in ((GONE, STAYS), (STAYS, GONE)):
            self.server.deliver(f"Subject: {self.number}\r\n\r\nonly for {user}\r\n".encode(), user)
            with self.server.login(user) as imap:
                ok(imap.select("INBOX"))
                ok(imap.uid("COPY", "1:*", "INBOX.Shared"))
                folder = f"user.{other}.Shared"
                if user == STAYS and self.number > 4:
                    ok(imap.uid("COPY", "1:*", "INBOX.WasGiven"))
                (imap.unsubscribe if self.number % 2 else imap.subscribe)(folder)
                ok(imap.select(folder))
                if self.number > 2 or user == GONE:  # at first the annotations are of one user alone
                    ok(imap.select(f"user.{STAYS}.Shared"))
                    ok(imap.uid("STORE", "1:*", "ANNOTATION", f'(/comment (value.priv "{self.number}"))'))
                ok(imap.xatom("SETMETADATA", folder, f'(/private/comment "{self.number}")'))
        self.sync()

    def sync(self) -> None:
        sync_server_here(self.conf, "--delete", "--max-delete", "100%", "--history", self.top)

    def delete(self, user: str) -> None:
        with self.server.admin() as imap:
            ok(imap.setacl(f"user.{user}", "cyrus", "lrswipkxtecdan"))
            ok(imap.delete(f"user.{user}"))
        with self.server.login(STAYS) as imap:
            ok(imap.deleteacl("INBOX.Shared", user))
            ok(imap.deleteacl("INBOX.Shared", f"-{user}"))
        self.server.tool("cyr_expire", "-E", "1", "-X", "0", "-D", "0")
        self.sync()

    def give(self, folder: str) -> None:
        """Let a mailbox change hands."""
        with self.server.admin() as imap:
            ok(imap.rename(f"user.{GONE}.{folder}", f"user.{STAYS}.Was{folder}"))
            ok(imap.setacl(f"user.{STAYS}.Was{folder}", STAYS, "lrswipkxtecdan"))
        self.sync()

    def run(self, command: str, *words: str, expect: int = 0) -> Any:
        done = run_cyrsync(command, *words, "-C", self.conf, "--json", self.top)
        assert done.returncode == expect, done
        return json.loads(done.stdout)

    def acls(self) -> list[dict[bytes, bytes]]:
        """The rights that the kept headers of the other user's mailboxes give, of each state."""
        paths = sorted(self.top.rglob(".cyrsync-history/mailboxes/*/*/cyrus.header"))
        headers = [header.read(path.read_bytes()) for path in paths]
        return [dict(one.acl) for one in headers if one.name and one.name.startswith(f"user.{STAYS}".encode())]

    def where(self, name: str) -> list[str]:
        """What the stores have this in: paths, links, and contents, unpacked."""
        wanted = name.encode()
        return sorted({str(path) for path, data in self._all() if wanted in data})

    def _all(self) -> Iterator[tuple[Path, bytes]]:
        for store in self.top.rglob(".cyrsync-history"):
            for path in store.rglob("*"):
                short = path.relative_to(store)
                if short.parts[0] in BESIDE:
                    continue
                yield short, bytes(short)
                if path.is_symlink():
                    yield short, os.fsencode(path.readlink())
                elif path.is_file():
                    data = path.read_bytes()
                    yield short, gzip.decompress(data) if path.suffix == ".gz" else data


@pytest.mark.parametrize("packed", [True, False], ids=["packed", "as kept"])
@pytest.mark.parametrize("layout", LAYOUTS)
def test_nothing_that_is_kept_has_the_name(
    cyrus_server: Callable[..., CyrusServer], open_dir: Path, layout: str, packed: bool
) -> None:
    site = Site(cyrus_server("primary", **LAYOUTS[layout]), open_dir / "replica")
    for _ in range(3):
        site.change()
    site.give("Given")
    site.change()
    site.delete(GONE)
    if packed:
        site.run("prune")
    had = site.where(GONE)
    assert {"cyrus.header", "cyrus.annotations"} < {Path(path).name for path in had}
    others = site.acls()
    report = site.run("forget", GONE, "--yes")
    assert (report["errors"], report["warnings"], site.where(GONE)) == ([], [], [])
    # The rights of others are as they were, headers fit their indexes, and Cyrus can read what was rewritten.
    assert site.acls() == [{who: rights for who, rights in acl.items() if GONE.encode() not in who} for acl in others]
    done = run_cyrsync("verify", "--history", site.top, "-C", site.conf, "--content")
    assert (done.returncode, done.stderr) == (0, "")
    rewritten = list(site.top.rglob(".cyrsync-history/mailboxes/*/*/cyrus.annotations"))
    assert rewritten
    for path in rewritten:
        site.server.assert_converts(path.read_bytes())
    assert site.run("forget", GONE, "--yes")["rewritten"] == 0
