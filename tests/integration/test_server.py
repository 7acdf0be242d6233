"""`cyrsync sync -C`: a whole server by its indexes, and never more than has to be looked at."""

from __future__ import annotations

import errno
import os
import random
import shutil
import sqlite3
import struct
import subprocess
import sys
import time
import zlib
from collections import Counter
from collections.abc import Callable
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

import sampleindex
import samplespool
from cyrsync.far.remove import Removal, Remover
from cyrsync.server import sender
from support import warm
from support.boxes import NAMES, Box
from support.inside import sync_server_here
from support.meanwhile import before_part
from support.servers import SampleServer, assert_sound, below, problems, replica_conf, roots, sync_server
from support.spool import count, leaves
from support.sshd import Sshd
from support.strace import strace_calls
from support.tools import wait_for
from support.tree import (
    assert_same_tree,
    cyrsync_argv,
    differences,
    messages,
    plain_env,
    run_cyrsync,
    snapshot,
    start_cyrsync,
)

RICH = "3.6.1-rich"


@pytest.fixture
def replica(tmp_path: Path) -> Path:
    """A prefix that is there, and empty."""
    path = tmp_path / "replica"
    path.mkdir()
    return path


@pytest.fixture(params=NAMES)
def box(request: pytest.FixtureRequest, tmp_path: Path) -> Box:
    """Each real server."""
    return Box(request.param, tmp_path)


@pytest.fixture
def rich(tmp_path: Path) -> Box:
    """The one with every kind of partition."""
    return Box(RICH, tmp_path)


@pytest.fixture
def server(tmp_path: Path) -> SampleServer:
    return SampleServer(tmp_path / "server")


@pytest.fixture
def synced(server: SampleServer, replica: Path) -> SampleServer:
    """One whose replica is up to date."""
    sync_server(server.conf, "--delete", replica)
    return server


def assert_same_spools(conf: Path, replica: Path) -> None:
    """All that rsync carries over is the same; the times of directories that only contain others are not kept up."""
    for root in roots(conf):
        assert_same_tree(root, below(replica, root), dir_mtimes=False)


# --- Real servers


def test_a_first_copy_is_sound(box: Box, replica: Path) -> None:
    report = sync_server(box.conf, "--delete", replica)
    there = [m for mailbox in box.mailboxes for m in mailbox["messages"] if m["state"] in ("visible", "expunged")]
    assert report["messages"]["send"] == len(there)
    assert (report["folders"]["seen"], report["folders"]["new"]) == (len(box.mailboxes),) * 2
    assert (report["files"]["planned"], report["errors"], report["warnings"]) == (report["files"]["sent"], [], [])
    assert_sound(box.conf, replica)


def test_nothing_but_mailboxes_is_copied(box: Box, replica: Path) -> None:
    sync_server(box.conf, replica)
    lost = [os.path.join(box.root, path) for path in box.truth["orphan_dirs"]]
    orphans = [
        os.path.join(box.root, m["path"]) for b in box.mailboxes for m in b["messages"] if m["state"] == "orphan"
    ]
    for path in (*lost, *orphans):
        assert os.path.lexists(path)
        assert not below(replica, Path(path)).exists()


def test_what_is_copied_is_the_same(box: Box, replica: Path) -> None:
    """Modes, owners and times included, also those of the mailboxes' directories."""
    sync_server(box.conf, replica)
    for root in roots(box.conf):
        found, original = snapshot(below(replica, root)), snapshot(root)
        assert not differences(found, {path: original[path] for path in found})


def test_a_run_that_finds_nothing_does_nothing(box: Box, replica: Path) -> None:
    sync_server(box.conf, "--delete", replica)
    before = snapshot(replica)
    report = sync_server(box.conf, "--delete", replica)
    assert (report["rsync_runs"], report["files"]["planned"], report["folders"]["changed"]) == (0, 0, 0)
    assert report["messages"]["present"] == report["messages"]["seen"] > 0
    assert snapshot(replica) == before


def test_a_run_that_finds_nothing_makes_two_stats_a_mailbox(box: Box, replica: Path, tmp_path: Path) -> None:
    sync_server(box.conf, "--delete", replica)
    argv = cyrsync_argv("sync", "-C", box.conf, "--delete", replica)
    calls = strace_calls(argv, env=plain_env(), output=tmp_path / "calls")
    tops = [os.fsencode(root) + b"/" for root in roots(box.conf)]
    asked = Counter((call.name, call.path) for call in calls if any(call.path.startswith(top) for top in tops))
    assert {name for name, _ in asked} <= {"stat", "newfstatat", "statx"}
    expected = [
        os.fsencode(box.root / mailbox["metadir"] / name)
        for mailbox in box.mailboxes
        for name in ("cyrus.header", "cyrus.index")
    ]
    assert Counter(path for _, path in asked.elements()) == Counter(expected)
    assert not [call for call in calls if call.path.startswith(os.fsencode(replica) + b"/")]
    assert [os.path.basename(call.path) for call in calls if call.name == "execve" and call.line.endswith(b"= 0")] == [
        os.path.basename(os.fsencode(sys.executable))
    ]


