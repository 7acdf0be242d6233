"""A watcher beside a real Cyrus, whose first pass takes as long as one likes: new mail does not wait for its end."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from support.campaign import amount
from support.imapd import ok
from support.load import under_load
from support.watched import NAME, UNIQUEID, Box, mail, user
from support.watcher import Watcher

#: So often the watcher is killed in the middle of it.
KILLS = amount(3, long=30)

#: Before its last mailbox, a pass goes on until there is a file. It asks all the time whether anything is to be sent.
_LONG = """
import os, time
from cyrsync.server.visits import Visits
send_all = Visits.all
def all(visits, keys, between):
    def slowly():
        for key in keys[:-1]:
            yield key
        while not os.path.exists({gate!r}):
            time.sleep(0.02)
            yield keys[0]
        yield keys[-1]
    send_all(visits, slowly() if keys else keys, between)
Visits.all = all
"""


class LongPass:
    """A watcher in the middle of its first pass, which ends when it may."""

    def __init__(self, box: Box, watcher: Watcher, gate: Path) -> None:
        self.watcher = watcher
        self._box = box
        self._gate = gate

    def goes_on(self) -> bool:
        return "connection: connected" not in self.watcher.said()

    def wait_for(self, subject: str) -> None:
        """Wait for a message, which the replica gets during the pass."""
        self.watcher.wait(lambda: self._box.is_there(subject), name=subject)
        assert self.goes_on()

    def wait_for_all(self, state: Path) -> None:
        """Wait until nothing waits."""
        self.watcher.wait(
            lambda: bool(list(state.glob("*.watch"))) and not self.watcher.status(state)["pending"],
            name="nothing to wait",
        )

    def end(self) -> None:
        self.may_end()
        self.watcher.wait(lambda: not self.goes_on(), name="the end of the pass")

    def may_end(self) -> None:
        self._gate.touch()


@contextmanager
def long_pass(box: Box, tmp_path: Path, *words: str | Path) -> Iterator[LongPass]:
    gate = tmp_path / "gate"
    where = words or ("--delete", "--max-delete", "100%", box.replica)
    watcher = Watcher(box.conf, *where, said=tmp_path / "said", before=_LONG.format(gate=str(gate)))
    try:
        watcher.start_only()
        yield LongPass(box, watcher, gate)
    finally:
        watcher.close()


in_each_layout = pytest.mark.parametrize(
    "box", [NAME, UNIQUEID], ids=["name directories", "uniqueid directories"], indirect=True
)


def touched(box: Box, *names: str) -> list[str]:
    """Users with a message that the next pass finds."""
    users = [user(box, name) for name in names]
    for one in users:
        box.server.deliver(mail(f"{one}-before"), one)
    return users


@in_each_layout
def test_what_is_delivered_during_a_pass_is_there_before_its_end(box: Box, tmp_path: Path, state_dir: Path) -> None:
    joe, jane, jim = touched(box, "joe", "jane", "jim")
    with long_pass(box, tmp_path) as going:
        for number in range(3):
            for one in (joe, jane, jim):
                box.server.deliver(mail(f"{one}-{number}"), one)
            for one in (joe, jane, jim):
                going.wait_for(f"{one}-{number}")
        with box.server.login(joe) as imap:
            ok(imap.select("INBOX"))
            ok(imap.uid("STORE", "1", "+FLAGS", "(\\Deleted \\Seen)"))
            ok(imap.expunge())
            ok(imap.unselect())
        going.end()
        going.wait_for_all(state_dir)
        counts = going.watcher.status(state_dir)["counts"]
        assert (counts["log_missed"], counts["log_doubts"]) == (0, 0)
        assert going.watcher.stop() == 0
    box.assert_equal()


def test_what_is_made_renamed_and_deleted_during_a_pass(box: Box, tmp_path: Path, state_dir: Path) -> None:
    """New mailboxes wait for its end, and take nothing from others."""
    joe, jane, jim = touched(box, "joe", "jane", "jim")
    with long_pass(box, tmp_path) as going:
        with box.server.login(jim) as imap:
            ok(imap.create("INBOX.Old"))
            ok(imap.create("INBOX.New"))
            ok(imap.rename("INBOX.New", "INBOX.Newer"))
        with box.server.login("cyrus") as imap:
            ok(imap.setacl(f"user.{jane}", "cyrus", "lrswipkxtecda"))
            ok(imap.delete(f"user.{jane}"))
        ann = user(box, "ann")
        box.server.deliver(mail(f"{ann}-1"), ann)
        box.server.deliver(mail(f"{joe}-1"), joe)
        going.wait_for(f"{joe}-1")
        going.end()
        going.watcher.wait(lambda: box.is_there(f"{ann}-1"), name="the new user's")
        going.wait_for_all(state_dir)
        assert going.watcher.stop() == 0
    box.assert_equal()


def test_a_watcher_that_is_killed_during_a_pass_loses_nothing(box: Box, tmp_path: Path) -> None:
    joe, jane = touched(box, "joe", "jane")
    with long_pass(box, tmp_path) as going:
        with under_load(box.server, KILLS, expire=False, users=[f"{joe}x", f"{jane}x"]):
            for number in range(KILLS):
                box.server.deliver(mail(f"{joe}-{number}"), joe)
                going.wait_for(f"{joe}-{number}")
                going.watcher.kill()
                box.server.deliver(mail(f"{jane}-{number}"), jane)  # so that the next pass is one
                going.watcher.start_only()
        going.end()
        going.watcher.wait(box.is_equal, name="the same messages")
        assert going.watcher.stop() == 0
    box.assert_equal()


def test_a_watcher_that_is_stopped_during_a_pass_ends_well(box: Box, tmp_path: Path) -> None:
    (joe, *_) = touched(box, "joe", "jane")
    with long_pass(box, tmp_path) as going:
        box.server.deliver(mail(f"{joe}-1"), joe)
        going.wait_for(f"{joe}-1")
        assert going.watcher.stop() == 0
        going.may_end()
        going.watcher.start()
        assert going.watcher.stop() == 0
    box.assert_equal()
