"""`sync --full SRC DEST`: every message is compared by size and time, whatever its name says."""

from __future__ import annotations

import json
import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

import samplespool
from support.inside import sync_here
from support.races import Races
from support.spool import leaves
from support.tree import assert_same_tree, messages, rsync, run_cyrsync, start_cyrsync, sync


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    samplespool.make(root, messages=120, folder_count=8)
    return root


@pytest.fixture
def replica(tmp_path: Path, source: Path) -> Path:
    """The source's replica, up to date."""
    root = tmp_path / "replica"
    rsync("-a", "-@-1", f"{source}/", f"{root}/")
    return root


def truncate(message: Path) -> None:
    status = message.stat()
    os.truncate(message, 0)
    os.utime(message, ns=(status.st_atime_ns, status.st_mtime_ns))


def touch(message: Path) -> None:
    message.write_bytes(message.read_bytes()[::-1])


def chmod(message: Path) -> None:
    message.chmod(0o666)


def identity(path: Path) -> tuple[int, int]:
    """What changes when a file is written or replaced."""
    status = path.stat()
    return status.st_ino, status.st_ctime_ns


def first_message(folder: Path) -> Path:
    return min(folder.glob("[0-9]*."))


def test_no_index_stands_over_messages_that_are_replaced(source: Path, replica: Path, tmp_path: Path) -> None:
    """Another mailbox takes the name of a folder that is compared; the run is killed when its messages are there."""
    sent, trash = leaves(source)[:2]
    truncate(first_message(replica / sent.relative_to(source)))
    races = Races(tmp_path / "races")
    swap = f"samplespool.swap(Path({str(sent)!r}), Path({str(trash)!r}))"
    send_and_kill = f"subprocess.run([{shutil.which('rsync')!r}, *words])\nos.kill(os.getppid(), 9)\nos._exit(0)"
    races.before(0, f"import os, samplespool, subprocess\n{swap}\n{send_and_kill}")
    with start_cyrsync("sync", "--full", "--delete", source, replica, env=races.env) as run:
        assert run.wait() == -signal.SIGKILL
    found = json.loads(run_cyrsync("verify", "--content", "--json", replica).stdout)["problems"]
    assert {problem["kind"] for problem in found} <= {"orphan", "index"}

    races.forget()
    sync_here("--delete", source, replica)
    assert_same_tree(source, replica)


def test_where_nothing_differs_the_report_names_no_folder(source: Path, replica: Path) -> None:
    done = run_cyrsync("sync", "--full", "-v", source, replica)
    assert done.returncode == 0
    assert "120 seen, 120 present\n" in done.stdout
    assert "Folders with something to do" not in done.stdout


def test_a_folder_in_which_nothing_differs_keeps_its_index(source: Path, replica: Path, tmp_path: Path) -> None:
    races = Races(tmp_path / "races")
    indexes = {path: identity(path) for path in replica.rglob("cyrus.index")}
    report = sync("--full", "--delete", source, replica, env=races.env)
    assert [run.listed for run in races.runs() if any(entry.endswith((b".", b"/")) for entry in run.listed)] == []
    assert {path: identity(path) for path in indexes} == indexes
    assert report["files"]["sent"] == report["files"]["planned"] == 0
    messages_found, folders = report["messages"], report["folders"]
    assert (messages_found["send"], messages_found["present"]) == (0, messages_found["seen"])
    assert (folders["changed"], report["rsync_runs"]) == (0, 1)


@pytest.mark.parametrize("harm", [truncate, touch, chmod])
def test_a_message_that_was_harmed_on_the_replica_is_mended(
    source: Path, replica: Path, harm: Callable[[Path], None]
) -> None:
    """Its name alone tells nothing: an ordinary run leaves it."""
    harmed = first_message(replica / leaves(source)[-1].relative_to(source))
    harm(harmed)
    os.utime(harmed.parent, ns=(0, (source / harmed.parent.relative_to(replica)).stat().st_mtime_ns))
    sync_here("--delete", source, replica)
    with pytest.raises(AssertionError):
        assert_same_tree(source, replica)
    sync_here("--delete", "--full", source, replica)
    assert_same_tree(source, replica)


def test_what_changed_is_sent_and_deleted_as_ever(source: Path, replica: Path) -> None:
    samplespool.change(source, new=0.1, expunged=0.1, flags=0.5)
    truncate(first_message(replica / leaves(source)[-1].relative_to(source)))
    sync_here("--delete", "--full", source, replica)
    assert_same_tree(source, replica)


def test_a_message_without_a_record_waits(source: Path, replica: Path) -> None:
    """Also where one list entry would have done for the folder."""
    folder = leaves(source)[-1]
    waiting = folder / "4000000000."
    waiting.write_text("appended, not yet recorded")
    truncate(first_message(replica / folder.relative_to(source)))
    sync_here("--full", source, replica)
    left = {os.fsencode(waiting.relative_to(source))}
    assert messages(source).items() - messages(replica).items() == {(path, waiting.read_bytes()) for path in left}


def test_a_dry_run_changes_nothing(source: Path, replica: Path) -> None:
    harmed = first_message(replica / leaves(source)[-1].relative_to(source))
    truncate(harmed)
    report = sync_here("-n", "--full", source, replica)
    assert report["messages"]["send"] == report["messages"]["seen"] == 120
    assert harmed.stat().st_size == 0


def test_by_several_rsyncs(source: Path, replica: Path) -> None:
    for folder in leaves(source):
        if list((replica / folder.relative_to(source)).glob("[0-9]*.")):
            truncate(first_message(replica / folder.relative_to(source)))
    done = run_cyrsync("sync", "--full", "--jobs", "3", source, replica)
    assert (done.returncode, done.stderr) == (0, "")
    assert_same_tree(source, replica)
