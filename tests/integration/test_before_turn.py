"""A run sends mailboxes before their turn, or once more, when it is asked to in the middle of all others."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

import samplespool
from cyrsync.ends.child_tree import ChildTree
from cyrsync.errors import InterruptedRun
from cyrsync.server.visits import SendNow, Visits
from cyrsync.state.mailbox_row import Key
from support.replicas import Pair
from support.spool import count, leaves


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


#: What happens between two mailboxes: it is given those that are sent, the number of those before, and who sends some.
Happens = Callable[[list[Key], int, SendNow], None]


def between(monkeypatch: pytest.MonkeyPatch, happens: Happens) -> None:
    send_all = Visits.all

    def send(visits: Visits, keys: Sequence[Key], _: object) -> None:
        done = iter(range(1, len(keys) + 1))
        send_all(visits, keys, lambda send_now: happens(list(keys), next(done), send_now))

    monkeypatch.setattr(Visits, "all", send)


def folder_of(pair: Pair, key: Key) -> Path:
    return pair.server.spool / os.fsdecode(key.path)


def deliver(folder: Path, number: int) -> None:
    samplespool.deliver(folder, number)
    time.sleep(0.03)  # what was written just now may change again unseen, and is not known to have arrived


def files(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir() if path.is_file()}


def assert_is_there(pair: Pair, folder: Path) -> None:
    assert files(folder) == files(pair.there(folder))


@pytest.mark.parametrize("words", [[], ["--jobs", "2"], ["--history"]])
@pytest.mark.parametrize("turn", [0, 1, -1])
@pytest.mark.parametrize("is_first", [True, False])
def test_it_is_there_at_once_whenever_its_turn_is_and_all_is_counted_once(
    pair: Pair, monkeypatch: pytest.MonkeyPatch, turn: int, is_first: bool, words: list[str]
) -> None:
    """Whether its turn was before, is next, or is last; in a first copy, and in a later run."""
    if not is_first:
        pair.sync(*words)
        for folder in pair.server.folders():
            deliver(folder, 2)
    more = 0 if is_first else 2 * len(pair.server.folders())

    def happens(keys: list[Key], done: int, send: SendNow) -> None:
        if done == 1:
            for number in (3, 1):
                deliver(folder_of(pair, keys[turn]), number)
                assert send([keys[turn]]) == {}
                assert_is_there(pair, folder_of(pair, keys[turn]))

    between(monkeypatch, happens)
    report = pair.sync(*words)
    total = sum(map(count, pair.server.folders()))
    messages, folders = report["messages"], report["folders"]
    assert (messages["seen"], messages["send"]) == (total, total if is_first else more + 4)
    assert (messages["seen"], report["exit"]) == (messages["present"] + messages["send"], 0)
    assert (folders["seen"], folders["new" if is_first else "changed"]) == (len(pair.server.folders()),) * 2
    files = report["files"]
    assert files["planned"] == files["sent"]
    pair.assert_same()
    report = pair.sync(*words)
    assert (report["messages"]["send"], report["folders"]["changed"]) == (0, 0)


def test_one_that_has_not_changed_before(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    pair.sync()
    changed, other = pair.server.folders()[:2]
    deliver(changed, 1)

    def happens(keys: list[Key], _: int, send: SendNow) -> None:
        assert [folder_of(pair, key) for key in keys] == [changed]
        deliver(other, 2)
        path = os.fsencode(other.relative_to(pair.server.spool))
        assert send([Key("default", path)]) == {}
        assert_is_there(pair, other)

    between(monkeypatch, happens)
    report = pair.sync()
    total = sum(map(count, pair.server.folders()))
    assert (report["messages"]["seen"], report["messages"]["send"], report["folders"]["changed"]) == (total, 3, 2)
    pair.assert_same()


def test_it_is_on_the_disks_of_the_replica_when_it_counts_as_sent(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    to_disk = ChildTree.to_disk
    there: list[bool] = []

    def seen(tree: ChildTree, roots: Sequence[bytes]) -> None:
        there.append(pair.there(pair.server.folders()[-1] / "cyrus.index").exists())
        to_disk(tree, roots)

    def happens(keys: list[Key], done: int, send: SendNow) -> None:
        if done == 1:
            last = next(key for key in keys if folder_of(pair, key) == pair.server.folders()[-1])
            assert send([last]) == {}
            assert there == [True]

    monkeypatch.setattr(ChildTree, "to_disk", seen)
    between(monkeypatch, happens)
    pair.sync()
    pair.assert_same()


def test_what_is_lost_meanwhile_is_deleted_at_the_end(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """As of all others: it is not too much for what has been looked at so far."""
    folders = pair.server.folders()
    for folder in folders:
        deliver(folder, 150)
    pair.sync()
    for folder in folders:
        deliver(folder, 1)

    def happens(keys: list[Key], done: int, send: SendNow) -> None:
        if done in (1, 2):
            samplespool.remove(folder_of(pair, keys[0]), range(60 * done - 59, 60 * done + 1))
            time.sleep(0.03)
            assert send(keys[:1]) == {}

    between(monkeypatch, happens)
    report = pair.sync()
    assert (report["withheld"], report["messages"]["delete"], report["exit"]) == (0, 120, 0)
    pair.assert_same()


def test_what_is_too_much_is_not_deleted(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    folder = pair.server.folders()[0]
    deliver(folder, 10)
    pair.sync()
    for one in pair.server.folders():
        deliver(one, 1)
    there = {path.name for path in pair.there(folder).glob("*.")}

    def happens(keys: list[Key], done: int, send: SendNow) -> None:
        if done == 1:
            samplespool.remove(folder, range(1, 9))
            time.sleep(0.03)
            assert send([key for key in keys if folder_of(pair, key) == folder]) == {}

    between(monkeypatch, happens)
    report = pair.sync("--max-delete", "5", expect=25)
    assert report["withheld"] == 8
    assert there <= {path.name for path in pair.there(folder).glob("*.")}


def test_another_mailbox_under_the_name_is_left_to_the_end(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """What the replica has may be another's, whose turn comes later."""
    pair.sync()
    for folder in pair.server.folders():
        deliver(folder, 1)

    def happens(keys: list[Key], done: int, send: SendNow) -> None:
        if done == 1:
            left, right = leaves(pair.server.spool)[:2]
            swapped = [key for key in keys if folder_of(pair, key) in (left, right)]
            before = {path.name: path.read_bytes() for path in pair.there(right).glob("*.")}
            samplespool.swap(left, right)
            time.sleep(0.03)
            assert set(send(swapped)) == set(swapped)
            now = {path.name: path.read_bytes() for path in pair.there(right).glob("*.")}
            assert now == before

    between(monkeypatch, happens)
    report = pair.sync()
    assert report["errors"] == []
    pair.assert_same()


