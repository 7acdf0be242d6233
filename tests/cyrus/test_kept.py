"""A real Cyrus is used at random, and its replica keeps the past: every moment of it is there, and comes back."""

from __future__ import annotations

import hashlib
import imaplib
import shutil
import sys
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from itertools import count
from pathlib import Path
from typing import Any

import pytest
from hypothesis import Phase, assume, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule, run_state_machine_as_test

from cyrsync.errors import UnusableError
from cyrsync.history import contents, moment, reading
from cyrsync.history.as_of import tree_as_of
from cyrsync.history.choose import Request
from cyrsync.history.tree import Tree, open_tree
from support.campaign import amount
from support.imapd import CyrusServer, dump, folders, ok
from support.inside import run_here, sync_server_here
from support.tools import requires

UNIQUEID = {"mailbox_legacy_dirs": "no"}
NAME = {"mailbox_legacy_dirs": "yes", "hashimapspool": "yes"}
AT_ONCE = {"expunge_mode": "immediate", "delete_mode": "immediate"}
DELAYED = {"expunge_mode": "delayed", "delete_mode": "delayed"}
DOMAINS = {"virtdomains": "userid", "defaultdomain": "example.com", "unixhierarchysep": "yes"}
META = {
    "metapartition-default": "{root}/meta",
    "metapartition_files": "header index cache expunge annotations",
    "archivepartition-default": "{root}/archive",
    "archive_enabled": "yes",
    "archive_after": "1d",
}
LAYOUTS = {
    "uniqueid directories": {**UNIQUEID, **DELAYED},
    "name directories": {**NAME, **DELAYED},
    "all at once": {**UNIQUEID, **AT_ONCE},
    "name directories, domains, meta and archive partitions": {**NAME, **DOMAINS, **META, **DELAYED},
    "uniqueid directories, meta and archive partitions, at once": {**UNIQUEID, **META, **AT_ONCE},
}
PASSWORD = {"CYRSYNC_PASSWORD": "any"}
#: By so many seconds, the kernel's time of a change may be behind; and more.
TICK = 0.02
OLD = '"01-Jul-1996 02:44:25 +0000"'
#: What a history draws to choose one of those that there are.
ANY = st.integers(0, 9999)
#: Histories of each layout, and steps of each.
HISTORIES, STEPS = amount(1, long=100), amount(12, long=15)
#: Of these, one look in so many is restored into another server.
RESTORED = amount(4, long=1)
#: By mailbox: UIDVALIDITY, and by UID the flags, the time in seconds since 1970, and the SHA-1.
Fingerprint = dict[str, tuple[int, dict[int, tuple[frozenset[str], float, str]]]]


def mail(number: int) -> bytes:
    head = f"From: sender@example.com\r\nSubject: mail {number}\r\nMessage-ID: <{number}@example.com>\r\n\r\n"
    return head.encode() + b"text\r\n" * (number % 50)


class Site:
    """A server, and another one of the same layout: both without users before each history."""

    def __init__(self, root: Path, options: dict[str, str]) -> None:
        self.root = root
        self.separator = "/" if options.get("unixhierarchysep") == "yes" else "."
        self.has_archive = "archive_enabled" in options
        self.numbers = count(1)
        self.server, self.other = self._server("server", options), self._server("other", {**options, **AT_ONCE})
        for one in (self.server, self.other):
            one.start()

    def stop(self) -> None:
        self.server.stop()
        self.other.stop()

    def _server(self, name: str, options: dict[str, str]) -> CyrusServer:
        root = self.root / name
        return CyrusServer(root, **{key: word.format(root=root) for key, word in options.items()})

    def new_users(self) -> list[str]:
        """The names of two users; where there are domains, one is in a domain that is not the default."""
        number = next(self.numbers)
        users = [f"joe{number}@example.org" if self.separator == "/" else f"joe{number}", f"ann{number}"]
        for user in users:
            self.server.create_user(user, separator=self.separator)
        return users

    def remove(self, server: CyrusServer) -> None:
        """Remove all users for good."""
        with server.admin() as imap:
            for inbox in folders(imap):
                if inbox.count(self.separator) == 1 and inbox.startswith(f'"user{self.separator}'):
                    ok(imap.setacl(inbox, "cyrus", "lrswipkxtecda"))
                    ok(imap.delete(inbox))
        server.tool("cyr_expire", "-E", "1", "-X", "0", "-D", "0")
        with server.admin() as imap:
            assert folders(imap) == []

    def internal_name(self, user: str, folder: str) -> str:
        """The name that Cyrus gives a user's folder."""
        name, _, domain = user.partition("@")
        below = folder.strip('"').removeprefix("INBOX").replace(self.separator, ".")
        return f"{domain}!user.{name}{below}" if domain else f"user.{name}{below}"


