"""One run at a time for a source and a destination, however the other one ends."""

from __future__ import annotations

import fcntl
import os
import re
import time
from pathlib import Path

import pytest

from cyrsync.errors import LockedError, UnusableError
from cyrsync.state import lock
from cyrsync.state.lock import run_key, run_lock, state_directory, state_path
from support.tools import requires_root
from tests.support.descriptors import descriptors


@pytest.fixture
def pauses(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """Time that is waited for passes at once."""
    slept: list[float] = []
    monkeypatch.setattr(time, "monotonic", lambda: sum(slept))
    monkeypatch.setattr(time, "sleep", slept.append)
    return slept


def test_names_the_holder(state_dir: Path) -> None:
    with run_lock(state_path(), "key", 0), pytest.raises(LockedError) as caught, run_lock(state_path(), "key", 0):
        pytest.fail("held twice")
    assert re.search(rf"process {os.getpid()} .* since 2\d\d\d-\d\d-\d\d \d\d:\d\d:\d\d;", str(caught.value))
    assert "--wait" in str(caught.value)
    assert caught.value.code == 75


def test_another_pair_is_not_held_up() -> None:
    with run_lock(state_path(), "one", 0), run_lock(state_path(), "other", 0):
        pass


def test_released_at_the_end_and_by_an_exception() -> None:
    with pytest.raises(RuntimeError), run_lock(state_path(), "key", 0):
        raise RuntimeError
    with run_lock(state_path(), "key", 0):
        pass
    with run_lock(state_path(), "key", 0):
        pass


def test_released_when_the_holders_descriptor_closes(state_dir: Path) -> None:
    """As the kernel does for a process that was killed; what it wrote stays, and does not matter."""
    holder = os.open(state_dir / "key.lock", os.O_RDWR | os.O_CREAT)
    os.write(holder, b"4321 2024-01-01 00:00:00\n" + b"x" * 200)
    fcntl.flock(holder, fcntl.LOCK_EX)
    with (
        pytest.raises(LockedError, match=r"process 4321 .* since 2024-01-01 00:00:00"),
        run_lock(state_path(), "key", 0),
    ):
        pytest.fail("held twice")
    os.close(holder)
    with run_lock(state_path(), "key", 0):
        assert (state_dir / "key.lock").read_text().startswith(f"{os.getpid()} ")
        assert (state_dir / "key.lock").read_text().count("\n") == 1


def test_a_holder_that_has_not_yet_said_who_it_is(state_dir: Path) -> None:
    holder = os.open(state_dir / "key.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(holder, fcntl.LOCK_EX)
    with pytest.raises(LockedError, match=r"process unknown .* since a moment ago"), run_lock(state_path(), "key", 0):
        pytest.fail("held twice")
    os.close(holder)


def test_waits_in_vain(pauses: list[float]) -> None:
    with run_lock(state_path(), "key", 0), pytest.raises(LockedError), run_lock(state_path(), "key", 5):
        pytest.fail("held twice")
    assert 5 <= sum(pauses) < 6


def test_does_not_wait_without_being_asked(pauses: list[float]) -> None:
    with run_lock(state_path(), "key", 0), pytest.raises(LockedError), run_lock(state_path(), "key", 0):
        pytest.fail("held twice")
    assert pauses == []


def test_waits_for_the_holder(state_dir: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    holder = os.open(state_dir / "key.lock", os.O_RDWR | os.O_CREAT)
    fcntl.flock(holder, fcntl.LOCK_EX)
    pauses: list[float] = []

    def sleep(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 3:
            os.close(holder)

    monkeypatch.setattr(time, "sleep", sleep)
    with run_lock(state_path(), "key", 60):
        assert len(pauses) == 3


def test_no_descriptor_is_lost() -> None:
    before = descriptors()
    with run_lock(state_path(), "key", 0), pytest.raises(LockedError), run_lock(state_path(), "key", 0):
        pytest.fail("held twice")
    assert descriptors() == before


def test_a_lock_is_not_passed_on_to_rsync() -> None:
    with run_lock(state_path(), "key", 0):
        locks = [int(name) for name in os.listdir("/proc/self/fd") if _leads_to_a_lock(name)]
        assert locks
        assert not any(os.get_inheritable(descriptor) for descriptor in locks)


def _leads_to_a_lock(descriptor: str) -> bool:
    try:
        return os.readlink(f"/proc/self/fd/{descriptor}").endswith("key.lock")
    except OSError:
        return False


def test_nobody_else_may_look(state_dir: Path) -> None:
    with run_lock(state_path(), "key", 0):
        assert (state_dir / "key.lock").stat().st_mode & 0o777 == 0o600


def test_keys() -> None:
    keys = {
        run_key("/a", "/b"),
        run_key("/b", "/a"),
        run_key("/a/b", ""),
        run_key("", "/a/b"),
        run_key("/a", "/b\udcff"),
    }
    assert len(keys) == 5
    assert run_key("/a", "/b") == run_key("/a", "/b")
    assert all(re.fullmatch("[0-9a-f]+", key) for key in keys)


@pytest.fixture
def made(monkeypatch: pytest.MonkeyPatch) -> list[Path]:
    """Directories that would be made, for nothing is touched outside the tests' own."""
    found: list[Path] = []
    monkeypatch.setattr(Path, "mkdir", lambda self, mode, parents, exist_ok: found.append(self))
    return found


@pytest.mark.parametrize(
    ("euid", "environment", "expected"),
    [
        (0, {}, "/var/lib/cyrsync"),
        (0, {"HOME": "/root", "XDG_STATE_HOME": "/root/state"}, "/var/lib/cyrsync"),
        (0, {"CYRSYNC_STATE": "/chosen"}, "/chosen"),
        (97, {"HOME": "/home/cyrus"}, "/home/cyrus/.local/state/cyrsync"),
        (97, {"HOME": "/home/cyrus", "XDG_STATE_HOME": "/state"}, "/state/cyrsync"),
        (97, {"HOME": "/home/cyrus", "XDG_STATE_HOME": ""}, "/home/cyrus/.local/state/cyrsync"),
        (97, {"HOME": "/home/cyrus", "CYRSYNC_STATE": "/chosen"}, "/chosen"),
        (97, {"HOME": "/home/cyrus", "CYRSYNC_STATE": ""}, "/home/cyrus/.local/state/cyrsync"),
        (97, {}, "/from/passwd/.local/state/cyrsync"),
    ],
)
def test_state_directory(
    monkeypatch: pytest.MonkeyPatch, made: list[Path], euid: int, environment: dict[str, str], expected: str
) -> None:
    for name in ("CYRSYNC_STATE", "XDG_STATE_HOME", "HOME"):
        monkeypatch.delenv(name, raising=False)
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setattr(os, "geteuid", lambda: euid)
    entry = ("cyrus", "x", euid, euid, "", "/from/passwd", "/bin/sh")
    monkeypatch.setattr(lock.pwd, "getpwuid", lambda number: lock.pwd.struct_passwd(entry))
    assert state_directory(state_path()) == Path(expected)
    assert made == [Path(expected)]


def test_the_state_directory_is_made_for_us_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CYRSYNC_STATE", str(tmp_path / "a" / "b"))
    assert state_directory(state_path()) == tmp_path / "a" / "b"
    assert (tmp_path / "a" / "b").stat().st_mode & 0o777 == 0o700
    assert state_directory(state_path()) == tmp_path / "a" / "b"


def test_no_state_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "file").touch()
    for path in (tmp_path / "file", tmp_path / "file" / "below"):
        monkeypatch.setenv("CYRSYNC_STATE", str(path))
        with pytest.raises(UnusableError, match="set CYRSYNC_STATE"):
            state_directory(state_path())


def test_a_lock_that_cannot_be_opened(state_dir: Path) -> None:
    (state_dir / "key.lock").mkdir()
    with pytest.raises(UnusableError, match=r"key\.lock: Is a directory"), run_lock(state_path(), "key", 0):
        pytest.fail("held without a lock")


@pytest.mark.parametrize(
    ("mode", "owner", "group", "usable"),
    [
        (0o700, 0, 0, True),
        (0o755, 0, 0, True),
        (0o775, 0, 0, True),
        (0o775, 0, 8, False),
        (0o777, 0, 0, False),
        (0o1777, 0, 0, False),
        (0o700, 4711, 0, False),
    ],
)
def test_root_writes_where_only_root_may(state_dir: Path, mode: int, owner: int, group: int, usable: bool) -> None:
    requires_root()
    os.chown(state_dir, owner, group)
    state_dir.chmod(mode)
    if usable:
        assert state_directory(state_path()) == state_dir
        return
    with pytest.raises(UnusableError, match="others than root may write"), run_lock(state_path(), "key", 0):
        pass


@pytest.mark.parametrize("what", ["link", "FIFO"])
def test_what_is_no_lock_file(state_dir: Path, tmp_path: Path, what: str) -> None:
    victim = tmp_path / "victim"
    victim.write_text("precious")
    if what == "link":
        (state_dir / "key.lock").symlink_to(victim)
    else:
        os.mkfifo(state_dir / "key.lock")
    with pytest.raises(UnusableError, match=r"key\.lock"), run_lock(state_path(), "key", 0):
        pass
    assert victim.read_text() == "precious"