def test_over_ssh_a_run_that_finds_nothing_makes_no_connection(sshd: Sshd, box: Box, replica: Path) -> None:
    arguments = ("--delete", "-e", sshd.rsh, sshd.at(replica))
    before = sshd.connections()
    sync_server(box.conf, *arguments)
    assert sshd.connections() == before + 1
    assert_sound(box.conf, replica)
    assert sync_server(box.conf, *arguments)["rsync_runs"] == 0
    assert sshd.connections() == before + 1


def test_over_ssh_without_python(sshd_without_python: Sshd, server: SampleServer, replica: Path) -> None:
    done = run_cyrsync("sync", "-C", server.conf, "-e", sshd_without_python.rsh, sshd_without_python.at(replica))
    assert done.returncode == 2
    assert "python3" in done.stderr
    assert len(done.stderr.splitlines()) == 1


# --- An archive partition, and metadata of its own place

ARCHIVED, GONE = 1 << 29, 3 << 30


def change_record(box: Box, mailbox: dict[str, Any], uid: int, flags: Callable[[int], int]) -> None:
    """Change the flags of a record, as Cyrus does it: in place, with checksums and counts."""
    folder = box.root / mailbox["metadir"]
    index = sampleindex.read_index(folder)
    for at in range(160, len(index), 112):
        if struct.unpack_from(">I", index, at)[0] == uid:
            modseq = sampleindex.get_long(index, 68) + 1
            sampleindex.set_record(index, at, flags(struct.unpack_from(">I", index, at + 32)[0]), modseq)
            sampleindex.write_index(folder, index, modseq)


def archived_message(box: Box) -> tuple[dict[str, Any], dict[str, Any]]:
    return next((b, m) for b in box.mailboxes for m in b["messages"] if m["path"].startswith("archive/"))


def test_a_message_comes_back_from_the_archive(rich: Box, replica: Path) -> None:
    sync_server(rich.conf, "--delete", replica)
    mailbox, message = archived_message(rich)
    old, new = rich.root / message["path"], rich.root / mailbox["datadir"] / f"{message['uid']}."
    new.parent.mkdir(parents=True, exist_ok=True)
    shutil.move(old, new)
    change_record(rich, mailbox, message["uid"], lambda flags: flags & ~ARCHIVED)
    report = sync_server(rich.conf, "--delete", replica)
    assert (report["messages"]["send"], report["messages"]["delete"], report["files"]["deleted"]) == (1, 1, 1)
    assert below(replica, new).exists()
    assert not below(replica, old).exists()
    assert_sound(rich.conf, replica)

    shutil.move(new, old)
    change_record(rich, mailbox, message["uid"], lambda flags: flags | ARCHIVED)
    sync_server(rich.conf, "--delete", replica)
    assert not below(replica, new).exists()
    assert_sound(rich.conf, replica)


def test_an_archived_message_is_expunged(rich: Box, replica: Path) -> None:
    sync_server(rich.conf, "--delete", replica)
    mailbox, message = archived_message(rich)
    change_record(rich, mailbox, message["uid"], lambda flags: flags | GONE)
    (rich.root / message["path"]).unlink()
    assert sync_server(rich.conf, "--delete", replica)["files"]["deleted"] == 1
    assert_sound(rich.conf, replica)


