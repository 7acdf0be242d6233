"""Mailboxes are shown by their names, where their directories have others: the uniqueid layout."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.boxes import Box
from support.tree import run_cyrsync

NAME, SHOWN = "example.com!user.joe.Entw&APw-rfe", "user/joe/Entwürfe@example.com"


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box("3.6.1-rich", tmp_path)


@pytest.fixture
def replica(tmp_path: Path) -> Path:
    path = tmp_path / "replica"
    path.mkdir()
    return path


def test_in_the_report_of_a_run(box: Box, replica: Path) -> None:
    shown = run_cyrsync("sync", "-n", "-v", "-C", box.conf, replica, env={"COLUMNS": "120", "LC_ALL": "C.UTF-8"}).stdout
    assert SHOWN in shown
    assert "uuid/" not in shown
    _, _, users = shown.partition("Users with most to do")
    assert "joe@example.com" in users and "ann@sub.example.org" in users


def test_in_the_lines_of_what_is_wrong_beside_the_directory(box: Box, replica: Path) -> None:
    found = box.mailbox(NAME)
    [index] = [path for path in box.root.rglob("cyrus.index") if path.parent.name == Path(found["datadir"]).name]
    index.write_bytes(index.read_bytes()[:200])
    done = run_cyrsync("sync", "-C", box.conf, replica)
    assert done.returncode == 23
    directory = found["datadir"].partition("/")[2]
    assert f"cyrsync: {SHOWN} ({directory}): " in done.stderr
