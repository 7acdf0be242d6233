"""Mailboxes of a tree restored into a running Cyrus: what clients see afterwards, and each trap on the way."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, contextmanager, suppress
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cyrsync.cyrus.mailbox import dlist, entry, records
from cyrsync.errors import ConnectionFailed
from cyrsync.history import imap_address, imap_server, moment, reading, restore_into, sync_apply
from cyrsync.history.as_of import tree_as_of
from cyrsync.history.by_append import restore_by_append
from cyrsync.history.choose import Request
from cyrsync.history.imap_server import CommandRefused, Connection
from cyrsync.history.outcome import Outcome
from cyrsync.history.owner_login import OwnerLogins
from cyrsync.history.selected import Message, Selection
from cyrsync.history.set_flags import set_flags
from cyrsync.history.sync_apply import Remote
from cyrsync.history.sync_server import SyncServer, admits
from cyrsync.history.tree import open_tree
from cyrsync.sync.progress import NoProgress
from support import memory
from support.boxes import NAMES, Box
from support.imap_script import certificate
from support.imapd import CyrusServer, dump, folders, ok
from support.inside import run_here, sync_server_here
from support.tools import requires, requires_root
from support.tree import run_cyrsync

LAYOUTS = {
    "uniqueid directories": {"mailbox_legacy_dirs": "no"},
    "name directories, separator, domains": {
        "mailbox_legacy_dirs": "yes",
        "unixhierarchysep": "yes",
        "virtdomains": "userid",
        "defaultdomain": "example.com",
        "deletedprefix": "GONE",
    },
}


class Site:
    """A running server, and trees of it as it was."""

    def __init__(self, server: CyrusServer, directory: Path) -> None:
        self.server = server
        self.separator = "/" if server.options.get("unixhierarchysep") == "yes" else "."
        self._directory = directory
        self._users = 0
        self._trees = 0

    def user(self, *names: str) -> str:
        """A new user with folders, and what is written without a separator."""
        self._users += 1
        user = f"joe{self._users}"
        self.server.create_user(user, separator=self.separator)
        with self.server.login(user) as imap:
            for name in names:
                ok(imap.create(self.folder(name)))
        return user

    def folder(self, name: str) -> str:
        """A folder's name as its owner writes it."""
        return f'"INBOX{self.separator}{name}"' if name else "INBOX"

    def admin_name(self, user: str, *names: str) -> str:
        return f'"{self.separator.join(["user", user, *names])}"'

    def remember(self) -> Path:
        """The server as it is now, in a directory."""
        self._trees += 1
        top = self._directory / f"tree{self._trees}"
        for path in (self.server.spool, self.server.conf):
            shutil.copytree(path, f"{top}{path}", ignore=shutil.ignore_patterns("socket", "proc", "lock"))
        return top

    def keep(self, top: Path | None = None) -> Path:
        """A replica of the server, with its history."""
        if top is None:
            self._trees += 1
            top = self._directory / f"tree{self._trees}"
            top.mkdir()
        sync_server_here(self.server.root / "imapd.conf", "--delete", "--history", str(top))
        return top

    def connect(self, owner: str = "") -> Connection:
        address = imap_address.parse(f"imap://cyrus@127.0.0.1:{self.server.port}")
        return imap_server.connect(address, "any", owner=owner)

    def command(self, *words: bytes) -> list[bytes]:
        with self.connect() as connection:
            return connection.command(*words)

    def selections(self, top: Path, request: Request, when: int | None = None) -> list[Selection]:
        tree = open_tree(os.fsencode(top), str(self.server.root / "imapd.conf"))
        tree = tree if when is None else tree_as_of(tree, when)
        unreadable: list[str] = []
        found = list(reading.selections(tree, request, unreadable.append))
        assert not unreadable
        return found

    def restore(self, top: Path, request: Request, **options: Any) -> Outcome:
        return self.restore_these(self.selections(top, request), **options)

    def restore_these(
        self, found: list[Selection], *, dry_run: bool = False, flags: bool = False, **options: Any
    ) -> Outcome:
        outcome = Outcome("", "", dry_run)
        with self.connect() as connection, closing(OwnerLogins(self.connect)) as logins:
            assert admits(connection)
            if flags:
                set_flags(SyncServer(connection, self.connect), logins, found, outcome, NoProgress())
            else:
                restore_into.restore_into(SyncServer(connection, self.connect), found, outcome, NoProgress(), **options)
        return outcome

    def purge(self, user: str, name: str) -> None:
        """Remove a folder for good, as cyr_expire does some days later."""
        self.command(b"SYNCAPPLY UNMAILBOX", dlist.encode(f"user.{user}.{name}".rstrip(".").encode()))


@pytest.fixture(scope="module")
def place() -> Iterator[Path]:
    """A directory that the user `cyrus` may pass."""
    requires_root()
    requires("master", "cyr_expire")
    path = Path(tempfile.mkdtemp(prefix="cyrsync-", dir=memory.directory(1 << 29)))
    path.chmod(0o755)
    yield path
    shutil.rmtree(path)


@pytest.fixture(scope="module", params=LAYOUTS)
def site(request: pytest.FixtureRequest, place: Path) -> Iterator[Site]:
    directory = place / request.param.partition(" ")[0]
    with CyrusServer(directory / "server", sync_log="yes", **LAYOUTS[request.param]) as server:
        yield Site(server, directory)