def test_one_that_cannot_be_read_then_is_read_again(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """In its turn, or at the end if that was before."""
    kept: dict[Path, bytes] = {}

    def happens(keys: list[Key], done: int, send: SendNow) -> None:
        indexes = [folder_of(pair, key) / "cyrus.index" for key in (keys[0], keys[-1])]
        if done == 1:
            kept.update({path: path.read_bytes() for path in indexes})
            for path in indexes:
                path.write_bytes(b"torn")
            assert set(send([keys[0], keys[-1]])) == {keys[0], keys[-1]}
        if done == 2:
            for path, content in kept.items():
                path.write_bytes(content)

    between(monkeypatch, happens)
    report = pair.sync()
    assert report["errors"] == []
    pair.assert_same()


def test_a_run_that_dies_afterwards_knows_what_it_has_sent(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    sent: list[Path] = []

    def happens(keys: list[Key], done: int, send: SendNow) -> None:
        if done == 1:
            deliver(folder_of(pair, keys[-1]), 3)
            assert send([keys[-1]]) == {}
            sent.extend(folder_of(pair, key) for key in (keys[0], keys[-1]))
            raise InterruptedRun("interrupted")

    with monkeypatch.context() as patch:
        between(patch, happens)
        assert pair.sync(expect=20)["exit"] == 20
    report = pair.sync()
    total = sum(map(count, pair.server.folders()))
    assert report["messages"]["send"] == total - sum(map(count, sent))
    pair.assert_same()


def test_nothing_is_sent_to_a_replica_that_is_not_what_it_was(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of it is compared first, and what was asked for is sent with that."""
    pair.sync()
    for folder in pair.server.folders():
        deliver(folder, 1)
    for root in pair.roots:
        pair.forge(root, run=99)
    asked: list[int] = []

    def happens(keys: list[Key], done: int, send: SendNow) -> None:
        asked.append(done)

    between(monkeypatch, happens)
    report = pair.sync()
    assert asked == list(range(1, len(pair.server.folders()) + 1))
    assert any("something else has written there" in warning for warning in report["warnings"])
    pair.assert_same()
