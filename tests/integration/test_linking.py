"""What the replica has under another name is linked there, not sent: hard links, and messages moved or copied."""

from __future__ import annotations

import errno
import os
import shutil
from pathlib import Path

import pytest

import samplespool
from cyrsync.server import sender
from support.pairs import Pair

SIZE, COUNT = 50_000, 12


def made(directory: Path, request: pytest.FixtureRequest, over_ssh: bool) -> Pair:
    return Pair(directory, request.getfixturevalue("sshd") if over_ssh else None)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


@pytest.fixture(params=["here", "over ssh"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Pair:
    return made(tmp_path, request, request.param == "over ssh")


def large(folder: Path, count: int = COUNT) -> list[int]:
    """Deliver messages that would be seen among the bytes that are sent."""
    return samplespool.deliver(folder, count, size=SIZE)


def assert_linked(pair: Pair, *files: tuple[Path, int]) -> None:
    """On the replica, too, these messages are one file."""
    paths = [pair.there(folder) / f"{uid}." for folder, uid in files]
    assert all(path.samefile(paths[0]) for path in paths), [path.stat() for path in paths]


def first_copy(pair: Pair, *words: str, links: bool = True) -> dict[str, object]:
    """Forget the replica, and make it anew."""
    shutil.rmtree(pair.replica)
    pair.replica.mkdir()
    return pair.sync("--full", *words)


@pytest.mark.parametrize("jobs", [1, 3])
@pytest.mark.parametrize("limit", [1, 16 << 20])
def test_a_message_to_several_users_is_one_file(
    either: Pair, limit: int, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Be it that they are new, or that the replica is."""
    monkeypatch.setattr(sender, "_PORTION_BYTES", limit)
    first, *others = either.folders[:4]
    uids = large(first)
    copies = [samplespool.copy(first, uids, other) for other in others]
    report = either.sync("--jobs", str(jobs))
    if jobs == 1:
        assert report["bytes_sent"] < (COUNT + 3) * SIZE
        assert (report["messages"]["send"], report["messages"]["linked"]) == (4 * COUNT, 3 * COUNT)
    for number, uid in enumerate(uids):
        if jobs == 1:
            assert_linked(either, (first, uid), *((at, them[number]) for at, them in zip(others, copies, strict=True)))
    either.assert_same()
    whole = first_copy(either, "--jobs", str(jobs))
    if jobs == 1:
        assert whole["messages"]["linked"] == 3 * COUNT
        assert_linked(either, (first, uids[0]), (others[2], copies[2][0]))
    either.assert_same()


@pytest.mark.parametrize("jobs", [1, 3])
def test_what_goes_by_another_stream_is_linked_when_it_has_arrived(
    either: Pair, jobs: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Each mailbox by the next stream: before one is used again, what it had has arrived."""
    monkeypatch.setattr(sender, "_PORTION", 1)
    monkeypatch.setattr(sender, "_GROUP", 1)
    first = either.folders[0]
    uids = large(first)
    for other in either.folders[1:8]:
        samplespool.copy(first, uids, other)
    report = either.sync("--jobs", str(jobs))
    assert report["messages"]["linked"] >= (8 - jobs) * COUNT - COUNT
    assert report["messages"]["linked"] > 0
    either.assert_same()


@pytest.mark.parametrize("limit", [1, 16 << 20])
def test_two_names_in_one_mailbox(either: Pair, limit: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sender, "_PORTION_BYTES", limit)
    folder = either.folders[0]
    uids = large(folder)
    copies = samplespool.copy(folder, uids, folder)
    report = either.sync()
    assert report["bytes_sent"] < (COUNT + 2) * SIZE
    assert_linked(either, (folder, uids[0]), (folder, copies[0]))
    either.assert_same()
    assert first_copy(either)["messages"] == {
        **report["messages"],
        "present": 0,
        "linked": COUNT,
        "send": 324,
        "seen": 324,
    }
    assert_linked(either, (folder, uids[-1]), (folder, copies[-1]))


def test_a_damaged_message_is_named_under_each_name(pair: Pair) -> None:
    """Its bytes are not what the index says, so it is no message that the replica has."""
    first, second = pair.folders[:2]
    (uid,) = large(first, 1)
    (copied,) = samplespool.copy(first, [uid], second)
    with (first / f"{uid}.").open("r+b") as stream:
        stream.write(b"damaged")
    report = pair.sync(expect=23)
    assert len(report["errors"]) == 2
    assert report["messages"]["linked"] == 0
    assert (pair.there(second) / f"{copied}.").read_bytes() == (first / f"{uid}.").read_bytes()


@pytest.mark.parametrize("number", [errno.EXDEV, errno.EMLINK, errno.ENOENT, errno.ESTALE])
def test_what_cannot_be_linked_is_sent(pair: Pair, number: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """The mailbox is sent once more, without links; others have theirs."""
    first, second, third = pair.folders[:3]
    uids = large(first)
    samplespool.copy(first, uids, second)
    samplespool.copy(first, uids, third)
    calls = fail_first_link(monkeypatch, number)
    report = pair.sync()
    assert len(calls) == COUNT + 1
    assert (report["folders"]["failed"], report["errors"]) == (0, [])
    assert (report["messages"]["send"], report["messages"]["linked"]) == (3 * COUNT, COUNT)
    assert report["files"]["planned"] == report["files"]["sent"]
    pair.assert_same()


def fail_first_link(monkeypatch: pytest.MonkeyPatch, number: int) -> list[object]:
    """Let the first link of a message fail in this process, where the replica is served; return what was asked for."""
    kept, calls = os.link, list[object]()

    def link(*words: object, **options: object) -> None:
        calls.append(words)
        if len(calls) == 1:
            raise OSError(number, os.strerror(number))
        kept(*words, **options)  # type: ignore[arg-type]

    monkeypatch.setattr(os, "link", link)
    return calls
