"""One record of mailboxes.db that cannot be read costs its mailbox only, whoever reads mailboxes.db."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest

import samplespool
from cyrsync.cli import complete
from support.servers import SampleServer, below, replica_conf, sync_server
from support.tree import run_cyrsync

UNREAD = "its record in mailboxes.db cannot be read"
NOWHERE = "no directory can be told from its record in mailboxes.db"


class Spoilt(SampleServer):
    """A server with a mailbox whose record is spoilt on demand, and a replica with history."""

    def __init__(self, root: Path) -> None:
        super().__init__(root / "server", messages=30, folder_count=4)
        self.replica = root / "replica"
        self.replica.mkdir()
        self.box = self.folders()[1]
        self.name = ".".join(self.box.relative_to(self.spool).parts[1:])
        sync_server(self.conf, "--history", "--delete", self.replica)

    def spoil(self, value: bytes = b"%(A (") -> None:
        name = self.name.encode() + b"\t"
        lines = self.database.read_bytes().splitlines(keepends=True)
        assert any(line.startswith(name) for line in lines)
        self.database.write_bytes(b"".join(name + value + b"\n" if line.startswith(name) else line for line in lines))


@pytest.fixture
def server(tmp_path: Path, state_dir: Path) -> Spoilt:
    return Spoilt(tmp_path)


def lines(*words: str | Path, code: int) -> list[dict[str, Any]]:
    done = run_cyrsync(*words)
    assert (done.returncode, "Traceback" in done.stderr) == (code, False), done.stderr
    return [json.loads(line) for line in done.stdout.splitlines()]


KINDS = pytest.mark.parametrize(("value", "reason"), [(b"%(A (", UNREAD), (b"%(A %() I \xfe\xfe P default)", NOWHERE)])


@KINDS
def test_verify_names_it_and_checks_all_others(server: Spoilt, value: bytes, reason: str) -> None:
    """Its directory is no directory without a mailbox; what is wrong with others is said as well."""
    server.spoil(value)
    other = server.folders()[0]
    lost = next(path for path in other.iterdir() if path.name[:-1].isdigit())
    lost.unlink()
    (found,) = lines("verify", "-C", server.conf, "--json", code=1)
    problems = {(one["mailbox"], one["kind"], one["detail"], tuple(one["uids"])) for one in found["problems"]}
    name = ".".join(other.relative_to(server.spool).parts[1:])
    assert problems == {
        (server.name, "unreadable", reason, ()),
        (name, "missing", "", (int(lost.name[:-1]),)),
    }


def test_a_directory_of_nobody_is_still_named(server: Spoilt) -> None:
    server.spoil()
    samplespool.create_folder(server.spool, "user/nobody")
    (found,) = lines("verify", "-C", server.conf, "--json", code=1)
    assert sorted(one["kind"] for one in found["problems"]) == ["no mailbox", "unreadable"]


@KINDS
def test_inspect_names_it_and_shows_all_others(server: Spoilt, value: bytes, reason: str) -> None:
    server.spoil(value)
    shown = {one["mailbox"]: one["error"] for one in lines("inspect", "-C", server.conf, "--json", code=23)}
    assert len(shown) == len(server.folders())
    assert {name: error for name, error in shown.items() if error} == {server.name: reason}
    for name in (server.name, server.name.replace(".", "/")):
        (one,) = lines("inspect", "-C", server.conf, "--json", name, code=23)
        assert one["error"] == reason
    (one,) = lines("inspect", "-C", server.conf, "--json", str(server.folders()[0]), code=0)
    assert one["error"] is None


@KINDS
def test_promote_goes_on_and_names_it(server: Spoilt, value: bytes, reason: str) -> None:
    there = server.replica
    conf = replica_conf(server.conf, there)
    database = below(there, server.database)
    server.spoil(value)
    database.write_bytes(server.database.read_bytes())
    (found,) = lines("promote", "--json", "-C", conf, code=1)
    problems = [(one["mailbox"], one["detail"]) for one in found["problems"]]
    assert (problems, bool(found["promoted"])) == ([(server.name, reason)], True)


@KINDS
@pytest.mark.parametrize("past", [False, True])
def test_history_and_restore_find_it_all_the_same(
    server: Spoilt, tmp_path: Path, value: bytes, reason: str, past: bool
) -> None:
    """By its directory; in the past, by its states."""
    server.spoil(value)
    below(server.replica, server.database).write_bytes(server.database.read_bytes())
    if past:
        samplespool.deliver(server.box, 1)
        sync_server(server.conf, "--history", "--delete", server.replica, expect=(23,))
    words = ("--as-of", "now") if past else ()
    mailbox = server.name.replace(".", "/")
    number = len([path for path in server.box.iterdir() if path.name[:-1].isdigit()]) - past
    (found,) = lines(
        "restore", "--json", "-C", server.conf, server.replica, mailbox, *words, "--to", tmp_path / "mail", code=0
    )
    assert found["restored"] == number
    assert any(reason in warning for warning in found["warnings"])


def test_its_name_is_completed(server: Spoilt, monkeypatch: pytest.MonkeyPatch) -> None:
    server.spoil()

    class Command:
        params: tuple[()] = ()

    class Context:
        params = {"conf": str(server.conf)}  # noqa: RUF012
        command = Command()
        args: tuple[()] = ()

    assert server.name in complete.mailboxes(Context(), "user.")  # type: ignore[arg-type]
    assert os.path.isdir(server.box)
