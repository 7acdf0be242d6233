"""Names prove nothing where a run was cut off: who only looks knows that, too, and so it is after a disk has failed."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

import samplespool
from cyrsync.ends import address
from cyrsync.far import owner_file
from cyrsync.far.owner_file import UNOWNED, OwnerFile, boot_id
from cyrsync.state import under_way
from cyrsync.state.lock import run_key
from support.peak import far_here
from support.servers import SampleServer, below
from support.tree import plain_env, run_cyrsync, sync

CUT_OFF = "a power cut or a failing disk ended a run that was writing there"
UNKNOWN = "a run that was writing there has not ended, and whether the power failed cannot be told"


class Twins:
    """Two trees that are the same, and the words that lead to the second."""

    def __init__(self, source: Path, replica: Path, *words: str) -> None:
        self.source = source
        self.replica = replica
        self.words = words
        self.names = {f"./{path.relative_to(source)}" for path in source.rglob("[0-9]*.")}

    def look(self) -> tuple[set[str], str]:
        """Return the messages that `list` names, and what both `list` and a dry run warn of."""
        *shell, replica = self.words
        listed = run_cyrsync("list", *shell, f"{self.source}/", replica)
        assert listed.returncode == 0, listed.stderr
        report = sync("--dry-run", *shell, f"{self.source}/", replica)
        found = "".join(f"cyrsync: {warning}\n" for warning in report["warnings"])
        assert listed.stderr == found
        return self.names.intersection(listed.stdout.splitlines()), found

    def say(self, **words: str | bool) -> None:
        """Let the owner file of the replica say that."""
        owner_file.write(os.fsencode(self.replica), UNOWNED._replace(replica="ours", **words))  # type: ignore[arg-type]


@pytest.fixture(params=["here", "sshd", "sshd_without_python", "daemon"])
def twins(request: pytest.FixtureRequest, tmp_path: Path) -> Twins:
    if request.param == "here":
        replica, words = tmp_path / "replica", (f"{tmp_path}/replica/",)
    elif request.param == "daemon":
        server = request.getfixturevalue("daemon")
        replica, words = server.directory("rw") / "replica", (server.url("rw", "replica/"),)
    else:
        server = request.getfixturevalue(request.param)
        replica, words = tmp_path / "replica", ("-e", server.rsh, server.at(f"{tmp_path}/replica/"))
    for tree in (tmp_path / "source", replica):
        samplespool.make(tree, messages=20, folder_count=2)
    return Twins(tmp_path / "source", replica, *words)


def test_who_only_looks_trusts_no_name(twins: Twins, request: pytest.FixtureRequest) -> None:
    assert twins.look() == (set(), "")
    twins.say(writing="another boot")
    listed, warned = twins.look()
    assert listed == twins.names
    is_daemon = "daemon" in request.node.name
    assert warned.endswith(f": {UNKNOWN if is_daemon else CUT_OFF}: all messages are compared\n")
    twins.say(doubtful=True)
    listed, warned = twins.look()
    assert listed == twins.names
    assert warned.endswith(f": {CUT_OFF}: all messages are compared\n")
    twins.say(writing=boot_id())  # it is still at work, or was killed: a daemon does not say in which boot
    listed, warned = twins.look()
    assert (listed, bool(warned)) == ((twins.names, True) if is_daemon else (set(), False))


def test_only_what_was_under_way_is_listed(tmp_path: Path) -> None:
    source, replica = tmp_path / "source", tmp_path / "replica"
    for tree in (source, replica):
        samplespool.make(tree, messages=20, folder_count=2)
    twins = Twins(source, replica, f"{replica}/")
    twins.say(writing="another boot")
    key = run_key(*(address.identity(address.parse(f"{tree}/")) for tree in (source, replica)))
    folder = os.fsencode(min(source.rglob("[0-9]*.")).parent.relative_to(source))
    under_way.note(Path(plain_env()["CYRSYNC_STATE"]), key, "ours", [folder])
    listed, warned = twins.look()
    assert listed == {name for name in twins.names if os.path.dirname(name) == f"./{os.fsdecode(folder)}"}
    assert warned.endswith(f": {CUT_OFF}: what was under way then is compared\n")


#: cyrsync on a machine whose disk fails when it is to keep what was written; the far end is one, too.
FAILING = """\
import os
from cyrsync.ends import bundle
patch = '''
import errno
from cyrsync.far import to_disk
def _syncfs(descriptor, path):
    raise OSError(errno.EIO, "Input/output error", path)
to_disk._syncfs = _syncfs
'''
if {is_far}:
    bundle._START = patch + bundle._START
else:
    exec(patch)
from cyrsync.cli.app import main
main()
"""


@pytest.mark.parametrize("is_far", [False, True], ids=["here", "far"])
@pytest.mark.parametrize("engine", ["walk", "index"])
@pytest.mark.parametrize("when", ["at the end", "what a killed run wrote"])
def test_a_disk_that_fails_is_not_trusted(when: str, engine: str, is_far: bool, tmp_path: Path) -> None:
    """The system says only once that it lost what was written, and to whom it pleases."""
    server, replica = SampleServer(tmp_path / "server", messages=40, folder_count=2), tmp_path / "replica"
    replica.mkdir()
    root = below(replica, server.spool) if engine == "index" else replica
    source = ["-C", str(server.conf)] if engine == "index" else [f"{server.spool}/"]
    end = ["-e", str(far_here(tmp_path)), f"host:{replica}"] if is_far else [str(replica)]
    words = ("sync", *source, *end)
    assert run_cyrsync(*words).returncode == 0
    if when != "at the end":
        owner_file.write(os.fsencode(root), read(root)._replace(writing=boot_id()))
    folder = server.folders()[0]
    samplespool.deliver(folder, 2)
    server.record()
    argv = [sys.executable, "-c", FAILING.format(is_far=is_far), *words]
    done = subprocess.run(argv, env=plain_env(), capture_output=True, text=True, check=False)
    assert done.returncode == 11, done.stderr
    advice = "what was written there may be lost: see to the disk, then run `cyrsync verify --content`"
    assert f"{root}: Input/output error: {advice}\n" in done.stderr
    assert read(root).doubtful
    arrived = max(folder.glob("[0-9]*."), key=lambda path: int(path.name[:-1]))
    there = root / arrived.relative_to(server.spool)
    there.touch()
    os.truncate(there, 0)
    report = json.loads(run_cyrsync("sync", "--json", *words[1:]).stdout)
    assert CUT_OFF in str(report["warnings"])
    assert (there.read_bytes(), read(root).doubtful) == (arrived.read_bytes(), False)


def read(root: Path) -> OwnerFile:
    found = owner_file.read(os.fsencode(root))
    assert found
    return found