@dataclass(frozen=True)
class Seen:
    """What clients saw, and when that was, in nanoseconds since 1970."""

    when: int
    mailboxes: Fingerprint


class History(RuleBasedStateMachine):
    """Users use the server, which is replicated meanwhile; at the end, each moment before a run comes back."""

    site: Site

    def __init__(self) -> None:
        super().__init__()
        self.server, self.separator = self.site.server, self.site.separator
        self.conf = self.server.root / "imapd.conf"
        self.top = Path(tempfile.mkdtemp(dir=self.site.root))
        self.users = self.site.new_users()
        self.truth: list[Seen] = []
        self.made = 0
        for user in self.users:
            with self.server.login(user) as imap:
                for name in ("Sent", "Work", "Work/Old"):
                    ok(imap.create(self._folder(name)))
                ok(imap.setacl(self._folder("Sent"), "anyone", "lrswiteks"))
        for _ in range(2):
            self._deliver(self.users[0])
            self._replicate(True)

    @initialize(number=ANY)
    def begin(self, number: int) -> None:
        """Leave out the simplest history, with which hypothesis begins: nothing happens in it."""
        assume(number)

    @rule(user=ANY, times=st.integers(1, 3), run=st.booleans())
    def deliver(self, user: int, times: int, run: bool) -> None:
        for _ in range(times):
            self._deliver(_one(self.users, user))
        self._replicate(run)

    @rule(user=ANY, which=ANY, old=st.booleans(), run=st.booleans())
    def append(self, user: int, which: int, old: bool, run: bool) -> None:
        with self.server.login(_one(self.users, user)) as imap:
            date = OLD if old else None
            ok(imap.append(_one(folders(imap), which), "(\\Flagged $Label1)", date, self._mail()))
        self._replicate(run)

    @rule(user=ANY, which=ANY, run=st.booleans())
    def open(self, user: int, which: int, run: bool) -> None:
        """Read nothing: Cyrus may write the index anew, as it was."""
        with self.server.login(_one(self.users, user)) as imap:
            ok(imap.select(_one(folders(imap), which)))
            ok(imap.unselect())
        self._replicate(run)

    @rule(user=ANY, which=ANY, some=ANY, flag=st.sampled_from(["\\Seen", "\\Answered", "NonJunk"]), run=st.booleans())
    def flag(self, user: int, which: int, some: int, flag: str, run: bool) -> None:
        with self.server.login(_one(self.users, user)) as imap:
            if uids := self._select(imap, which, some):
                ok(imap.uid("STORE", uids, "-FLAGS" if some % 3 == 0 else "+FLAGS", f"({flag})"))
            ok(imap.unselect())
        self._replicate(run)

    @rule(user=ANY, which=ANY, some=ANY, run=st.booleans())
    def expunge(self, user: int, which: int, some: int, run: bool) -> None:
        with self.server.login(_one(self.users, user)) as imap:
            if uids := self._select(imap, which, some):
                ok(imap.uid("STORE", uids, "+FLAGS", "(\\Deleted)"))
                ok(imap.expunge())
            ok(imap.unselect())
        self._replicate(run)

    @rule(user=ANY, which=ANY, some=ANY, where=ANY, way=st.sampled_from(["MOVE", "COPY"]), run=st.booleans())
    def move(self, user: int, which: int, some: int, where: int, way: str, run: bool) -> None:
        """Also to a folder of the other user."""
        with self.server.login(_one(self.users, user)) as imap:
            if uids := self._select(imap, which, some):
                ok(imap.uid(way, uids, _one(folders(imap), where)))
            ok(imap.unselect())
        self._replicate(run)

    @rule(user=ANY, below=st.booleans(), run=st.booleans())
    def create(self, user: int, below: bool, run: bool) -> None:
        with self.server.login(_one(self.users, user)) as imap:
            ok(imap.create(self._new_name("Work/Made" if below else "Made")))
        self._replicate(run)

    @rule(user=ANY, which=ANY, run=st.booleans())
    def rename(self, user: int, which: int, run: bool) -> None:
        with self.server.login(_one(self.users, user)) as imap:
            if name := self._below(imap, which):
                ok(imap.rename(name, self._new_name("Renamed")))
        self._replicate(run)

    @rule(user=ANY, which=ANY, other=ANY, run=st.booleans())
    def swap(self, user: int, which: int, other: int, run: bool) -> None:
        """Have two folders change their names."""
        with self.server.login(_one(self.users, user)) as imap:
            names = [self._below(imap, number) for number in (which, other)]
            if all(names) and not _is_in(names[0], names[1]) and not _is_in(names[1], names[0]):
                aside = self._new_name("Aside")
                for old, new in ((names[0], aside), (names[1], names[0]), (aside, names[1])):
                    ok(imap.rename(old, new))
        self._replicate(run)

    @rule(user=ANY, which=ANY, again=st.booleans(), run=st.booleans())
    def delete(self, user: int, which: int, again: bool, run: bool) -> None:
        with self.server.login(_one(self.users, user)) as imap:
            name = self._below(imap, which)
            # There may be folders below, which delete_mode immediate does not allow.
            if name and imap.delete(name)[0] == "OK" and again:
                ok(imap.create(name))
                ok(imap.append(name, None, None, self._mail()))
        self._replicate(run)

    @rule(run=st.booleans())
    def expire(self, run: bool) -> None:
        archived = ["-A", "1d"] if self.site.has_archive else []
        self.server.tool("cyr_expire", "-E", "1", "-X", "0", "-D", "0", *archived)
        self._replicate(run)

    def teardown(self) -> None:
        try:
            if sys.exc_info()[0] is None:
                self._replicate(True)
                self._check()
        finally:
            shutil.rmtree(self.top)
            self.site.remove(self.server)

    def _check(self) -> None:
        live = open_tree(bytes(self.top), str(self.conf))
        for number, seen in enumerate(self.truth):
            then = tree_as_of(live, seen.when)
            _same(of_tree(then), seen.mailboxes, f"as of look {number} of {len(self.truth)}, in the tree")
            if number % RESTORED == RESTORED - 1:
                self._comes_back(seen, then, f"as of look {number} of {len(self.truth)}, in another server")
        assert live.warnings == []
        with pytest.raises(UnusableError):
            reading.selections(tree_as_of(live, self.truth[0].when), Request("user/nobody"), _unreadable)
        done = run_here("verify", "--history", self.top, "-C", self.conf, "--content")
        assert (done.exit_code, done.stderr) == (0, ""), done.output

    def _comes_back(self, seen: Seen, then: Tree, label: str) -> None:
        """Restore into another server, which shows then what the first one did."""
        other = self.site.other
        words = ["--as-of", moment.iso(seen.when) or "", "--into", f"imap://cyrus@127.0.0.1:{other.port}", "--json"]
        done = run_here("restore", self.top, "-C", self.conf, *words, env=PASSWORD)
        assert (done.exit_code, done.stderr) == (0, ""), (label, done.output)
        _same(self._fingerprint(other), seen.mailboxes, label)
        # And it gives no UID that the first one has given since.
        next_uids = self._next_uids(other)
        last_uids = {
            one.mailbox.name.decode(): one.mailbox.last_uid for one in reading.selections(then, Request(), print)
        }
        assert {name: last + 1 for name, last in last_uids.items()} == next_uids, label
        self.site.remove(other)

    def _replicate(self, run: bool) -> None:
        """Look at the server, and bring the replica up to date, or do neither yet."""
        if not run:
            return
        self._look()
        sync_server_here(self.conf, "--delete", "--history", str(self.top))

    def _look(self) -> None:
        """Look at the server while nothing changes."""
        while True:
            time.sleep(TICK)
            when = time.time_ns()
            seen = self._fingerprint(self.server)
            changing = [*self.server.root.rglob("cyrus.index"), self.server.conf / "mailboxes.db"]
            if all(path.stat().st_mtime_ns < when for path in changing):
                break
        self.truth.append(Seen(when, seen))
        time.sleep(TICK)

    def _fingerprint(self, server: CyrusServer) -> Fingerprint:
        found: Fingerprint = {}
        for user, seen in dump(server, self.users).items():
            for folder, one in seen.items():
                if user != "cyrus" and folder.startswith('"INBOX'):
                    validity = int(one["STATUS"][0].split(b"UIDVALIDITY ")[1].split()[0].strip(b")"))
                    messages = {uid: _message(message) for uid, message in one["MESSAGES"].items()}
                    found[self.site.internal_name(user, folder)] = validity, messages
        return found

    def _next_uids(self, server: CyrusServer) -> dict[str, int]:
        """By mailbox, the UID that the next message gets."""
        found = {}
        for user in self.users:
            with server.login(user) as imap:
                for folder in folders(imap):
                    if folder.startswith('"INBOX'):
                        status = ok(imap.status(folder, "(UIDNEXT)"))[0]
                        found[self.site.internal_name(user, folder)] = int(status.split()[-1].strip(b")"))
        return found

    def _mail(self) -> bytes:
        self.made += 1
        return mail(self.made)

    def _deliver(self, user: str) -> None:
        self.server.deliver(self._mail(), user)

    def _folder(self, name: str) -> str:
        return f'"INBOX/{name}"'.replace("/", self.separator)

    def _new_name(self, prefix: str) -> str:
        self.made += 1
        return self._folder(f"{prefix}{self.made}")

    def _below(self, imap: imaplib.IMAP4, which: int) -> str:
        """One of the user's own folders other than INBOX; none where there is none."""
        below = [name for name in folders(imap) if name.startswith(f'"INBOX{self.separator}')]
        return _one(below, which) if below else ""

    def _select(self, imap: imaplib.IMAP4, which: int, some: int) -> str:
        """Select a folder, and return up to two UIDs of it."""
        ok(imap.select(_one(folders(imap), which)))
        uids = ok(imap.uid("SEARCH", "ALL"))[0].decode().split()
        return ",".join(sorted({_one(uids, some), _one(uids, some // 7)})) if uids else ""


def of_tree(tree: Tree) -> Fingerprint:
    found: Fingerprint = {}
    for one in reading.selections(tree, Request(), _unreadable):
        found[one.mailbox.name.decode()] = (
            one.mailbox.uidvalidity,
            {
                message.uid: (
                    frozenset(message.flags),
                    message.internaldate,
                    hashlib.sha1(contents.whole(message)).hexdigest(),
                )
                for message in one.messages()
            },
        )
    return found


def _unreadable(problem: str) -> None:
    raise AssertionError(problem)


def _same(found: Fingerprint, seen: Fingerprint, label: str) -> None:
    names = found.keys() | seen.keys()
    differ = {name: (found.get(name), seen.get(name)) for name in names if found.get(name) != seen.get(name)}
    assert differ == {}, label


def _message(message: dict[str, Any]) -> tuple[frozenset[str], float, str]:
    when = time.mktime(imaplib.Internaldate2tuple(f'INTERNALDATE "{message["INTERNALDATE"]}"'.encode()))  # type: ignore[arg-type]
    return frozenset(message["FLAGS"].split()), when, message["SHA-1"]


def _one(names: list[str], number: int) -> str:
    return names[number % len(names)]


def _is_in(name: str, other: str) -> bool:
    return name.strip('"').startswith(other.strip('"'))


@pytest.fixture
def site(request: pytest.FixtureRequest, open_dir: Path) -> Iterator[Site]:
    requires("master", "imapd", "lmtpd", "ctl_cyrusdb", "cyr_expire")
    found = Site(open_dir, LAYOUTS[request.param])
    yield found
    found.stop()


@pytest.mark.parametrize("site", LAYOUTS, indirect=True)
def test_every_moment_comes_back(site: Site) -> None:
    phases = [Phase.generate]  # to make a history shorter takes hours
    machine = type("HistoryOfSite", (History,), {"site": site})
    how = settings(max_examples=HISTORIES, stateful_step_count=STEPS, phases=phases)
    run_state_machine_as_test(machine, settings=how)
