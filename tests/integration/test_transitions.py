"""Mailboxes that are made, renamed and deleted while a run looks at them are no errors; what is damaged is one."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

import samplespool
from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.cyrus.mailbox import snapshot as snapshots
from cyrsync.ends.child_tree import ChildTree
from cyrsync.ends.tree import Removed
from cyrsync.errors import InterruptedRun
from cyrsync.far.remove import Removal
from cyrsync.server import last_looks, sender
from cyrsync.server.conf_run import ConfRun
from cyrsync.server.contents import Contents, Item
from cyrsync.server.delivery import Delivery
from cyrsync.state.store import Store
from support.inside import sync_here
from support.meanwhile import launch
from support.replicas import Pair
from support.servers import SampleServer, assert_sound
from support.spool import leaves
from support.tree import plain_env, run_cyrsync, sync


@pytest.fixture
def pair(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Pair:
    """Up to date, and no pause is made."""
    pair = Pair(tmp_path)
    pair.sync()
    monkeypatch.setattr(last_looks, "PAUSES", (0.0,) * len(last_looks.PAUSES))
    return pair


def when_read(monkeypatch: pytest.MonkeyPatch, folder: Path, happens: Callable[[int], None]) -> list[int]:
    """Have something happen right before a mailbox is read; it is told how often it has been. Return the numbers."""
    under_locks, numbers = snapshots.under_locks, list[int]()

    def read(files: Any, *args: Any, **words: Any) -> Any:
        if files.header_path == os.fsencode(folder / "cyrus.header"):
            numbers.append(len(numbers))
            happens(numbers[-1])
        return under_locks(files, *args, **words)

    monkeypatch.setattr(snapshots, "under_locks", read)
    return numbers


def test_a_mailbox_that_is_deleted_right_before_it_is_read(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = leaves(pair.server.spool)[0]
    samplespool.deliver(folder, 1)

    def delete(number: int) -> None:
        if number == 0:
            pair.server.delete(folder)

    assert when_read(monkeypatch, folder, delete) == []
    report = pair.sync()
    assert (report["errors"], report["warnings"]) == ([], [])
    pair.assert_same()


def test_a_mailbox_whose_files_go_before_its_record(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """The record is there still when it is looked at again, and gone only after the last look."""
    folder = leaves(pair.server.spool)[0]
    samplespool.deliver(folder, 1)
    last = 2 * len(last_looks.PAUSES)

    def delete(number: int) -> None:
        if number == 0:
            samplespool.delete_folder(folder)
        folder.mkdir(parents=True, exist_ok=True) if number // 2 % 2 else shutil.rmtree(folder, ignore_errors=True)
        if number >= last:
            pair.server.record()

    when_read(monkeypatch, folder, delete)
    report = pair.sync()
    assert (report["errors"], report["warnings"]) == ([], [])
    pair.sync()
    pair.assert_same()


def leave_while_sent(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, folder: Path, leave: Callable[[], object]
) -> list[Path]:
    """Have a mailbox leave when some of its messages have been sent; return a list of it from then on."""
    message, left, uids = Contents._message, list[Path](), list[int]()

    def send(self: Contents, root: bytes, uid: int, descriptor: int) -> Iterator[Item]:
        if (self._reader.directory(root, self._change.location.key.path)) == os.fsencode(folder):
            uids.append(uid)
        if len(uids) == 3 and not left:
            leave()
            pair.server.record()
            left.append(folder)
        return message(self, root, uid, descriptor)

    monkeypatch.setattr(sender, "_PORTION_BYTES", 1)
    monkeypatch.setattr(Contents, "_message", send)
    return left


def sync_while_away(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, folder: Path, leave: Callable[[], object], come: Callable[[], object]
) -> None:
    """Sync; a mailbox leaves when its messages are sent, comes at the last look, and is named only after that."""
    sort_out, left, looks = last_looks.sort_out, leave_while_sent(pair, monkeypatch, folder, leave), list[int]()

    def look(*args: Any) -> Any:
        looks.append(len(looks))
        if looks == [0]:
            come()
            pair.server.record(folder)
        found = sort_out(*args)
        if looks == [0]:
            pair.server.record()
        return found

    monkeypatch.setattr(last_looks, "sort_out", look)
    report = pair.sync()
    assert (report["errors"], report["warnings"], left) == ([], [], [folder])
    pair.assert_same()


def test_a_mailbox_that_is_made_again_while_it_is_sent(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Its index was taken from the replica."""
    folder = leaves(pair.server.spool)[0]
    samplespool.recreate_folder(folder, 5)
    name = "/".join(folder.relative_to(pair.server.spool).parts[1:])

    def make() -> None:
        samplespool.deliver(samplespool.create_folder(pair.server.spool, name), 3)

    sync_while_away(pair, monkeypatch, folder, lambda: samplespool.delete_folder(folder), make)


