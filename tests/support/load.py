"""IMAP clients at work, as many as on a busy server: everything that a client can do to its folders goes on at once."""

from __future__ import annotations

import hashlib
import imaplib
import itertools
import random
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager

from support.imapd import CyrusServer, folders, ok
from support.tools import wait_for

USERS = tuple(f"user{number}" for number in range(10))
#: A folder does not grow beyond so many messages, and no user has more folders.
_MESSAGES, _FOLDERS = 40, 5
_PAUSE = 0.1  # seconds that a client rests between two commands
_HEAD = (
    "From: sender@example.com\r\nSubject: {0}\r\nMessage-ID: <{0}@example.com>\r\n"
    "Date: Wed, 17 Jul 1996 02:44:25 -0700\r\n\r\n"
)


def digest(message: bytes) -> bytes:
    """SHA-1 of a message as it was sent: without what LMTP puts on top of it."""
    return hashlib.sha1(message[message.index(b"From: sender@") :]).digest()


class Client:
    """One user, who does something else each time."""

    def __init__(self, server: CyrusServer, user: str, seed: int, users: Sequence[str] = USERS) -> None:
        self._server = server
        self._user = user
        self._users = users
        self._rng = random.Random(seed)
        #: Digests of all messages that were ever sent.
        self.sent: set[bytes] = set()
        self.done = 0  # commands
        self._numbers = itertools.count(1)

    def work(self, ended: threading.Event) -> None:
        """Go on until the end."""
        with self._server.login(self._user) as imap:
            for folder in ("INBOX.Sent", "INBOX.Trash"):
                ok(imap.create(folder))
            while not ended.is_set():
                self._step(imap)
                self.done += 1
                time.sleep(_PAUSE)

    def _step(self, imap: imaplib.IMAP4) -> None:
        doing = [self._append] * 6 + [self._flag] * 3 + [self._expunge] * 4 + [self._copy] * 2 + [self._deliver]
        doing += [self._create, self._delete, self._rename, self._change_places, self._begin_anew]
        self._rng.choice(doing)(imap)

    def _append(self, imap: imaplib.IMAP4) -> None:
        folder = self._any(imap)
        for _ in range(self._rng.randint(1, 4)):
            flags = self._rng.choice(["", "\\Seen", "$Label1", f"$Own{self._rng.randrange(20)}"])
            ok(imap.append(folder, f"({flags})", self._date(), self._mail()))

    def _deliver(self, imap: imaplib.IMAP4) -> None:
        self._server.deliver(self._mail(), self._user, self._rng.choice(self._users))

    def _flag(self, imap: imaplib.IMAP4) -> None:
        uids = self._select(imap, self._any(imap))
        if uids:
            ok(imap.uid("STORE", ",".join(uids), "+FLAGS", f"(\\Flagged $Own{self._rng.randrange(20)})"))
        ok(imap.unselect())

    def _expunge(self, imap: imaplib.IMAP4) -> None:
        uids = self._select(imap, self._any(imap))
        chosen = self._rng.sample(uids, len(uids) // 2)
        if chosen or len(uids) > _MESSAGES:
            ok(imap.uid("STORE", ",".join(chosen), "+FLAGS.SILENT", "(\\Deleted)"))
            ok(imap.expunge())
        ok(imap.unselect())

    def _copy(self, imap: imaplib.IMAP4) -> None:
        uids = self._select(imap, self._any(imap))
        if uids:
            ok(imap.uid(self._rng.choice(["COPY", "MOVE"]), self._rng.choice(uids), self._any(imap)))
        ok(imap.unselect())

    def _create(self, imap: imaplib.IMAP4) -> None:
        mine = self._own(imap)
        if len(mine) < _FOLDERS:
            above = self._rng.choice(["INBOX", *(name.strip('"') for name in mine)])
            name = f"{above}.f{self._rng.randrange(3)}"
            if f'"{name}"' not in mine and name.count(".") < 4:
                self._make(imap, name)

    def _delete(self, imap: imaplib.IMAP4) -> None:
        mine = [name.strip('"') for name in self._own(imap)]
        if len(mine) > 2:
            self._remove(imap, max(mine, key=lambda name: name.count(".")))  # one that has none below it

    def _rename(self, imap: imaplib.IMAP4) -> None:
        mine = self._own(imap)
        if mine and f'"{(name := f"INBOX.r{self._rng.randrange(3)}")}"' not in mine:
            ok(imap.rename(self._rng.choice(mine), name))

    def _change_places(self, imap: imaplib.IMAP4) -> None:
        """Sent and Trash: the same UIDs are other messages then."""
        ok(imap.rename("INBOX.Sent", "INBOX.Aside"))
        ok(imap.rename("INBOX.Trash", "INBOX.Sent"))
        ok(imap.rename("INBOX.Aside", "INBOX.Trash"))

    def _begin_anew(self, imap: imaplib.IMAP4) -> None:
        """Another mailbox under the same name."""
        self._remove(imap, "INBOX.Trash")
        self._make(imap, "INBOX.Trash")

    def _remove(self, imap: imaplib.IMAP4, name: str) -> None:
        if imap.delete(name)[0] != "OK":
            time.sleep(1)  # where mailboxes go with a delay, two of one name can't in one second
            ok(imap.delete(name))

    def _make(self, imap: imaplib.IMAP4, name: str) -> None:
        ok(imap.create(name))
        for _ in range(5):
            ok(imap.append(name, "", self._date(), self._mail()))

    def _select(self, imap: imaplib.IMAP4, folder: str) -> list[str]:
        ok(imap.select(folder))
        found = ok(imap.uid("SEARCH", "ALL"))[0]
        return found.decode().split() if found else []

    def _any(self, imap: imaplib.IMAP4) -> str:
        return self._rng.choice(["INBOX", "INBOX.Sent", "INBOX.Trash", *self._own(imap)])

    def _own(self, imap: imaplib.IMAP4) -> list[str]:
        """The folders that may go."""
        return [name for name in folders(imap) if name.strip('"').partition(".")[2][:1] in ("f", "r")]

    def _date(self) -> str:
        return imaplib.Time2Internaldate(self._rng.uniform(0, time.time()))

    def _mail(self) -> bytes:
        ident = f"{self._user}-{next(self._numbers)}"
        message = (_HEAD.format(ident) + "A line of this message.\r\n" * self._rng.randrange(400)).encode()
        self.sent.add(digest(message))
        return message


@contextmanager
def under_load(
    server: CyrusServer, seed: int, expire: bool, users: Sequence[str] = USERS
) -> Iterator[Sequence[Client]]:
    """Clients are at work, all of them; none may fail.

    With `expire`, what is expunged and deleted with a delay goes for good every few moments, too.
    """
    for user in users:
        server.create_user(user)
    clients = [Client(server, user, seed + number, users) for number, user in enumerate(users)]
    ended = threading.Event()
    failures: list[Exception] = []

    def work(client: Client) -> None:
        try:
            client.work(ended)
        except (OSError, AssertionError, imaplib.IMAP4.error) as error:
            failures.append(error)

    def clear() -> None:
        while not ended.wait(2):
            server.tool("cyr_expire", "-E", "0", "-X", "0", "-D", "0")

    threads = [threading.Thread(target=work, args=(client,)) for client in clients]
    threads += [threading.Thread(target=clear)] if expire else []
    for thread in threads:
        thread.start()
    try:
        wait_for(lambda: bool(failures) or all(client.done for client in clients), seconds=60, name="all clients")
        yield clients
    finally:
        ended.set()
        for thread in threads:
            thread.join()
    assert not failures, failures
    print(f"commands: {[client.done for client in clients]}")
