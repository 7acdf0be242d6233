"""`restore` and `history` of a replica that keeps what it loses."""

from __future__ import annotations

import json
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

import samplespool
from cyrsync.history import moment
from support.kept import STORE, KeepingReplica
from support.servers import SampleServer
from support.tree import run_cyrsync, snapshot

TICK = 0.02


def restore(*words: str | Path, expect: int = 0) -> dict[str, Any]:
    done = run_cyrsync("restore", "--json", *words)
    assert done.returncode == expect, (done.stdout, done.stderr)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def now() -> str:
    """This moment, to the nanosecond, as --as-of takes it; what is done next is later."""
    text = moment.iso(time.time_ns())
    assert text
    time.sleep(TICK)
    return text


class Past:
    """A replica of a server on which things happened, and when."""

    def __init__(self, root: Path) -> None:
        self.server = SampleServer(root / "server", messages=60, folder_count=4)
        self.replica = KeepingReplica(self.server, root / "replica", pack="gz")
        self.top, self.conf = self.replica.top, self.replica.conf
        self.joe = self.server.folder("user/joe")
        self.replica.sync()
        time.sleep(TICK)
        self.first = now()
        self.had = self.mails(self.joe)
        samplespool.expunge(self.joe, 3)
        self.step()
        self.second = now()
        self.sent = self.mails(self.server.folder("user/joe/Sent"))
        samplespool.delete_folder(self.server.folder("user/joe/Sent"))
        self.server.record()
        self.step()

    def step(self) -> None:
        time.sleep(TICK)
        self.replica.sync()

    @staticmethod
    def mails(folder: Path) -> set[bytes]:
        return {path.read_bytes() for path in folder.glob("[0-9]*.")}


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Past:
    return Past(tmp_path_factory.mktemp("past"))


def restored(folder: Path) -> set[bytes]:
    return {path.read_bytes() for path in (folder / "cur").iterdir()}


def test_a_user_as_of_a_time(past: Past, tmp_path: Path) -> None:
    before = snapshot(past.top, skip_hidden=False)
    report = restore(past.top, "-C", past.conf, "--user", "joe", "--as-of", past.first, "--to", tmp_path / "mail")
    assert restored(tmp_path / "mail") == past.had and restored(tmp_path / "mail" / ".Sent") == past.sent
    assert report["errors"] == report["warnings"] == []
    assert snapshot(past.top, skip_hidden=False) == before


def test_a_folder_that_is_gone(past: Past, tmp_path: Path) -> None:
    restore(past.top, "-C", past.conf, "user/joe/Sent", "--as-of", past.second, "--to", tmp_path / "mail")
    assert restored(tmp_path / "mail") == past.sent
    done = run_cyrsync("restore", past.top, "-C", past.conf, "user/joe/Sent", "--as-of", "now", "-n")
    assert done.returncode == 3
    assert done.stderr.startswith("cyrsync: user/joe/Sent: no such mailbox as of 20")


def test_the_directory_as_it_was(past: Past, tmp_path: Path) -> None:
    words = ("user/joe", "--as-of", past.first, "--as", "cyrus", "--to", tmp_path / "mail")
    restore(past.top, "-C", past.conf, *words)
    done = run_cyrsync("verify", tmp_path / "mail", "--content")
    assert (done.returncode, done.stderr) == (0, "")
    assert {path.read_bytes() for path in (tmp_path / "mail").glob("[0-9]*.")} == past.had


def test_which_state_it_is(past: Past) -> None:
    report = restore(past.top, "-C", past.conf, "--user", "joe", "--as-of", past.second, "-n")
    found = {one["mailbox"]: one["since"] for one in report["mailboxes"]}
    assert found.keys() >= {"user/joe", "user/joe/Sent"}
    assert past.first < found["user/joe"] < past.second
    done = run_cyrsync("restore", past.top, "-C", past.conf, "--user", "joe", "--as-of", past.second, "-n")
    assert "As of" in done.stdout and moment.shown(moment.parse(found["user/joe"], time.time_ns())) in done.stdout


def test_a_time_before_all(past: Past, tmp_path: Path) -> None:
    words = ("--as-of", "2001-01-01", "--to", tmp_path / "mail")
    done = run_cyrsync("restore", past.top, "-C", past.conf, "--user", "joe", *words)
    assert done.returncode == 23
    assert (
        "user/joe: nothing is known of it as of 2001-01-01 00:00:00: the earliest that is kept is of 20" in done.stderr
    )


@pytest.mark.parametrize("text", ["soonish", "2062-01-01"])
def test_a_wrong_time(past: Past, tmp_path: Path, text: str) -> None:
    done = run_cyrsync(
        "restore", past.top, "-C", past.conf, "--user", "joe", "--as-of", text, "--to", tmp_path / "mail"
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert not (tmp_path / "mail").exists()


def test_a_replica_that_keeps_nothing(past: Past, tmp_path: Path) -> None:
    shutil.copytree(past.top, tmp_path / "tree", ignore=shutil.ignore_patterns(STORE))
    done = run_cyrsync("restore", tmp_path / "tree", "-C", past.conf, "--as-of", "now", "-n")
    assert done.returncode == 3 and "no history is kept in it" in done.stderr


def test_a_message_of_the_pool_that_is_damaged(past: Past, tmp_path: Path) -> None:
    top = tmp_path / "tree"
    shutil.copytree(past.top, top, symlinks=True)
    path = next(Path(f"{top}{past.server.spool}").glob(f"{STORE}/messages/*/*"))
    path.write_bytes(os.urandom(path.stat().st_size))
    words = (top, "-C", past.conf, "--user", "joe", "--as-of", past.first, "--to", tmp_path / "mail")
    report = restore(*words, expect=23)
    assert len(report["errors"]) == 1 and report["errors"][0].endswith("its SHA-1 is not its GUID")