@pytest.mark.parametrize("more", [0, 1])
def test_a_mailbox_that_was_made_again_and_has_arrived_stays(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, more: int
) -> None:
    """The run that sent it was cut off before it deleted what the one before had, also under UIDs that come now."""
    folder = samplespool.create_folder(pair.server.spool, "user/joe/Again")
    samplespool.deliver(folder, 9)
    pair.server.record()
    pair.sync()
    samplespool.recreate_folder(folder, 2)
    delete, there, removed = Delivery.delete_sent, pair.there(folder), list[Removal]()
    monkeypatch.setattr(Delivery, "delete_sent", cut_off)
    pair.sync(expect=20)
    assert {"3.", "cyrus.index"} <= set(os.listdir(there))
    before = {uid: (there / f"{uid}.").stat().st_ino for uid in (1, 2)}
    for uid in samplespool.deliver(folder, more):
        status = (folder / f"{uid}.").stat()
        (there / f"{uid}.").write_bytes(b"x" * status.st_size)
        os.utime(there / f"{uid}.", ns=(status.st_mtime_ns, status.st_mtime_ns))
    remove = ChildTree.remove

    def look(self: ChildTree, root: bytes, removals: Iterable[Removal], **how: bool) -> Removed:
        these = list(removals)
        removed.extend(these)
        return remove(self, root, these, **how)

    monkeypatch.setattr(Delivery, "delete_sent", delete)
    monkeypatch.setattr(ChildTree, "remove", look)
    report = pair.sync()
    assert report["messages"]["send"] == more
    assert {uid: (there / f"{uid}.").stat().st_ino for uid in (1, 2)} == before
    assert any(kinds.INDEX in one.files for one in removed) == bool(more)
    pair.assert_same()


def cut_off(*_: object) -> None:
    raise InterruptedRun("interrupted")


