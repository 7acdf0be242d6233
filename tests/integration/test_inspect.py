"""`cyrsync inspect` says of real servers' mailboxes what those servers said."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from support.boxes import NAMES, Box
from support.tree import run_cyrsync


def inspect(*words: str | Path) -> list[dict[str, Any]]:
    done = run_cyrsync("inspect", "--json", *words)
    assert (done.returncode, done.stderr) == (0, ""), done
    return [json.loads(line) for line in done.stdout.splitlines()]


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box("3.6.1-rich", tmp_path)


@pytest.mark.parametrize("name", NAMES)
def test_real_servers(tmp_path: Path, name: str) -> None:
    box = Box(name, tmp_path)
    found = {one["mailbox"]: one for one in inspect("-C", box.conf, "--messages")}
    assert found.keys() == {mailbox["name"] for mailbox in box.mailboxes}
    for mailbox in box.mailboxes:
        one = found[mailbox["name"]]
        for key, value in {
            "partition": mailbox["partition"],
            "data_dir": str(box.root / mailbox["datadir"]),
            "meta_dir": str(box.root / (mailbox["metadir"] or mailbox["datadir"])),
            "uniqueid": mailbox["uniqueid"],
            "uidvalidity": mailbox["uidvalidity"],
            "exists": mailbox["n_visible"],
            "deleted": mailbox["deleted"],
        }.items():
            assert one[key] == value, (mailbox["name"], key)
        indexed = {m["uid"]: m for m in mailbox["messages"] if m["state"] != "orphan"}
        shown = {m["uid"]: m for m in one["messages"] if not m["unlinked"]}
        assert shown.keys() == {uid for uid, m in indexed.items() if m["state"] != "unlinked"}
        for uid, message in shown.items():
            true = indexed[uid]
            assert message["size"] == true["size"]
            assert message["guid"] in (true["sha1"], None)
            assert message["expunged"] == (true["state"] == "expunged")
        assert one["bytes"] == sum(m["size"] for m in mailbox["messages"] if m["state"] == "visible")


@pytest.mark.parametrize("by", ["name", "data_dir", "uniqueid", "admin_name"])
def test_one_mailbox(box: Box, by: str) -> None:
    mailbox = box.mailbox("example.com!user.joe.Sent")
    given = str(box.root / mailbox["datadir"]) if by == "data_dir" else mailbox[by]
    (one,) = inspect("-C", box.conf, given)
    assert one["mailbox"] == mailbox["name"]


def test_a_folder_needs_no_configuration(tmp_path: Path) -> None:
    box = Box("3.4.9-plain", tmp_path)
    mailbox = box.mailbox("user.joe.Sent")
    (one,) = inspect(box.root / mailbox["datadir"])
    assert (one["uniqueid"], one["exists"], one["partition"]) == (mailbox["uniqueid"], mailbox["n_visible"], None)


def test_for_people(box: Box) -> None:
    every = run_cyrsync("inspect", "-C", box.conf, env={"COLUMNS": "200"})
    assert (every.returncode, every.stderr) == (0, "")
    assert all(mailbox["name"] in every.stdout for mailbox in box.mailboxes)
    mailbox = box.mailbox("example.com!user.joe.Sent")
    one = run_cyrsync("inspect", "-C", box.conf, mailbox["name"], "--messages", env={"COLUMNS": "200"})
    assert mailbox["uniqueid"] in one.stdout
    assert all(m["sha1"] in one.stdout for m in mailbox["messages"] if m["state"] == "visible")


def test_damaged_mailboxes_are_named(box: Box) -> None:
    mailbox = box.mailbox("example.com!user.joe.Sent")
    (box.root / mailbox["metadir"] / "cyrus.index").write_bytes(b"junk")
    done = run_cyrsync("inspect", "-C", box.conf, "--json")
    assert done.returncode == 23
    assert "example.com!user.joe.Sent: cyrus.index: byte" in done.stderr
    assert len(done.stdout.splitlines()) == len(box.mailboxes)


@pytest.mark.parametrize(
    ("words", "said"),
    [(("nobody",), "no such mailbox"), (("-C", "/nonexistent"), "/nonexistent")],
)
def test_what_there_is_not(box: Box, words: tuple[str, ...], said: str) -> None:
    given = words if "-C" in words else ("-C", str(box.conf), *words)
    done = run_cyrsync("inspect", *given)
    assert (done.returncode, said in done.stderr) == (3, True), done