def mail(subject: str, lines: int = 1) -> bytes:
    head = f"From: sender@example.com\r\nSubject: {subject}\r\nMessage-ID: <{subject}@example.com>\r\n"
    return f"{head}\r\n{f'This is {subject}.{chr(13)}{chr(10)}' * lines}".encode()


def fill(site: Site, user: str, name: str, count: int = 5, *, first: int = 1) -> None:
    """Messages with flags and dates of their own."""
    with site.server.login(user) as imap:
        for number in range(first, first + count):
            flags = ("(\\Seen)", "(\\Flagged $Work)", "()")[number % 3]
            date = f'"{number:02d}-May-2014 10:00:00 +0000"'
            ok(imap.append(site.folder(name), flags, date, mail(f"{user}-{name}-{number}")))


def expunge(site: Site, user: str, name: str, uids: str) -> None:
    with site.server.login(user) as imap:
        ok(imap.select(site.folder(name)))
        ok(imap.uid("STORE", uids, "+FLAGS", "(\\Deleted)"))
        ok(imap.expunge())


def delete(site: Site, user: str, name: str) -> None:
    with site.server.login(user) as imap:
        ok(imap.delete(site.folder(name)))


def seen_of(site: Site, user: str, name: str) -> dict[str, Any]:
    """All that the owner sees of a folder, its identity too."""
    found: dict[str, Any] = dump(site.server, [user])[user][_listed(site, user, name)]
    found["MAILBOXID"] = uniqueid_of(site, user, name)
    return found


def _listed(site: Site, user: str, name: str) -> str:
    with site.server.login(user) as imap:
        wanted = site.folder(name).strip('"')
        return next(one for one in folders(imap) if one.strip('"') == wanted)


def names_of(site: Site, user: str) -> list[str]:
    with site.server.login(user) as imap:
        return [name.strip('"') for name in folders(imap)]


def subjects(seen: dict[str, Any]) -> list[tuple[str, str, str]]:
    """Messages, whatever their UIDs."""
    return sorted((one["SHA-1"], one["FLAGS"], one["INTERNALDATE"]) for one in seen["MESSAGES"].values())


def test_clients_see_no_difference(site: Site) -> None:
    user = site.user("Work")
    fill(site, user, "Work")
    with site.server.login(user) as imap:
        ok(imap.setacl(site.folder("Work"), "jane", "lrs"))
    expunge(site, user, "Work", "2,4:5")
    before = seen_of(site, user, "Work")
    top = site.remember()
    site.purge(user, "Work")
    assert site.folder("Work").strip('"') not in names_of(site, user)
    result = site.restore(top, Request(mailbox=f"user.{user}.Work"))
    assert [(one.how, one.restored, one.present) for one in result.mailboxes] == [("made again", 2, 0)]
    assert (result.errors, result.warnings, result.exit) == ([], [], 0)
    assert seen_of(site, user, "Work") == before


def test_a_folder_with_folders_below_it(site: Site) -> None:
    """Where it is gone, Cyrus has a mere name in its place."""
    deep = f"Work{site.separator}2023"
    user = site.user("Work", deep)
    for name in ("Work", deep):
        fill(site, user, name)
    before = {name: seen_of(site, user, name) for name in ("Work", deep)}
    top = site.remember()
    request = Request(mailbox=f"user.{user}.Work")
    site.purge(user, "Work")
    assert site.restore(top, request).errors == []
    assert {name: seen_of(site, user, name) for name in ("Work", deep)} == before


def test_annotations_of_messages(site: Site) -> None:
    user = site.user("Work")
    fill(site, user, "Work", 2)

    def annotations() -> list[Any]:
        with site.server.login(user) as imap:
            ok(imap.select(site.folder("Work"), readonly=True))
            return ok(imap.uid("FETCH", "1:*", "(ANNOTATION (/comment (value.shared value.priv)))"))

    with site.server.login(user) as imap:
        ok(imap.select(site.folder("Work")))
        ok(imap.uid("STORE", "2", "ANNOTATION", '(/comment (value.shared "to all" value.priv "to me, \\"quoted\\""))'))
    before = annotations()
    assert "to me" in str(before)
    top = site.remember()
    site.purge(user, "Work")
    assert site.restore(top, Request(mailbox=f"user.{user}.Work")).errors == []
    assert annotations() == before


def test_mail_that_arrives_while_a_folder_is_made(site: Site) -> None:
    """It gets no UID that another message had, not for a moment either."""
    user = site.user("Work")
    with site.server.login(user) as imap:
        ok(imap.append(site.folder("Work"), None, None, mail("one")))
        ok(imap.select(site.folder("Work")))
        for _ in range(8):
            ok(imap.uid("COPY", "1:*", site.folder("Work")))
            ok(imap.noop())
    expunge(site, user, "Work", "200:256")
    before = seen_of(site, user, "Work")
    top = site.remember()
    site.purge(user, "Work")
    arrived: list[int] = []

    def deliver() -> None:
        with site.server.login(user) as imap:
            while len(arrived) < 3:
                status, said = imap.append(site.folder("Work"), None, None, mail("later"))
                if status == "OK":
                    found = re.search(rb"APPENDUID [0-9]+ ([0-9]+)", said[0])
                    assert found
                    arrived.append(int(found[1]))

    with ThreadPoolExecutor() as pool:
        delivered = pool.submit(deliver)
        result = site.restore(top, Request(mailbox=f"user.{user}.Work"))
        delivered.result(60)
    assert result.errors == []
    assert arrived == [257, 258, 259]
    after = seen_of(site, user, "Work")
    for uid in arrived:
        del after["MESSAGES"][uid]
    assert after["MESSAGES"] == before["MESSAGES"]


