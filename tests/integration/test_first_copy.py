"""A first copy of many messages: one rsync copies the whole tree, and what happened meanwhile is put right."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path
from typing import Any

import pytest

import samplespool
from cyrsync.spool import first_copy
from support.inside import sync_here
from support.races import Races
from support.sshd import Sshd
from support.tools import requires
from support.tree import assert_same_tree, run_cyrsync, sync

SENT, TRASH = "j/user/joe/Sent", "j/user/joe/Trash"
START = """\
import os, pathlib, samplespool, shutil
folder = lambda name: pathlib.Path({source!r}, name)
"""


class First:
    """A spool that has no replica yet."""

    def __init__(self, directory: Path, races: Races, sshd: Sshd | None = None, direction: str = "") -> None:
        self.source, self.replica, self.races = directory / "source", directory / "replica", races
        samplespool.make(self.source, messages=120, folder_count=4)
        (self.source / "stage.").mkdir()
        (self.source / "stage./1").write_bytes(b"not ours")
        (self.source / SENT / ".hidden").write_bytes(b"not ours")
        (self.source / SENT / "stray").write_bytes(b"ours")
        ends = [f"{self.source}/", f"{self.replica}/"]
        if sshd:
            ends[direction == "push"] = sshd.at(ends[direction == "push"])
        self.arguments = ["--delete", *(["-e", sshd.rsh] if sshd else []), *ends]

    def sync(self, *words: str, expect: int = 0) -> dict[str, Any]:
        return sync_here(*words, *self.arguments, expect=(expect,))

    def before(self, number: int, script: str) -> None:
        """Have this happen before the rsync of this number."""
        self.races.before(number, START.format(source=str(self.source)) + script)

    def copied_whole_tree(self) -> bool:
        """The first rsync had rules, and no list."""
        return any(word.startswith("--filter=. ") for run in self.races.runs() for word in run.words)

    def assert_same(self) -> None:
        assert_same_tree(self.source, self.replica)
        assert not (self.replica / "stage.").exists()
        assert not list(self.replica.rglob(".hidden"))
        assert run_cyrsync("verify", "--content", self.replica).returncode == 0


@pytest.fixture
def races(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Races:
    requires("rsync")
    found = Races(tmp_path / "races")
    monkeypatch.setenv("PATH", found.env["PATH"])
    monkeypatch.setattr(first_copy, "_MANY", 100)
    return found


@pytest.fixture
def first(tmp_path: Path, races: Races) -> First:
    return First(tmp_path, races)


@pytest.fixture(params=["here", "push", "pull"])
def any_first(request: pytest.FixtureRequest, tmp_path: Path, races: Races) -> First:
    sshd = None if request.param == "here" else request.getfixturevalue("sshd")
    return First(tmp_path, races, sshd, request.param)


def test_it_is_what_rsync_makes(any_first: First) -> None:
    report = any_first.sync()
    assert any_first.copied_whole_tree()
    assert (report["messages"]["send"], report["errors"]) == (120, [])
    assert report["folders"]["new"] == report["folders"]["seen"]
    # Messages, three metadata files a folder, and a stray; of those that went by lists, no message.
    files = report["files"]
    assert files["planned"] == files["sent"] == 120 + 3 * 4 + 1
    assert not [entry for run in any_first.races.runs()[1:] for entry in run.listed if entry.endswith(b".")]
    any_first.assert_same()
    any_first.races.forget()
    assert any_first.sync()["rsync_runs"] == 0


def test_without_a_replica_directory(first: First) -> None:
    assert not first.replica.exists()
    first.sync()
    first.replica.joinpath(SENT, "cyrus.index").unlink()
    first.races.forget()
    first.sync()
    assert not first.copied_whole_tree()
    first.assert_same()


@pytest.mark.parametrize(
    "words", [("--jobs", "2"), ("--user", "joe"), ("--skip-derived", "--jobs", "2"), ("-H",), ("--dry-run",)]
)
def test_when_it_is_no_whole_copy(first: First, words: tuple[str, ...]) -> None:
    if words == ("-H",):
        first.arguments += ["--", *words]
        words = ()
    first.sync(*words)
    assert not first.copied_whole_tree()


@pytest.mark.parametrize("what", ["a message waits", "a folder is there", "a folder is gone", "no index", "few"])
def test_when_not_all_may_go(first: First, what: str, monkeypatch: pytest.MonkeyPatch) -> None:
    if what == "a message waits":
        (first.source / SENT / "999999.").write_bytes(b"no record yet")
    elif what == "a folder is there":
        (first.replica / SENT).mkdir(parents=True)
    elif what == "a folder is gone":
        (first.replica / "gone").mkdir(parents=True)
    elif what == "no index":
        (first.source / SENT / "cyrus.index").unlink()
    else:
        monkeypatch.setattr(first_copy, "_MANY", 121)
    first.sync()
    assert not first.copied_whole_tree()


def test_derived_files_may_stay(first: First) -> None:
    report = first.sync("--skip-derived")
    assert first.copied_whole_tree()
    assert report["files"]["sent"] == report["files"]["planned"]
    assert not list(first.replica.rglob("cyrus.cache"))
    assert first.sync("--skip-derived")["rsync_runs"] == 0


@pytest.mark.parametrize("number", [0, 1])
@pytest.mark.parametrize(
    "script",
    [
        f"samplespool.expunge(folder({SENT!r}), 5)",
        f"samplespool.deliver(folder({SENT!r}), 5)",
        f"samplespool.set_flags(folder({SENT!r}))",
        f"samplespool.recreate_folder(folder({SENT!r}), 200)",
        f"samplespool.swap(folder({SENT!r}), folder({TRASH!r}))",
        f"samplespool.delete_folder(folder({TRASH!r}))",
    ],
    ids=lambda script: script[12:20],
)
def test_what_happens_meanwhile(any_first: First, script: str, number: int) -> None:
    """Before it reads the source, and before the metadata goes."""
    any_first.before(number, script)
    report = any_first.sync()
    assert any_first.copied_whole_tree()
    files = report["files"]
    assert files["planned"] == files["sent"] + files["vanished"]
    # The metadata is that of the moment when it was read: what came later goes next.
    assert run_cyrsync("verify", "--content", any_first.replica).returncode == 0
    any_first.sync()
    any_first.assert_same()


def test_mailboxes_that_change_places_and_back(first: First) -> None:
    """Only while the messages are copied."""
    swap = f"samplespool.swap(folder({SENT!r}), folder({TRASH!r}))\n"
    run = f"import subprocess; subprocess.run([{real_rsync(first.races)!r}, *words], check=True)\n"
    first.before(0, swap + run + swap)
    first.sync()
    assert first.copied_whole_tree()
    first.assert_same()


#: Lets rsync do its work, and has it say that it could not do some of it.
FAILED = """\
import subprocess, sys
subprocess.run([{program!r}, *words], check=True)
lost = pathlib.Path({replica!r}, {path!r})
shutil.rmtree(lost) if lost.is_dir() else lost.unlink()
sys.stderr.write('rsync: [sender] {what} failed to open "%s": {why}\\n' % folder({path!r}))
sys.exit(23)
"""


@pytest.mark.parametrize("path", [f"{SENT}/1.", SENT, "j/user"])
@pytest.mark.parametrize("why", ["Input/output error (5)", "Permission denied (13)"])
def test_what_failed_is_tried_again(first: First, path: str, why: str) -> None:
    what = "send_files" if path.endswith(".") else "opendir"
    program, replica = real_rsync(first.races), str(first.replica)
    first.before(0, FAILED.format(program=program, replica=replica, path=path, what=what, why=why))
    report = first.sync()
    assert first.copied_whole_tree()
    assert report["files"]["sent"] == report["files"]["planned"]
    first.assert_same()


def real_rsync(races: Races) -> str:
    """The one that is behind the other in PATH."""
    found = shutil.which("rsync", path=races.env["PATH"].partition(os.pathsep)[2])
    assert found
    return found


#: Kills the run as soon as some files have arrived.
KILL = """\
import signal, time
parent = os.getppid()
if not os.fork():
    while sum(len(names) for _, _, names in os.walk({replica!r})) < {count}:
        time.sleep(0.001)
    os.kill({parent}, signal.SIGKILL)
    os._exit(0)
"""


@pytest.mark.parametrize("count", [0, 3_000])
def test_killed_on_the_way(tmp_path: Path, count: int) -> None:
    """With as many messages as it takes."""
    requires("rsync")
    source, replica, races = tmp_path / "source", tmp_path / "replica", Races(tmp_path / "races")
    samplespool.make(source, messages=first_copy._MANY, folder_count=20, size=20)
    races.before(0, KILL.format(replica=str(replica), count=count, parent="parent"))
    done = run_cyrsync("sync", "--delete", source, replica, env=races.env)
    assert done.returncode == -signal.SIGKILL
    assert list(races.runs()[0].words[-3].split("=")[:1]) == ["--filter"]
    assert not list(replica.rglob("cyrus.index"))
    sync("--delete", source, replica)
    for found in replica.rglob(".*.??????"):
        found.unlink()  # what a killed rsync leaves is not a day old yet
    assert_same_tree(source, replica, dir_mtimes=False)
