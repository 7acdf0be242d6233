"""What goes of the files beside the partitions: only what a look showed to be gone, and with --delete."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

import samplespool
from support.meanwhile import before_part
from support.replicas import Pair
from support.spool import leaves
from support.tree import rsync, run_cyrsync, snapshot

UUID = "user/uuid/a/b/ab"


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """A server with all kinds of files."""
    pair = Pair(tmp_path)
    for name in ("user/a/ann.sub", f"{UUID}/sub.db", f"{UUID}/seen.db", "user_deny.db", "shared.counters", "msg/motd"):
        pair.write(name)
    pair.write("domain/e/example.com/quota/j/user.joe")
    for name in ("j/joe/default.script", "j/joe/default.bc", "a/ann/default.bc"):
        pair.write(pair.sieve / name)
    return pair


def files(pair: Pair) -> dict[bytes, object]:
    """All files on the replica but owner files: path and content."""
    return {path: entry.content for path, entry in snapshot(pair.replica).items() if entry.kind != "directory"}


@pytest.mark.parametrize(
    "name",
    [
        *["user/j/joe.sub", "quota/j/user.joe", "user_deny.db", "shared.counters", "msg/motd", f"{UUID}/seen.db"],
        *["domain/e/example.com/quota/j/user.joe", "../sieve/j/joe/default.bc"],
    ],
)
def test_a_file_that_is_gone_goes_with_delete_alone(synced: Pair, name: str) -> None:
    (synced.home / name).unlink()
    there = synced.there((synced.home / name).resolve())
    before = files(synced)
    report = synced.sync_only()
    assert (report["config"]["delete"], files(synced)) == (0, before)
    report = synced.sync()
    assert (report["config"], report["files"]["deleted"]) == ({"seen": 11, "send": 0, "delete": 1}, 1)
    del before[os.fsencode(there.relative_to(synced.replica))]
    assert files(synced) == before
    assert synced.sync()["config"]["delete"] == 0


def test_the_directory_of_a_deleted_user_goes(synced: Pair) -> None:
    for name in (synced.home / "user/uuid/a", synced.sieve / "j/joe"):
        shutil.rmtree(name)
    assert synced.sync()["config"]["delete"] == 4
    assert not synced.there(synced.home / "user/uuid/a").exists()
    assert synced.there(synced.home / "user/uuid").is_dir()
    assert not synced.there(synced.sieve / "j/joe").exists()
    assert synced.there(synced.sieve / "j").is_dir()
    synced.assert_same()


def test_what_stays_there_is_tried_again(synced: Pair) -> None:
    (synced.home / f"{UUID}/seen.db").unlink()
    there = synced.there(synced.home / f"{UUID}/seen.db")
    there.unlink()
    there.mkdir()
    for _ in range(2):
        assert synced.sync(expect=23)["config"]["delete"] == 1
    there.rmdir()
    there.touch()
    synced.sync()
    assert not there.exists()


def test_what_came_back_in_time_stays(synced: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Of a directory at least."""
    shutil.rmtree(synced.home / UUID)
    synced.change()
    path = synced.home / UUID / "counters.db"

    def comes_back() -> None:
        path.parent.mkdir()
        path.touch()

    before_part(monkeypatch, 0, comes_back)
    synced.there(path).touch()
    synced.sync()
    assert [there.name for there in synced.there(path.parent).iterdir()] == ["counters.db"]


# --- What nobody has seen


def vanish(path: Path) -> None:
    path.rename(path.with_name("away"))


def unmount(path: Path) -> None:
    vanish(path)
    path.mkdir()
    (path / "lost+found").mkdir()


def lead_nowhere(path: Path) -> None:
    vanish(path)
    path.symlink_to("nowhere")


