"""A limit on deletions is one, whenever what goes is planned: also in a folder that is read late, or once more."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

import samplespool
from support.inside import sync_here
from support.meanwhile import before_part
from support.races import Races
from support.servers import SampleServer, below
from support.spool import leaves
from support.tree import messages, sync

LIMIT = ("--delete", "--max-delete=5")
#: So many new messages are left to rsync, whose start the tests wait for.
MANY = 110


class Case:
    """A source and its replica, and what happens before something is sent; `words` name both for either engine."""

    def __init__(self, directory: Path, engine: str, monkeypatch: pytest.MonkeyPatch) -> None:
        self.engine, self.monkeypatch = engine, monkeypatch
        self.server = SampleServer(directory / "server", messages=600, folder_count=6)
        replica = directory / "replica"
        replica.mkdir()
        self.there = below(replica, self.server.spool) if engine == "index" else replica
        self.words = ["-C", self.server.conf, replica] if engine == "index" else [f"{self.server.spool}/", replica]
        self.races = Races(directory / "races")
        sync(*self.words)
        self.one, self.other = leaves(self.server.spool)[-2:]

    def late(self, script: str, number: int = 0) -> None:
        """Have this happen before the rsync or the part of this number; `one` and `other` are two folders."""
        if self.engine == "index":
            names = {"samplespool": samplespool, "Path": Path, "one": self.one, "other": self.other}
            before_part(self.monkeypatch, number, lambda: exec(script, names))
            return
        start = f"import samplespool\none, other = Path({str(self.one)!r}), Path({str(self.other)!r})\n"
        self.races.before(number, start + script)

    def forget(self) -> None:
        """Have nothing happen any more."""
        self.monkeypatch.undo()
        self.races.forget()

    def sync(self, expect: int, *words: str) -> dict[str, Any]:
        if self.engine == "index":
            return sync_here(*LIMIT, *words, *self.words, expect=(expect,))
        return sync(*LIMIT, *words, *self.words, env=self.races.env, expect=(expect,))


@pytest.fixture(params=["index", "walk"])
def case(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    return Case(tmp_path, request.param, monkeypatch)


@pytest.fixture
def index(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Case:
    return Case(tmp_path, "index", monkeypatch)


def test_a_folder_that_is_read_again(case: Case) -> None:
    """Its new messages went before rsync came to them, and many others with them."""
    samplespool.deliver(case.one, MANY)
    case.late("samplespool.expunge(one, 10**6)")
    before = messages(case.there).keys()
    report = case.sync(25)
    assert messages(case.there).keys() >= before
    (error,) = report["errors"]
    assert error.startswith("nothing is deleted: ")
    assert "--max-delete=5" in error
    assert report["withheld"] > 5
    assert report["files"]["deleted"] == 0


def test_what_was_within_the_limit_goes_no_more_when_more_is_found(case: Case) -> None:
    """The plans that were made anew are other objects than those that were kept from deleting."""
    samplespool.expunge(case.other, 3)
    samplespool.deliver(case.other, MANY)
    samplespool.deliver(case.one, MANY)
    case.late("samplespool.expunge(one, 10**6)")
    before = messages(case.there).keys()
    report = case.sync(25)
    assert messages(case.there).keys() >= before
    assert report["files"]["deleted"] == 0


def test_the_next_run_with_leave_to_do_so_deletes_them(case: Case) -> None:
    samplespool.deliver(case.one, MANY)
    case.late("samplespool.expunge(one, 10**6)")
    case.sync(25)
    case.forget()
    case.sync(0, "--max-delete=1000")
    assert messages(case.there) == messages(case.server.spool)


def test_a_mailbox_that_could_not_be_read_at_first(index: Case) -> None:
    first, last = sorted([index.one, index.other])
    first.rename(away := index.server.root / "away")
    samplespool.expunge(away, 10**6)
    samplespool.deliver(last, MANY)
    index.late(f"Path({str(away)!r}).rename({str(first)!r})")  # when the first look at it is over
    before = messages(index.there).keys()
    report = index.sync(25)
    assert messages(index.there).keys() >= before
    assert report["withheld"] > 5


def test_mailboxes_that_are_deleted_meanwhile(index: Case) -> None:
    """Neither they nor others are deleted then."""
    samplespool.expunge(index.one, 3)
    samplespool.deliver(index.one, MANY)
    samplespool.deliver(index.other, MANY)
    script = "import shutil; shutil.rmtree(other)\n"
    script += f"lines = Path({str(index.server.database)!r}).read_bytes().splitlines(True)\n"
    name = ".".join(index.other.relative_to(index.server.spool).parts[1:]).encode()
    script += f"lines = [line for line in lines if not line.startswith({name + bytes([9])!r})]\n"
    script += f"Path({str(index.server.database)!r}).write_bytes(b''.join(lines))"
    index.late(script)
    before = messages(index.there).keys()
    theirs = len(messages(index.there / index.other.relative_to(index.server.spool)))
    report = index.sync(25)
    assert messages(index.there).keys() >= before
    assert report["withheld"] > theirs
    assert any(error.startswith("nothing is deleted: ") for error in report["errors"])
