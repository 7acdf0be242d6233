"""What the login, terminal, cron or CI that starts the tests has set up, and no test may depend on.

All that children inherit is set here, in one place: environment, umask, signals. What a test wants otherwise, it sets.
"""

from __future__ import annotations

import os
import pwd
import signal
import tempfile
import time
from contextlib import suppress
from pathlib import Path

from hypothesis import HealthCheck, settings

from cyrsync.sync.scratch import _remove_leftovers
from support import memory

#: Whether, and where, Python keeps byte code: no test depends on it, and the checkout is to stay clean.
BYTE_CODE = ("PYTHONDONTWRITEBYTECODE", "PYTHONPYCACHEPREFIX")
#: What stays of the environment, beside that: where programs are, and whether all of them must be there.
_KEPT = frozenset({"CI", "PATH", *BYTE_CODE})
#: And what the tools of the tests tell each other.
_TOOLS = ("COV", "PYTEST_")
#: Bytes that all trees together may need, before those of tests that have passed are removed.
_ROOM = 4_000_000_000
_SET = {"COLUMNS": "80", "LC_ALL": "C.UTF-8", "LINES": "25", "SHELL": "/bin/sh", "TERM": "xterm-256color", "TZ": "UTC"}
#: What nohup, or a shell that runs something in the background, has its children ignore.
_SIGNALS = (signal.SIGHUP, signal.SIGINT, signal.SIGQUIT, signal.SIGTERM)


def settle() -> Path:
    """Have this process and its children see the same everywhere.

    Return the directory that all temporary files are in, the home too; it is to be removed at the end. It is in memory,
    where that has room: trees come and go by the thousand, and a Cyrus syncs its disk for each message.
    """
    kept = {name: value for name, value in os.environ.items() if name in _KEPT or name.startswith(_TOOLS)}
    os.environ.clear()
    os.environ.update(kept | _SET)
    tempfile.tempdir = None  # it may have been looked for already
    place = Path(tempfile.mkdtemp(prefix="cyrsync-tests-", dir=memory.directory(_ROOM)))
    place.chmod(0o755)
    home, temporary = place / "home", place / "tmp"
    home.mkdir()
    temporary.mkdir()
    tempfile.tempdir = str(temporary)
    os.environ.update(
        {
            "CYRSYNC_STATE": str(place / "state"),  # of what no test's own directory is for; root's is the machine's
            "HOME": str(home),
            "HYPOTHESIS_STORAGE_DIRECTORY": str(place / "hypothesis"),
            "TMPDIR": str(temporary),
        }
    )
    try:
        os.environ["LOGNAME"] = os.environ["USER"] = pwd.getpwuid(os.geteuid()).pw_name
    except KeyError:  # a user without a name has no login either
        pass
    time.tzset()
    os.umask(0o022)
    for number in _SIGNALS:
        if signal.getsignal(number) is signal.SIG_IGN:
            # Still not heeded here, but children begin with the default.
            signal.signal(number, lambda *_: None)
    _settle_hypothesis()
    return place


def clear_staging() -> None:
    """Remove from memory what killed runs have left: the next run would, but there is none."""
    with suppress(OSError):
        _remove_leftovers(Path("/dev/shm"), f"cyrsync-staging-{os.geteuid()}-")


def _settle_hypothesis() -> None:
    """Have no right test fail because the machine is slow, and keep nothing; a failure prints how to see it again."""
    settings.register_profile(
        "cyrsync",
        deadline=None,
        database=None,
        derandomize=False,
        print_blob=True,
        # Fixtures that a test has once for all its examples are meant so.
        suppress_health_check=[HealthCheck.too_slow, HealthCheck.function_scoped_fixture],
    )
    settings.load_profile("cyrsync")
