"""Whoever starts the tests, and from where: they find the same, and leave nothing behind."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

from hypothesis import HealthCheck, settings

HERE = Path(__file__)
#: Tests that look at terminals and their size.
DEPENDENT = ("unit/report/test_progress.py", "unit/report/test_summary.py")
HOSTILE = {
    "CLICOLOR_FORCE": "1",
    "COLUMNS": "17",
    "CYRSYNC_STATE": "/proc/nowhere",
    "CYRUS_USER": "nobody",
    "FORCE_COLOR": "1",
    "HYPOTHESIS_PROFILE": "default",
    "LANG": "tr_TR.ISO-8859-9",
    "LC_MESSAGES": "de_DE.UTF-8",
    "NO_COLOR": "1",
    "PYTHONOPTIMIZE": "",
    "PYTHONWARNINGS": "ignore",
    "RSYNC_ICONV": "utf-8,latin1",
    "RSYNC_RSH": "/bin/false",
    "SSH_AUTH_SOCK": "/proc/nowhere",
    "TERM": "dumb",
    "TMPDIR": "/proc/nowhere",
    "TZ": "Asia/Kathmandu",
    "XDG_STATE_HOME": "/proc/nowhere",
}
#: As a login that shares nothing, and nohup in the background, start their children.
START = "umask 077; trap '' HUP INT; exec \"$@\""


def test_children_see_nothing_of_who_started_the_tests() -> None:
    seen = subprocess.run(["env"], capture_output=True, text=True, check=True).stdout
    names = {line.partition("=")[0] for line in seen.splitlines()}
    assert not names.intersection(HOSTILE) - {"COLUMNS", "CYRSYNC_STATE", "TERM", "TMPDIR", "TZ"}
    assert {"COLUMNS=80", "TERM=xterm-256color", "TZ=UTC", "LC_ALL=C.UTF-8"}.issubset(seen.splitlines())
    assert "/proc/nowhere" not in seen

    state = Path(f"/proc/{os.getpid()}/status").read_text()
    child = subprocess.run(["cat", "/proc/self/status"], capture_output=True, text=True, check=True).stdout
    assert "Umask:\t0022" in state.splitlines()
    (ignored,) = (int(line.split()[1], 16) for line in child.splitlines() if line.startswith("SigIgn:"))
    assert not [number for number in (signal.SIGHUP, signal.SIGINT, signal.SIGTERM) if ignored >> (number - 1) & 1]


def test_no_right_test_fails_for_being_slow() -> None:
    here = settings()
    assert here.deadline is None
    assert HealthCheck.too_slow in here.suppress_health_check
    assert here.database is None
    assert not here.derandomize


def test_another_login(tmp_path: Path) -> None:
    """The same tests again, by somebody who has set up everything otherwise, in a directory of his own."""
    root = HERE.parent.parent
    words = [f"{HERE}::{test_children_see_nothing_of_who_started_the_tests.__name__}"]
    words += [f"{HERE}::{test_no_right_test_fails_for_being_slow.__name__}", *(f"{root}/{name}" for name in DEPENDENT)]
    pytest = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", "-p", "no:xdist", "-p", "no:cov"]
    argv = ["sh", "-c", START, "sh", *pytest, f"--basetemp={tmp_path}/trees", f"--rootdir={root.parent}", *words]
    env = {"PATH": os.environ["PATH"], "PYTHONDONTWRITEBYTECODE": "1", **HOSTILE}
    place = tmp_path / "here"
    place.mkdir()
    done = subprocess.run(
        argv, env=env, cwd=place, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert not list(place.iterdir())