@pytest.mark.parametrize(
    ("name", "happens"),
    [
        *[("conf/user", vanish), ("conf/quota", vanish), ("conf/domain", unmount)],
        *[("sieve", vanish), ("sieve", unmount), ("sieve", lead_nowhere)],
    ],
)
def test_a_tree_that_is_away_stays(synced: Pair, name: str, happens: Callable[[Path], None]) -> None:
    path = synced.server.root / name
    happens(path)
    before = files(synced)
    for _ in range(2):
        (error,) = synced.sync("--max-delete=100%", expect=23)["errors"]
        assert error.startswith(f"{path}: what was in it is not there any more")
        assert files(synced) == before
    path.unlink() if path.is_symlink() else shutil.rmtree(path, ignore_errors=True)
    path.with_name("away").rename(path)
    synced.sync()
    assert files(synced) == before


@pytest.mark.parametrize("where", ["conf/user/j", "conf/user/uuid/a", "sieve/j/joe", "sieve", "conf/domain/e"])
def test_a_directory_that_cannot_be_read_stays(synced: Pair, where: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """Others go."""
    closed = os.fsencode(synced.server.root / where)
    (synced.home / "user_deny.db").unlink()
    scandir = os.scandir

    def refuse(path: bytes) -> object:
        if path == closed:
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    before = files(synced)
    report = synced.sync(expect=23)
    assert report["errors"] == [f"{os.fsdecode(closed)}: Permission denied: it stays as it is on the replica"]
    gone = before.keys() - files(synced).keys()
    assert gone == {os.fsencode(synced.there(synced.home / "user_deny.db").relative_to(synced.replica))}


def test_what_may_not_be_seen_stays(pair: Pair, open_dir: Path) -> None:
    """As from a directory that was closed to the user of cyrsync: not even the names of its files are to be had."""
    with pair.conf.open("a") as conf:
        conf.write(f"zoneinfo_db_path: {open_dir}/zoneinfo.db\n")
    pair.write(open_dir / "zoneinfo.db")
    pair.sync()
    closed = (pair.home / "user/j", pair.home / "user/uuid", open_dir)
    (pair.home / "user_deny.db").unlink()
    before = files(pair)
    modes = [path.stat().st_mode for path in closed]
    try:
        for path in closed:
            path.chmod(0)
        done = run_cyrsync("sync", "-C", pair.conf, "--delete", pair.replica, user=True)
    finally:
        for path, mode in zip(closed, modes, strict=True):
            path.chmod(mode)
    assert (done.returncode, len(done.stderr.splitlines())) == (23, 3), done.stderr
    gone = before.keys() - files(pair).keys()
    assert gone == {os.fsencode(pair.there(pair.home / "user_deny.db").relative_to(pair.replica))}


def test_a_database_whose_disk_is_not_mounted_stays(pair: Pair, tmp_path: Path) -> None:
    """A link leads to one, a path in imapd.conf to the other."""
    with pair.conf.open("a") as conf:
        conf.write(f"zoneinfo_db_path: {tmp_path}/disk/zoneinfo.db\n")
    pair.write(tmp_path / "disk/zoneinfo.db")
    pair.write(tmp_path / "disk/annotations.db")
    (pair.home / "annotations.db").symlink_to(tmp_path / "disk/annotations.db")
    pair.sync()
    before = files(pair)
    (tmp_path / "disk").rename(tmp_path / "away")
    for make in (lambda: None, (tmp_path / "disk").mkdir):
        make()
        errors = pair.sync(expect=23)["errors"]
        assert [error.partition(":")[0] for error in errors] == [f"{pair.home}/annotations.db", f"{tmp_path}/disk"]
        assert files(pair) == before


def test_what_imapd_conf_does_not_name_any_more_stays(synced: Pair, tmp_path: Path) -> None:
    """Nobody looks there: it is not gone."""
    text = synced.conf.read_text()
    synced.conf.write_text(text.replace(f"sievedir: {synced.sieve}", f"sievedir: {tmp_path}/other"))
    before = files(synced)
    for _ in range(2):
        synced.sync("--max-delete=100%")
        assert files(synced) == before
        shutil.rmtree(synced.sieve, ignore_errors=True)


# --- Too much of it


@pytest.fixture
def many(pair: Pair) -> Pair:
    """130 files, 120 of them gone, and something new."""
    for number in range(120):
        pair.write(f"user/m/many{number}.sub")
    pair.sync()
    shutil.rmtree(pair.home / "user/m")
    pair.write("user/j/joe.sub", "new")
    samplespool.deliver(samplespool.create_folder(pair.server.spool, "user/ann/New"), 3)
    pair.server.record()
    return pair


def test_too_much_is_withheld(many: Pair) -> None:
    """All else goes, but mailboxes.db: one that has lost so much may be another server's."""
    database = many.there(many.server.database)
    before, old = files(many), database.read_bytes()
    report = many.sync(expect=25)
    (error,) = report["errors"]
    assert report["withheld"] == 120
    assert "120 of the replica's 133 files beside the partitions to delete; give --max-delete=120 if" in error
    assert before.keys() - files(many).keys() == set()
    assert database.read_bytes() == old
    assert many.there(many.home / "user/j/joe.sub").read_text() == "new"
    many.sync("--max-delete=119", expect=25)
    many.sync("--max-delete=120")
    many.assert_same()


def test_a_limit_is_for_all_together(many: Pair) -> None:
    samplespool.expunge(leaves(many.server.spool)[-1], 1)
    report = many.sync("--max-delete=120", expect=25)
    assert report["withheld"] == 121
    assert len(report["errors"]) == 1
    many.sync("--max-delete=121")
    many.assert_same()


# --- What the replica had before


@pytest.mark.parametrize("words", [("--delete",), ()])
def test_a_first_run_over_a_copy_of_rsyncs(pair: Pair, words: tuple[str, ...]) -> None:
    for root in (*pair.roots, pair.sieve):
        pair.there(root).mkdir(parents=True)
        rsync("-a", f"{root}/", f"{pair.there(root)}/")
    gone = [pair.home / "user_deny.db", pair.home / "shared.counters", pair.sieve / "a/ann", pair.home / "user/a"]
    for path in gone:
        path.unlink() if path.is_file() else shutil.rmtree(path)
    extra = pair.there(pair.home / "user/z/zoe.sub")
    extra.parent.mkdir()
    extra.touch()
    kept = [pair.there(pair.home / name) for name in ("proc/1", "deliver.db", "user/j/.hidden", "user/j/joe.sub.NEW")]
    for path in kept:
        path.parent.mkdir(exist_ok=True)
        path.touch()
    report = pair.sync_only(*words)
    assert report["config"]["delete"] == (5 if words else 0)
    assert all(pair.there(path).exists() != bool(words) for path in gone)
    pair.sync()
    assert not any(path.exists() for path in (*map(pair.there, gone), extra))
    assert all(path.exists() for path in kept)
    kept[-1].unlink()
    pair.assert_same()


@pytest.mark.parametrize("more", [(), ("--full",)])
def test_without_the_configuration(pair: Pair, more: tuple[str, ...]) -> None:
    """Nothing of it is touched, nor forgotten: a run that takes it looks what is there."""
    extra = pair.there(pair.home / "user/z/zoe.sub")
    extra.parent.mkdir(parents=True)
    extra.touch()
    before = snapshot(pair.there(pair.home), skip_hidden=False)
    for _ in range(2):
        report = pair.sync("--no-config", *more)
        assert report["config"] == {"seen": 0, "send": 0, "delete": 0}
        assert snapshot(pair.there(pair.home), skip_hidden=False) == before
        assert not pair.there(pair.sieve).exists()
    assert pair.sync()["warnings"] == []
    assert not extra.exists()
    pair.assert_same()
    (pair.home / "user/j/joe.sub").unlink()
    pair.change()
    pair.sync("--no-config", *more)
    pair.sync()
    pair.assert_same()
