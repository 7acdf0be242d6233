"""Whose a replica is: owner files on every root, and no run that writes to another's, or where mail of its own is."""

from __future__ import annotations

import os
import shutil
import socket
import time
from contextlib import closing
from pathlib import Path

import pytest

import samplespool
from cyrsync.far import owner_file
from cyrsync.far.hold import Holds
from cyrsync.state.store import Store
from support.boxes import Box
from support.replicas import Pair
from support.servers import below, replica_conf, roots, sync_server
from support.spool import leaves
from support.sshd import Sshd
from support.tree import run_cyrsync, sync

HOUR = 3600 * 10**9


# --- What is noted


def test_a_first_run_leaves_an_owner_file_on_every_root(tmp_path: Path) -> None:
    box, replica = Box("3.6.1-rich", tmp_path), tmp_path / "replica"
    replica.mkdir()
    sync_server(box.conf, replica)
    every = [*roots(box.conf), box.root / "conf", box.root / "sieve"]
    assert len(every) == 6
    first, *others = [owner_file.read(os.fsencode(below(replica, root))) for root in every]
    assert first
    assert others == [first] * 5
    assert (first.source, first.run) == (f"{socket.gethostname()}:{box.conf}", 1)
    assert first.complete == first.begun <= first.ended
    assert not first.promoted
    assert dict(first.settings)["fulldirhash"] == "on"


def test_each_run_that_writes_counts(changed: Pair) -> None:
    before = changed.owner_files()[0]
    changed.sync()
    after = changed.owner_files()[0]
    assert before and after
    assert (after.run, after.replica) == (before.run + 1, before.replica)
    assert after.complete == after.begun > before.complete
    assert changed.owner_files() == [after] * 2


def test_a_run_that_left_something_undone_is_not_complete(changed: Pair) -> None:
    before = changed.owner_files()[0]
    min(leaves(changed.server.spool)[0].glob("[0-9]*.")).unlink()
    (leaves(changed.server.spool)[-1] / "cyrus.header").unlink()
    changed.sync(expect=23)
    after = changed.owner_files()[0]
    assert before and after
    assert (after.run, after.complete) == (before.run + 1, before.complete)
    assert after.ended > after.begun > before.begun


def test_a_run_that_finds_nothing_does_not_ask(pair: Pair) -> None:
    """It could not, where there is nothing."""
    pair.sync()
    before = pair.everything()
    pair.sync()
    assert pair.everything() == before
    pair.replica.rename(pair.replica.with_name("away"))
    pair.sync()


@pytest.mark.parametrize("seconds", [-700.0, 365 * 86400.0])
def test_a_run_that_finds_nothing_looks_now_and_then(pair: Pair, state_dir: Path, seconds: float) -> None:
    """Also where the last look was at a time that is yet to come: the clock has been set back."""
    pair.sync()
    pair.sync()
    (state,) = set(state_dir.glob("*.sqlite")) - {state_dir / "runs.sqlite"}
    with closing(Store(state, state.stem)) as store:
        store.memory = store.memory._replace(looked=time.time() + seconds)
    pair.replica.rename(pair.replica.with_name("away"))
    (error,) = pair.sync(expect=3)["errors"]
    assert "no such directory" in error


def test_a_dry_run_leaves_none(pair: Pair) -> None:
    pair.sync("-n")
    assert pair.everything() == {}
    pair.sync()
    pair.change()
    before = pair.everything()
    pair.sync("-n")
    assert pair.everything() == before


# --- What is refused


@pytest.mark.parametrize(("number", "words"), [(0, ()), (1, ()), (0, ("-n",)), (1, ("--full",))])
def test_another_servers_replica(changed: Pair, number: int, words: tuple[str, ...]) -> None:
    """One root is enough."""
    changed.forge(changed.roots[number], source="other.example.com:/etc/imapd.conf")
    before = changed.everything()
    (error,) = changed.sync(*words, expect=4)["errors"]
    assert "it is the replica of other.example.com:/etc/imapd.conf: " in error
    assert "--overwrite-replica" in error
    assert changed.everything() == before
    if not words:
        changed.sync("--overwrite-replica")
        first, second = changed.owner_files()
        assert first and first == second and first.source.endswith(str(changed.conf))
        changed.assert_same()


