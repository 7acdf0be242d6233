"""One path, another mailbox: neither size nor time tells, so nothing on the replica is taken for granted."""

from __future__ import annotations

import os
import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import sampleindex
import samplespool
from support.strace import OPEN_CALLS, STAT_CALLS, strace_calls
from support.tree import assert_same_tree, cyrsync_argv, messages, plain_env, rsync, sync

SIZE = 900
#: Every message has this time and this size, whatever is in it.
TIME = 1_700_000_000


class Pair:
    """Mailboxes whose messages differ in nothing but what is in them, and their replica."""

    def __init__(self, directory: Path) -> None:
        self.source, self.replica = directory / "source", directory / "replica"
        self.arguments = ("--delete", f"{self.source}/", f"{self.replica}/")
        self.sent, self.trash = self.create("Sent"), self.create("Trash")

    def create(self, name: str) -> Path:
        folder = samplespool.create_folder(self.source, f"user/joe/{name}", rng=random.Random(name))
        self.deliver(folder, 5)
        return folder

    def deliver(self, folder: Path, number: int) -> None:
        for uid in samplespool.deliver(folder, number, size=SIZE):
            self.rewrite(folder / f"{uid}.", f"{folder.name} {uid}")

    def recreate(self, folder: Path) -> None:
        """Another mailbox under the same path, with other messages of the same UIDs, sizes and times."""
        samplespool.recreate_folder(folder)
        for uid in samplespool.deliver(folder, 5, size=SIZE):
            self.rewrite(folder / f"{uid}.", f"another {uid}")

    def rewrite(self, message: Path, text: str) -> None:
        message.write_text(text.ljust(SIZE))
        os.utime(message, (TIME, TIME))

    def on_replica(self, folder: Path) -> Path:
        return self.replica / folder.relative_to(self.source)

    def sync(self) -> dict[str, Any]:
        """Run, and see that the replica is the source's like."""
        report = sync(*self.arguments)
        assert messages(self.replica) == messages(self.source)
        assert_same_tree(self.source, self.replica)
        return report


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """Mailboxes with a replica that is up to date."""
    pair = Pair(tmp_path)
    rsync("-a", "-@-1", *pair.arguments)
    return pair


def test_a_recreated_mailbox_is_sent_whole(pair: Pair) -> None:
    pair.recreate(pair.sent)
    report = pair.sync()
    assert report["folders"]["recreated"] == 1
    assert report["messages"]["send"] == 5


def test_a_mailbox_recreated_with_fewer_messages(pair: Pair) -> None:
    samplespool.recreate_folder(pair.sent, 2)
    assert pair.sync()["messages"] == {"seen": 7, "present": 5, "send": 2, "delete": 3, "waiting": 0, "linked": 0}


def test_two_swapped_mailboxes_with_one_uidvalidity(pair: Pair) -> None:
    set_uidvalidity(pair.sent, 12345)
    set_uidvalidity(pair.trash, 12345)
    pair.sync()
    samplespool.swap(pair.sent, pair.trash)
    assert pair.sync()["folders"]["recreated"] == 2
    samplespool.swap(pair.sent, pair.trash)
    assert pair.sync()["folders"]["recreated"] == 2


def test_a_mailbox_that_took_a_deleted_ones_place_by_a_rename(pair: Pair) -> None:
    samplespool.delete_folder(pair.sent)
    pair.trash.rename(pair.sent)
    report = pair.sync()
    assert (report["folders"]["recreated"], report["folders"]["gone"]) == (1, 1)


def test_a_new_uidvalidity_is_another_incarnation(pair: Pair) -> None:
    set_uidvalidity(pair.sent, 999)
    for uid in range(1, 6):
        pair.rewrite(pair.sent / f"{uid}.", f"renumbered {uid}")
    assert pair.sync()["folders"]["recreated"] == 1


DAMAGES: dict[str, Callable[[Path], object]] = {
    "missing": Path.unlink,
    "empty": lambda path: path.write_bytes(b""),
    "garbage": lambda path: path.write_bytes(bytes(range(256))),
}