@pytest.mark.parametrize("what", ["forbidden", "a file"])
@pytest.mark.parametrize("limit", [1, 16 << 20])
def test_an_archive_that_cannot_be_read(
    rich: Box, replica: Path, limit: int, what: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mailbox is named, and sent no more than once; the others are served."""
    mailbox, message = archived_message(rich)
    directory = (rich.root / message["path"]).parent
    opening = os.open

    def refuse(path: Any, *args: Any, **words: Any) -> int:
        if path == os.fsencode(directory):
            raise PermissionError(errno.EACCES, os.strerror(errno.EACCES), path)
        return opening(path, *args, **words)

    with monkeypatch.context() as patched:
        patched.setattr(sender, "_PORTION_BYTES", limit)
        parts = before_part(patched, 0, lambda: None)
        if what == "forbidden":
            patched.setattr(os, "open", refuse)
        else:
            directory.rename(directory.with_name("aside"))
            directory.touch()
        report = sync_server_here(rich.conf, "--delete", replica, expect=(23,))
    (error,) = report["errors"]
    assert f"{directory}: {'Permission denied' if what == 'forbidden' else 'Not a directory'}" in error
    if what == "forbidden":
        assert max(Counter(parts).values()) <= 3  # a part for each root
    assert not (below(replica, rich.root / mailbox["metadir"]) / "cyrus.index").exists()
    if what == "a file":
        directory.unlink()
        directory.with_name("aside").rename(directory)
    sync_server_here(rich.conf, "--delete", replica)
    assert_sound(rich.conf, replica)


def test_a_root_that_is_not_there_is_as_good_as_empty(server: SampleServer, replica: Path) -> None:
    """Cyrus makes the directories of an archive when it first has something to put there."""
    with server.conf.open("a") as conf:
        conf.write(f"archive_enabled: yes\narchivepartition-default: {server.root}/archive\n")
    for words in ((), ("--delete",), ("--delete", "--full")):
        assert sync_server(server.conf, *words, replica)["errors"] == []
        samplespool.change(server.spool, new=0.05, expunged=0.05)
    assert not (server.root / "archive").exists()


# --- What has changed


def test_only_what_is_new_is_sent(synced: SampleServer, replica: Path) -> None:
    delivered, *_ = samplespool.change(synced.spool, new=0.05)
    report = sync_server(synced.conf, "--delete", replica)
    assert report["messages"]["send"] == delivered
    assert report["messages"]["seen"] == 300 + delivered
    assert_same_spools(synced.conf, replica)
    assert_sound(synced.conf, replica)


def test_a_message_that_is_on_the_replica_is_not_looked_at(synced: SampleServer, replica: Path, tmp_path: Path) -> None:
    known = messages(synced.spool)
    samplespool.change(synced.spool, new=0.05, flags=0.5)
    argv = cyrsync_argv("sync", "-C", synced.conf, "--delete", replica)
    calls = strace_calls(argv, env=plain_env(), output=tmp_path / "calls")
    both = {
        os.path.join(os.fsencode(root), path) for root in (synced.spool, below(replica, synced.spool)) for path in known
    }
    assert not {call.path for call in calls} & both
    assert not [call for call in calls if call.name == "getdents64" and os.fsencode(synced.spool) in call.line]


def test_flags_alone(synced: SampleServer, replica: Path) -> None:
    *_, flagged = samplespool.change(synced.spool, flags=0.5)
    report = sync_server(synced.conf, replica)
    assert (report["folders"]["changed"], report["messages"]["send"]) == (flagged, 0)
    assert_same_spools(synced.conf, replica)


def test_everything_at_once(synced: SampleServer, replica: Path) -> None:
    for seed in range(3):
        samplespool.change(synced.spool, new=0.1, expunged=0.1, flags=0.5, seed=seed)
        one, other, third = random.Random(seed).sample(leaves(synced.spool), 3)
        samplespool.swap(one, other)
        samplespool.recreate_folder(third, 5)
        samplespool.create_folder(synced.spool, f"user/ann/New {seed}")
        synced.record()
        sync_server(synced.conf, "--delete", replica)
        assert_same_spools(synced.conf, replica)
        assert_sound(synced.conf, replica)


def test_a_large_new_mailbox_goes_as_one_entry(synced: SampleServer, replica: Path) -> None:
    folder = samplespool.create_folder(synced.spool, "user/ann/Large")
    samplespool.deliver(folder, 150)
    (folder / ".hidden").touch()
    (folder / "cyrus.cache.NEW").touch()
    synced.record()
    sync_server(synced.conf, replica)
    assert_same_spools(synced.conf, replica)
    assert not (below(replica, folder) / ".hidden").exists()


@pytest.mark.parametrize("stranger", ["9999.", "stray", "no mailbox/1."])
def test_a_large_new_mailbox_with_something_else_in_it(synced: SampleServer, replica: Path, stranger: str) -> None:
    folder = samplespool.create_folder(synced.spool, "user/ann/Large")
    samplespool.deliver(folder, 150)
    (folder / stranger).parent.mkdir(exist_ok=True)
    (folder / stranger).touch()
    synced.record()
    sync_server(synced.conf, replica)
    assert not (below(replica, folder) / stranger).parent.joinpath(Path(stranger).name).exists()
    assert len(list(below(replica, folder).glob("[0-9]*."))) == 150
    assert_sound(synced.conf, replica)


def test_a_mailbox_that_lost_its_annotations(synced: SampleServer, replica: Path) -> None:
    """Also when that was first seen by a run that was not to delete."""
    folder = leaves(synced.spool)[0]
    (folder / "cyrus.annotations").write_text("x")
    samplespool.set_flags(folder)
    samplespool.deliver(folder, 1)
    sync_server(synced.conf, replica)
    assert (below(replica, folder) / "cyrus.annotations").exists()
    (folder / "cyrus.annotations").unlink()
    samplespool.deliver(folder, 1)
    sync_server(synced.conf, replica)
    sync_server(synced.conf, "--delete", replica)
    assert_same_spools(synced.conf, replica)


def rename(server: SampleServer, folder: Path, target: Path) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    folder.rename(target)
    server.record()


def test_a_renamed_mailbox_is_not_sent_again(synced: SampleServer, replica: Path) -> None:
    rename(synced, synced.folder("user/joe"), synced.folder("user/zoe"))
    report = sync_server(synced.conf, "--delete", replica)
    assert (report["messages"]["send"], report["messages"]["delete"]) == (0, 0)
    assert_sound(synced.conf, replica)
    assert not list(below(replica, synced.folder("user/joe")).rglob("*."))


@pytest.mark.parametrize("state", ["as it was", "with new mail", "flagged"])
def test_swapped_mailboxes(synced: SampleServer, replica: Path, state: str) -> None:
    one, other = leaves(synced.spool)[-2:]
    samplespool.swap(one, other)
    if state == "with new mail":
        samplespool.deliver(one, 5)
        samplespool.deliver(other, 150)
    elif state == "flagged":
        samplespool.set_flags(one)
    sync_server(synced.conf, "--delete", replica)
    assert_same_spools(synced.conf, replica)
    assert_sound(synced.conf, replica)


def test_a_renamed_mailbox_with_much_new_mail(synced: SampleServer, replica: Path) -> None:
    """It would go as one entry, were nothing of it on the replica."""
    folder, target = leaves(synced.spool)[-1], synced.folder("user/zoe")
    rename(synced, folder, target)
    samplespool.deliver(target, 150)
    sync_server(synced.conf, "--delete", replica)
    assert_sound(synced.conf, replica)


def test_two_partitions(tmp_path: Path, replica: Path) -> None:
    server = SampleServer(tmp_path / "server", partitions="default second")
    sync_server(server.conf, "--delete", replica)
    assert_same_spools(server.conf, replica)
    for spool in server.spools.values():
        samplespool.change(spool, new=0.1, expunged=0.1)
    sync_server(server.conf, "--delete", replica)
    assert_same_spools(server.conf, replica)
    assert_sound(server.conf, replica)


def test_a_mailbox_moves_to_another_partition(tmp_path: Path, replica: Path) -> None:
    server = SampleServer(tmp_path / "server", partitions="default second")
    sync_server(server.conf, "--delete", replica)
    folder = leaves(server.spool)[-1]
    target = server.spools["second"] / folder.relative_to(server.spool)
    target.parent.mkdir(parents=True)
    folder.rename(target)
    server.record()
    sync_server(server.conf, "--delete", replica)
    assert not below(replica, folder).exists()
    assert_same_spools(server.conf, replica)


# --- What is gone


def test_a_deleted_mailbox_goes(synced: SampleServer, replica: Path) -> None:
    folder = leaves(synced.spool)[0]
    synced.delete(folder)
    assert sync_server(synced.conf, replica)["files"]["deleted"] == 0
    assert below(replica, folder).exists()
    assert sync_server(synced.conf, "--delete", replica)["folders"]["gone"] == 1
    assert_same_spools(synced.conf, replica)
    report = sync_server(synced.conf, "--delete", replica)
    assert (report["folders"]["gone"], report["rsync_runs"]) == (0, 0)


def test_mailboxes_below_a_deleted_one_stay(synced: SampleServer, replica: Path) -> None:
    joe = synced.folder("user/joe")
    below_joe = {path: entry for path, entry in snapshot(below(replica, joe)).items() if b"/" in path}
    assert below_joe
    synced.delete(joe)
    sync_server(synced.conf, "--delete", replica)
    there = snapshot(below(replica, joe))
    assert {path: there[path] for path in below_joe} == below_joe
    assert not [path for path in there if path.startswith(b"cyrus.") or path[:1].isdigit()]
    assert_same_spools(synced.conf, replica)


def test_a_directory_that_is_still_there_does_not_go_whole(synced: SampleServer, replica: Path) -> None:
    """Others may have put something into it, on both sides."""
    folder = leaves(synced.spool)[0]
    (below(replica, folder) / "notes").write_text("not Cyrus's")
    for path in folder.glob("cyrus.*"):
        path.unlink()
    synced.record()
    sync_server(synced.conf, "--delete", replica)
    assert [path.name for path in below(replica, folder).iterdir()] == ["notes"]


def test_a_mailbox_without_a_record_that_is_still_there_stays(synced: SampleServer, replica: Path) -> None:
    folder = leaves(synced.spool)[0]
    before = snapshot(below(replica, folder))
    synced.record(folder)
    sync_server(synced.conf, "--delete", replica)
    assert snapshot(below(replica, folder)) == before


def test_too_many_deletions_are_withheld_run_after_run(synced: SampleServer, replica: Path) -> None:
    _, expunged, _ = samplespool.change(synced.spool, expunged=0.8)
    for _ in range(3):
        report = sync_server(synced.conf, "--delete", replica, expect=(25,))
        assert (report["withheld"], len(messages(below(replica, synced.spool)))) == (expunged, 300)
    sync_server(synced.conf, "--delete", f"--max-delete={expunged}", replica)
    assert_same_spools(synced.conf, replica)


@pytest.mark.parametrize(("limit", "code"), [("29", 25), ("30", 0), ("9%", 25), ("10%", 0), ("0", 25)])
def test_a_limit_of_ones_own(synced: SampleServer, replica: Path, limit: str, code: int) -> None:
    samplespool.change(synced.spool, expunged=0.1)
    report = sync_server(synced.conf, "--delete", f"--max-delete={limit}", replica, expect=(code,))
    assert report["withheld"] == (30 if code else 0)
    assert len(messages(replica)) == (300 if code else 270)


def test_a_percentage_is_of_all_that_the_replica_has(synced: SampleServer, replica: Path) -> None:
    """Also of what an earlier run has kept."""
    samplespool.change(synced.spool, expunged=0.8)
    sync_server(synced.conf, "--delete", replica, expect=(25,))
    sync_server(synced.conf, "--delete", "--max-delete=81%", replica)
    assert_same_spools(synced.conf, replica)


def test_too_many_mailboxes_gone_are_withheld(synced: SampleServer, replica: Path) -> None:
    victims = synced.folders()[1:]
    kept = sum(map(count, victims))
    assert kept > 150
    synced.record(*victims)
    before = snapshot(replica)
    for _ in range(2):
        assert sync_server(synced.conf, "--delete", replica, expect=(25,))["withheld"] > kept
        assert snapshot(replica) == before


def test_what_was_kept_goes_when_it_may(synced: SampleServer, replica: Path) -> None:
    _, expunged, _ = samplespool.change(synced.spool, expunged=0.1)
    sync_server(synced.conf, replica)
    samplespool.change(synced.spool, new=0.05)
    sync_server(synced.conf, replica)
    report = sync_server(synced.conf, "--delete", replica)
    assert (report["messages"]["delete"], report["files"]["deleted"]) == (expunged, expunged)
    assert_same_spools(synced.conf, replica)


def test_a_mailbox_loses_its_header_before_its_messages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Killed in between, a run must not leave an index whose messages are gone."""
    folder = tmp_path / "box"
    folder.mkdir()
    for name in ("1.", "2.", "cyrus.cache", "cyrus.header", "cyrus.index"):
        (folder / name).touch()
    order: list[bytes] = []
    unlink = os.unlink

    def note(name: bytes, **words: int) -> None:
        order.append(name)
        unlink(name, **words)

    monkeypatch.setattr(os, "unlink", note)
    listdir = os.listdir
    monkeypatch.setattr(os, "listdir", lambda path: sorted(listdir(path)))
    Remover(os.fsencode(tmp_path), False, lambda: True).remove([Removal(b"", folders=(b"box",))])
    assert order[0] == b"box" or order.index(b"cyrus.header") < order.index(b"1.")
    assert order.index(b"cyrus.header") < order.index(b"1.")


# --- What keeps a run from doing harm


def test_a_partition_that_is_not_mounted(tmp_path: Path, replica: Path) -> None:
    server = SampleServer(tmp_path / "server", partitions="default second")
    sync_server(server.conf, "--delete", replica)
    before = snapshot(replica)
    spool = server.spools["second"]
    spool.rename(tmp_path / "elsewhere")
    for make in (lambda: None, spool.mkdir):
        make()
        done = run_cyrsync("sync", "-C", server.conf, "--delete", "--max-delete=100%", replica)
        assert done.returncode == 3
        assert f"{spool}: none of the" in done.stderr
        assert snapshot(replica) == before


@pytest.mark.parametrize("content", [b"", b"user.zoe\t%(A %() P default S elsewhere)\n"])
def test_a_mailboxes_db_without_mailboxes(synced: SampleServer, replica: Path, content: bytes) -> None:
    before = snapshot(replica)
    synced.database.write_bytes(content)
    done = run_cyrsync("sync", "-C", synced.conf, "--delete", "--max-delete=100%", replica)
    assert (done.returncode, len(done.stderr.splitlines())) == (3, 1), done.stderr
    assert snapshot(replica) == before


def test_a_damaged_mailboxes_db(synced: SampleServer, replica: Path) -> None:
    before = snapshot(replica)
    synced.database.write_bytes(synced.database.read_bytes()[:-5])
    done = run_cyrsync("sync", "-C", synced.conf, "--delete", "--max-delete=100%", replica)
    assert (done.returncode, "mailboxes.db cannot be read" in done.stderr) == (3, True), done.stderr
    assert snapshot(replica) == before


def test_a_partition_that_imapd_conf_has_no_more(tmp_path: Path, replica: Path) -> None:
    """Its mailboxes are told of, nothing of them goes, and the others are well."""
    server = SampleServer(tmp_path / "server", partitions="default second")
    sync_server(server.conf, "--delete", replica)
    lines = server.conf.read_text().splitlines(keepends=True)
    server.conf.write_text("".join(line for line in lines if "second" not in line))
    samplespool.change(server.spool, new=0.1)
    report = sync_server(server.conf, "--delete", "--max-delete=100%", replica, expect=(23,))
    assert "imapd.conf has no partition second" in "".join(report["errors"])
    assert_same_tree(server.spool, below(replica, server.spool), dir_mtimes=False)
    assert_same_tree(server.spools["second"], below(replica, server.spools["second"]), dir_mtimes=False)


def test_a_prefix_that_is_not_there(server: SampleServer, tmp_path: Path) -> None:
    done = run_cyrsync("sync", "-C", server.conf, tmp_path / "missing")
    assert (done.returncode, "no such directory" in done.stderr) == (3, True), done.stderr
    assert not (tmp_path / "missing").exists()


@pytest.mark.parametrize("prefix", ["/", "link", "{spool}", "{spool}/j", "{conf}"])
def test_the_server_itself_is_no_replica(server: SampleServer, tmp_path: Path, prefix: str) -> None:
    (tmp_path / "link").symlink_to("/")
    prefix = prefix.format(spool=server.spool, conf=server.conf.parent / "conf")
    before = snapshot(server.spool)
    done = run_cyrsync("sync", "-C", server.conf, "--delete", tmp_path / prefix)
    assert (done.returncode, "the server itself" in done.stderr) == (3, True), done.stderr
    assert snapshot(server.spool) == before


def test_a_daemon_cannot_be_asked(server: SampleServer) -> None:
    done = run_cyrsync("sync", "-C", server.conf, "rsync://localhost/module")
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1), done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("-C", "{conf}", "{spool}", "{replica}"), "give DEST alone"),
        (("--partition", "default", "{spool}", "{replica}"), "--partition"),
    ],
)
def test_wrong_usage(server: SampleServer, replica: Path, words: tuple[str, ...], said: str) -> None:
    named = {"conf": server.conf, "spool": server.spool, "replica": replica}
    done = run_cyrsync("sync", *(word.format(**named) for word in words))
    assert (done.returncode, said in done.stderr) == (2, True), done.stderr
    assert not list(replica.iterdir())


