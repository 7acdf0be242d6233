"""What is staged for rsync is nobody else's, and what is not there any more when rsync comes has not been sent."""

from __future__ import annotations

import os
import subprocess
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest

import samplespool
from cyrsync.far.folder import Entry
from cyrsync.server.conf_sender import ConfSender
from cyrsync.state.conf_table import ConfRow
from support.inside import sync_here, sync_server_here
from support.races import Races
from support.servers import SampleServer, below
from support.sshd import Sshd
from support.tools import requires_root
from support.tree import assert_same_tree, messages, run_cyrsync

#: Whoever owns a spool, and is not root.
OWNER = 4711
SENT = "j/user/joe/Sent"

#: Has the spool's owner try what he would do as a thief, and notes what he could.
THIEF = """\
if "staging" in words[-2]:
    tree = words[-2].rstrip("/")
    def gone_through():
        os.setgroups([]); os.setresgid(*3 * [{owner}]); os.setresuid(*3 * [{owner}])
        done = 0
        for act in (
            lambda: os.listdir(tree),
            lambda: os.rename(tree, tree + ".away"),
            lambda: os.rename(os.path.dirname(tree), os.path.dirname(tree) + ".away"),
            lambda: os.symlink("/", tree + "/link"),
            lambda: os.open(os.path.join(tree, {sent!r}, "cyrus.index"), os.O_RDONLY),
        ):
            try:
                act()
                done += 1
            except OSError:
                pass
        return done
    child = os.fork()
    if not child:
        os._exit(gone_through())
    done = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    (here / "thefts").open("a").write(f"{{done}}\\n")
"""

#: What a cleaner of temporary files, or logind's RemoveIPC, may do between staging and rsync.
CLEANER = {
    "files": "for path in list(tree.rglob('cyrus.*')):\n        path.unlink()",
    "one folder": f"shutil.rmtree(tree / {SENT!r})",
    "tree": "shutil.rmtree(tree)",
    "all": "shutil.rmtree(tree.parent)",
}


def cleaner(what: str) -> str:
    return f'tree = Path(words[-2])\nif "staging" in words[-2] and tree.exists():\n    {CLEANER[what]}\n'


