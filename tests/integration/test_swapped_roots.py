"""The owner of a directory on the replica cannot lead a run elsewhere by a link in the place of a root."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

import samplespool
from cyrsync.far import owner_file
from support.replicas import Pair
from support.spool import leaves
from support.sshd import Sshd
from support.tools import requires_root
from support.tree import assert_same_tree, run_cyrsync, snapshot


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    pair = Pair(tmp_path)
    pair.there(pair.server.spool).parent.mkdir(parents=True)
    return pair


def words(pair: Pair, name: str, sshd: Sshd) -> tuple[str | Path, ...]:
    source, there = f"{pair.server.spool}/", f"{pair.there(pair.server.spool)}/"
    if name == "index":
        return "sync", "--delete", "-C", pair.conf, pair.replica
    if name == "far walk":
        return "sync", "--delete", "-e", sshd.rsh, source, sshd.at(there)
    if name == "handed over":
        return "rsync", "-a", "-u", "--delete", source, there
    return "rsync" if name == "drop-in" else "sync", *(("-a",) if name == "drop-in" else ()), "--delete", source, there


@pytest.mark.parametrize("target", ["full", "empty", "missing", "with an owner file of another's"])
@pytest.mark.parametrize("name", ["walk", "index", "drop-in", "handed over", "far walk"])
def test_a_root_that_became_a_link(pair: Pair, sshd: Sshd, tmp_path: Path, name: str, target: str) -> None:
    if target.startswith("with"):
        requires_root()
    command = words(pair, name, sshd)
    assert run_cyrsync(*words(pair, "walk" if name == "handed over" else name, sshd)).returncode == 0
    samplespool.deliver(leaves(pair.server.spool)[0], 1)
    root, other = pair.there(pair.server.spool), tmp_path / "other"
    root.rename(root.with_name("moved"))
    root.symlink_to(other)
    if target != "missing":
        other.mkdir()
    if target == "full":
        (other / "precious").mkdir()
    elif target.startswith("with"):
        shutil.copy(root.with_name("moved") / os.fsdecode(owner_file.NAME), other)
        if os.geteuid() == 0:
            os.chown(other / os.fsdecode(owner_file.NAME), 65534, 65534)
    before = snapshot(tmp_path, skip_hidden=False) if other.exists() else {}
    done = run_cyrsync(*command)
    assert done.returncode == 3, done
    if not target.startswith("with"):
        assert f"now it is {other}, which has no owner file" in done.stderr
        # The first time that a line is left to plain rsync, one line more says so.
        assert len([line for line in done.stderr.splitlines() if "plain rsync runs: " not in line]) == 1
    if other.exists():
        after = snapshot(tmp_path, skip_hidden=False)
        changed = {path for path in after.keys() | before.keys() if after.get(path) != before.get(path)}
        assert not [path for path in changed if b"other" in path]
    assert other.exists() == (target != "missing")


@pytest.mark.parametrize("name", ["walk", "index", "far walk"])
def test_the_administrator_may_move_it(pair: Pair, sshd: Sshd, tmp_path: Path, name: str) -> None:
    """With its owner file, or by --full."""
    command = words(pair, name, sshd)
    assert run_cyrsync(*command).returncode == 0
    root = pair.there(pair.server.spool)
    for number, forget in enumerate((False, True)):
        samplespool.deliver(leaves(pair.server.spool)[0], 1)
        place = tmp_path / f"disk{number}"
        root.resolve().rename(place)
        root.unlink(missing_ok=True)
        root.symlink_to(place)
        if forget:
            (place / os.fsdecode(owner_file.NAME)).unlink()
            assert run_cyrsync(*command).returncode == 3
            assert run_cyrsync(command[0], "--full", *command[1:]).returncode == 0
            (place / os.fsdecode(owner_file.NAME)).unlink()
        done = run_cyrsync(*command)
        assert done.returncode == 0, done
        assert_same_tree(pair.server.spool, place, dir_mtimes=False)


@pytest.mark.parametrize("name", ["walk", "index", "drop-in", "handed over", "far walk"])
@pytest.mark.parametrize("owner", [0, 65534])
def test_a_link_at_the_first_run(pair: Pair, sshd: Sshd, tmp_path: Path, name: str, owner: int) -> None:
    """One of somebody else's is not followed: he might have put it there for this run. rsync decides for itself."""
    requires_root()

    def link(path: Path) -> Path:
        other = path.with_name("other")
        other.mkdir(parents=True)
        path.symlink_to(other)
        os.chown(path, owner, owner, follow_symlinks=False)
        return other

    other = link(pair.there(pair.server.spool))
    accepts = not owner
    if name in ("drop-in", "handed over"):
        probe = tmp_path / "probe" / "link"
        link(probe)
        accepts = not subprocess.run(["rsync", "-a", f"{pair.server.spool}/", f"{probe}/"], check=False).returncode
    done = run_cyrsync(*words(pair, name, sshd))
    assert (done.returncode == 0, bool(list(other.iterdir()))) == (accepts, accepts), done
    if owner and not accepts and name in ("walk", "index", "far walk"):
        assert (done.returncode, "is a link that is neither root's nor yours" in done.stderr) == (3, True)
        assert run_cyrsync(*words(pair, name, sshd), "--full").returncode == 0
        assert run_cyrsync(*words(pair, name, sshd)).returncode == 0