def test_another_servers_replica_on_a_first_run(changed: Pair, state_dir: Path) -> None:
    changed.forge(changed.roots[0], source="other")
    shutil.rmtree(state_dir)
    before = changed.everything()
    changed.sync(expect=4)
    assert changed.everything() == before


@pytest.mark.parametrize("number", [0, 1])
def test_a_promoted_replica(changed: Pair, number: int) -> None:
    changed.forge(changed.roots[number], promoted="2026-01-01T00:00:00+00:00")
    before = changed.everything()
    for words in ((), ("--full",), ("-n",)):
        (error,) = changed.sync(*words, expect=4)["errors"]
        assert "promoted at 2026-01-01T00:00:00+00:00" in error
        assert changed.everything() == before
    changed.sync("--overwrite-replica")
    assert [one and one.promoted for one in changed.owner_files()] == ["", ""]
    changed.assert_same()
    changed.change()
    changed.sync()


def test_the_walk_and_the_drop_in_refuse_a_promoted_one_too(changed: Pair) -> None:
    spool = changed.server.spool
    changed.forge(spool, promoted="2026-01-01T00:00:00+00:00")
    before = changed.everything()
    operands = (f"{spool}/", f"{changed.there(spool)}/")
    for words in (("sync",), ("sync", "--delete", "-n"), ("rsync", "-a"), ("rsync", "-a", "--delete")):
        done = run_cyrsync(*words, *operands)
        assert (done.returncode, len(done.stderr.splitlines())) == (4, 1), done.stderr
        assert changed.everything() == before
    sync("--overwrite-replica", *operands)
    first, _ = changed.owner_files()
    assert first and not first.promoted
    sync(*operands)
    changed.assert_same()


def test_a_replica_that_is_being_promoted(changed: Pair) -> None:
    """Before it is marked, whoever promotes has it alone."""
    before = changed.everything()
    with closing(Holds()) as holds:
        assert holds.hold([os.fsencode(changed.there(changed.home))]) is None
        (error,) = changed.sync(expect=75)["errors"]
    assert f"{changed.there(changed.home)}: process {os.getpid()} has been working on it since " in error
    assert changed.everything() == before
    assert changed.sync()["warnings"] == []
    changed.assert_same()


def test_a_damaged_owner_file(changed: Pair) -> None:
    place = changed.there(changed.home) / os.fsdecode(owner_file.NAME)
    for content in (b"", b"{}", place.read_bytes()[:-9], b'{"run": "x"}'):
        place.write_bytes(content)
        before = changed.everything()
        (error,) = changed.sync(expect=3)["errors"]
        assert error.startswith(f"{place}: damaged")
        assert changed.everything() == before
    place.unlink()
    assert len(changed.sync()["warnings"]) == 1
    changed.assert_same()


def index_there(pair: Pair) -> Path:
    return pair.there(leaves(pair.server.spool)[-1] / "cyrus.index")


@pytest.mark.parametrize("state", ["known", "lost"])
def test_an_index_that_somebody_else_has_written(changed: Pair, state: str, state_dir: Path) -> None:
    """Cyrus was started there, though nobody has said so."""
    index = index_there(changed)
    samplespool.set_flags(index.parent)
    mtime = index.stat().st_mtime_ns + HOUR
    os.utime(index, ns=(mtime, mtime))
    if state == "lost":
        shutil.rmtree(state_dir)
    before = changed.everything()
    (error,) = changed.sync(expect=4)["errors"]
    assert error.startswith(f"{index}: written at ")
    assert changed.everything() == before
    changed.sync("--overwrite-replica")
    changed.assert_same()
    changed.change()
    changed.sync()


@pytest.mark.parametrize("words", [("--full",), ()])
def test_a_source_whose_clock_was_ahead(pair: Pair, state_dir: Path, words: tuple[str, ...]) -> None:
    """What it wrote then has a time of then, and what it writes now has not."""
    folder = leaves(pair.server.spool)[0]
    later = time.time_ns() + HOUR
    os.utime(folder / "cyrus.index", ns=(later, later))
    pair.sync()
    samplespool.deliver(folder, 2)
    samplespool.set_flags(folder)
    assert (folder / "cyrus.index").stat().st_mtime_ns < later
    if not words:
        shutil.rmtree(state_dir)
    pair.sync(*words)
    pair.assert_same()


