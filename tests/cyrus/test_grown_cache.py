"""A cache of a real Cyrus only grows, until it is made anew: of one that has grown, the replica gets the end."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path

from cyrsync.cyrus.server import config
from cyrsync.cyrus.server.server import located
from support.imapd import CyrusServer, ok
from support.inside import sync_server_here
from support.servers import assert_sound, below
from support.tree import assert_same_tree

MAIL = b"Subject: a mail\r\nX-Long: " + b"word " * 100 + b"\r\n\r\nsmall\r\n"


def test_a_cache_grows_and_is_made_anew(cyrus_server: Callable[..., CyrusServer], open_dir: Path) -> None:
    server = cyrus_server("server", expunge_mode="delayed")
    conf, replica = server.root / "imapd.conf", open_dir / "replica"
    replica.mkdir()
    server.create_user("joe")
    with server.login("joe") as imap:
        for _ in range(60):
            ok(imap.append("INBOX", "", "", MAIL))
    (place,) = [one for one in located(config.read(str(conf))) if one.mailbox.name.endswith(b"user.joe")]
    cache = Path(os.fsdecode(place.data)) / "cyrus.cache"

    def sync(last: bytes) -> int:
        time.sleep(0.1)
        report = sync_server_here(conf, "--delete", replica)
        assert below(replica, cache).read_bytes()[-len(last) :] == last
        assert_same_tree(server.spool, below(replica, server.spool))
        assert_sound(conf, replica)
        sent: int = report["bytes_sent"]
        return sent

    sync(cache.read_bytes())
    before = cache.read_bytes()
    with server.login("joe") as imap:
        ok(imap.append("INBOX", "", "", MAIL))
        ok(imap.select("INBOX"))
        ok(imap.store("1:30", "+FLAGS", "(\\Deleted)"))
        ok(imap.expunge())
    grown = cache.read_bytes()
    assert grown.startswith(before) and len(grown) > len(before)
    assert sync(grown) < len(before)
    server.tool("cyr_expire", "-E", "1", "-X", "0", "-D", "0")
    with server.login("joe") as imap:
        for _ in range(40):
            ok(imap.append("INBOX", "", "", MAIL))
    anew = cache.read_bytes()
    assert anew[:4] != grown[:4] and len(anew) > len(grown)  # another generation
    assert sync(anew) > len(anew)
