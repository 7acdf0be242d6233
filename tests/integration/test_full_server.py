"""`sync -C --full`, and -C after a power cut: what the replica has is looked at, and only what differs is written."""

from __future__ import annotations

import os
import shutil
import signal
from collections.abc import Callable
from pathlib import Path

import pytest

from cyrsync.tree import token
from support.races import Races
from support.replicas import Pair
from support.servers import assert_sound, problems, replica_conf
from support.spool import count, leaves
from support.tree import cyrsync_argv, start_cyrsync

META = ("cyrus.header", "cyrus.index", "cyrus.cache")


def identities(root: Path) -> dict[Path, tuple[int, int]]:
    """What changes of every entry when it is written, replaced, or given other attributes; but of owner files."""
    found = [path for path in root.rglob("*") if path.name != ".cyrsync-replica"]
    return {path: (path.lstat().st_ino, path.lstat().st_ctime_ns) for path in found}


def use_metapartition(pair: Pair) -> Path:
    """Move the metadata of all mailboxes to another root."""
    meta = pair.server.root / "meta"
    with pair.conf.open("a") as conf:
        conf.write(f"metapartition-default: {meta}\nmetapartition_files: header index cache\n")
    for folder in pair.server.folders():
        there = meta / folder.relative_to(pair.server.spool)
        there.mkdir(parents=True, exist_ok=True)
        for name in META:
            (folder / name).rename(there / name)
    return meta


@pytest.fixture(params=["one root", "metapartition"])
def roots(request: pytest.FixtureRequest, pair: Pair) -> list[Path]:
    """Those of the partition."""
    meta = [use_metapartition(pair)] if request.param == "metapartition" else []
    return [pair.server.spool, *meta]


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    return Pair(tmp_path)


def test_where_nothing_differs_nothing_is_written_and_the_report_says_so(pair: Pair, roots: list[Path]) -> None:
    pair.sync()
    before = identities(pair.replica)
    report = pair.sync("--full")
    assert identities(pair.replica) == before
    seen = report["messages"]["seen"]
    assert report["messages"] == {"seen": seen, "present": seen, "send": 0, "waiting": 0, "delete": 0}
    assert {**report["folders"], "seen": 0} == dict.fromkeys(report["folders"], 0)
    assert (report["metadata"]["send"], report["config"]["send"]) == (0, 0)
    assert set(report["files"].values()) == {0}
    assert (report["bytes_sent"], report["warnings"], report["errors"]) == (0, [], [])
    assert pair.sync()["rsync_runs"] == 0


def harm_message(folder: Path) -> Path:
    message = min(folder.glob("[0-9]*."))
    os.truncate(message, 0)
    folder.chmod(0o711)  # or nothing says that messages are to be looked at
    return message


def harm_cache(folder: Path) -> Path:
    (folder / "cyrus.cache").write_bytes(b"")
    return folder / "cyrus.cache"


def harm_directory(folder: Path) -> Path:
    os.utime(folder, ns=(0, 0))
    return folder


@pytest.mark.parametrize("harm", [harm_message, harm_cache, harm_directory])
def test_only_what_differs_is_written(pair: Pair, harm: Callable[[Path], Path]) -> None:
    pair.sync()
    inbox = pair.server.folder("user/joe")
    other = next(pair.there(leaf) for leaf in leaves(pair.server.spool) if inbox in leaf.parents)
    folder = pair.there(inbox)
    before = identities(pair.replica)
    harmed = harm(folder)
    report = pair.sync("--full")
    pair.assert_same()
    after = identities(pair.replica)
    assert after[harmed] != before[harmed]
    assert {path for path in after if other in path.parents and after[path] != before[path]} == set()
    assert report["folders"]["changed"] == 1
    assert (report["messages"]["send"] > 0) == (harm is harm_message)


def test_a_file_beside_the_partitions_that_differs(pair: Pair) -> None:
    path = pair.write("user/j/joe.seen")
    pair.sync()
    pair.there(path).write_text("other")
    report = pair.sync("--full")
    assert pair.there(path).read_text() == path.read_text()
    assert (report["config"]["send"], report["files"]["sent"]) == (1, 1)


def doubt_by_mode(pair: Pair, folder: Path) -> tuple[str, ...]:
    folder.chmod(0o711)
    return ("--full",)


def doubt_by_power_cut(pair: Pair, folder: Path) -> tuple[str, ...]:
    """The last run was writing in another boot of the host."""
    for root in pair.roots:
        found = token.read(os.fsencode(pair.there(root)))
        assert found
        token.write(os.fsencode(pair.there(root)), found._replace(ended=0.0, writing="another boot"))
    return ()


@pytest.mark.parametrize("doubt", [doubt_by_mode, doubt_by_power_cut])
def test_no_index_stands_over_messages_that_are_replaced(
    pair: Pair, roots: list[Path], doubt: Callable[[Pair, Path], tuple[str, ...]], tmp_path: Path
) -> None:
    """Another mailbox takes the name of one that is compared; the run is killed when its messages are there."""
    pair.sync()
    found = (roots[0] / folder.relative_to(roots[-1]) for folder in leaves(roots[-1]))
    one, two = sorted(found, key=count)[-2:]
    there = pair.there(one)
    message = min(there.glob("[0-9]*."))
    os.truncate(message, 0)
    words = doubt(pair, pair.there(roots[-1] / one.relative_to(roots[0])))
    os.utime(min(roots[-1].rglob("cyrus.index")), ns=(0, 0))  # there is something to do
    aside = one.with_name("aside")
    swaps = [
        f"os.rename({str(root / left.relative_to(roots[0]))!r}, {str(root / right.relative_to(roots[0]))!r})"
        for root in roots
        for left, right in ((one, aside), (two, one), (aside, two))
    ]
    races = Races(tmp_path / "races")
    send_and_kill = f"subprocess.run([{shutil.which('rsync')!r}, *words])\nos.kill(os.getppid(), 9)\nos._exit(0)"
    races.before(0, "\n".join(["import os, subprocess", *swaps, send_and_kill]))
    command = ("sync", "-C", pair.conf, "--delete", *words, pair.replica)
    with start_cyrsync(*command, env=races.env) as run:
        assert run.wait() == -signal.SIGKILL, cyrsync_argv(*command)
    assert {kind for kind, *_ in problems(replica_conf(pair.conf, pair.replica))} <= {"orphan", "index", "header"}

    pair.sync()
    assert_sound(pair.conf, pair.replica)
    for folder in (one, two):
        for name in sorted(os.listdir(folder)):
            assert (pair.there(folder) / name).read_bytes() == (folder / name).read_bytes()
