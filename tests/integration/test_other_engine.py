"""The engine that is not taken unless it is asked for: the walk for a server, and the index for one partition."""

from __future__ import annotations

from pathlib import Path

import pytest

import samplespool
from support.boxes import NAMES, Box
from support.inside import sync_here, sync_server_here
from support.servers import SampleServer, assert_sound, below, replica_conf, roots
from support.spool import leaves
from support.strace import strace_calls
from support.tree import assert_same_tree, cyrsync_argv, messages, plain_env, run_cyrsync, snapshot

WALK, INDEX = ("--engine", "walk"), ("--engine", "index")


@pytest.fixture
def server(tmp_path: Path) -> SampleServer:
    return SampleServer(tmp_path / "server", partitions="default other")


@pytest.fixture
def replica(tmp_path: Path) -> Path:
    path = tmp_path / "replica"
    path.mkdir()
    return path


# --- A server, by its directories


def test_a_server_by_the_walk(server: SampleServer, replica: Path) -> None:
    report = sync_server_here(server.conf, *WALK, "--delete", replica)
    assert (report["engine"], report["messages"]["send"]) == ("walk", 300)
    for spool in server.spools.values():
        assert_same_tree(spool, below(replica, spool), dir_mtimes=False)
    assert (below(replica, server.database)).read_bytes() == server.database.read_bytes()

    samplespool.deliver(server.folders()[0], 3)
    samplespool.expunge(server.folders()[1], 2)
    report = sync_server_here(server.conf, *WALK, "--delete", replica)
    assert (report["messages"]["send"], report["messages"]["delete"]) == (3, 2)
    for spool in server.spools.values():
        assert_same_tree(spool, below(replica, spool), dir_mtimes=False)
    report = sync_server_here(server.conf, *WALK, "--delete", replica)
    assert (report["messages"]["send"], report["messages"]["delete"], report["exit"]) == (0, 0, 0)


def test_what_the_state_does_not_know_is_seen(server: SampleServer, replica: Path) -> None:
    sync_server_here(server.conf, "--delete", replica)
    lost = next(path for path in below(replica, server.folders()[0]).iterdir() if path.name == "1.")
    lost.unlink()
    assert sync_server_here(server.conf, "--delete", replica)["messages"]["send"] == 0
    assert sync_server_here(server.conf, *WALK, "--delete", replica)["messages"]["send"] == 1
    assert lost.exists()


def test_messages_without_a_record_go_too(server: SampleServer, replica: Path) -> None:
    """But not those of the future: they wait for their index."""
    folder = leaves(server.spool)[0]
    lost = next(path for path in sorted(folder.iterdir()) if path.name[0].isdigit())
    samplespool.expunge(folder, 10**6)
    lost.write_text("found by reconstruct")
    (folder / "999999.").write_text("just delivered")
    sync_server_here(server.conf, replica)
    assert messages(below(replica, folder)) == {}
    sync_server_here(server.conf, *WALK, replica)
    assert messages(below(replica, folder)) == {lost.name.encode(): b"found by reconstruct"}


@pytest.mark.parametrize("name", NAMES)
def test_real_servers_by_the_walk(name: str, tmp_path: Path, replica: Path) -> None:
    box = Box(name, tmp_path)
    report = sync_server_here(box.conf, *WALK, "--delete", replica)
    assert report["folders"]["new"] == len(box.mailboxes)
    done = run_cyrsync("verify", "-C", replica_conf(box.conf, replica), "--content")
    known = sum(m["state"] == "orphan" for mailbox in box.mailboxes for m in mailbox["messages"])
    assert done.returncode == bool(known), done.stdout
    sync_server_here(box.conf, "--delete", replica)
    assert_sound(box.conf, replica)  # the index engine takes over what the walk has made


# --- A partition, by its indexes


def test_a_partition_by_its_indexes(server: SampleServer, replica: Path) -> None:
    spool = server.spools["other"]
    words = ("-C", server.conf, *INDEX, "--delete", f"{spool}/", f"{replica}/")
    report = sync_here(*words)
    assert (report["engine"], report["messages"]["send"], report["source"]) == ("index", 150, f"{spool}/")
    assert_same_tree(spool, replica, dir_mtimes=False)

    folder = samplespool.folders(spool)[0]
    samplespool.deliver(folder, 3)
    server.delete(samplespool.folders(spool)[-1])
    report = sync_here(*words)
    assert (report["messages"]["send"], report["folders"]["gone"], report["errors"]) == (3, 1, [])
    assert_same_tree(spool, replica, dir_mtimes=False)
    before = snapshot(replica)
    assert sync_here(*words)["rsync_runs"] == 0
    assert snapshot(replica) == before


def test_a_partition_that_did_not_change_costs_two_stats_each(
    server: SampleServer, replica: Path, tmp_path: Path
) -> None:
    spool = server.spool
    words = ("-C", server.conf, *INDEX, f"{spool}/", f"{replica}/")
    sync_here(*words)
    sync_here(*words)
    calls = strace_calls(cyrsync_argv("sync", *words), env=plain_env(), output=tmp_path / "calls")
    there = [call for call in calls if call.path.startswith(bytes(spool) + b"/")]
    names = {bytes(folder / name) for folder in samplespool.folders(spool) for name in ("cyrus.header", "cyrus.index")}
    assert sorted(call.path for call in there) == sorted(names)
    assert not [call for call in calls if call.path.startswith(bytes(replica) + b"/")]


def test_both_engines_in_turn(server: SampleServer, replica: Path) -> None:
    """What the walk has done meanwhile is seen, and not taken for what the state knows."""
    spool = server.spool
    by_index = ("-C", server.conf, *INDEX, "--delete", f"{spool}/", f"{replica}/")
    by_walk = ("--delete", f"{spool}/", f"{replica}/")
    sync_here(*by_index)
    for number, words in enumerate([by_walk, by_index, by_walk, by_walk, by_index]):
        folder = samplespool.folders(spool)[number]
        samplespool.deliver(folder, 2)
        samplespool.expunge(folder, 1)
        assert sync_here(*words)["messages"]["send"]
        assert_same_tree(spool, replica, dir_mtimes=False)


def test_a_partition_in_parts_has_no_single_replica(tmp_path: Path, replica: Path) -> None:
    box = Box("3.6.1-rich", tmp_path)
    done = run_cyrsync("sync", "-C", box.conf, *INDEX, roots(box.conf)[0], replica)
    assert (done.returncode, len(done.stderr.splitlines())) == (2, 1)
    assert "a part of it lies elsewhere" in done.stderr


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (("{root}", "{replica}"), "no partition of {conf}"),
        (("host:{spool}", "{replica}"), "run it there"),
        (("--user", "joe", "{spool}", "{replica}"), "--user"),
    ],
)
def test_wrong_usage(server: SampleServer, replica: Path, words: tuple[str, ...], said: str) -> None:
    named = {"conf": server.conf, "spool": server.spool, "replica": replica, "root": server.root}
    done = run_cyrsync("sync", "-C", server.conf, *INDEX, *(word.format(**named) for word in words))
    assert (done.returncode, said.format(**named) in done.stderr) == (2, True), done.stderr
    assert not list(replica.iterdir())
