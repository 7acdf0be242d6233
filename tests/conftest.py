"""The environment of all tests, and fixtures: servers on loopback, directories, a state apart from the machine's."""

from __future__ import annotations

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path

import pytest

from support import campaign, environment
from support.daemon import RsyncDaemon
from support.imapd import CyrusServer
from support.sshd import Sshd
from support.tools import requires

#: Where single tests take longest: of two processes, one must not be left with these when the other has nothing to do.
EARLY = (
    "test_build.py",
    "test_same_as_rsync.py",
    "test_kill.py",
    "test_drop_in.py",
    "test_rename_killed.py",
    "test_engines_agree.py",
)


def pytest_addoption(parser: pytest.Parser) -> None:
    """Which tests, and how much of them."""
    parser.addoption("--long", action="store_true", help="also the tests that take minutes, and campaigns at length")


def pytest_configure(config: pytest.Config) -> None:
    """Before anything else: whoever starts the tests, and from where, they find the same."""
    place = environment.settle()
    config.option.basetemp = config.option.basetemp or f"{place}/trees"
    campaign.begin(is_long=config.getoption("--long"))
    # Some trees are deeper than Python can descend.
    config.add_cleanup(lambda: subprocess.run(["rm", "-rf", place], check=False))
    if not hasattr(config, "workerinput"):
        config.add_cleanup(environment.clear_staging)


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """After those with a real Cyrus, which come first, begin with the tests that take longest."""
    if not config.getoption("--long"):
        long = [item for item in items if item.get_closest_marker("long")]
        config.hook.pytest_deselected(items=long)
        items[:] = [item for item in items if item not in long]
    real = Path(__file__).parent / "cyrus"
    items.sort(key=lambda item: 0 if item.path.parent == real else 1 if item.path.name in EARLY else 2)


@pytest.fixture(autouse=True)
def state_dir(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where cyrsync keeps its locks during this test."""
    path = tmp_path_factory.mktemp("state")
    monkeypatch.setenv("CYRSYNC_STATE", str(path))
    return path


@pytest.fixture
def open_dir() -> Iterator[Path]:
    """A temporary directory with a short path, below which other users may look."""
    path = Path(tempfile.mkdtemp(prefix="cyrsync-"))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="session")
def sshd(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """One sshd for all tests."""
    requires("sshd", "ssh", "ssh-keygen", "rsync")
    with Sshd(tmp_path_factory.mktemp("sshd")) as server:
        yield server


@pytest.fixture(scope="session")
def sshd_without_python(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sshd]:
    """An sshd to a far end that has POSIX tools and rsync, but no python3."""
    requires("sshd", "ssh", "ssh-keygen", "rsync")
    with Sshd(tmp_path_factory.mktemp("sshd"), python=False) as server:
        yield server


@pytest.fixture
def mortal_sshd(tmp_path: Path) -> Iterator[Sshd]:
    """An sshd of this test alone, which may be stopped and made to hang up."""
    requires("sshd", "ssh", "ssh-keygen", "rsync")
    root = tmp_path / "sshd"
    root.mkdir()
    with Sshd(root) as server:
        yield server


@pytest.fixture
def daemon(tmp_path: Path) -> Iterator[RsyncDaemon]:
    """An rsync daemon with empty modules."""
    requires("rsync")
    root = tmp_path / "daemon"
    root.mkdir()
    with RsyncDaemon(root) as server:
        yield server


@pytest.fixture
def cyrus_server(open_dir: Path) -> Iterator[Callable[..., CyrusServer]]:
    """Starts private Cyrus servers: `cyrus_server("primary", mailbox_legacy_dirs="yes")`."""
    requires("master", "imapd", "lmtpd", "ctl_cyrusdb")
    with ExitStack() as servers:

        def start(name: str, **options: str) -> CyrusServer:
            return servers.enter_context(CyrusServer(open_dir / name, **options))

        yield start
