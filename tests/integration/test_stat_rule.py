"""A message file that is on both sides is never looked at: not by cyrsync, nor by any rsync that it starts."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path

import pytest

import samplespool
from support.strace import OPEN_CALLS, STAT_CALLS, TRACED, Call, strace_calls
from support.tree import assert_same_tree, cyrsync_argv, messages, plain_env, rsync

LOOKS = (*STAT_CALLS, "statfs", "readlink", "readlinkat", "getxattr", "lgetxattr", "listxattr", "llistxattr")
CHANGES: dict[str, Callable[[Path], object]] = {
    "nothing": lambda source: None,
    "new mail": lambda source: samplespool.change(source, new=0.1),
    "expunged": lambda source: samplespool.change(source, expunged=0.1),
    "flags": lambda source: samplespool.change(source, flags=0.5),
    "all of it": lambda source: samplespool.change(source, new=0.1, expunged=0.1, flags=0.5),
}


class Watched:
    """A spool with a replica, and what runs on them ask the kernel."""

    def __init__(self, directory: Path) -> None:
        self.source, self.replica = directory / "source", directory / "replica"
        self.output = directory / "calls"
        samplespool.make(self.source, messages=300, folder_count=20)
        rsync("-a", "-@-1", f"{self.source}/", f"{self.replica}/")

    def cyrsync(self, *args: str) -> list[Call]:
        """Run `cyrsync ARGS SOURCE/ REPLICA/`."""
        return self.run(cyrsync_argv(*args, f"{self.source}/", f"{self.replica}/"))

    def run(self, argv: list[str]) -> list[Call]:
        calls = strace_calls(argv, env=plain_env(), output=self.output, calls=(*TRACED, *LOOKS))
        # Each call names its directory: a relative path alone would escape the comparison.
        assert not [call for call in calls if b'("' in call.line and not call.path.startswith(b"/")]
        return calls

    def on_both_trees(self) -> set[bytes]:
        both = messages(self.source).keys() & messages(self.replica).keys()
        return {os.path.join(os.fsencode(root), path) for root in (self.source, self.replica) for path in both}

    def below(self, calls: list[Call], root: Path, *names: str) -> list[Call]:
        return [call for call in calls if call.name in names and (call.path + b"/").startswith(os.fsencode(f"{root}/"))]


@pytest.fixture
def watched(tmp_path: Path) -> Watched:
    """Both sides, up to date."""
    return Watched(tmp_path)


def looked_at(calls: list[Call]) -> set[bytes]:
    return {os.path.normpath(call.path) for call in calls if call.name in (*LOOKS, *OPEN_CALLS)}


def programs(calls: list[Call]) -> list[bytes]:
    """Names of what was executed."""
    return [os.path.basename(call.path) for call in calls if call.name == "execve" and call.line.endswith(b"= 0")]


def test_plain_rsync_looks_at_them_all(watched: Watched) -> None:
    """So this way of looking at it works."""
    calls = watched.run(["rsync", "-a", f"{watched.source}/", f"{watched.replica}/"])
    assert watched.on_both_trees() <= looked_at(calls)


@pytest.mark.parametrize(
    ("change", "command"),
    [*((change, "sync --delete") for change in CHANGES.values()), (CHANGES["all of it"], "rsync -a --delete")],
    ids=[*CHANGES, "drop-in"],
)
def test_what_is_on_both_trees_is_not_looked_at(
    watched: Watched, change: Callable[[Path], object], command: str
) -> None:
    change(watched.source)
    both = watched.on_both_trees()
    assert len(both) > 500
    calls = watched.cyrsync(*command.split())
    assert not both & looked_at(calls)
    assert_same_tree(watched.source, watched.replica)
    new = messages(watched.source).keys() - {os.path.relpath(path, os.fsencode(watched.source)) for path in both}
    assert {os.path.join(os.fsencode(watched.source), path) for path in new} <= looked_at(calls)


def test_a_run_that_finds_nothing_starts_no_rsync(watched: Watched) -> None:
    programs_run = programs(watched.cyrsync("sync", "--delete"))
    assert b"rsync" not in programs_run
    assert len(programs_run) == 2  # cyrsync, and the reader of the replica


def test_deletions_alone_start_no_rsync_for_messages(watched: Watched) -> None:
    (watched.replica / "j/user/joe/99999.").write_text("not of the source")
    watched.run(["touch", "-r", f"{watched.source}/j/user/joe", f"{watched.replica}/j/user/joe"])
    assert b"rsync" not in programs(watched.cyrsync("sync", "--delete"))


def test_a_folder_costs_a_few_calls(watched: Watched) -> None:
    """Its directory is read once, or twice where a file system counts no links; of files, the metadata is."""
    calls = watched.cyrsync("sync", "--delete")
    for root in (watched.source, watched.replica):
        folders = 1 + sum(path.is_dir() for path in root.rglob("*"))
        metadata = sum(1 for _ in root.rglob("cyrus.*"))
        assert folders <= len(watched.below(calls, root, *OPEN_CALLS)) <= 4 * folders
        assert 2 * folders <= len(watched.below(calls, root, "getdents64")) <= 4 * folders
        assert folders + metadata <= len(watched.below(calls, root, *LOOKS)) <= 4 * folders + metadata


def test_the_source_is_only_read(watched: Watched) -> None:
    CHANGES["all of it"](watched.source)
    calls = watched.cyrsync("sync", "--delete")
    assert not watched.below(calls, watched.source, "unlink", "unlinkat", "rename", "renameat", "renameat2")
    written = [call for call in watched.below(calls, watched.source, *OPEN_CALLS) if b"O_RDONLY" not in call.line]
    assert not written
