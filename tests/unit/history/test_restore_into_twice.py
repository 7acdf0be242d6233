"""What a server is sent by a restore that is run again, of messages whose GUIDs the index does not have."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import pytest

from cyrsync.cyrus.mailbox import dlist
from cyrsync.history.outcome import Outcome
from cyrsync.history.restore_into import restore_into
from cyrsync.history.selected import Mailbox, Message, Selection
from cyrsync.history.sync_server import SyncServer
from cyrsync.sync.progress import NoProgress

NAME = b"user.joe.Work"
MAILBOX = Mailbox(NAME, "e", "default", "abc", 7, 9, 0, 0, (), None, (), False, False)


class Login:
    """A login on a server that keeps the records of one mailbox, and does what it is told."""

    address, owner = "imap://cyrus@host", "cyrus"

    def __init__(self, there: bool = True) -> None:
        self.there = there
        self.records: list[dict[bytes, dlist.Value]] = []
        self.uploads = 0

    def command(self, *pieces: bytes, parts: Iterable[bytes] = (), work: float = 0) -> list[bytes]:
        words = b" ".join(pieces)
        said = b"".join(parts)
        if words == b"SYNCGET MAILBOXES (user.joe)":
            return [self._mailbox(b"").replace(NAME, b"user.joe")]
        if words.startswith((b"SYNCGET MAILBOXES", b"SYNCGET USER")):
            return [self._mailbox(b"")] if self.there and words.endswith((NAME + b")", b" joe")) else []
        if words.startswith(b"SYNCGET FULLMAILBOX"):
            return [self._mailbox(b" RECORD " + dlist.encode([*self.records]))]
        if words.startswith(b"SYNCAPPLY MESSAGE"):
            self.uploads += b"x" * 1000 not in said
        if words.startswith(b"SYNCRESTORE") and said:
            made: Any = dlist.parse(said.removeprefix(b"MAILBOX "))
            self.there = True
            self.records += made[b"RECORD"]
        return []

    def _mailbox(self, rest: bytes) -> bytes:
        head = b"MAILBOX %%(UNIQUEID abc MBOXNAME %s LAST_UID 9 HIGHESTMODSEQ 3 UIDVALIDITY 7 PARTITION default"
        return head % NAME + rest + b")"

    def __enter__(self) -> Login:
        return self

    def __exit__(self, *_exc: object) -> None:
        pass


def message(directory: Path, uid: int, text: bytes, *, guid: bool = False) -> Message:
    path = directory / f"{uid}."
    path.write_bytes(text)
    digest = hashlib.sha1(text).digest() if guid else None
    return Message(uid, digest, len(text), 0, (), 1, 0, False, False, 0, (os.fsencode(path),))


@pytest.fixture
def messages(tmp_path: Path) -> list[Message]:
    texts = [b"one\r\n", b"two\r\n", b"three\r\n"]
    return [message(tmp_path, uid, text, guid=uid == 2) for uid, text in enumerate(texts, 1)]


def restore(login: Login, messages: list[Message], **options: Any) -> Outcome:
    def every() -> Iterator[Message]:
        return iter(messages)

    outcome = Outcome("", "")
    selection = Selection(MAILBOX, len(messages), 0, sum(one.size for one in messages), every, {}, (b"", b""))
    server = SyncServer(login, lambda: login)  # type: ignore[arg-type, return-value]
    restore_into(server, [selection], outcome, NoProgress(), **options)
    return outcome


def guids(login: Login) -> list[dlist.Value]:
    return [record[b"GUID"] for record in login.records]


def test_what_is_there_is_not_sent_again(messages: list[Message]) -> None:
    login = Login()
    first = restore(login, messages)
    assert (first.restored, first.present, login.uploads) == (3, 0, 1)
    had = guids(login)
    again = restore(login, messages)
    assert (again.restored, again.present, again.errors) == (0, 3, [])
    assert (guids(login), login.uploads) == (had, 1)
    assert again.mailboxes[0].how == "left as it is"


def test_only_what_lacks_is_sent(messages: list[Message], tmp_path: Path) -> None:
    login = Login()
    restore(login, messages[:2])
    messages.append(message(tmp_path, 4, b""))
    result = restore(login, messages)
    assert (result.restored, result.present, len(result.errors)) == (1, 2, 1)
    assert guids(login)[2:] == [hashlib.sha1(b"three\r\n").hexdigest().encode()]


def test_only_missing_asks_what_the_user_has_elsewhere(messages: list[Message]) -> None:
    login = Login()
    restore(login, messages[:1])
    for record in login.records:
        record[b"FLAGS"] = [b"\\Expunged"]
    assert restore(login, messages[:1], only_missing=True).present == 1
    assert restore(login, messages[:1]).restored == 1


def test_a_mailbox_that_is_made_gets_both_of_two_messages_that_are_alike(tmp_path: Path) -> None:
    login = Login(there=False)
    result = restore(login, [message(tmp_path, uid, b"one\r\n") for uid in (1, 2)])
    assert (result.restored, result.present) == (2, 0)
    assert [record[b"UID"] for record in login.records] == [b"1", b"2", b"9"]
