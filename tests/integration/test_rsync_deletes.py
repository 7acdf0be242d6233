"""Where rsync does the deleting: on a daemon, and at a far end without python3."""

from __future__ import annotations

from pathlib import Path

import pytest

import samplespool
from support.spool import everything_happens
from support.tree import assert_same_tree, run_cyrsync


@pytest.mark.parametrize("far", ["daemon", "sshd_without_python"])
def test_the_drop_in_reports_no_failure(request: pytest.FixtureRequest, tmp_path: Path, far: str) -> None:
    source = tmp_path / "source"
    samplespool.make(source, messages=300, folder_count=8)
    server = request.getfixturevalue(far)
    if far == "daemon":
        replica, words = server.directory("rw"), (server.url("rw"),)
    else:
        replica, words = tmp_path / "replica", ("-e", server.rsh, server.at(f"{tmp_path}/replica/"))
    for happens in (everything_happens, lambda _: None):
        done = run_cyrsync("rsync", "-a", "--delete", f"{source}/", *words)
        assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
        assert_same_tree(source, replica, whole_seconds=True)
        happens(source)
