"""A first copy by a Slurm array, and the run for all that depends on it: by a real Slurm."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.replicas import Pair
from support.servers import assert_sound
from support.slurm import Slurm, slurm
from support.tree import run_cyrsync

SCRIPT = Path(__file__).parents[2] / "scripts" / "slurm-first-copy"


@pytest.fixture(scope="module")
def cluster(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Slurm]:
    with slurm(tmp_path_factory.mktemp("slurm")) as server:
        yield server


def submit(cluster: Slurm, directory: Path, *words: str | Path) -> None:
    """Have the script send its jobs, and wait for them; `cyrsync` is that of the tests."""
    program = directory / "bin" / "cyrsync"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nexec "{sys.executable}" -m cyrsync "$@"\n')
    program.chmod(0o755)
    env = cluster.env(SBATCH_OUTPUT=f"{directory}/job-%j.txt")
    env["PATH"] = f"{program.parent}:{env['PATH']}"
    subprocess.run([SCRIPT, *words], env=env, check=True, cwd=directory)
    cluster.wait()


def test_an_array_and_what_is_left(cluster: Slurm, pair: Pair, tmp_path: Path) -> None:
    submit(cluster, tmp_path, "3", pair.conf, pair.replica, "--delete")
    runs = json.loads(run_cyrsync("status", "--json", pair.replica).stdout)["runs"]
    assert sorted(run["part"] for run in runs) == [[], ["--shard=1/3"], ["--shard=2/3"], ["--shard=3/3"]]
    assert runs[0]["part"] == []  # the last one
    assert ([run["exit"] for run in runs], runs[0]["messages"]) == ([0] * 4, 0)
    assert sum(run["messages"] for run in runs) == 30
    pair.assert_same()
    assert_sound(pair.conf, pair.replica)


def test_what_is_left_waits_for_all_shards(cluster: Slurm, pair: Pair, tmp_path: Path) -> None:
    submit(cluster, tmp_path, "2", pair.conf, f"{pair.replica}/none")
    assert "no such directory" in "".join(path.read_text() for path in tmp_path.glob("job-*.txt"))
    done = run_cyrsync("status", "--json", f"{pair.replica}/none")
    assert sorted(run["part"] for run in json.loads(done.stdout)["runs"]) == [["--shard=1/2"], ["--shard=2/2"]]


@pytest.mark.parametrize("words", [(), ("3",), ("3", "/etc/imapd.conf")])
def test_wrong_usage(words: tuple[str, ...]) -> None:
    done = subprocess.run([SCRIPT, *words], env={"PATH": "/none"}, capture_output=True, text=True)
    assert done.returncode == 2
    assert done.stderr.startswith("usage: ")
