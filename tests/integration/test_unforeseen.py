"""An exception that nobody foresaw: one line, exit 70, and a file with the traceback."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from cyrsync.text import printable

_BROKEN = """\
import sys
from cyrsync.cli import app, commands, rsync
def broken(*_, **_options):
    raise RuntimeError("a \\x1b[31m name\\nand more")
commands.app = rsync.drop_in = broken
sys.argv = ["cyrsync", *sys.argv[1:]]
app.main()
"""


def run(*words: str) -> subprocess.CompletedProcess[str]:
    """Run a cyrsync of which every command is broken."""
    return subprocess.run([sys.executable, "-c", _BROKEN, *words], capture_output=True, text=True, check=False)


@pytest.mark.parametrize("words", [("sync", "/a", "/b"), ("rsync", "-a", "/a", "/b")])
def test_one_line_names_the_file_with_the_traceback(words: tuple[str, ...], state_dir: Path) -> None:
    ended = run(*words)
    assert (ended.returncode, ended.stdout) == (70, "")
    path = state_dir / "traceback"
    assert ended.stderr == (
        rf"cyrsync: a fault of cyrsync itself: RuntimeError: a \x1b[31m name; please report it with {path}" + "\n"
    )
    text = path.read_text()
    assert "Traceback (most recent call last)" in text and repr(list(words)) in text
    assert path.stat().st_mode & 0o777 == 0o600


def test_a_program_reads_an_object(state_dir: Path) -> None:
    ended = run("sync", "--json", "/a", "/b")
    said = json.loads(ended.stdout)
    assert said["exit"] == 70
    assert [f"cyrsync: {printable(error)}\n" for error in said["errors"]] == [ended.stderr]


@pytest.mark.parametrize("joined", [True, False])
def test_the_traceback_lies_where_the_state_is(tmp_path: Path, state_dir: Path, joined: bool) -> None:
    """Whatever went wrong: the line may not have been read yet."""
    state = tmp_path / "other"
    ended = run("sync", *([f"--state={state}"] if joined else ["--state", str(state)]), "/a", "/b")
    assert ended.stderr.endswith(f"report it with {state}/traceback\n")
    assert (state / "traceback").exists()
    assert not (state_dir / "traceback").exists()


def test_only_the_newest_traceback_is_kept(state_dir: Path) -> None:
    run("sync", "/first", "/b")
    run("sync", "/second", "/b")
    assert [path.name for path in state_dir.iterdir()] == ["traceback"]
    assert "/second" in (state_dir / "traceback").read_text()


def test_without_a_place_for_the_traceback_the_line_says_so(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    monkeypatch.setenv("CYRSYNC_STATE", str(tmp_path / "file" / "state"))
    ended = run("sync", "/a", "/b")
    assert ended.returncode == 70
    assert ended.stderr.startswith("cyrsync: a fault of cyrsync itself: RuntimeError")
    assert "its traceback could not be written" in ended.stderr and ended.stderr.count("\n") == 1
