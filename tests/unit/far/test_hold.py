"""The lock on a replica's roots."""

from __future__ import annotations

import os
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest

from cyrsync.far.hold import Busy, Holds
from support.tree import plain_env


@pytest.fixture
def roots(tmp_path: Path) -> list[bytes]:
    for name in ("a", "b", "a/below"):
        (tmp_path / name).mkdir()
    return [os.fsencode(tmp_path / name) for name in ("a", "b")]


def hold(*paths: bytes) -> Busy | None:
    """Try to hold, and let go."""
    with closing(Holds()) as holds:
        return holds.hold(paths)


@contextmanager
def held(*paths: bytes) -> Iterator[None]:
    with closing(Holds()) as holds:
        assert holds.hold(paths) is None
        yield


def test_one_has_them_alone(roots: list[bytes]) -> None:
    with held(*roots):
        for root in roots:
            busy = hold(root)
            assert busy and (busy.root, busy.pid) == (root, os.getpid())
            assert 0 < busy.since <= time.time()
    assert hold(*roots) is None


def test_all_or_none(roots: list[bytes]) -> None:
    with held(roots[1]), closing(Holds()) as holds:
        assert holds.hold(roots)
        assert hold(roots[0]) is None


def test_what_is_below_and_what_is_above_belongs_to_it(roots: list[bytes], tmp_path: Path) -> None:
    below, above = os.path.join(roots[0], b"below"), os.fsencode(tmp_path)
    for first, second in ((below, above), (above, below), (below, roots[0]), (roots[0], below)):
        with held(first):
            assert hold(second)
        with held(first, second):  # a configdirectory with a partition in it
            pass
    with held(below):
        assert hold(roots[1]) is None


def test_more_is_held_later(roots: list[bytes], tmp_path: Path) -> None:
    below, above = os.path.join(roots[0], b"below"), os.fsencode(tmp_path)
    with closing(Holds()) as holds:
        for path in (below, below, roots[1], above):
            assert holds.hold([path]) is None
        assert all(hold(path) for path in (below, *roots, above))
    assert hold(above, below, *roots) is None


def test_what_is_no_directory_is_left_out(roots: list[bytes], tmp_path: Path) -> None:
    (tmp_path / "file").touch()
    (tmp_path / "link").symlink_to("b")
    assert hold(os.fsencode(tmp_path / "missing"), os.fsencode(tmp_path / "file")) is None
    with held(os.fsencode(tmp_path / "link")):
        assert hold(roots[1])


def test_who_is_killed_lets_go(roots: list[bytes]) -> None:
    script = "import os, sys\nfrom cyrsync.far.hold import Holds\nholds = Holds()\n"
    script += "print(holds.hold([os.fsencode(sys.argv[1])]), flush=True)\ninput()"
    argv = [sys.executable, "-c", script, roots[0]]
    with subprocess.Popen(argv, env=plain_env(), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == b"None\n"
        busy = hold(roots[0])
        assert busy and busy.pid == process.pid
        process.kill()
        process.wait()
        assert hold(roots[0]) is None


# --- Shards


def test_the_first_shard_has_them_alone_until_it_shares(roots: list[bytes]) -> None:
    with closing(Holds()) as first, closing(Holds()) as second:
        assert first.hold_among(roots) == (None, True)
        busy, alone = second.hold_among(roots)
        assert busy and not alone
        assert first.share() is None
        assert second.hold_among(roots) == (None, False)
        assert hold(roots[0])  # a run for all
        first.close()
        assert hold(roots[0])
    assert hold(*roots) is None


def test_no_shard_is_let_in_by_a_run_for_all(roots: list[bytes], tmp_path: Path) -> None:
    for path in (roots[0], os.path.join(roots[0], b"below"), os.fsencode(tmp_path)):
        with held(path), closing(Holds()) as shard:
            busy, alone = shard.hold_among(roots)
            assert not alone
            assert (busy is None) == path.endswith(b"below")  # that one leaves its owner file as it was


def test_a_shard_lets_go_of_what_it_has_when_it_looks_again(roots: list[bytes]) -> None:
    with closing(Holds()) as shard:
        for _ in range(2):
            assert shard.hold_among(roots) == (None, True)
        assert len(shard.descriptors()) == len(set(shard.descriptors()))
