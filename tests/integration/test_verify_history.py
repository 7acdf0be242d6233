"""`verify --history` proves every state that is kept, and names those that are not what they were."""

from __future__ import annotations

import gzip
import json
import os
import random
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import samplespool
from cyrsync.far.packed import Packer
from support.inside import sync_server_here
from support.kept import STORE, KeepingReplica
from support.servers import SampleServer, below
from support.tree import run_cyrsync, snapshot


class Replica:
    """What `sync --history` keeps of some changes."""

    def __init__(self, root: Path) -> None:
        self.server = SampleServer(root / "server", messages=80, folder_count=6)
        self.top, self.conf = root / "replica", self.server.conf
        self.top.mkdir()
        self.sync()
        rng = random.Random(7)
        folders = self.server.folders()
        for number in range(6):
            samplespool.expunge(folders[number % 3], 2, rng=rng)
            samplespool.deliver(folders[number % 3], 2, rng=rng)
            self.sync()
        self.server.delete(folders[-1])
        self.sync()
        for kept in self.top.rglob(STORE):
            Packer(os.fsencode(kept.parent)).pack()

    def sync(self) -> None:
        sync_server_here(self.server.conf, "--delete", "--history", str(self.top))


@pytest.fixture(scope="module")
def replica(tmp_path_factory: pytest.TempPathFactory) -> Replica:
    return Replica(tmp_path_factory.mktemp("kept"))


def verify(*words: str | Path, expect: int) -> dict[str, Any]:
    done = run_cyrsync("verify", "--history", "--json", *words)
    assert done.returncode == expect, (done.stdout, done.stderr)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def problems(report: dict[str, Any]) -> set[tuple[str, str]]:
    return {(one["kind"], one["folder"]) for one in report["problems"]}


@pytest.mark.parametrize("words", [[], ["--content"]])
def test_all_is_sound(replica: Replica, words: list[str]) -> None:
    before = snapshot(replica.top, skip_hidden=False)
    report = verify(replica.top, "-C", replica.conf, *words, expect=0)
    spool = below(replica.top, replica.server.spool)
    assert report["mailboxes"] == len(list(spool.glob(f"{STORE}/mailboxes/*/*Z"))) == 7
    assert report["messages"] == report["files"] > len(list(spool.glob(f"{STORE}/messages/*/*")))
    assert (report["bytes_read"] > 0) == bool(words)
    assert snapshot(replica.top, skip_hidden=False) == before
    # By where the stores are, too.
    assert verify(replica.top, *words, expect=0)["messages"] == report["messages"]


def test_a_job_stands_for_its_replica(replica: Replica, tmp_path: Path) -> None:
    config = tmp_path / "cyrsync.toml"
    config.write_text(f'[standby]\nsource = "{replica.conf}"\ndestination = "{replica.top}"\n')
    report = verify("@standby", "--config", config, expect=0)
    assert (report["tree"], report["mailboxes"]) == (str(replica.top), 7)
    config.write_text(f'[spool]\nsource = "{replica.server.spool}"\ndestination = "{replica.top}"\n')
    done = run_cyrsync("verify", "@spool", "--history", "--config", config)
    assert done.returncode == 2
    assert "reads the replica of a whole server: run it on the replica's host" in done.stderr


def first(store: Path, pattern: str) -> Path:
    return sorted(store.glob(pattern))[0]


def cut(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-5])


