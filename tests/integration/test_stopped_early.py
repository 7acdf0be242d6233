"""A signal right after the start, when it is not known yet whether the command watches: a watcher ends well by it."""

from __future__ import annotations

import fcntl
import os
import signal
import subprocess
from pathlib import Path

import pytest

from cyrsync.ends import address
from cyrsync.state.lock import lock_file
from cyrsync.sync.options import Options
from cyrsync.sync.session import Session
from support.servers import SampleServer
from support.tree import cyrsync_argv, plain_env

#: It sends itself a signal as soon as something happens that the interpreter tells of.
_PROGRAM = """
import os, signal, sys
from cyrsync.cli.app import main
left = {skipped}
def hook(event, words):
    global left
    if event == {event!r} and (os.fsdecode(words[0]) if isinstance(words[0], (bytes, str)) else "") == {word!r}:
        left -= 1
        if left == -1:
            signal.raise_signal({number})
sys.addaudithook(hook)
main()
"""
_EARLY = [
    ("import", "typer"),
    ("import", "cyrsync.cli.settings"),
    ("open", "CONFIG"),
    ("open", "CONF"),
    ("import", "cyrsync.cli.watch"),
    ("import", "cyrsync.rolling.server"),
]


class Place:
    """A server, its replica, and two jobs for it."""

    def __init__(self, root: Path) -> None:
        self.server = SampleServer(root / "server", messages=5, folder_count=2)
        self.replica, self.config = root / "replica", root / "c.toml"
        self.replica.mkdir()
        job = f'source = "{self.server.conf}"\ndestination = "{self.replica}"\n'
        self.config.write_text(f"[seldom]\n{job}[always]\n{job}watch = true\n")

    def end(
        self, event: str, word: str, number: int, *words: str | Path, skipped: int = 0
    ) -> subprocess.CompletedProcess[str]:
        """Run a command that gets a signal when something happens."""
        word = {"CONFIG": str(self.config), "CONF": str(self.server.conf)}.get(word, word)
        program = _PROGRAM.format(event=event, word=word, number=int(number), skipped=skipped)
        argv = [cyrsync_argv()[0], "-c", program, *map(str, words)]
        return subprocess.run(
            argv, env=plain_env(), stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False, timeout=120
        )

    def is_untouched(self) -> bool:
        return not list(self.replica.iterdir())


@pytest.fixture
def place(tmp_path: Path) -> Place:
    return Place(tmp_path)


@pytest.mark.parametrize(("event", "word"), _EARLY)
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_a_job_that_watches_ends_well(place: Place, event: str, word: str, number: int) -> None:
    done = place.end(event, word, number, "run", "--config", place.config, "always")
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert place.is_untouched()


@pytest.mark.parametrize(("event", "word"), [point for point in _EARLY if point[1] != "CONFIG"])
def test_a_watcher_ends_well(place: Place, event: str, word: str) -> None:
    done = place.end(event, word, signal.SIGTERM, "sync", "-C", place.server.conf, "--watch", place.replica)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    assert place.is_untouched()


@pytest.mark.parametrize(("event", "word"), _EARLY[:4])
@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGHUP])
@pytest.mark.parametrize("names", [["seldom"], []])
def test_what_does_not_watch_ends_as_ever(
    place: Place, event: str, word: str, number: signal.Signals, names: list[str]
) -> None:
    """A job that watches does not, if it is run with others."""
    done = place.end(event, word, number, "run", "--config", place.config, *names)
    assert done.returncode == 20
    assert f"interrupted by {number.name}; the next run finishes the work" in done.stderr
    assert place.is_untouched()


@pytest.mark.parametrize(("event", "word"), _EARLY[:3])
def test_a_hang_up_ends_no_watcher_well(place: Place, event: str, word: str) -> None:
    done = place.end(event, word, signal.SIGHUP, "run", "--config", place.config, "always")
    assert done.returncode == 20
    assert "interrupted by SIGHUP" in done.stderr
    assert place.is_untouched()


def test_words_that_are_no_option_make_no_watcher(place: Place) -> None:
    words = ("sync", place.server.spool, place.replica, "-e", "--watch")
    done = place.end("import", "typer", signal.SIGTERM, *words)
    assert done.returncode == 20
    assert place.is_untouched()


def test_a_watcher_that_waits_for_another_run_ends_well(place: Place, state_dir: Path) -> None:
    where = address.Address(str(place.server.conf), os.fsencode(place.server.conf))
    key = Session(where, address.parse(str(place.replica)), Options()).key
    held = lock_file(state_dir, key)
    state_dir.mkdir(mode=0o700, exist_ok=True)
    with held.open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        file.write(f"{os.getpid()} 2026-01-01 00:00:00 \t[]\n")
        file.flush()
        tried = place.end(*("fcntl.flock", "", signal.SIGTERM, "run", "--config", place.config, "always"), skipped=1)
    assert (tried.returncode, tried.stdout, tried.stderr) == (0, "", "")
    assert place.is_untouched()
