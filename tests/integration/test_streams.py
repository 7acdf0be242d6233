"""Where the words of a command cannot be printed: closed, full, or no longer read."""

from __future__ import annotations

import shlex
import subprocess
from pathlib import Path

import pytest

import samplespool
from support.spool import leaves
from support.tree import assert_same_tree, cyrsync_argv, plain_env, run_cyrsync

COMMANDS = {
    "sync": "sync -v --delete SOURCE REPLICA",
    "json": "sync --json SOURCE REPLICA",
    "dry run": "sync -n SOURCE REPLICA",
    "list": "list SOURCE",
    "missing": "list /nowhere",
    "inspect": "inspect SOURCE/j/user/joe",
    "verify": "verify -v SOURCE",
    "verify json": "verify --json SOURCE",
    "check": "check -C /nowhere/imapd.conf REPLICA",
    "promote": "promote REPLICA",
    "rsync": "rsync -av SOURCE/ REPLICA",
    "status": "status",
    "version": "--version",
    "help": "sync --help",
}
#: Those that print nothing but to standard output.
PRINTING = sorted(COMMANDS.keys() - {"missing", "promote", "rsync"})


@pytest.fixture(scope="module")
def spool(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("streams") / "source"
    samplespool.make(root, messages=60, folder_count=8)
    return root


def run(spool: Path, replica: Path, command: str, redirected: str) -> subprocess.CompletedProcess[str]:
    words = [word.replace("SOURCE", str(spool)).replace("REPLICA", str(replica)) for word in COMMANDS[command].split()]
    if command in ("promote", "status"):
        assert run_cyrsync("sync", spool, replica).returncode == 0
    line = f"{shlex.join(cyrsync_argv(*words))} {redirected}"
    argv = ["bash", "-o", "pipefail", "-c", line]
    return subprocess.run(argv, env=plain_env(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("command", PRINTING)
def test_closed(spool: Path, tmp_path: Path, command: str) -> None:
    done = run(spool, tmp_path / "replica", command, ">&-")
    assert (done.returncode, done.stderr) == (int(command == "check"), "")
    if command == "sync":
        assert_same_tree(spool, tmp_path / "replica")


@pytest.mark.parametrize("closed", ["<&-", "2>&-", "<&- >&- 2>&-"])
def test_all_closed(spool: Path, tmp_path: Path, closed: str) -> None:
    """No file of a run gets a number by which it would be printed into."""
    done = run(spool, tmp_path / "replica", "sync", closed)
    assert (done.returncode, done.stderr) == (0, "")
    assert_same_tree(spool, tmp_path / "replica")


@pytest.mark.parametrize("command", PRINTING)
def test_full(spool: Path, tmp_path: Path, command: str) -> None:
    done = run(spool, tmp_path / "replica", command, ">/dev/full")
    assert (done.returncode, done.stderr) == (11, "cyrsync: standard output: No space left on device\n")


def test_full_while_promoting(spool: Path, tmp_path: Path) -> None:
    done = run(spool, tmp_path / "replica", "promote", ">/dev/full")
    assert done.returncode == 11
    assert done.stderr.splitlines()[-1] == "cyrsync: standard output: No space left on device"
    assert all(line.startswith("cyrsync: ") for line in done.stderr.splitlines())


def test_full_for_the_drop_in(spool: Path, tmp_path: Path) -> None:
    """The words are rsync's: it does not mind, and the replica is whole."""
    plain = f"rsync -av {shlex.quote(str(spool))}/ {shlex.quote(str(tmp_path / 'plain'))} >/dev/full"
    by_rsync = subprocess.run(["bash", "-c", plain], capture_output=True, text=True, check=False)
    done = run(spool, tmp_path / "replica", "rsync", ">/dev/full")
    assert (done.returncode, done.stderr) == (by_rsync.returncode, by_rsync.stderr)
    assert_same_tree(spool, tmp_path / "replica")


def test_full_standard_error(spool: Path, tmp_path: Path) -> None:
    done = run(spool, tmp_path / "replica", "missing", "2>/dev/full")
    assert (done.returncode, done.stdout) == (3, "")


@pytest.mark.parametrize("command", PRINTING)
def test_no_longer_read(spool: Path, tmp_path: Path, command: str) -> None:
    done = run(spool, tmp_path / "replica", command, "| exec <&-")
    assert done.stderr == ""
    assert done.returncode in (0, 1, 141)


def test_a_wrong_user(tmp_path: Path) -> None:
    """He gets a line for each reason, not for each file."""
    source = tmp_path / "source"
    samplespool.make(source, messages=60, folder_count=16)
    (folder,) = leaves(source)[:1]
    uids = samplespool.deliver(folder, 12)
    for uid in uids:
        (folder / f"{uid}.").chmod(0)
    done = run_cyrsync("sync", source, tmp_path / "replica", user=True)
    lines = done.stderr.splitlines()
    assert done.returncode == 23
    assert len([line for line in lines if "Permission denied" in line]) == 6
    assert any(line.startswith("cyrsync: ... and 7 more: Permission denied") for line in lines), lines

    closed = leaves(source)
    for path in closed:
        (path / "cyrus.index").chmod(0)
    done = run_cyrsync("verify", source, user=True)
    assert done.returncode == 1
    about = [line for line in done.stderr.splitlines() if ": unreadable: " in line]
    assert len(closed) > 6
    assert len(about) == 6
    assert about[-1] == f"cyrsync: ... and {len(closed) - 5} more: unreadable: cannot be read"
