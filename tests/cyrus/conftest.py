"""A watched server for each module that wants one."""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.tools import requires
from support.watched import NAME, Box
from support.watcher import Watcher, watching


@pytest.fixture(scope="module")
def box(request: pytest.FixtureRequest) -> Iterator[Box]:
    """One server of a layout for all tests: each has its own users."""
    requires("master", "imapd", "lmtpd", "ctl_cyrusdb")
    root = Path(tempfile.mkdtemp(prefix="cyrsync-"))
    root.chmod(0o755)
    found = Box(root, **getattr(request, "param", NAME))
    yield found
    found.server.stop()
    shutil.rmtree(root)


@pytest.fixture
def watcher(box: Box, tmp_path: Path) -> Iterator[Watcher]:
    # cyr_expire deletes at once what all tests before have expunged.
    with watching(box.conf, "--delete", "--max-delete", "100%", box.replica, said=tmp_path / "said") as found:
        yield found
