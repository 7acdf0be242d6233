"""What is around the work of a run: attempts, errors, and the directories that are its own."""

from __future__ import annotations

import errno
from pathlib import Path

import pytest

from cyrsync.ends import address
from cyrsync.errors import ConnectionFailed, CyrsyncError, Exit, LockedError, UnusableError, WrongAnswer
from cyrsync.sync import session as sessions
from cyrsync.sync.options import Options
from cyrsync.sync.session import Session


@pytest.fixture(autouse=True)
def state(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("CYRSYNC_STATE", str(tmp_path / "state"))
    monkeypatch.setattr(sessions, "_LONGEST_PAUSE", 0.0)
    return tmp_path / "state"


def a_session(**options: int) -> Session:
    return Session(address.parse("/source"), address.parse("host:/replica"), Options(**options))  # type: ignore[arg-type]


def test_a_lost_connection_is_tried_again() -> None:
    """What was found is found again; what was said, and what it took, is not forgotten."""
    session = a_session(retries=2)
    left = [ConnectionFailed("lost"), ConnectionFailed("lost")]

    def attempt() -> None:
        session.result.folders.seen += 5
        session.result.rsync_runs += 1
        session.result.bytes_sent += 10
        session.result.warnings.append("said")
        session.result.roots["replica"] = "/replica"
        session.result.errors += ["unreadable"] if left else []
        if left:
            raise left.pop()

    result = session.execute(attempt)
    assert (result.exit, result.errors, result.warnings) == (0, [], ["said"])
    assert (result.folders.seen, result.rsync_runs, result.bytes_sent) == (5, 3, 30)
    assert result.roots == {"replica": "/replica"}


@pytest.mark.parametrize(("error", "tries"), [(ConnectionFailed("lost"), 2), (WrongAnswer("nonsense"), 1)])
def test_the_last_loss_ends_it(error: ConnectionFailed, tries: int) -> None:
    session, tried = a_session(retries=1), list[int]()

    def attempt() -> None:
        tried.append(1)
        raise error

    result = session.execute(attempt)
    assert (result.exit, result.errors, len(tried)) == (error.code, [str(error)], tries)


@pytest.mark.parametrize(
    ("error", "code", "text"),
    [
        (UnusableError("no such directory"), Exit.UNUSABLE, "no such directory"),
        (OSError(errno.ENOSPC, "No space left on device", "/list"), Exit.FILE_IO, "/list: No space left on device"),
        (OSError(errno.ENOSPC, "No space left on device"), Exit.FILE_IO, "{state}: No space left on device"),
    ],
)
def test_an_error_is_in_the_result(state: Path, error: Exception, code: Exit, text: str) -> None:
    def attempt() -> None:
        raise error

    result = a_session().execute(attempt)
    assert (result.exit, result.errors) == (code, [text.format(state=state)])


def test_an_error_may_be_refused() -> None:
    """Whoever is shown it may raise another one: a drop-in leaves the line to rsync."""

    def attempt() -> None:
        raise UnusableError("no agent")

    def refuse(error: CyrsyncError) -> None:
        raise LookupError(str(error))

    with pytest.raises(LookupError, match="no agent"):
        a_session().execute(attempt, refuse)


@pytest.mark.parametrize("dry_run", [True, False])
def test_its_directories_are_there_for_as_long_as_it_works(state: Path, dry_run: bool) -> None:
    session, seen = a_session(dry_run=dry_run), list[Path]()

    def attempt() -> None:
        seen.extend([session.directory, session.staging_directory.parent])
        assert all(path.is_dir() for path in seen)
        assert (session.directory.parent == state) == (not dry_run)
        (session.directory / "list").touch()

    assert session.execute(attempt).exit == 0
    assert len(seen) == 2
    assert not session.directory.exists()
    assert not session.staging_directory.exists()


def test_two_of_a_pair_do_not_work_at_once() -> None:
    first, other = a_session(), a_session()

    def attempt() -> None:
        other.execute(lambda: None)

    assert first.execute(attempt).exit == 0
    assert other.result.exit == LockedError("").code
    assert a_session(dry_run=True).execute(lambda: None).exit == 0