def test_replicas_learn_of_it(site: Site) -> None:
    user = site.user("Work")
    fill(site, user, "Work")
    top = site.remember()
    log = site.server.conf / "sync" / "log"
    for change in ("purged", "expunged", "deleted"):
        if change == "purged":
            site.purge(user, "Work")
        elif change == "expunged":
            expunge(site, user, "Work", "2")
        else:
            delete(site, user, "Work")
        log.unlink()
        assert site.restore(top, Request(mailbox=f"user.{user}.Work")).errors == []
        assert f"MAILBOX user.{user}.Work\n" in log.read_text()


def test_no_uid_is_used_again(site: Site) -> None:
    user = site.user("Work")
    fill(site, user, "Work")
    expunge(site, user, "Work", "4:5")
    top = site.remember()
    site.purge(user, "Work")
    site.restore(top, Request(mailbox=f"user.{user}.Work"))
    fill(site, user, "Work", 1, first=6)
    assert list(seen_of(site, user, "Work")["MESSAGES"]) == [1, 2, 3, 6]


def test_a_client_never_sees_a_modseq_again(site: Site) -> None:
    """HIGHESTMODSEQ is the highest that the folder ever had: of a later state, and of the folder as it was deleted."""
    user = site.user("Work")
    fill(site, user, "Work")
    top, request = site.keep(), Request(mailbox=f"user.{user}.Work")
    when = time.time_ns()
    for number in range(8):
        with site.server.login(user) as imap:
            ok(imap.select(site.folder("Work")))
            ok(imap.uid("STORE", "1:3", "+FLAGS", f"($Step{number})"))
    before = modseq_of(site, user, "Work")
    site.keep(top)
    site.purge(user, "Work")
    site.keep(top)
    found = site.selections(top, request, when)
    then = records.read_header(found[0].metadata[entry.INDEX]).highestmodseq
    assert then < before
    assert site.restore_these(found).errors == []
    assert not any("Step" in one["FLAGS"] for one in seen_of(site, user, "Work")["MESSAGES"].values())
    assert modseq_of(site, user, "Work") > before
    # So who knows the flags as they were last learns what they are.
    with site.server.login(user) as imap:
        ok(imap.enable("CONDSTORE"))
        ok(imap.select(site.folder("Work")))
        changed = ok(imap.uid("FETCH", "1:*", "(FLAGS)", f"(CHANGEDSINCE {before})"))
    assert {1, 2, 3} <= {int(re.search(rb"UID ([0-9]+)", line)[1]) for line in changed if line}


def modseq_of(site: Site, user: str, name: str) -> int:
    with site.server.login(user) as imap:
        found = re.search(r"HIGHESTMODSEQ ([0-9]+)", str(ok(imap.status(site.folder(name), "(HIGHESTMODSEQ)"))))
    assert found
    return int(found[1])


def test_a_folder_whose_messages_have_no_record_is_not_an_empty_one(site: Site) -> None:
    """The server does not show records of messages without a file: what LAST_UID is, they do not tell."""
    user = site.user("Work")
    fill(site, user, "Work")
    top = site.remember()
    expunge(site, user, "Work", "1:5")
    site.server.tool("cyr_expire", "-E", "1", "-X", "0")
    answer = site.command(b"SYNCGET FULLMAILBOX", dlist.encode(f"user.{user}.Work".encode()))
    assert not list(sync_apply.messages(answer))
    before = seen_of(site, user, "Work")
    result = site.restore(top, Request(mailbox=f"user.{user}.Work"))
    assert [(one.how, one.restored) for one in result.mailboxes] == [("appended to", 5)]
    after = seen_of(site, user, "Work")
    assert after["MAILBOXID"] == before["MAILBOXID"]
    assert list(after["MESSAGES"]) == [6, 7, 8, 9, 10]


def test_a_uniqueid_that_lives_in_a_deleted_mailbox(site: Site) -> None:
    user = site.user("Work")
    fill(site, user, "Work")
    before = seen_of(site, user, "Work")
    top = site.remember()
    expunge(site, user, "Work", "2:3")
    delete(site, user, "Work")
    result = site.restore(top, Request(mailbox=f"user.{user}.Work"))
    assert [(one.how, one.restored, one.present) for one in result.mailboxes] == [("renamed back", 2, 3)]
    # Were there a second record for the directory, this would take the directory away.
    site.server.tool("cyr_expire", "-D", "0", "-E", "1")
    after = seen_of(site, user, "Work")
    assert subjects(after) == subjects(before)
    assert after["MAILBOXID"] == before["MAILBOXID"]


