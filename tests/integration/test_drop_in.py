"""`cyrsync rsync LINE` leaves what `rsync LINE` leaves, and ends as that does."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path
from random import Random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import samplespool
from cyrsync.transfer import options as rsync_options
from support.memory import in_memory
from support.random_tree import RandomTree
from support.tree import Entry, assert_same_tree, messages, run_cyrsync, snapshot

PLAIN = "plain rsync runs: "

# --- Random lines

_WORDS = st.sampled_from(
    [
        *("-l", "-p", "-t", "-g", "-o", "-D", "-tpl", "-ogD", "-H", "-z", "-v", "-vi", "-W", "-S", "-O", "-y", "-E", "-q"),
        *("--delete", "--delete", "--delete", "--del", "--delete-before", "--delete-after", "--delete-delay"),
        *("--delete-excluded", "--max-delete=2", "--max-delete=1000", "--force", "--existing", "--ignore-existing", "-u"),
        *("-c", "-I", "--size-only", "--inplace", "--no-perms", "--no-o", "--no-times", "--no-D", "--no-links", "--no-r"),
        *("--numeric-ids", "--chmod=F640,D750", "--chown=1:1", "--delay-updates", "--stats", "-hh", "--modify-window=2"),
        *("--exclude=user", "--exclude=*.cache", "--exclude=1.", "--exclude=/user/**", "--exclude=[a-z]", "--no-i-r", "-m"),
    ]
)
LINES = st.builds(lambda first, words: [*first.split(), *words], st.sampled_from(["-a", "-a", "-rt", "-r -v", "-rlptgoDi"]), st.lists(_WORDS, max_size=6))  # fmt: skip


@settings(max_examples=60, deadline=None, derandomize=os.environ.get("CI") == "true")
@given(line=LINES, last=st.sampled_from([[], [], [], ["-n"]]), slash=st.sampled_from(["/", "/", ""]), seed=st.integers(0, 2**32 - 1))  # fmt: skip
def test_random_lines(line: list[str], last: list[str], slash: str, seed: int) -> None:
    with in_memory() as directory:
        source, ours, theirs = directory / "source", directory / "ours", directory / "theirs"
        tree = RandomTree(os.fsencode(source), Random(seed), hidden=False, grain=10**9)
        for words in (line, line, [*line, *last]):
            tree.change(12)
            mine = run_cyrsync("rsync", *words, f"{source}{slash}", ours)
            rsyncs = plain_rsync(*words, f"{source}{slash}", str(theirs))
            assert mine.returncode == rsyncs.returncode, (mine, rsyncs)
            assert comparable(ours, words) == comparable(theirs, words)


def comparable(root: Path, words: list[str]) -> dict[bytes, Entry]:
    """What is there, without the times that rsync was not asked to keep: those are the moment of the run."""
    kept = rsync_options.settings(rsync_options.parse(words))
    found = snapshot(root, dir_mtimes=kept.dir_times)
    return found if kept.times else {path: entry._replace(mtime_ns=0) for path, entry in found.items()}


def plain_rsync(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["rsync", *words], stdin=subprocess.DEVNULL, capture_output=True, encoding="utf-8", errors="surrogateescape", check=False, cwd=cwd)
