"""Programs are found whatever PATH says: administrators' are not in that of cron."""

from __future__ import annotations

from pathlib import Path

import pytest

from cyrsync import process
from cyrsync.errors import UnusableError
from cyrsync.standby import commands
from support.tools import write_program


@pytest.fixture
def directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A directory of administrators' programs, which PATH lacks."""
    made = tmp_path / "sbin"
    made.mkdir()
    monkeypatch.setattr(process, "ADMINISTRATORS", (str(made),))
    monkeypatch.setenv("PATH", "/usr/bin:/bin")
    return made


def test_administrators_programs_are_found(directory: Path) -> None:
    write_program(directory / "runuser-x", "exit 7")
    assert process.program("runuser-x") == str(directory / "runuser-x")
    assert process.capture(["runuser-x"]).code == 7
    assert process.run(["runuser-x"], None, None) == 7
    with pytest.raises(UnusableError):
        process.program("runuser-y")


def test_what_is_in_path_comes_first(directory: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = tmp_path / "first"
    first.mkdir()
    monkeypatch.setenv("PATH", str(first))
    for place in (first, directory):
        write_program(place / "runuser-x", "true")
    assert process.program("runuser-x") == str(first / "runuser-x")


def test_a_hook_finds_them_too(directory: Path, tmp_path: Path) -> None:
    write_program(directory / "sendmail-x", 'cat > "$1"')
    assert process.hook(f"sendmail-x '{tmp_path}/mail'", "a report", {}) == 0
    assert (tmp_path / "mail").read_text() == "a report"


def test_cyrus_tools_are_found(directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(commands, "_DIRECTORIES", ())
    write_program(directory / "ctl_cyrusdb", "true")
    assert commands.tools() == str(directory)
