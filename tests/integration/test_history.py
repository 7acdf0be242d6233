"""`cyrsync history` shows what real servers had in their mailboxes, and what of it was removed."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.boxes import NAMES, Box
from support.tree import run_cyrsync, snapshot


def history(*words: str | Path, expect: int = 0, errors: str = "") -> list[dict[str, Any]]:
    done = run_cyrsync("history", "--json", *words)
    assert (done.returncode, done.stderr) == (expect, errors), done
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box("3.4.9-plain", tmp_path)


def in_state(mailbox: dict[str, Any], *states: str) -> set[int]:
    return {message["uid"] for message in mailbox["messages"] if message["state"] in states}


@pytest.mark.parametrize("name", NAMES)
def test_mailboxes_of_real_servers(tmp_path: Path, name: str) -> None:
    box = Box(name, tmp_path)
    before = snapshot(box.root)
    found = {one["mailbox"]: one for one in history(box.root, "-C", box.conf)}
    assert found.keys() == {mailbox["name"] for mailbox in box.mailboxes}
    for mailbox in box.mailboxes:
        one = found[mailbox["name"]]
        assert (one["messages"], one["expunged"]) == (mailbox["n_visible"], len(in_state(mailbox, "expunged")))
        assert (one["deleted"], one["uniqueid"]) == (mailbox["deleted"], mailbox["uniqueid"])
        assert (one["removed"] is not None) == (one["former_name"] is not None) == mailbox["deleted"]
    assert [one["deleted"] for one in found.values()] == sorted(one["deleted"] for one in found.values())
    assert snapshot(box.root) == before


def test_messages_of_a_mailbox(box: Box) -> None:
    for words, states in (((), ("visible", "expunged")), (("--deleted",), ("expunged",))):
        found = history(box.root, "user/joe", *words)
        assert {one["uid"] for one in found} == in_state(box.mailbox("user.joe"), *states)
        for one in found:
            assert (
                one["expunged"]
                == (one["removed"] is not None)
                == (one["uid"] in in_state(box.mailbox("user.joe"), "expunged"))
            )


def test_what_was_removed(box: Box) -> None:
    found = history(box.root, "--user", "joe", "--deleted")
    mailboxes = [one for one in found if "uid" not in one]
    assert [one["name"] for one in mailboxes] == ["DELETED/user/joe/Drop/6B039BC5", "DELETED/user/joe/Redo/6B039BC6"]
    assert [one["former_name"] for one in mailboxes] == ["user.joe.Drop", "user.joe.Redo"]
    assert [one["removed"] for one in mailboxes] == ["2026-11-23T01:49:57+00:00", "2026-11-23T01:49:58+00:00"]
    messages = {(one["mailbox"], one["uid"]) for one in found if "uid" in one}
    assert messages == {
        (mailbox["name"], uid)
        for mailbox in box.mailboxes
        if mailbox["name"].startswith("user.joe")
        for uid in in_state(mailbox, "expunged")
    }


@pytest.mark.parametrize("cache", ["whole", "lost", "of another index", "cut off", "nonsense"])
def test_finding_messages(box: Box, cache: str) -> None:
    """By the cache, or by the messages themselves where there is none, or one that cannot be right."""
    for path in box.root.rglob("cyrus.cache"):
        data = path.read_bytes()
        if cache == "lost":
            path.unlink()
        elif cache == "of another index":
            path.write_bytes(b"\xff" * 4 + data[4:][::-1])
        elif cache == "cut off":
            path.write_bytes(data[:100])
        elif cache == "nonsense":
            path.write_bytes(data[:4] + b"\0\0\0\x20()" * (len(data) // 6))
    everything = history(box.root, "--message", "")
    assert len(everything) == sum(len(in_state(mailbox, "visible", "expunged")) for mailbox in box.mailboxes)
    (one,) = history(box.root, "--user", "joe", "--message", "a499736@EXAMPLE.com")
    assert (one["mailbox"], one["uid"], one["subject"]) == ("user.joe.Sent", 1, "n974259457")
    (by_subject,) = history(box.root, "--message", "N974259457")
    (by_id,) = history(box.root, "--message", one["message_id"])
    assert by_subject == by_id == one
    assert history(box.root, "--message", "n974259457", "--user", "ann") == []
    removed = history(box.root, "--message", "", "--deleted")
    assert all(one["removed"] for one in removed) and len(removed) == sum(
        len(in_state(mailbox, "visible", "expunged") if mailbox["deleted"] else in_state(mailbox, "expunged"))
        for mailbox in box.mailboxes
    )


def test_a_mailbox_that_cannot_be_read(box: Box) -> None:
    index = box.root / box.mailbox("user.joe.Sent")["datadir"] / "cyrus.index"
    index.write_bytes(index.read_bytes()[:-1])
    errors = f"cyrsync: user/joe/Sent: {index.parent}: byte {index.stat().st_size}: torn: 11 records need "
    done = run_cyrsync("history", box.root, "--json", "--deleted")
    assert done.returncode == 23 and done.stderr.startswith(errors) and done.stderr.count("\n") == 1
    assert '"user.joe.Purged"' in done.stdout


def test_tables_are_safe_to_look_at(box: Box) -> None:
    """Whoever sent the message chose its subject."""
    directory = box.root / box.mailbox("user.joe.Sent")["datadir"]
    (directory / "cyrus.cache").unlink()
    text = "From: \x1b]0;x\x07 <a@b>\r\nSubject: =?utf-8?q?=1B[2J=E2=80=AE?= [red]x[/red]" + "y" * 999 + "\r\n\r\n"
    (directory / "4.").write_bytes(text.encode())
    shown = run_cyrsync("history", box.root, "user/joe/Sent").stdout
    assert "\x1b" not in shown and "\u202e" not in shown
    assert r"\x1b[2J\u202e [red]x[/red]yyy" in shown and "y" * 60 not in shown


def test_nothing_found(box: Box) -> None:
    done = run_cyrsync("history", box.root, "--message", "nobody wrote this")
    assert (done.returncode, done.stdout, done.stderr) == (0, "Nothing was found.\n", "")


def test_a_mailbox_and_a_user(box: Box) -> None:
    done = run_cyrsync("history", box.root, "user/joe", "--user", "joe")
    assert (done.returncode, done.stderr) == (2, "cyrsync: give either MAILBOX or --user\n")


def test_no_such_mailbox(box: Box) -> None:
    done = run_cyrsync("history", box.root, "user/none")
    assert (done.returncode, done.stderr) == (3, "cyrsync: user/none: no such mailbox\n")