def test_a_configuration_that_is_not_there(replica: Path) -> None:
    done = run_cyrsync("sync", "-C", "/nonexistent/imapd.conf", replica)
    assert (done.returncode, "/nonexistent/imapd.conf" in done.stderr) == (3, True), done.stderr


def test_crons_empty_environment(server: SampleServer, replica: Path, tmp_path: Path) -> None:
    argv = cyrsync_argv("sync", "-C", server.conf, "--state", tmp_path / "state", replica)
    paths = {"PYTHONPATH": plain_env()["PYTHONPATH"], "PATH": "/usr/bin:/bin"}
    for _ in range(2):
        done = subprocess.run(argv, env=paths, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert_same_spools(server.conf, replica)
    assert [path.suffix for path in (tmp_path / "state").iterdir() if path.suffix != ".lock"] == [".sqlite"] * 2


# --- The state


def state_file(state_dir: Path) -> Path:
    (found,) = set(state_dir.glob("*.sqlite")) - {state_dir / "runs.sqlite"}
    return found


def test_a_state_that_is_no_state(synced: SampleServer, replica: Path, state_dir: Path) -> None:
    """It is put aside, and what is on the replica is found there."""
    state_file(state_dir).write_bytes(b"scribble" * 5000)
    report = sync_server(synced.conf, "--delete", replica)
    assert len(report["warnings"]) == 1
    assert "set aside" in report["warnings"][0]
    assert (report["messages"]["send"], report["messages"]["present"]) == (0, 300)
    assert len(list(state_dir.glob("*.sqlite.*-*"))) == 1
    assert_same_spools(synced.conf, replica)
    assert sync_server(synced.conf, "--delete", replica)["warnings"] == []


def test_a_state_that_is_lost(synced: SampleServer, replica: Path, state_dir: Path) -> None:
    samplespool.change(synced.spool, expunged=0.1)
    delivered, *_ = samplespool.change(synced.spool, new=0.1)
    state_file(state_dir).unlink()
    report = sync_server(synced.conf, "--delete", replica)
    assert (report["messages"]["send"], report["warnings"]) == (delivered, [])
    assert_same_spools(synced.conf, replica)


def test_rows_that_are_damaged(synced: SampleServer, replica: Path, state_dir: Path) -> None:
    """Seen only when they are needed: the run says so in a line, or mends it, and the next one is well."""
    path = state_file(state_dir)
    with closing(sqlite3.connect(path)) as database:
        database.execute("UPDATE sent SET uids = X'0102'")
        database.commit()
    samplespool.change(synced.spool, new=0.1)
    done = run_cyrsync("sync", "-C", synced.conf, "--delete", replica)
    assert "Traceback" not in done.stderr
    sync_server(synced.conf, "--delete", replica)
    assert_same_spools(synced.conf, replica)


def test_another_spelling_is_the_same_state(
    synced: SampleServer, replica: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    for conf, destination in ((synced.conf, f"{replica}/"), (Path("server/imapd.conf"), "replica")):
        report = sync_server(conf, "--delete", destination)
        assert report["warnings"] == []


def test_full_mends_what_drifted(synced: SampleServer, replica: Path) -> None:
    folder = leaves(synced.spool)[-1]
    victim = min(below(replica, folder).glob("[0-9]*."))
    victim.unlink()
    (below(replica, folder) / "4000000000.").write_text("extra")
    (below(replica, leaves(synced.spool)[0]) / "cyrus.index").unlink()
    assert sync_server(synced.conf, "--delete", replica)["rsync_runs"] == 0
    assert not victim.exists()
    sync_server(synced.conf, "--delete", "--full", replica)
    assert_same_spools(synced.conf, replica)
    assert_sound(synced.conf, replica)


def test_full_removes_mailboxes_that_nobody_knows(synced: SampleServer, replica: Path) -> None:
    extra = below(replica, synced.spool) / "z" / "user" / "zoe"
    shutil.copytree(leaves(synced.spool)[0], extra)
    sync_server(synced.conf, "--delete", replica)
    assert extra.exists()
    sync_server(synced.conf, "--delete", "--full", replica)
    assert not extra.exists()


def test_a_replica_that_the_other_engine_made(server: SampleServer, replica: Path) -> None:
    below(replica, server.spool).parent.mkdir(parents=True)
    assert run_cyrsync("sync", f"{server.spool}/", f"{below(replica, server.spool)}/").returncode == 0
    report = sync_server(server.conf, "--delete", replica)
    assert (report["messages"]["send"], report["messages"]["present"]) == (0, 300)
    assert_same_spools(server.conf, replica)


@pytest.mark.parametrize("first", [True, False])
def test_a_dry_run_changes_nothing(server: SampleServer, replica: Path, state_dir: Path, first: bool) -> None:
    if not first:
        sync_server(server.conf, "--delete", replica)
    delivered, *_ = samplespool.change(server.spool, new=0.1, expunged=0.05)
    server.delete(leaves(server.spool)[0])
    before, states = snapshot(replica), {path: path.read_bytes() for path in state_dir.glob("*.sqlite")}
    report = sync_server(server.conf, "--delete", "-n", replica)
    there = sum(map(count, server.folders()))
    assert report["messages"]["send"] == there if first else report["messages"]["send"] <= delivered
    assert report["dry_run"]
    assert snapshot(replica) == before
    assert {path: path.read_bytes() for path in state_dir.glob("*.sqlite")} == states
    assert sync_server(server.conf, "--delete", replica)["messages"]["send"] == report["messages"]["send"]
    assert_same_spools(server.conf, replica)


# --- What is wrong on the source


def set_version(index: Path, minor: int) -> None:
    data = bytearray(index.read_bytes())
    struct.pack_into(">I", data, 8, minor)
    struct.pack_into(">I", data, 156, zlib.crc32(data[:156]))
    index.write_bytes(data)


def test_an_index_of_a_version_to_come(synced: SampleServer, replica: Path) -> None:
    """Its directory is believed instead, and one warning told of all such mailboxes."""
    first, second = leaves(synced.spool)[-2:]
    for folder in (first, second):
        samplespool.deliver(folder, 3)
        set_version(folder / "cyrus.index", 99)
    report = sync_server(synced.conf, "--delete", replica)
    (warning,) = report["warnings"]
    assert "unknown version" in warning
    assert report["errors"] == []
    assert_same_spools(synced.conf, replica)


@pytest.mark.parametrize("at", [10, 300])
def test_a_damaged_index_does_not_take_the_place_of_a_whole_one(synced: SampleServer, replica: Path, at: int) -> None:
    """Be it the header or a record."""
    folder, other = leaves(synced.spool)[-2:]
    for one in (folder, other):
        samplespool.deliver(one, 3)
    index = folder / "cyrus.index"
    index.write_bytes(index.read_bytes()[:at] + bytes(20) + index.read_bytes()[at + 20 :])
    before = below(replica, index).read_bytes()
    report = sync_server(synced.conf, "--delete", replica, expect=(23,))
    (error,) = report["errors"]
    assert error.startswith(f"{folder.relative_to(synced.spool)}: cyrus.index: byte ")
    assert report["warnings"] == []
    assert below(replica, index).read_bytes() == before
    assert below(replica, other / "cyrus.index").read_bytes() == (other / "cyrus.index").read_bytes()


def test_a_message_without_a_file(synced: SampleServer, replica: Path) -> None:
    """It is named, run after run; all else is sent."""
    folder, other = leaves(synced.spool)[-2:]
    lost, *_ = samplespool.deliver(folder, 3)
    samplespool.deliver(other, 2)
    data = (folder / f"{lost}.").read_bytes()
    (folder / f"{lost}.").unlink()
    for _ in range(2):
        report = sync_server(synced.conf, "--delete", replica, expect=(23,))
        (error,) = report["errors"]
        assert error.startswith(f"{folder.relative_to(synced.spool)}: ")
        assert f"messages without a file: {lost}:" in error
        assert_same_spools(synced.conf, replica)
    assert problems(replica_conf(synced.conf, replica)) == [("missing", folder.name, [lost])]

    (folder / f"{lost}.").write_bytes(data)
    report = sync_server(synced.conf, "--delete", replica)
    assert report["messages"]["send"] == 1
    assert_same_spools(synced.conf, replica)


def test_a_first_copy_with_a_message_without_a_file(server: SampleServer, replica: Path) -> None:
    folder = leaves(server.spool)[-1]
    min(folder.glob("[0-9]*.")).unlink()
    assert len(sync_server(server.conf, "--delete", replica, expect=(23,))["errors"]) == 1
    assert_same_spools(server.conf, replica)


@pytest.mark.parametrize("name", ["cyrus.header", "cyrus.index"])
def test_a_mailbox_that_cannot_be_read_stays(synced: SampleServer, replica: Path, name: str) -> None:
    folder, other = leaves(synced.spool)[-2:]
    samplespool.deliver(other, 2)
    samplespool.expunge(folder, 3)
    (folder / name).unlink()
    before = snapshot(below(replica, folder))
    for _ in range(2):
        report = sync_server(synced.conf, "--delete", replica, expect=(23,))
        assert report["folders"]["unreadable"] == 1
        assert [error.partition(":")[0] for error in report["errors"]] == [str(folder.relative_to(synced.spool))]
        assert snapshot(below(replica, folder)) == before
        assert_same_tree(other, below(replica, other))


def test_a_mailbox_whose_directory_is_gone_stays(synced: SampleServer, replica: Path) -> None:
    """A record without a directory is no deleted mailbox."""
    folder = leaves(synced.spool)[-1]
    before = snapshot(below(replica, folder))
    shutil.rmtree(folder)
    assert sync_server(synced.conf, "--delete", replica, expect=(23,))["folders"]["unreadable"] == 1
    assert snapshot(below(replica, folder)) == before


# --- Killed runs


def test_killed_at_random_points(tmp_path: Path, replica: Path) -> None:
    server = SampleServer(tmp_path / "server", messages=200, folder_count=8)
    arguments = ("-C", server.conf, "--delete", "--max-delete=100000", replica)
    rng = random.Random(7)
    warm.python()
    started = time.monotonic()
    sync_server(server.conf, "--delete", replica)
    duration = time.monotonic() - started
    for number in range(20):
        samplespool.change(server.spool, new=0.1, expunged=0.1, flags=0.5, seed=number)
        one, other, third, fourth = rng.sample(leaves(server.spool), 4)
        samplespool.swap(one, other)
        samplespool.recreate_folder(third, rng.randrange(9))
        if number % 3 == 0:
            server.delete(fourth)
            samplespool.deliver(samplespool.create_folder(server.spool, f"user/ann/F{number}", rng=rng), 4)
        server.record()
        with start_cyrsync("sync", *arguments, own_group=True) as process:
            try:
                process.wait(rng.uniform(0, duration))
            except subprocess.TimeoutExpired:
                process.kill_group()
        if number % 2:
            sync_server(server.conf, "--delete", "--max-delete=100000", replica)
            assert_sound(server.conf, replica)
            assert_same_spools(server.conf, replica)


def test_two_runs_at_once(synced: SampleServer, replica: Path) -> None:
    samplespool.change(synced.spool, new=0.5)
    argv = cyrsync_argv("sync", "-C", synced.conf, "--bwlimit=50", replica)
    with subprocess.Popen(argv, env=plain_env(), stdin=subprocess.DEVNULL) as first:
        wait_for(lambda: first.poll() is not None or bool(list(replica.rglob(".[0-9]*.??????"))))
        done = run_cyrsync("sync", "-C", synced.conf, f"{replica}/")
        first.terminate()
    assert done.returncode == 75
    sync_server(synced.conf, "--delete", replica)
    assert_same_spools(synced.conf, replica)


def test_who_does_not_send_the_list_of_mailboxes_leaves_that_to_the_next(synced: SampleServer, replica: Path) -> None:
    synced.delete(synced.folders()[-1])
    time.sleep(2.1)  # from then on its times tell that it has not changed
    sync_server(synced.conf, "--delete", "--no-config", replica)
    sync_server(synced.conf, "--delete", replica)
    assert below(replica, synced.database).read_bytes() == synced.database.read_bytes()


def test_a_mailbox_that_was_read_twice_counts_once(synced: SampleServer, replica: Path) -> None:
    """It is another by now than mailboxes.db says, and stays so."""
    folder = synced.folders()[0]
    samplespool.recreate_folder(folder, 3)
    lines = synced.database.read_bytes().splitlines(keepends=True)
    name = ".".join(folder.relative_to(synced.spool).parts[1:]).encode()
    lines = [
        line.replace(b"%(A", b"%(I 0123456789abcdef A") if line.startswith(name + b"\t") else line for line in lines
    ]
    synced.database.write_bytes(b"".join(lines))
    report = sync_server(synced.conf, "--delete", replica)
    assert (report["folders"]["seen"], report["folders"]["recreated"], report["exit"]) == (12, 1, 0)
