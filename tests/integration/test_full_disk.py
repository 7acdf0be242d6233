"""A replica that is full: what could not be sent is named, nothing counts as done, and the next run completes."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import pytest

import samplespool
from support.daemon import RsyncDaemon
from support.servers import SampleServer, below
from support.spool import leaves
from support.sshd import Sshd
from support.tools import requires, requires_root, unavailable, wait_for, which, write_program
from support.tree import assert_same_tree, messages, plain_env, run_cyrsync, snapshot, start_cyrsync, sync
from support.whole import History, assert_indexed_messages_exist


@pytest.fixture
def small_disk(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Path]:
    """A file system of 1 MB, or of another size."""
    requires("mount", "umount")
    requires_root()
    path = tmp_path / "small"
    path.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={getattr(request, 'param', '1m')}", "none", str(path)], check=False
    )
    if mounted.returncode:
        unavailable("not allowed to mount")
    yield path
    # Those that a daemon has started for its clients end a moment after it.
    wait_for(lambda: subprocess.run(["umount", str(path)], check=False).returncode == 0, name="nobody to use the disk")


def enlarge(disk: Path) -> None:
    subprocess.run(["mount", "-o", "remount,size=64m", str(disk)], check=True)


@pytest.mark.parametrize("already", [0, 150], ids=["first copy", "replica there"])
def test_a_full_disk(small_disk: Path, tmp_path: Path, already: int) -> None:
    source, replica = tmp_path / "source", small_disk / "replica"
    samplespool.make(source, messages=already or 500, folder_count=5, size=4000)
    arguments = ("--delete", f"{source}/", f"{replica}/")
    if already:
        sync(*arguments)
        samplespool.change(source, new=3, flags=0.5, size=4000)
    history = History()
    history.remember(source)

    report = sync(*arguments, expect=(23, 11))
    assert report["errors"]
    history.assert_whole(replica)
    assert_indexed_messages_exist(replica)
    assert len(messages(replica)) < len(messages(source))

    enlarge(small_disk)
    sync(*arguments)
    assert_same_tree(source, replica)


# --- It heals without a larger disk


def heal(words: tuple[str | Path, ...]) -> int:
    """Run until all is there, and return how many runs that took."""
    for number in range(1, 6):
        done = run_cyrsync(*words)
        if done.returncode == 0:
            return number
        assert done.returncode in (11, 23), done
        assert "No space left on device" in done.stderr
    pytest.fail("it never heals")


@pytest.mark.parametrize("small_disk", ["400k"], indirect=True)
@pytest.mark.parametrize("engine", ["walk", "index", "drop-in"])
def test_what_is_expunged_makes_room_in_a_first_copy(small_disk: Path, tmp_path: Path, engine: str) -> None:
    """No folder has an index yet, but for those that -C could send whole: nothing names what is deleted."""
    server = SampleServer(tmp_path / "server", messages=4, folder_count=4)
    for folder in leaves(server.spool):
        samplespool.deliver(folder, 120 // len(leaves(server.spool)), size=4000)
    there = small_disk / "replica"
    there.mkdir()
    replica = below(there, server.spool) if engine == "index" else there
    words = command(engine, server, there)
    assert run_cyrsync(*words).returncode == 11
    whole = {path.parent for path in replica.rglob("cyrus.index")}
    assert (len(whole) > 0) == (engine == "index") and len(whole) < 4
    for folder in leaves(server.spool):
        samplespool.expunge(folder, len(list(folder.glob("[0-9]*."))) // 2)
    heal(words)
    assert_same_tree(server.spool, replica, dir_mtimes=False)


@pytest.mark.parametrize("small_disk", ["600k"], indirect=True)
@pytest.mark.parametrize("engine", ["walk", "index", "drop-in"])
def test_mailboxes_that_are_gone_make_room(small_disk: Path, tmp_path: Path, engine: str) -> None:
    """Though others could not be sent; and what an index names stays until another is there."""
    server = SampleServer(tmp_path / "server", messages=4, folder_count=4)
    for folder in leaves(server.spool)[:2]:
        samplespool.deliver(folder, 20, size=4000)
    there = small_disk / "replica"
    there.mkdir()
    replica = below(there, server.spool) if engine == "index" else there
    words = command(engine, server, there)
    assert run_cyrsync(*words).returncode == 0
    first, second, *_ = leaves(server.spool)
    samplespool.deliver(first, 60, size=5000)
    samplespool.expunge(first, 2)
    server.delete(second)
    history = History()
    history.remember(server.spool)
    done = run_cyrsync(*words)
    assert done.returncode == 11, done
    assert not (replica / second.relative_to(server.spool)).exists()
    assert_indexed_messages_exist(replica)
    samplespool.expunge(first, 40)
    server.record()
    heal(words)
    assert_same_tree(server.spool, replica, dir_mtimes=False)


def fill(disk: Path, *, inodes: bool = False) -> None:
    """Let somebody else have all the room that is left, or all the files."""
    if inodes:
        with suppress(OSError):
            for number in range(10_000):
                (disk / f"other{number}").touch()
        return
    with open(disk / "others", "wb", buffering=0) as file, suppress(OSError):
        while True:
            file.write(bytes(4096))


@pytest.mark.parametrize("new", [0, 10], ids=["nothing new", "new mail"])
@pytest.mark.parametrize("boxes", [1, 12], ids=["one mailbox", "many"])
@pytest.mark.parametrize("small_disk", ["2m"], indirect=True)
@pytest.mark.parametrize("engine", ["walk", "index", "drop-in"])
def test_messages_that_are_expunged_make_room_for_their_index(
    small_disk: Path, tmp_path: Path, engine: str, boxes: int, new: int
) -> None:
    """There is no room for one new index beside the old one: so the old one goes first."""
    server = SampleServer(tmp_path / "server", messages=0, folder_count=boxes)
    for folder in leaves(server.spool):
        samplespool.deliver(folder, 120 // len(leaves(server.spool)) * 2, size=2500)
    there = small_disk / "replica"
    there.mkdir()
    replica = below(there, server.spool) if engine == "index" else there
    words = command(engine, server, there)
    assert run_cyrsync(*words).returncode == 0
    fill(small_disk)
    history = History()
    history.remember(server.spool)
    for folder in leaves(server.spool):
        number = len(list(folder.glob("[0-9]*.")))
        samplespool.expunge(folder, number // 2)
        samplespool.deliver(folder, new * number // 240, size=2500)
    history.remember(server.spool)
    for _ in range(5):
        done = run_cyrsync(*words)
        history.assert_whole(replica)
        assert_indexed_messages_exist(replica)
        if done.returncode == 0:
            break
        assert done.returncode in (11, 23), done
        assert [line for line in done.stderr.splitlines() if "No space left on device" in line]
    assert done.returncode == 0, done
    assert_same_tree(server.spool, replica, dir_mtimes=False)


@pytest.mark.parametrize("inodes", [False, True], ids=["blocks", "inodes"])
@pytest.mark.parametrize("small_disk", ["2m,nr_inodes=800"], indirect=True)
@pytest.mark.parametrize("engine", ["walk", "index"])
def test_what_was_tried_again_is_reported_once(small_disk: Path, tmp_path: Path, engine: str, inodes: bool) -> None:
    _, (_, *words) = full_with_new_mail(small_disk, tmp_path, engine, inodes=inodes)
    report = sync(*words)
    files, messages = report["files"], report["messages"]
    assert (report["errors"], report["folders"]["failed"], messages["send"], messages["delete"]) == ([], 0, 20, 60)
    assert (files["planned"], files["failed"], files["deleted"] >= 60) == (files["sent"], 0, True)
    assert run_cyrsync("sync", *words).returncode == 0


@pytest.mark.parametrize("small_disk", ["2m"], indirect=True)
@pytest.mark.parametrize("how", ["walk", "index", "walk, pulled"])
def test_it_heals_over_ssh(small_disk: Path, tmp_path: Path, sshd: Sshd, how: str) -> None:
    server, (*words, source, there) = full_with_new_mail(small_disk, tmp_path, how.partition(",")[0])
    far = [sshd.at(str(source)) + "/", there] if "pulled" in how else [source, sshd.at(str(there))]
    assert run_cyrsync(words[0], "-e", sshd.rsh, *words[1:], *far).returncode == 0
    replica = below(small_disk / "replica", server.spool) if how == "index" else small_disk / "replica"
    assert_same_tree(server.spool, replica, dir_mtimes=False)


#: A replica at which nothing of ours runs.
FAR = ["a shell", "a daemon"]


def reached(request: pytest.FixtureRequest, far: str, replica: Path) -> tuple[str, ...]:
    """How to call a replica at which rsync deletes: options, if any, and its address."""
    replica.mkdir()
    if far == "a daemon":
        daemon: RsyncDaemon = request.getfixturevalue("daemon")
        daemon.directory("rw").rmdir()
        daemon.directory("rw").symlink_to(replica)
        return (daemon.url("rw"),)
    sshd: Sshd = request.getfixturevalue("sshd_without_python")
    return ("-e", sshd.rsh, sshd.at(f"{replica}/"))


@pytest.mark.parametrize("small_disk", ["2m"], indirect=True)
@pytest.mark.parametrize("line", [("sync",), ("rsync", "-a")], ids=["walk", "drop-in"])
@pytest.mark.parametrize("boxes", [1, 12], ids=["one mailbox", "many"])
@pytest.mark.parametrize("far", FAR)
def test_it_heals_where_rsync_deletes(
    small_disk: Path, tmp_path: Path, request: pytest.FixtureRequest, far: str, boxes: int, line: tuple[str, ...]
) -> None:
    source, replica = tmp_path / "source", small_disk / "replica"
    for number in range(boxes):
        samplespool.deliver(samplespool.create_folder(source, f"user/joe/[{number}] *"), 120 // boxes, size=2500)
    *options, there = reached(request, far, replica)
    words = (*line, *options, "--delete", "--max-delete=1000", f"{source}/", there)
    assert run_cyrsync(*words).returncode == 0
    fill(small_disk)
    for folder in samplespool.folders(source):
        samplespool.expunge(folder, 60 // boxes)
        samplespool.deliver(folder, 20 // boxes, size=2500)
    heal(words)
    assert_same_tree(source, replica, dir_mtimes=False, whole_seconds=True)


@pytest.mark.parametrize("small_disk", ["400k"], indirect=True)
@pytest.mark.parametrize("far", FAR)
def test_and_in_a_first_copy(small_disk: Path, tmp_path: Path, request: pytest.FixtureRequest, far: str) -> None:
    source, replica = tmp_path / "source", small_disk / "replica"
    folder = samplespool.create_folder(source, "user/joe")
    samplespool.deliver(folder, 120, size=4000)
    *options, there = reached(request, far, replica)
    words = ("sync", *options, "--delete", f"{source}/", there)
    assert run_cyrsync(*words).returncode == 11
    samplespool.expunge(folder, 60)
    heal(words)
    assert_same_tree(source, replica, dir_mtimes=False, whole_seconds=True)


@pytest.mark.parametrize("small_disk", ["2m"], indirect=True)
@pytest.mark.parametrize("far", FAR)
def test_but_no_index_is_emptied_in_vain(
    small_disk: Path, tmp_path: Path, request: pytest.FixtureRequest, far: str
) -> None:
    source, replica = tmp_path / "source", small_disk / "replica"
    folder = samplespool.create_folder(source, "user/joe")
    samplespool.deliver(folder, 60, size=2500)
    *options, there = reached(request, far, replica)
    words = ("sync", *options, "--delete", f"{source}/", there)
    assert run_cyrsync(*words).returncode == 0
    fill(small_disk)
    samplespool.expunge(folder, 10)
    samplespool.deliver(folder, 30, size=2500)
    before = snapshot(replica, dir_mtimes=False)
    assert run_cyrsync(*words).returncode == 11
    assert snapshot(replica, dir_mtimes=False) == before


#: cyrsync on a disk that is full for its user alone.
QUOTA = """\
import errno, os
def limited(call):
    def limits(*words, **more):
        try:
            return call(*words, **more)
        except OSError as error:
            if error.errno == errno.ENOSPC:
                raise OSError(errno.EDQUOT, os.strerror(errno.EDQUOT), error.filename) from None
            raise
    return limits