def test_a_server_that_does_not_rename_back(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    """As some 3.x with conversations."""

    def rename(_self: SyncServer, _mailbox: Remote, _name: bytes) -> None:
        raise CommandRefused("NO", "Unknown error")

    user = site.user("Work")
    fill(site, user, "Work")
    before = seen_of(site, user, "Work")
    top = site.remember()
    delete(site, user, "Work")
    monkeypatch.setattr(SyncServer, "rename", rename)
    result = site.restore(top, Request(mailbox=f"user.{user}.Work"))
    assert [(one.how, one.restored) for one in result.mailboxes] == [("made as a new folder", 5)]
    assert (result.errors, len(result.warnings)) == ([], 1)
    site.server.tool("cyr_expire", "-D", "0", "-E", "1")
    after = seen_of(site, user, "Work")
    assert subjects(after) == subjects(before)
    assert after["MAILBOXID"] != before["MAILBOXID"]


def test_a_uniqueid_that_lives_under_another_name(site: Site) -> None:
    user = site.user("Work")
    fill(site, user, "Work")
    before = seen_of(site, user, "Work")
    top = site.remember()
    with site.server.login(user) as imap:
        ok(imap.rename(site.folder("Work"), site.folder("Projects")))
    projects = seen_of(site, user, "Projects")
    result = site.restore(top, Request(mailbox=f"user.{user}.Work"))
    assert [(one.how, one.restored) for one in result.mailboxes] == [("made as a new folder", 5)]
    assert len(result.warnings) == 1
    after = seen_of(site, user, "Work")
    assert subjects(after) == subjects(before)
    assert after["MAILBOXID"] != projects["MAILBOXID"] == before["MAILBOXID"]
    delete(site, user, "Work")
    site.server.tool("cyr_expire", "-D", "0", "-E", "1")
    assert seen_of(site, user, "Projects") == projects


def test_what_a_folder_lacks_is_appended(site: Site) -> None:
    user = site.user("Work")
    fill(site, user, "Work")
    before = seen_of(site, user, "Work")
    top = site.remember()
    expunge(site, user, "Work", "1,3")
    fill(site, user, "Work", 1, first=6)
    request = Request(mailbox=f"user.{user}.Work")
    planned = site.restore(top, request, dry_run=True)
    assert list(seen_of(site, user, "Work")["MESSAGES"]) == [2, 4, 5, 6]
    result = site.restore(top, request)
    assert [(one.how, one.restored, one.present) for one in result.mailboxes] == [("appended to", 2, 3)]
    assert [(one.how, one.selected, one.present) for one in planned.mailboxes] == [("appended to", 2, 3)]
    after = seen_of(site, user, "Work")
    assert list(after["MESSAGES"]) == [2, 4, 5, 6, 7, 8]
    del after["MESSAGES"][6]
    assert subjects(after) == subjects(before)
    again = site.restore(top, request)
    assert [(one.how, one.restored, one.present) for one in again.mailboxes] == [("left as it is", 0, 5)]


def block_making(site: Site, user: str, name: str) -> Path:
    """Something in the way of the first message of a folder that is to be made again."""
    if site.server.options["mailbox_legacy_dirs"] == "yes":
        directory = next(site.server.spool.rglob(f"{user}")) / name
    else:
        uniqueid = uniqueid_of(site, user, name)
        directory = site.server.spool / "uuid" / uniqueid[0] / uniqueid[1] / uniqueid
    site.purge(user, name)
    (directory / "1." / "in the way").mkdir(parents=True)
    for path in (directory, *directory.rglob("*")):
        shutil.chown(path, site.server.user, site.server.group)
    return directory


def uniqueid_of(site: Site, user: str, name: str) -> str:
    with site.server.login(user) as imap:
        found = re.search(r"MAILBOXID \(([^)]+)\)", str(ok(imap.status(site.folder(name), "(MAILBOXID)"))))
    assert found
    return found[1]


def test_a_failed_restore_leaves_no_empty_mailbox(site: Site) -> None:
    user = site.user("Work")
    fill(site, user, "Work")
    before = seen_of(site, user, "Work")
    top = site.remember()
    there = names_of(site, user)
    directory = block_making(site, user, "Work")
    request = Request(mailbox=f"user.{user}.Work")
    result = site.restore(top, request)
    assert result.exit == 23
    assert (len(result.errors), result.restored) == (1, 0)
    assert names_of(site, user) == [name for name in there if not name.endswith("Work")]
    shutil.rmtree(directory, ignore_errors=True)
    assert site.restore(top, request).errors == []
    assert seen_of(site, user, "Work") == before


def test_a_restore_that_was_cut_off_left_an_empty_mailbox(site: Site) -> None:
    user = site.user("Work")
    fill(site, user, "Work")
    before = seen_of(site, user, "Work")
    top = site.remember()
    directory = block_making(site, user, "Work")
    found = site.selections(top, Request(mailbox=f"user.{user}.Work"))
    with site.connect() as connection:
        server = SyncServer(connection, site.connect)
        partition = server.place_for(found[0].mailbox.name, "default").partition
        sent = server.send(partition, found[0].messages(), frozenset(), print)
        with pytest.raises(CommandRefused):
            server.restore(sync_apply.restore(found[0].mailbox, partition, (one.record for one in sent)), 5)
    assert seen_of(site, user, "Work")["MESSAGES"] == {}
    shutil.rmtree(directory / "1.")
    result = site.restore_these(found)
    assert [one.how for one in result.mailboxes] == ["made again in place of an empty one"]
    assert seen_of(site, user, "Work") == before


class Dead(Exception):
    """What stands for the death of a restore."""


def test_a_restore_that_dies_leaves_nothing_behind(site: Site, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sync_apply, "BATCH_MESSAGES", 1)
    user = site.user("Work")
    fill(site, user, "Work")
    before = seen_of(site, user, "Work")
    found = site.selections(site.remember(), Request(mailbox=f"user.{user}.Work"))
    site.purge(user, "Work")

    def some() -> Iterator[Message]:
        """Messages, two of which the server has got when this process dies."""
        for number, message in enumerate(found[0].messages()):
            if number == 2:
                raise Dead
            yield message

    with pytest.raises(Dead):
        site.restore_these([replace(found[0], messages=some)])
    assert site.folder("Work").strip('"') not in names_of(site, user)
    assert [one.how for one in site.restore_these(found).mailboxes] == ["made again"]
    assert seen_of(site, user, "Work") == before


@contextmanager
def dying(number: int, when: str) -> Iterator[Callable[[], bool]]:
    """Have a restore die at the command of that number, from 0; give what tells whether it has."""
    send, left = Connection._send, number

    def sent(self: Connection, tag: bytes, pieces: tuple[bytes, ...], parts: Iterable[bytes]) -> None:
        nonlocal left
        if pieces[0] == b"LOGOUT":  # as dead after the command before it
            send(self, tag, pieces, parts)
            return
        left -= 1
        if left >= 0 or (left == -1 and when == "done"):
            send(self, tag, pieces, parts)
        if left == -1 and when == "done":
            self._answer(tag)
        elif left == -1:
            data = b" ".join([tag, *pieces]) + b"".join(parts)
            self._socket.sendall(data[: len(data) // 2])
        if left < 0:
            self._socket.shutdown(socket.SHUT_RDWR)  # also of the other connections
        if left == -1:
            raise Dead

    with pytest.MonkeyPatch.context() as patch, suppress(Dead):
        patch.setattr(Connection, "_send", sent)
        yield lambda: left < 0


@pytest.mark.long
@pytest.mark.parametrize("when", ["half sent", "done"])
def test_a_restore_that_dies_at_any_command_is_finished_by_the_next_one(site: Site, when: str) -> None:
    number, again = 0, True
    while again:
        user = site.user("Gone", "Deleted", "Lacks")
        for name in ("Gone", "Deleted", "Lacks"):
            fill(site, user, name, 2)
        before = seen_of_all(site, user)
        found = site.selections(site.remember(), Request(user=user))
        site.purge(user, "Gone")
        delete(site, user, "Deleted")
        expunge(site, user, "Lacks", "1")
        with dying(number, when) as has_died:
            site.restore_these(found)
        again = has_died()
        assert site.restore_these(found).errors == []
        after = seen_of_all(site, user)
        assert after["Gone"] == before["Gone"]
        assert after["Deleted"]["MAILBOXID"] == before["Deleted"]["MAILBOXID"]
        for name, one in before.items():
            assert subjects(after[name]) == subjects(one), number
        number += 1
    assert number > 15  # or it never died


def seen_of_all(site: Site, user: str) -> dict[str, dict[str, Any]]:
    """What `seen_of` returns, of those three."""
    return {name: seen_of(site, user, name) for name in ("Gone", "Deleted", "Lacks")}


@pytest.mark.parametrize("size", [0, 1 << 40])
def test_an_index_that_gives_a_message_a_strange_size(site: Site, size: int) -> None:
    """Cyrus's own process dies of a message without a byte."""
    user = site.user("Work")
    fill(site, user, "Work", 2)
    found = site.selections(site.remember(), Request(mailbox=f"user.{user}.Work"))
    expunge(site, user, "Work", "1:2")
    first, second = found[0].messages()
    path = Path(os.fsdecode(first.places[0]))
    os.truncate(path, size)
    strange = [replace(first, size=size), second]
    result = site.restore_these([replace(found[0], messages=lambda: iter(strange))])
    assert (result.restored, len(result.errors)) == (1, 1)


@pytest.mark.parametrize("purged", [False, True])
def test_a_user_who_is_gone(site: Site, purged: bool) -> None:
    user = site.user("Work", "Work2")
    for name in ("", "Work"):
        fill(site, user, name)
    expunge(site, user, "", "5")
    before = dump(site.server, [user])[user]
    before.pop("subscriptions")
    top = site.remember()
    with site.server.admin() as imap:
        ok(imap.setacl(site.admin_name(user), "cyrus", "lrswipkxtecda"))
        ok(imap.delete(site.admin_name(user)))
    if purged:
        site.server.tool("cyr_expire", "-D", "0", "-E", "1")
    # Nothing is left that he has; what is deleted only, he had.
    planned = site.restore(top, Request(user=user), only_missing=True, dry_run=True)
    assert [one.selected for one in planned.mailboxes] == ([4, 5, 0] if purged else [0, 0, 0])
    result = site.restore(top, Request(user=user))
    assert result.errors == []
    assert {one.how for one in result.mailboxes} == {"made again" if purged else "renamed back"}
    after = dump(site.server, [user])[user]
    if purged:
        after.pop("subscriptions")
        assert after == before
    else:
        assert {name: subjects(after[name]) for name in before} == {name: subjects(before[name]) for name in before}


@pytest.mark.parametrize("dry_run", [True, False])
def test_a_folder_of_a_user_whom_the_server_does_not_have(site: Site, dry_run: bool) -> None:
    user = site.user("Work")
    fill(site, user, "Work")
    (found,) = site.selections(site.remember(), Request(mailbox=f"user.{user}.Work"))
    fresh = f"none{user}"
    stranger = replace(found.mailbox, name=f"user.{fresh}.Work".encode(), uniqueid=f"none{user}")
    work = replace(found, mailbox=stranger)
    inbox = replace(work, mailbox=replace(stranger, name=f"user.{fresh}".encode(), uniqueid=f"{user}none"))
    line = (
        f"user/{fresh}/Work: the server refused: it has no user {fresh}: make user/{fresh} there, or restore all with "
        f"--user {fresh}"
    )
    result = site.restore_these([work], dry_run=dry_run)
    assert (result.errors, result.exit, result.restored) == ([line], 23, 0)
    outcome = Outcome("", "", dry_run)
    with closing(OwnerLogins(site.connect)) as logins:
        restore_by_append(logins, [work], outcome, NoProgress())
    assert (outcome.errors, outcome.exit) == ([line], 23)
    assert site.restore_these([inbox, work], dry_run=dry_run).errors == []


def test_only_what_the_user_has_nowhere(site: Site) -> None:
    user = site.user("Work", "Archive")
    fill(site, user, "Work")
    top = site.remember()
    with site.server.login(user) as imap:
        ok(imap.select(site.folder("Work")))
        ok(imap.uid("MOVE", "2", site.folder("Archive")))
    expunge(site, user, "Work", "3")
    # As on a spare that had been promoted before the message came.
    site.command(b"SYNCGET FULLMAILBOX", dlist.encode(f"user.{user}.Work".encode()))
    request = Request(mailbox=f"user.{user}.Work")
    assert [one.restored for one in site.restore(top, request, only_missing=True).mailboxes] == [0]
    assert [one.restored for one in site.restore(top, request).mailboxes] == [2]


def test_a_damaged_message_costs_only_itself(site: Site) -> None:
    user = site.user("Work")
    fill(site, user, "Work")
    before = seen_of(site, user, "Work")
    top = site.remember()
    damaged = next(path for path in top.rglob("2.") if f"{user}-Work-2".encode() in path.read_bytes())
    damaged.write_bytes(damaged.read_bytes().replace(b"This", b"That"))
    site.purge(user, "Work")
    result = site.restore(top, Request(mailbox=f"user.{user}.Work"))
    assert result.exit == 23
    assert len(result.errors) == 1 and "UID 2" in result.errors[0]
    del before["MESSAGES"][2]
    assert seen_of(site, user, "Work")["MESSAGES"] == before["MESSAGES"]


def test_subscriptions_of_a_time_are_put_back_as_files(site: Site, tmp_path: Path) -> None:
    user = site.user("Work", "Lists")

    def subscribed() -> list[Any]:
        with site.server.login(user) as imap:
            return sorted(ok(imap.lsub()))

    with site.server.login(user) as imap:
        ok(imap.subscribe(site.folder("Work")))
        ok(imap.subscribe(site.folder("Lists")))
    before, top = subscribed(), site.keep()
    when = moment.iso(time.time_ns()) or ""
    with site.server.login(user) as imap:
        ok(imap.unsubscribe(site.folder("Work")))
    site.keep(top)
    assert subscribed() != before
    words = ["--user", user, "-C", site.server.root / "imapd.conf", "--as", "cyrus", "--to", tmp_path / "out"]
    done = run_here("restore", top, *words, "--as-of", when)
    assert (done.exit_code, done.stderr) == (0, "")
    restored = tmp_path / "out" / "server.files"
    files = [path for path in restored.rglob("*") if path.is_file()]
    assert files
    for path in files:
        place = Path("/") / path.relative_to(restored)
        shutil.copy(path, place)
        shutil.chown(place, site.server.user, site.server.group)
    assert subscribed() == before


def flags_of(site: Site, user: str, name: str) -> dict[int, str]:
    return {uid: one["FLAGS"] for uid, one in seen_of(site, user, name)["MESSAGES"].items()}


@pytest.mark.parametrize("made_anew", [False, True])
def test_only_flags(site: Site, made_anew: bool) -> None:
    name = f"Work{site.separator}Deep one"
    user = site.user("Work", name)
    fill(site, user, name)
    before = seen_of(site, user, name)
    top = site.remember()
    if made_anew:
        with site.server.login(user) as imap:
            ok(imap.create(site.folder("New")))
            ok(imap.select(site.folder(name)))
            for uid in "32145":
                ok(imap.uid("COPY", uid, site.folder("New")))
        delete(site, user, name)
        with site.server.login(user) as imap:
            ok(imap.rename(site.folder("New"), site.folder(name)))
    with site.server.login(user) as imap:
        ok(imap.select(site.folder(name)))
        ok(imap.uid("STORE", "1:*", "FLAGS", "(\\Seen $Other)"))
        ok(imap.append(site.folder(name), "(\\Seen)", None, mail("later")))
    expunge(site, user, name, "5")
    request = Request(mailbox=f"user.{user}.Work.Deep one")
    planned = site.restore(top, request, flags=True, dry_run=True)
    assert flags_of(site, user, name)[1] == "$Other \\Seen"
    result = site.restore(top, request, flags=True)
    assert [(one.restored, one.present) for one in result.mailboxes] == [(4, 0)]
    assert [(one.selected, one.present) for one in planned.mailboxes] == [(4, 0)]
    assert (result.errors, len(result.warnings)) == ([], 1)
    after = seen_of(site, user, name)
    assert after["MESSAGES"].pop(6)["FLAGS"] == "\\Seen"
    del before["MESSAGES"][5]
    assert subjects(after) == subjects(before)
    again = site.restore(top, request, flags=True)
    assert [(one.restored, one.present) for one in again.mailboxes] == [(0, 4)]


def test_flags_of_a_folder_that_is_gone(site: Site) -> None:
    user = site.user("Work")
    fill(site, user, "Work")
    top = site.remember()
    delete(site, user, "Work")
    result = site.restore(top, Request(mailbox=f"user.{user}.Work"), flags=True)
    assert (result.exit, len(result.errors)) == (23, 1)
    assert site.folder("Work").strip('"') not in names_of(site, user)


@pytest.mark.parametrize("digests", [True, False])
def test_a_server_that_takes_appends_only(site: Site, digests: bool) -> None:
    user = site.user("Work", "Gone")
    with site.server.login(user) as imap:
        ok(imap.setacl(site.folder("Gone"), "jane", "lr"))
    for name in ("Work", "Gone"):
        fill(site, user, name)
    before = {name: seen_of(site, user, name) for name in ("Work", "Gone")}
    found = site.selections(site.remember(), Request(user=user))
    expunge(site, user, "Work", "1,3")
    delete(site, user, "Gone")

    def old(owner: str = "") -> Connection:
        connection = site.connect(owner)
        if not digests:
            connection.capabilities -= {"DIGEST=SHA1"}
        return connection

    def restored(dry_run: bool = False) -> Outcome:
        outcome = Outcome("", "", dry_run)
        with closing(OwnerLogins(old)) as logins:
            restore_by_append(logins, found, outcome, NoProgress())
        assert outcome.errors == []
        return outcome

    assert [(one.selected, one.present) for one in restored(dry_run=True).mailboxes] == [(0, 0), (5, 0), (2, 3)]
    assert site.folder("Gone").strip('"') not in names_of(site, user)
    assert [(one.restored, one.present) for one in restored().mailboxes] == [(0, 0), (5, 0), (2, 3)]
    after = {name: seen_of(site, user, name) for name in ("Work", "Gone")}
    assert {name: subjects(seen) for name, seen in after.items()} == {
        name: subjects(seen) for name, seen in before.items()
    }
    assert after["Gone"]["ACL"] == before["Gone"]["ACL"]
    assert restored().restored == 0


PASSWORD = {"CYRSYNC_PASSWORD": "any"}


def cli(*words: str | Path) -> dict[str, Any]:
    """What `cyrsync restore` says, which must not fail."""
    done = run_cyrsync("restore", *words, "--json", env=None if "--password-file" in words else PASSWORD)
    assert (done.returncode, done.stderr) == (0, ""), words
    said: dict[str, Any] = json.loads(done.stdout)
    return said


def test_every_command_of_the_page(site: Site, tmp_path: Path) -> None:
    page = (Path(__file__).parents[2] / "docs" / "history.md").read_text()
    site.server.create_user("joe", separator=site.separator)
    with site.server.login("joe") as imap:
        ok(imap.create(site.folder("Archive")))
    for name in ("", "Archive"):
        fill(site, "joe", name)
    top = site.remember()
    (top / "etc").mkdir()
    shutil.copy(site.server.root / "imapd.conf", top / "etc")
    delete(site, "joe", "Archive")
    (tmp_path / "cyrus.pw").write_text("any\n")
    (tmp_path / "cyrus.pw").chmod(0o600)
    address = f"imap://cyrus@127.0.0.1:{site.server.port}"
    found = []
    for line in re.findall("^ {4}# cyrsync restore (.*--into.*)$", page, re.MULTILINE):
        words = line.replace("imaps://cyrus@mail.example.com", address).replace("/root/", f"{tmp_path}/").split()
        assert words[0] in ("/srv/replica", "/mnt")
        said = cli(top, *words[1:])
        found.append([said["restored"], said["present"]])
        assert said["target"] == address
    assert found[:2] == [[0, 5], [0, 5]]
    assert found[2][0] == 0


def test_the_command(site: Site) -> None:
    user = site.user("Work")
    fill(site, user, "Work")
    top = site.remember()
    conf = site.server.root / "imapd.conf"
    expunge(site, user, "Work", "2")
    words = [f"user.{user}.Work", "-C", str(conf), "--into", f"imap://cyrus@127.0.0.1:{site.server.port}"]
    planned = run_cyrsync("restore", top, *words, "-n", "-v", env=PASSWORD)
    assert "appended to" in planned.stdout and "2014-05-02" in planned.stdout
    one = cli(top, *words)["mailboxes"]
    assert [(box["restored"], box["present"], box["how"]) for box in one] == [(1, 4, "appended to")]
    words[-1] = words[-1].replace("cyrus@", f"{user}@")
    refused = run_cyrsync("restore", top, *words, env=PASSWORD)
    assert (refused.returncode, refused.stderr.count("\n")) == (4, 1)
    assert "no administrator" in refused.stderr


@pytest.mark.parametrize("name", ["Two words", "Entw&APw-rfe", "NIL", "it's #1, a=b"])
def test_names_that_users_choose(site: Site, name: str) -> None:
    user = site.user()
    with site.server.login(user) as imap:
        quoted = name.replace('"', '\\"')
        if imap.create(f'"INBOX{site.separator}{quoted}"')[0] != "OK":
            pytest.skip("Cyrus does not take this name")
        ok(imap.append(f'"INBOX{site.separator}{quoted}"', None, None, mail(name.encode().hex())))
    before = names_of(site, user)
    top = site.remember()
    with site.server.login(user) as imap:
        ok(imap.delete(f'"INBOX{site.separator}{quoted}"'))
    site.server.tool("cyr_expire", "-D", "0", "-E", "1")
    assert names_of(site, user) != before
    result = site.restore(top, Request(user=user))
    assert (result.errors, [one.restored for one in result.mailboxes]) == ([], [0, 1])
    assert names_of(site, user) == before


@pytest.fixture
def small(place: Path) -> Iterator[Path]:
    """A disk of 2 MiB."""
    path = Path(tempfile.mkdtemp(dir=place))
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=2m,mode=777", "tmpfs", str(path)], check=False).returncode:
        pytest.skip("nothing may be mounted here")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def test_a_message_gives_no_orders_where_the_disk_is_full(site: Site, small: Path) -> None:
    """Cyrus would take what it has no room for as commands of the administrator's; the next restore finishes."""
    user = site.user("Work")
    with site.server.login(user) as imap:
        orders = b"x1 CREATE user.intruder\r\n" * 200_000
        for body in (mail("orders") + orders, mail("another")):
            ok(imap.append(site.folder("Work"), None, None, body))
    before = seen_of(site, user, "Work")["MESSAGES"]
    found = site.selections(site.remember(), Request(user=user))
    here = [replace(one, mailbox=replace(one.mailbox, partition="small")) for one in found]
    with CyrusServer(small.parent / f"beside-{small.name}", **{"partition-small": str(small)}) as server:
        other = Site(server, small)
        result = other.restore_these(here)
        with server.admin() as imap:
            assert [name for name in folders(imap) if "user" in name] == [f'"user.{user}"']
        subprocess.run(["mount", "-o", "remount,size=64m", str(small)], check=True)
        again = other.restore_these(here)
        with server.admin() as imap:
            assert not [name for name in folders(imap) if "intruder" in name]
        assert seen_of(other, user, "Work")["MESSAGES"] == before
    assert (result.exit, result.restored, len(result.errors)) == (23, 0, 1)
    assert "no room" in result.errors[0]
    assert (again.exit, again.restored) == (0, 2)


def test_starttls_where_the_server_wants_it(place: Path) -> None:
    requires("openssl")
    key = certificate(place, "localhost")
    settings = {"tls_server_cert": str(key), "tls_server_key": str(key), "allowplaintext": "no"}
    with CyrusServer(place / "tls", **settings) as server:
        shutil.chown(key, server.user, server.group)
        address = imap_address.parse(f"imap://cyrus@localhost:{server.port}")
        with pytest.raises(ConnectionFailed, match="--cafile"):
            imap_server.connect(address, "any")
        with imap_server.connect(address, "any", cafile=str(key)) as connection:
            assert admits(connection)


@pytest.fixture(scope="module")
def other(place: Path) -> Iterator[Site]:
    """A server without any mailbox."""
    with CyrusServer(place / "other", **LAYOUTS["name directories, separator, domains"]) as server:
        yield Site(server, place)


@pytest.mark.parametrize("version", NAMES)
def test_mailboxes_of_other_versions(other: Site, tmp_path: Path, version: str) -> None:
    box = Box(version, tmp_path)
    tree = open_tree(os.fsencode(box.root), str(box.conf))
    found = list(reading.selections(tree, Request(), print))
    with other.connect() as connection:
        server = SyncServer(connection, other.connect)
        try:
            result = other.restore_these(found)
            assert (result.errors, len(result.mailboxes)) == ([], len(found))
            for mailbox in box.mailboxes:
                there = server.mailbox(mailbox["name"].encode())
                if mailbox["deleted"]:
                    assert there is None
                    continue
                assert there is not None
                assert there.uidvalidity == mailbox["uidvalidity"]
                records = [one for one in server.messages(there.name) if not one.expunged]
                assert [(one.uid, one.guid.hex(), one.flags - {"\\Seen"}) for one in records] == [
                    (one["uid"], one["sha1"], set(one["flags"]) - {"\\Seen", "\\Recent"})
                    for one in mailbox["messages"]
                    if one["state"] == "visible"
                ]
        finally:
            # With what Cyrus has made above them.
            words = [selection.mailbox.name.split(b".") for selection in found]
            names = {b".".join(some[:length]) for some in words for length in range(1, len(some) + 1)}
            for name in sorted(names, reverse=True):
                there = server.mailbox(name)
                if there is not None:
                    server.remove(there)