@pytest.mark.parametrize("change", ["mail", "flags", "mail, and more flags on the source"])
def test_a_replica_that_was_written_to_by_a_clock_that_is_behind(pair: Pair, change: str) -> None:
    """Neither time nor modseq need tell: both servers were at work, and the source more than the other one."""
    pair.sync()
    source = leaves(pair.server.spool)[0]
    folder = pair.there(source)
    before = (folder / "cyrus.index").stat().st_mtime_ns - HOUR
    samplespool.set_flags(folder) if change == "flags" else samplespool.deliver(folder, 1)
    for _ in range(5 if "more" in change else 0):
        samplespool.set_flags(source)
    os.utime(folder / "cyrus.index", ns=(before, before))
    there = pair.everything()
    (error,) = pair.sync("--full", expect=4)["errors"]
    assert "not by cyrsync: was Cyrus started there?" in error
    assert pair.everything() == there


def test_who_is_refused_keeps_what_is_known(pair: Pair, state_dir: Path) -> None:
    pair.sync()
    index = index_there(pair)
    known = index.read_bytes(), index.stat()
    samplespool.set_flags(index.parent)
    pair.sync("--full", expect=4)
    index.write_bytes(known[0])
    os.utime(index, ns=(known[1].st_atime_ns, known[1].st_mtime_ns))
    report = pair.sync()
    assert (report["warnings"], report["rsync_runs"]) == ([], 0), "the state is complete, and nothing has to be done"


def test_a_newer_index_of_another_mailbox_is_no_reason(changed: Pair, state_dir: Path) -> None:
    """One was deleted and made again since, on the source."""
    index = index_there(changed)
    for name in ("cyrus.header", "cyrus.index"):
        shutil.copy(changed.there(leaves(changed.server.spool)[1] / name), index.with_name(name))
    later = time.time_ns() + HOUR
    os.utime(index, ns=(later, later))
    shutil.rmtree(state_dir)
    changed.sync()
    changed.assert_same()


def test_over_ssh(sshd: Sshd, changed: Pair) -> None:
    words = ("-e", sshd.rsh)
    there = sshd.at(changed.replica)
    changed.sync(*words, to=there)
    changed.assert_same()
    one, other = changed.owner_files()
    assert one and one == other
    changed.change()
    changed.forge(changed.roots[1], promoted="2026-01-01")
    before = changed.everything()
    changed.sync(*words, to=there, expect=4)
    assert changed.everything() == before
    operands = (f"{changed.server.spool}/", sshd.at(f"{changed.there(changed.server.spool)}/"))
    changed.forge(changed.roots[0], promoted="2026-01-01")
    sync("-e", sshd.rsh, *operands, expect=(4,))
    sync("-e", sshd.rsh, "--overwrite-replica", *operands)


# --- Where owner files do not go


def test_owner_files_do_not_travel(changed: Pair, tmp_path: Path) -> None:
    """A replica may be a source, too; and what deletes leaves them."""
    conf = replica_conf(changed.conf, changed.replica)
    text = conf.read_text().replace(f"{changed.server.root}/conf", str(changed.there(changed.home)))
    conf.write_text(text.replace(f"{changed.server.root}/sieve", str(changed.there(changed.server.root / "sieve"))))
    second = tmp_path / "second"
    second.mkdir()
    sync_server(conf, "--delete", "--from-replica", second)
    for root in changed.roots:
        found = owner_file.read(os.fsencode(below(second, changed.there(root))))
        assert found and found.source.endswith("replica.conf")

    third = tmp_path / "third"
    source = f"{changed.there(changed.server.spool)}/"
    for words in (("sync", "--delete", "--from-replica"), ("rsync", "-a", "--delete")):
        if words[0] == "rsync":  # which refuses a replica
            (changed.there(changed.server.spool) / os.fsdecode(owner_file.NAME)).unlink()
        assert run_cyrsync(*words, source, f"{third}/").returncode == 0
        found = owner_file.read(os.fsencode(third))
        assert found and (found.source, found.writing) == ("", "")
    owner_file.write(os.fsencode(third), owner_file.OwnerFile("id", "source", 1, 1.0, 1.0, 1.0))
    shutil.rmtree(leaves(changed.there(changed.server.spool))[0])
    sync("--delete", source, f"{third}/")
    assert run_cyrsync("rsync", "-a", "--delete", source, f"{third}/").returncode == 0
    assert owner_file.read(os.fsencode(third))
