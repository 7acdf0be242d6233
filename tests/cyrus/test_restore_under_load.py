"""Folders are restored into a real Cyrus that is busy, from the history of its replica; the watcher replicates them."""

from __future__ import annotations

import json
import re
import time
from pathlib import Path
from typing import Any

import pytest

from cyrsync.history import moment
from support.campaign import amount
from support.imapd import dump, ok
from support.inside import run_here
from support.load import USERS, under_load
from support.watched import NAME, UNIQUEID, Box, mail, user
from support.watcher import watching

#: Messages that are restored, and how many clients are at work.
MESSAGES, CLIENTS = amount(300, long=10_000), amount(3, long=10)
PASSWORD = {"CYRSYNC_PASSWORD": "any"}
LAYOUTS = [
    pytest.param(NAME, id="name directories"),
    pytest.param(UNIQUEID, id="uniqueid directories", marks=pytest.mark.long),
]


@pytest.mark.parametrize("box", LAYOUTS, indirect=True)
def test_what_is_restored_into_a_busy_server_is_replicated(box: Box, tmp_path: Path) -> None:
    name = user(box, "joe")
    with box.server.login(name) as imap:
        for folder in ("INBOX.Plans", "INBOX.Plans.Deep"):
            ok(imap.create(folder))
        for number in range(MESSAGES):
            folder = "INBOX.Plans" if number % 10 else "INBOX.Plans.Deep"
            ok(imap.append(folder, ("", "\\Seen", "$Plans")[number % 3], None, mail(f"{name}-{number}")))
        ok(imap.select("INBOX.Plans"))
        ok(imap.uid("STORE", "2:4", "+FLAGS", "(\\Deleted)"))
        ok(imap.expunge())
    before = seen_of(box, name)
    words = ["--delete", "--max-delete", "1000000", "--history"]
    url = f"imap://cyrus@127.0.0.1:{box.server.port}"
    with watching(box.conf, *words, box.replica, said=tmp_path / "said") as watcher:
        with under_load(box.server, 1, expire=True, users=USERS[:CLIENTS]) as clients:
            when = moment.iso(time.time_ns()) or ""
            with box.server.login(name) as imap:
                for folder in ("INBOX.Plans.Deep", "INBOX.Plans"):
                    ok(imap.delete(folder))
            watcher.wait(lambda: not box.is_there(f"{name}-1"), name="the folders to be deleted on the replica")
            done = [client.done for client in clients]
            what = ["--user", name, "--as-of", when, "-C", box.conf, "--into", url, "--json"]
            restored = run_here("restore", box.replica, *what, env=PASSWORD)
            assert (restored.exit_code, restored.stderr) == (0, ""), restored
            assert {
                one["mailbox"]: (one["how"], one["restored"]) for one in json.loads(restored.stdout)["mailboxes"]
            } == {
                f"user/{name}": ("left as it is", 0),
                f"user/{name}/Plans": ("made again", MESSAGES - MESSAGES // 10 - 3),
                f"user/{name}/Plans/Deep": ("made again", MESSAGES // 10),
            }
            assert all(client.done > number for client, number in zip(clients, done, strict=True))
        assert seen_of(box, name) == before
        watcher.wait(box.is_equal, name="what was restored to be replicated")
        assert watcher.stop() == 0
    proved = run_here("verify", "--history", box.replica, "-C", box.conf, "--content")
    assert (proved.exit_code, proved.stderr) == (0, "")


def seen_of(box: Box, name: str) -> dict[str, Any]:
    """What a user sees, but for HIGHESTMODSEQ: that is higher where the folder had another name before it was gone."""
    found = dump(box.server, [name])[name]
    for folder, one in found.items():
        if folder != "subscriptions":
            one["STATUS"] = re.sub(r" HIGHESTMODSEQ [0-9]+", "", str(one["STATUS"]))
    return found