def test_a_new_mailbox_that_is_away_for_a_moment(pair: Pair, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Whose it is is known, and its index was never sent."""
    folder, aside = samplespool.create_folder(pair.server.spool, "user/joe/New"), tmp_path / "aside"
    samplespool.deliver(folder, 150)
    pair.server.record()
    sync_while_away(pair, monkeypatch, folder, lambda: folder.rename(aside), lambda: aside.rename(folder))


def test_a_mailbox_that_is_made_again_after_the_last_look(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """What was sent of the one before is deleted, as it was seen to be gone: it has no index."""
    folder = leaves(pair.server.spool)[0]
    samplespool.recreate_folder(folder, 5)
    name = "/".join(folder.relative_to(pair.server.spool).parts[1:])
    send = ConfRun.send
    left = leave_while_sent(pair, monkeypatch, folder, lambda: pair.server.delete(folder))

    def make(*args: Any) -> Any:
        samplespool.deliver(samplespool.create_folder(pair.server.spool, name), 3)
        return send(*args)

    monkeypatch.setattr(ConfRun, "send", make)
    report = pair.sync()
    assert (report["errors"], left) == ([], [folder])
    assert not list(pair.there(folder).glob("*"))
    pair.server.record()
    monkeypatch.setattr(ConfRun, "send", send)
    pair.sync()
    pair.assert_same()


def test_a_mailbox_that_never_rests_is_left_for_the_next_run(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing is wrong with it, and nothing of it changes on the replica."""
    folder = leaves(pair.server.spool)[0]
    samplespool.deliver(folder, 1)
    header = folder / "cyrus.header"
    content = header.read_bytes()

    def rewrite(number: int) -> None:
        fresh = folder / "cyrus.header.NEW"
        fresh.write_bytes(content + b"%d" % number)
        fresh.rename(header)

    with monkeypatch.context() as patch:
        when_read(patch, folder, rewrite)
        report = pair.sync()
    (warning,) = report["warnings"]
    assert "left for the next run" in warning
    assert report["errors"] == []
    owner_files = pair.owner_files()
    assert owner_files[0] and owner_files[0].complete < owner_files[0].begun, "not all is there"
    header.write_bytes(content)
    pair.sync()
    pair.assert_same()


def test_a_mailbox_that_stays_unreadable_is_an_error_of_its_own(pair: Pair) -> None:
    one, other = leaves(pair.server.spool)[:2]
    samplespool.deliver(other, 1)
    (one / "cyrus.header").unlink()
    (error,) = pair.sync(expect=23)["errors"]
    assert "run reconstruct, or restore it" in error
    assert sorted(path.name for path in pair.there(other).iterdir()) == sorted(path.name for path in other.iterdir())


@pytest.mark.parametrize("mail", [5, 150])
def test_a_mailbox_that_loses_a_message_before_each_part(tmp_path: Path, mail: int) -> None:
    """It gets the index that names what is there."""
    server, replica = SampleServer(tmp_path / "server"), tmp_path / "replica"
    replica.mkdir()
    sync("-C", server.conf, "--delete", replica)
    busy, other = leaves(server.spool)[-2:]
    samplespool.deliver(busy, mail)
    samplespool.deliver(other, 150)
    script = f"import sys\nfrom pathlib import Path\nsys.path.insert(0, {str(Path(samplespool.__file__).parent)!r})\n"
    script += f"import samplespool\nbusy = Path({str(busy)!r})\nif number < 8:\n"
    script += "    samplespool.expunge(busy, 2)\n    samplespool.deliver(busy, 3)\n"
    words = ("sync", "-C", server.conf, "--delete", "--max-delete=100%", replica)
    done = subprocess.run(launch(script, *words), env=plain_env(), capture_output=True, check=False)
    assert (done.returncode, done.stderr) == (0, b"")
    assert_sound(server.conf, replica)
    sync("-C", server.conf, "--delete", "--max-delete=100%", replica)
    assert_sound(server.conf, replica)


# --- One bad thing costs only itself


def test_a_directory_that_cannot_be_read(tmp_path: Path) -> None:
    """Of a new mailbox with much mail, which is listed before it is sent."""
    pair = Pair(tmp_path)
    pair.sync()
    folder = samplespool.create_folder(pair.server.spool, "user/ann/Large")
    samplespool.deliver(folder, 150)
    pair.server.record()
    other = leaves(pair.server.spool)[0]
    samplespool.deliver(other, 1)
    folder.chmod(0o300)
    try:
        report = sync("-C", pair.conf, "--delete", pair.replica, user=True, expect=(0, 23))
    finally:
        folder.chmod(0o700)
    assert not [error for error in report["errors"] if "b'" in error]
    assert len(list(pair.there(other).glob("[0-9]*."))) == len(list(other.glob("[0-9]*.")))
    pair.sync()
    pair.assert_same()


@pytest.mark.parametrize("value", [b"%(A %() I \xfe\xfe P default)", b"%(A %() P d\xfe)"])
def test_a_record_of_which_no_directory_can_be_told(pair: Pair, value: bytes) -> None:
    database = pair.server.database
    lines = database.read_bytes() + b"user.zzz\t" + value + b"\n"
    database.write_bytes(lines)
    pair.change()
    done = run_cyrsync("sync", "-C", pair.conf, "--delete", pair.replica)
    assert done.returncode == 23
    (line,) = done.stderr.splitlines()
    assert "user.zzz: no directory can be told from its record in mailboxes.db" in line
    for command in (("check", "-C", pair.conf), ("inspect", "-C", pair.conf), ("verify", "-C", pair.conf)):
        assert "Traceback" not in run_cyrsync(*command).stderr


def test_names_that_are_no_text(pair: Pair) -> None:
    database = pair.server.database
    database.write_bytes(database.read_bytes() + b"user.z\xfe/../z\t%(A %() P default)\n")
    pair.change()
    done = run_cyrsync("sync", "-C", pair.conf, "--delete", pair.replica)
    assert (done.returncode, len(done.stderr.splitlines())) == (23, 1)
    assert "user.z\\xfe/../z: no directory" in done.stderr


def test_a_state_that_is_damaged_again(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    from cyrsync.state.mailbox_row import StateDamaged

    def damaged(*_: object) -> None:
        raise StateDamaged("file is not a database")

    monkeypatch.setattr(Store, "files", damaged)
    report = sync_here("-C", pair.conf, "--delete", pair.replica, expect=(3,))
    (error,) = report["errors"]
    assert "damaged again" in error