@pytest.mark.parametrize("damage", DAMAGES.values(), ids=DAMAGES)
@pytest.mark.parametrize("name", ["cyrus.header", "cyrus.index"])
@pytest.mark.parametrize("tree", ["source", "replica"])
def test_a_mailbox_that_cannot_be_told_is_compared(
    pair: Pair, tree: str, name: str, damage: Callable[[Path], object]
) -> None:
    """By size and time, never by name alone."""
    damage((pair.sent if tree == "source" else pair.on_replica(pair.sent)) / name)
    message = pair.sent / "3."
    message.write_text("not of the old size")
    os.utime(message, (TIME, TIME))
    os.utime(pair.sent, (TIME, TIME))  # or one without an index might be a mailbox in the making
    assert pair.sync()["messages"]["send"] == 5


# --- Which messages are proven


def test_a_message_above_the_last_uid_waits_for_its_record(pair: Pair) -> None:
    pair.rewrite(pair.sent / "6.", "appended, not yet recorded")
    report = sync(*pair.arguments)
    assert report["messages"] == {"seen": 11, "present": 10, "send": 0, "delete": 0, "waiting": 1, "linked": 0}
    assert not (pair.on_replica(pair.sent) / "6.").exists()

    (pair.sent / "6.").unlink()
    pair.deliver(pair.sent, 1)
    assert pair.sync()["messages"]["send"] == 1


def test_a_new_mailbox_goes_without_the_message_that_waits(pair: Pair) -> None:
    drafts = pair.create("Drafts")
    pair.rewrite(drafts / "6.", "appended, not yet recorded")
    assert sync(*pair.arguments)["messages"]["send"] == 5
    assert not (pair.on_replica(drafts) / "6.").exists()


def test_a_message_that_waits_on_the_source_is_not_deleted_on_the_replica(pair: Pair) -> None:
    """A run that was killed before the metadata may have left it there."""
    for folder in (pair.sent, pair.on_replica(pair.sent)):
        pair.rewrite(folder / "6.", "appended, not yet recorded")
    sync(*pair.arguments)
    assert (pair.on_replica(pair.sent) / "6.").exists()


def test_a_message_above_the_replicas_own_last_uid_is_checked_again(pair: Pair) -> None:
    """What a killed run sent may be an append that failed since: its UID was used again."""
    pair.rewrite(pair.on_replica(pair.sent) / "6.", "an append that failed")
    os.utime(pair.on_replica(pair.sent) / "6.", (TIME - 1, TIME - 1))
    pair.deliver(pair.sent, 1)
    assert pair.sync()["messages"]["send"] == 1


def test_a_message_that_is_proven_is_not_checked(pair: Pair, tmp_path: Path) -> None:
    pair.deliver(pair.sent, 1)
    calls = strace_calls(cyrsync_argv("sync", *pair.arguments), env=plain_env(), output=tmp_path / "calls")
    looked_at = {call.path for call in calls if call.name in (*STAT_CALLS, *OPEN_CALLS)}
    sent = os.fsencode(pair.sent)
    assert sent + b"/6." in looked_at
    assert not looked_at & {sent + b"/%d." % uid for uid in range(1, 6)}


# --- Runs that were killed


@pytest.mark.parametrize("arrived", [0, 3, 5])
def test_a_first_copy_killed_before_the_metadata(pair: Pair, arrived: int) -> None:
    drafts = pair.create("Drafts")
    copy = pair.on_replica(drafts)
    copy.mkdir()
    for uid in range(1, arrived + 1):
        pair.rewrite(copy / f"{uid}.", f"Drafts {uid}")
    pair.sync()


@pytest.mark.parametrize("lost", [(), ("cyrus.header",)], ids=["all", "no header"])
@pytest.mark.parametrize("arrived", [0, 3, 5])
def test_a_recreated_mailbox_killed_half_way(pair: Pair, arrived: int, lost: tuple[str, ...]) -> None:
    """Old and new messages side by side, and what is left of the old metadata."""
    pair.recreate(pair.sent)
    for name in lost:
        (pair.on_replica(pair.sent) / name).unlink()
    for uid in range(1, arrived + 1):
        pair.rewrite(pair.on_replica(pair.sent) / f"{uid}.", f"another {uid}")
    pair.sync()


def set_uidvalidity(folder: Path, uidvalidity: int) -> None:
    index = bytearray((folder / "cyrus.index").read_bytes())
    index[44:48] = uidvalidity.to_bytes(4, "big")
    sampleindex.write_index(folder, index, 5)
