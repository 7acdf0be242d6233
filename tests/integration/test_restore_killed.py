"""Killed at any call that changes the disk, or where the disk is full, a restore leaves only whole messages.

The same command restores the others.
"""

from __future__ import annotations

import hashlib
import os
from collections import Counter
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pytest

import samplespool
from cyrsync.cyrus.mailbox import records
from cyrsync.errors import CyrsyncError
from cyrsync.history.choose import Request
from cyrsync.history.outcome import Outcome
from cyrsync.history.restore_to import restore_to
from cyrsync.history.tree import open_tree
from cyrsync.sync.progress import NoProgress
from support.killed import full_before, killed_before, makes_a_file

CALLS = ("mkdir", "open", "rename", "unlink", "utime", "write")
MESSAGES = {"user/joe": 1, "user/joe/Sent": 1}


@pytest.fixture
def spool(tmp_path: Path) -> Path:
    for name, count in MESSAGES.items():
        samplespool.deliver(samplespool.create_folder(tmp_path / "spool", name), count)
    return tmp_path / "spool"


def restore(spool: Path, form: str, to: Path) -> None:
    outcome = Outcome("", "")
    tree = open_tree(os.fsencode(spool), None)
    restore_to(tree, Request(user="joe"), os.fsencode(to), form, outcome, NoProgress())
    assert outcome.errors == []


def digests(directory: Path) -> Counter[str]:
    """How often each message is below a directory, by its SHA-1."""
    paths = (path for path in directory.rglob("*") if path.suffix == ".eml" or path.parent.name == "cur")
    messages = (path for path in paths if not path.name.startswith(".") and path.is_file())
    return Counter(hashlib.sha1(path.read_bytes()).hexdigest() for path in messages)


def assert_whole(spool: Path, to: Path, *, everything: bool = False) -> None:
    true = Counter(hashlib.sha1(path.read_bytes()).hexdigest() for path in spool.rglob("*[0-9]."))
    found = digests(to)
    assert found <= true
    if everything:
        assert found == true
        assert not list(to.rglob("*partial*"))


def is_reached(number: int, how: str, work: Callable[[], None]) -> bool:
    """Do some work that is disturbed at the call of that number; tell whether there is one."""
    if how == "killed":
        return killed_before(number, work, CALLS, makes_a_file)
    return full_before(number, work, CALLS, makes_a_file, CyrsyncError)


@pytest.mark.parametrize("form", ["maildir", "eml"])
@pytest.mark.parametrize("how", ["killed", "full"])
def test_at_any_call(spool: Path, tmp_path: Path, form: str, how: str) -> None:
    number, again = 0, True
    while again:
        to = tmp_path / str(number)
        work = partial(restore, spool, form, to)
        again = is_reached(number, how, work)
        assert_whole(spool, to)
        work()
        assert_whole(spool, to, everything=True)
        number += 1
    assert number > 20  # or nothing was reached


@pytest.mark.parametrize("how", ["killed", "full"])
def test_an_index_is_there_when_all_is_that_it_names(spool: Path, tmp_path: Path, how: str) -> None:
    """What was restored as Cyrus has it, and not wholly, has to be restored to another directory."""
    number, again = 0, True
    while again:
        to = tmp_path / str(number)
        again = is_reached(number, how, partial(restore, spool, "cyrus", to))
        for path in to.rglob("cyrus.index"):
            index = records.read(path.read_bytes())
            bodies = [(path.parent / f"{uid}.").read_bytes() for uid in index.uids]
            assert [index.guid(at) for at in range(len(index))] == [hashlib.sha1(body).digest() for body in bodies]
        number += 1
    assert number > 20
