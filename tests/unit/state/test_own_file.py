"""Files of the state are nobody else's to read, nor to have us hang on."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cyrsync.state import handed_over, no_agent


@pytest.fixture(autouse=True)
def umask() -> Iterator[None]:
    before = os.umask(0)
    yield
    os.umask(before)


def test_what_is_noted_of_a_pair_is_ours_alone(tmp_path: Path) -> None:
    no_agent.remember(tmp_path, "pair", None, "forced command")
    assert handed_over.note(tmp_path, "pair", "/a", "/b", "because", ["-a"])
    files = [path for path in tmp_path.rglob("*") if path.is_file()]
    assert len(files) == 2
    assert {path.stat().st_mode & 0o077 for path in files} == {0}
    assert no_agent.recall(tmp_path, "pair", None).startswith("forced command")
    assert [one.reason for one in handed_over.known(tmp_path)] == ["because"]


@pytest.mark.parametrize("kind", ["FIFO", "link"])
def test_what_stands_in_its_place_is_replaced(tmp_path: Path, kind: str) -> None:
    other, place = tmp_path / "other", tmp_path / "pair.plain"
    other.write_text("somebody else's")
    os.mkfifo(place) if kind == "FIFO" else place.symlink_to(other)
    no_agent.remember(tmp_path, "pair", None, "forced command")
    assert no_agent.recall(tmp_path, "pair", None).startswith("forced command")
    assert other.read_text() == "somebody else's"