for name in ("open", "write", "writev", "pwrite", "pwritev", "rename", "replace", "link", "mkdir", "copy_file_range"):
    setattr(os, name, limited(getattr(os, name)))
from cyrsync.cli.app import main
main()
"""


@pytest.mark.parametrize("small_disk", ["2m"], indirect=True)
@pytest.mark.parametrize("engine", ["walk", "index", "drop-in"])
def test_a_quota_that_is_used_up(small_disk: Path, tmp_path: Path, engine: str) -> None:
    server, words = full_with_new_mail(small_disk, tmp_path, engine)
    programs = tmp_path / "bin"
    programs.mkdir()
    change = "sed 's/No space left on device (28)/Disk quota exceeded (122)/'"
    script = f'{which("rsync")} "$@" 2>"$0.$$"\ncode=$?\n{change} "$0.$$" >&2\nexit $code'
    write_program(programs / "rsync", script)
    environment = {**plain_env(), "PATH": f"{programs}:{os.environ['PATH']}"}
    for _ in range(5):
        command = [sys.executable, "-c", QUOTA, *map(str, words)]
        done = subprocess.run(command, env=environment, capture_output=True, encoding="utf-8", check=False)
        assert "No space left" not in done.stderr
        if done.returncode == 0:
            break
        assert done.returncode in (11, 23), done
        assert "Disk quota exceeded" in done.stderr
    assert done.returncode == 0, done
    replica = below(small_disk / "replica", server.spool) if engine == "index" else small_disk / "replica"
    assert_same_tree(server.spool, replica, dir_mtimes=False)


@pytest.mark.parametrize("small_disk", ["2m"], indirect=True)
def test_an_index_in_a_partition_of_its_own_goes_first(small_disk: Path, tmp_path: Path) -> None:
    server = SampleServer(tmp_path / "server", messages=0, folder_count=1)
    (folder,) = server.folders()
    meta = tmp_path / "server/meta" / folder.relative_to(server.spool)
    meta.mkdir(parents=True)
    with server.conf.open("a") as conf:
        conf.write(f"metapartition-default: {tmp_path}/server/meta\nmetapartition_files: header index\n")
    samplespool.deliver(folder, 120, size=2500)
    there = small_disk / "replica"
    there.mkdir()
    words = command("index", server, there)
    move_metadata(folder, meta)
    assert run_cyrsync(*words).returncode == 0
    fill(small_disk)
    move_metadata(meta, folder)
    samplespool.expunge(folder, 60)
    samplespool.deliver(folder, 20, size=2500)
    move_metadata(folder, meta)
    assert run_cyrsync(*words).returncode == 0
    for directory in (folder, meta):
        assert_same_tree(directory, below(there, directory), dir_mtimes=False)


def move_metadata(old: Path, new: Path) -> None:
    """Move header and index, which may lie apart from the messages."""
    for name in ("cyrus.header", "cyrus.index"):
        (old / name).rename(new / name)


@pytest.mark.parametrize("small_disk", ["2m"], indirect=True)
@pytest.mark.parametrize("engine", ["walk", "index"])
def test_killed_while_there_is_no_index(small_disk: Path, tmp_path: Path, engine: str) -> None:
    """The messages are there that an index would name, and the next run sends it."""
    server, words = full_with_new_mail(small_disk, tmp_path, engine)
    (index,) = small_disk.rglob("cyrus.index")
    with start_cyrsync(*words, "--bwlimit=20", own_group=True) as process:
        wait_for(lambda: process.poll() is not None or not index.exists(), seconds=60)
        process.kill_group()
    assert not index.exists()
    heal(words)
    replica = below(small_disk / "replica", server.spool) if engine == "index" else small_disk / "replica"
    assert_same_tree(server.spool, replica, dir_mtimes=False)


def full_with_new_mail(
    disk: Path, tmp_path: Path, engine: str, *, inodes: bool = False
) -> tuple[SampleServer, tuple[str | Path, ...]]:
    """One mailbox on a full disk, where 60 messages are to be deleted and 20 to be sent; and how to do that."""
    server = SampleServer(tmp_path / "server", messages=0, folder_count=1)
    (folder,) = server.folders()
    samplespool.deliver(folder, 120, size=2500)
    (disk / "replica").mkdir()
    words = command(engine, server, disk / "replica")
    assert run_cyrsync(*words).returncode == 0
    fill(disk, inodes=inodes)
    samplespool.expunge(folder, 60)
    samplespool.deliver(folder, 20, size=2500)
    return server, words


@pytest.mark.parametrize("small_disk", ["2m"], indirect=True)
@pytest.mark.parametrize("engine", ["walk", "index"])
def test_an_index_stays_where_its_place_would_not_do(small_disk: Path, tmp_path: Path, engine: str) -> None:
    """More mail has come than goes: the mailbox stays as it was, and others are brought up to date."""
    server = SampleServer(tmp_path / "server", messages=0, folder_count=4)
    for folder in leaves(server.spool):
        samplespool.deliver(folder, 60, size=2500)
    there = small_disk / "replica"
    there.mkdir()
    replica = below(there, server.spool) if engine == "index" else there
    words = command(engine, server, there)
    assert run_cyrsync(*words).returncode == 0
    fill(small_disk)
    grown, other, *_ = leaves(server.spool)
    samplespool.expunge(grown, 10)
    samplespool.deliver(grown, 30, size=2500)
    samplespool.set_flags(other)
    before = snapshot(replica / grown.relative_to(server.spool))
    for _ in range(2):
        done = run_cyrsync(*words)
        assert (done.returncode, done.stderr.count("No space left on device")) == (11, 1), done
        assert snapshot(replica / grown.relative_to(server.spool)) == before
    enlarge(small_disk)
    assert run_cyrsync(*words).returncode == 0
    assert_same_tree(server.spool, replica, dir_mtimes=False)


@pytest.mark.parametrize("small_disk", ["1m"], indirect=True)
def test_what_did_not_fit_is_named_as_people_write_it(small_disk: Path, tmp_path: Path) -> None:
    source, replica = tmp_path / "source", small_disk / "replica"
    samplespool.make(source, messages=20, folder_count=1)
    (folder,) = samplespool.folders(source)
    folder = folder.rename(os.fsdecode(os.fsencode(folder.parent) + b"/a\n\xff"))
    sync(source, replica)
    fill(small_disk)
    samplespool.deliver(folder, 1)
    (error,) = sync(source, replica, expect=(11,))["errors"]
    assert "No space left on device" in error
    assert not {"b'", 'b"', "\n"} & {error[at : at + size] for at in range(len(error)) for size in (1, 2)}


def command(engine: str, server: SampleServer, there: Path) -> tuple[str | Path, ...]:
    if engine == "index":
        return "sync", "--delete", "--no-config", "-C", server.conf, there
    return (
        "rsync" if engine == "drop-in" else "sync",
        *["-a"][: engine == "drop-in"],
        "--delete",
        f"{server.spool}/",
        f"{there}/",
    )


@pytest.mark.parametrize("small_disk", ["2m"], indirect=True)
def test_what_is_kept_makes_no_room(small_disk: Path, tmp_path: Path) -> None:
    """No index is deleted for it, and nothing that is kept is lost."""
    server = SampleServer(tmp_path / "server", messages=0, folder_count=1)
    (folder,) = leaves(server.spool)
    samplespool.deliver(folder, 240, size=2500)
    there = small_disk / "replica"
    there.mkdir()
    words = (*command("index", server, there), "--history")
    assert run_cyrsync(*words).returncode == 0
    fill(small_disk)
    index = (below(there, folder) / "cyrus.index").read_bytes()
    samplespool.expunge(folder, 120)
    done = run_cyrsync(*words)
    assert done.returncode == 11, done
    assert "what was deleted is kept: run cyrsync prune" in done.stderr
    assert (below(there, folder) / "cyrus.index").read_bytes() == index
    assert len(messages(below(there, folder))) == 240
    enlarge(small_disk)
    assert run_cyrsync(*words).returncode == 0
    kept = below(there, server.spool) / ".cyrsync-history"
    assert len(list(kept.glob("messages/*/*"))) == 120
    assert len(messages(below(there, folder))) == 120