def change(path: Path) -> None:
    data = bytearray(path.read_bytes())
    data[len(data) // 2] ^= 1
    path.write_bytes(data)


def change_a_record(path: Path) -> None:
    data = bytearray(gzip.decompress(path.read_bytes()))
    data[-50] ^= 1
    path.write_bytes(gzip.compress(data))


DAMAGES: dict[str, tuple[str, str, Callable[[Path], None], bool]] = {
    "a message is lost": ("missing", "messages/*/*", Path.unlink, False),
    "a message is cut off": ("size", "messages/*/*", cut, False),
    "a message has changed": ("content", "messages/*/*", change, True),
    "a message is a link": ("size", "messages/*/*", lambda path: (path.unlink(), path.symlink_to("/"))[1], False),
    "an index is cut off": ("index", "mailboxes/*/*/cyrus.index.gz", cut, False),
    "an index has changed": ("index", "mailboxes/*/*/cyrus.index.gz", change_a_record, False),
    "an index is lost": ("unreadable", "mailboxes/*/*/cyrus.index.gz", Path.unlink, False),
    "a header has changed": ("header", "mailboxes/*/*/cyrus.header", change, False),
    "a folder is lost": ("unreadable", "mailboxes/*/*/f*", Path.unlink, False),
}


@pytest.mark.parametrize("damage", DAMAGES)
def test_damages(replica: Replica, tmp_path: Path, damage: str) -> None:
    kind, pattern, do, content = DAMAGES[damage]
    top = tmp_path / "tree"
    shutil.copytree(replica.top, top, symlinks=True)
    store = below(top, replica.server.spool) / STORE
    path = first(store, pattern)
    do(path)
    if content:
        verify(top, "-C", replica.conf, expect=0)
    report = verify(top, "-C", replica.conf, *["--content"] * content, expect=1)
    found = problems(report)
    assert {name for name, _ in found} == {kind}
    if "mailboxes" in pattern:
        assert {folder for _, folder in found} == {str(path.parent)}
    else:
        assert all(one["uids"] for one in report["problems"])
    assert all(one["mailbox"].startswith("user.") for one in report["problems"])


def test_a_version_of_another_file(replica: Replica, tmp_path: Path) -> None:
    top = tmp_path / "tree"
    shutil.copytree(replica.top, top, symlinks=True)
    path = first(below(top, replica.server.root / "conf") / STORE, "files/mailboxes.db.versions/*")
    path.write_bytes(path.read_bytes()[:-1] if path.suffix == ".gz" else b"")
    if path.suffix != ".gz":
        path.unlink()
        path.symlink_to("/etc/passwd")
    report = verify(top, "-C", replica.conf, expect=1)
    assert [one["kind"] for one in report["problems"]] == ["unreadable"]


def test_a_piece_that_lacks(tmp_path: Path) -> None:
    """Every state that it is of is named."""
    server = SampleServer(tmp_path / "server", messages=60, folder_count=2)
    replica = KeepingReplica(server, tmp_path / "replica", pack="pieces")
    replica.sync()
    for _ in range(3):
        samplespool.set_flags(server.folder("user/joe"))
        time.sleep(0.02)
        replica.sync()
    verify(replica.top, "-C", replica.conf, "--content", expect=0)
    lists = list(replica.here(server.spool).glob(f"{STORE}/mailboxes/*/*/cyrus.index.pieces"))
    name = lists[0].read_text().split()[-1]
    (lists[0].parents[1] / "pieces" / name).unlink()
    report = verify(replica.top, "-C", replica.conf, expect=1)
    assert {folder for _, folder in problems(report)} == {
        str(path.parent) for path in lists if name in path.read_text().split()
    }
    done = run_cyrsync("verify", "--history", replica.top, "-C", replica.conf)
    assert done.returncode == 1
    assert done.stderr.startswith(f"cyrsync: user/joe ({lists[0].parents[1]}/2") and f"piece {name}: " in done.stderr


def test_where_it_cannot_be(replica: Replica, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    for code, words in (
        (3, [tmp_path / "empty"]),
        (3, [tmp_path / "none"]),
        (2, []),
        (2, [replica.top, tmp_path / "empty"]),
        (2, ["host:/srv/replica"]),
    ):
        done = run_cyrsync("verify", "--history", *words)
        assert done.returncode == code and done.stderr.count("\n") == 1, done
    assert os.listdir(tmp_path / "empty") == []