@pytest.fixture
def races(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Races:
    found = Races(tmp_path / "races")
    monkeypatch.setenv("PATH", found.env["PATH"])
    return found


@pytest.fixture
def source(tmp_path: Path) -> Path:
    samplespool.make(tmp_path / "source", messages=120, folder_count=4)
    return tmp_path / "source"


def give_away(root: Path) -> None:
    for path in [root, *root.rglob("*")]:
        os.chown(path, OWNER, OWNER)


# --- Who can reach it


@pytest.mark.parametrize("command", ["sync", "rsync"])
def test_the_owner_of_the_spool_cannot_reach_it(source: Path, tmp_path: Path, races: Races, command: str) -> None:
    requires_root()
    give_away(source)
    source.chmod(0o777)
    races.before_each(THIEF.format(owner=OWNER, sent=SENT))
    words = ["sync", "--delete"] if command == "sync" else ["rsync", "-a", "--delete"]
    done = run_cyrsync(*words, f"{source}/", f"{tmp_path}/replica/")
    assert done.returncode == 0, done.stderr
    assert set((races.directory / "thefts").read_text().split()) == {"0"}
    assert_same_tree(source, tmp_path / "replica")


def test_the_owner_of_a_servers_spool_cannot_reach_it(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The copies of files beside the partitions."""
    requires_root()
    server, replica = SampleServer(tmp_path / "server"), tmp_path / "replica"
    replica.mkdir()
    seen = server.root / "conf/user/j/joe.seen"
    seen.parent.mkdir(parents=True)
    seen.write_text("one")
    give_away(server.root)
    kept, thefts = ConfSender.send_copy, []

    def send_copy(self: ConfSender, row: ConfRow, above: Any, entry: Entry, copy: bytes) -> None:
        directory = os.path.dirname(copy)
        thefts.append(
            done_as_owner(
                lambda: os.open(copy, os.O_RDONLY),
                lambda: os.listdir(directory),
                lambda: os.rename(directory, directory + b".away"),
                lambda: os.symlink("/", directory + b"/link"),
            )
        )
        kept(self, row, above, entry, copy)

    monkeypatch.setattr(ConfSender, "send_copy", send_copy)
    sync_server_here(server.conf, "--delete", replica)
    assert thefts == [0]
    assert below(replica, seen).read_text() == "one"


def done_as_owner(*acts: Callable[[], object]) -> int:
    """How many of these the spool's owner can do."""
    child = os.fork()
    if not child:
        os.setgroups([])
        os.setresgid(OWNER, OWNER, OWNER)
        os.setresuid(OWNER, OWNER, OWNER)
        done = 0
        for act in acts:
            with suppress(OSError):
                act()
                done += 1
        os._exit(done)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


# --- What is not there any more


def kept(before: dict[bytes, bytes], root: Path) -> bool:
    """Tell whether every message is still there."""
    return before.items() <= messages(root).items()


@pytest.mark.parametrize(
    ("way", "what"),
    [
        *(("local", what) for what in CLEANER),
        *((way, w) for way in ("push", "pull", "drop-in") for w in ("files", "all")),
    ],
)
def test_what_is_gone_from_the_staging_was_not_sent(
    source: Path, tmp_path: Path, races: Races, request: pytest.FixtureRequest, way: str, what: str
) -> None:
    replica = tmp_path / "replica"
    arguments = [f"{source}/", f"{replica}/"]
    if way in ("push", "pull"):
        sshd: Sshd = request.getfixturevalue("sshd")
        which = way == "push"
        arguments[which] = sshd.at(arguments[which])
        arguments[:0] = ["-e", sshd.rsh]
    command = ["rsync", "-a", "--delete"] if way == "drop-in" else ["sync", "--delete"]

    def run() -> subprocess.CompletedProcess[str]:
        done = run_cyrsync(*command, *arguments)
        while done.returncode == 75:  # what is left of the rsync before, which has given up, holds the replica still
            time.sleep(0.05)
            done = run_cyrsync(*command, *arguments)
        return done

    assert run().returncode == 0
    before = messages(replica / SENT)
    index = (replica / SENT / "cyrus.index").read_bytes()
    samplespool.deliver(source / SENT, 3)
    samplespool.expunge(source / SENT, 5)
    races.before_each(cleaner(what))
    for _ in range(2):
        done = run()
        assert done.returncode == 23, (done.returncode, done.stderr, done.stdout)
        assert "Traceback" not in done.stderr
        assert way == "drop-in" or "its staged copy is gone" in done.stderr
        assert kept(before, replica / SENT)
        assert (replica / SENT / "cyrus.index").read_bytes() == index
    races.forget()
    assert run().returncode == 0
    assert_same_tree(source, replica)


def test_an_index_that_was_not_taken_away_keeps_its_messages(
    source: Path, tmp_path: Path, races: Races, sshd_without_python: Sshd
) -> None:
    """A recreated folder's old index is emptied by rsync where we cannot delete: what it is emptied by is ours, too."""
    replica = tmp_path / "replica"
    arguments = ("--delete", "-e", sshd_without_python.rsh, f"{source}/", sshd_without_python.at(f"{replica}/"))
    sync_here(*arguments)
    before = messages(replica / SENT)
    samplespool.recreate_folder(source / SENT, 30)
    gone = 'shutil.rmtree(words[-2]) if words[-2].endswith("blank/") else None\n'
    races.before_each(gone)
    sync_here(*arguments, expect=(23,))
    assert messages(replica / SENT) == before
    races.forget()
    sync_here(*arguments)
    assert messages(replica / SENT) == messages(source / SENT)


def test_emptied_while_it_is_filled(
    source: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, races: Races
) -> None:
    """Nothing is sent of it, and nothing deleted."""
    from cyrsync.spool.staging import Staging

    replica = tmp_path / "replica"
    sync_here("--delete", f"{source}/", f"{replica}/")
    before = messages(replica)
    samplespool.change(source, expunged=0.5, flags=1)
    make: Callable[..., None] = Staging.make

    def emptied(staging: Staging, *words: object) -> None:
        make(staging, *words)
        for path in staging.tree.iterdir():
            subprocess.run(["rm", "-r", path], check=True)

    monkeypatch.setattr(Staging, "make", emptied)
    report = sync_here("--delete", f"{source}/", f"{replica}/", expect=(11, 23))
    assert report["errors"]
    assert messages(replica) == before
    monkeypatch.undo()
    sync_here("--delete", f"{source}/", f"{replica}/")
    assert_same_tree(source, replica)
