"""A Cyrus that accepts SYNCGET, SYNCAPPLY and SYNCRESTORE [3.0+]: the questions and steps of a restore."""

from __future__ import annotations

import hashlib
import time
import uuid
from collections.abc import Callable, Iterable, Iterator
from contextlib import suppress
from dataclasses import dataclass
from itertools import chain
from typing import TypeVar

from cyrsync.cyrus.mailbox import dlist
from cyrsync.errors import ConnectionFailed, RefusedError, WrongAnswer
from cyrsync.history import contents, sync_apply
from cyrsync.history.imap_server import CommandRefused, Connection
from cyrsync.history.selected import Message
from cyrsync.history.sync_apply import Remote, RemoteMessage
from cyrsync.text import printable

_Read = TypeVar("_Read")
#: Seconds that a server may take for each message of a command: it syncs its disk for some of them.
_WORK = 0.05
#: Blocks of 64 KiB that are tried beyond what is sent: what others may write meanwhile.
_MORE = 256


@dataclass(frozen=True, slots=True)
class Place:
    """Where a new mailbox is made: what its name begins with (`example.com!`), and its partition."""

    prefix: bytes
    partition: bytes


@dataclass(frozen=True, slots=True)
class UploadedMessage:
    """A message that the server keeps ready, and its record."""

    uid: int
    record: bytes
    size: int  # bytes of the message


class SyncServer:
    """The commands of one administrator's connection. All raise ConnectionFailed, and CommandRefused where noted."""

    def __init__(self, connection: Connection, connect: Callable[[], Connection]) -> None:
        """`connect` makes another connection of the same administrator."""
        self._connection = connection
        self._connect = connect
        self._tried: dict[tuple[bytes, str], Place] = {}

    def mailbox(self, name: bytes) -> Remote | None:
        """Return what there is under an internal name."""
        return self._one(b"MAILBOXES", [name])

    def with_uniqueid(self, uniqueid: str) -> Remote | None:
        """Return the mailbox that has a uniqueid, deleted ones too as long as they are kept."""
        return self._one(b"UNIQUEIDS", [uniqueid.encode("latin-1")])

    def of_user(self, user: bytes) -> list[Remote]:
        """Return a user's mailboxes, deleted ones too."""
        return list(self._checked(sync_apply.mailboxes, self._get(b"USER", user)))

    def messages(self, name: bytes) -> Iterator[RemoteMessage]:
        """Yield the records of a mailbox's messages. Raise CommandRefused where the mailbox cannot be read."""
        return self._checked(sync_apply.messages, self._get(b"FULLMAILBOX", name))

    def place_for(self, name: bytes, partition: str) -> Place:
        """Return where a mailbox is to be made: with the one above it, else where it was, else where the server wants.

        This is asked by way of a mailbox that is removed at once: a message for a partition that the server does not
        have makes its process die, and so does the removal of a mailbox by a name with the server's default domain.
        Raise CommandRefused where the server lets no mailbox be made.
        """
        domain, mark, local = name.rpartition(b"!")
        tried = (domain, partition)
        if mark or not (above := self._above(local)):
            if tried not in self._tried:
                self._tried[tried] = self._trial(domain + mark, partition.encode())
            return self._tried[tried]
        return Place(b"", above.partition)

    def rename(self, mailbox: Remote, name: bytes) -> None:
        """Give a mailbox another name. Raise CommandRefused."""
        self._connection.command(*sync_apply.rename(mailbox, name))

    def remove(self, mailbox: Remote) -> None:
        """Remove a mailbox at once, and for good. Raise CommandRefused."""
        self._connection.command(*sync_apply.remove(mailbox.name))

    def send(
        self, partition: bytes, messages: Iterable[Message], had: frozenset[bytes], damaged: Callable[[str], None]
    ) -> list[UploadedMessage]:
        """Send messages to be kept ready, and return those that were sent, by UID.

        Messages whose SHA-1 is in `had` are not sent, nor are damaged ones, which are reported. Raise CommandRefused.
        """
        found: list[UploadedMessage] = []
        batch: list[bytes] = []
        size = 0
        for message in messages:
            try:
                data = contents.whole(message)
            except contents.Damaged as error:
                damaged(str(error))
                continue
            guid = message.guid or hashlib.sha1(data, usedforsecurity=False).digest()
            if guid in had:
                continue
            found.append(UploadedMessage(message.uid, sync_apply.record(message, guid), len(data)))
            batch.append(sync_apply.file(partition, guid, data))
            size += len(data)
            if len(batch) == sync_apply.BATCH_MESSAGES or size >= sync_apply.BATCH_BYTES:
                self._upload(partition, batch, size)
                batch, size = [], 0
        if batch:
            self._upload(partition, batch, size)
        return sorted(found, key=lambda one: one.uid)

    def restore(self, words: Iterable[bytes], count: int) -> None:
        """Make a mailbox, or lengthen it, out of so many messages that were sent. Raise CommandRefused."""
        try:
            self._connection.command(b"SYNCRESTORE ", parts=words, work=count * _WORK)
        finally:
            # Nothing is to be kept ready any more.
            with suppress(ConnectionFailed, CommandRefused):
                self._connection.command(b"SYNCRESTART", work=count * _WORK)

    def _upload(self, partition: bytes, batch: list[bytes], size: int) -> None:
        self._check_room(partition, size)
        try:
            self._connection.command(b"SYNCAPPLY MESSAGE (", parts=[*batch, b")"], work=len(batch) * _WORK)
        except CommandRefused as refused:
            raise CommandRefused(refused.status, f"{refused}: is its disk full?") from None

    def _check_room(self, partition: bytes, size: int) -> None:
        """Raise CommandRefused where the server has no room for so many bytes.

        Where its disk gets full in the middle of a message, Cyrus (3.6.1 and HEAD: imap/dlist.c, reservefile) does not
        read the rest of it, and takes each line of that for a command of the administrator's: whoever wrote the message
        would give orders. So something of that size and more, without a line end, is sent first, by a connection of its
        own, as SYNCRESTART makes the server forget all that a connection has sent.
        """
        with self._connect() as connection:
            try:
                parts = chain(sync_apply.filler(partition, (size >> 16) + _MORE), [b")"])
                connection.command(b"SYNCAPPLY MESSAGE (", parts=parts, work=60)
            except CommandRefused:
                raise CommandRefused("NO", "there is no room on its disk") from None
            connection.command(b"SYNCRESTART", work=60)

    def _one(self, what: bytes, names: list[bytes]) -> Remote | None:
        return next(self._checked(sync_apply.mailboxes, self._get(what, [*names])), None)

    def _get(self, what: bytes, value: dlist.Value) -> list[bytes]:
        return self._connection.command(*sync_apply.get(what, value))

    def _checked(self, read: Callable[[list[bytes]], Iterator[_Read]], lines: list[bytes]) -> Iterator[_Read]:
        try:
            yield from read(lines)
        except sync_apply.BadAnswer as error:
            raise WrongAnswer(f"{self._connection.address}: cannot understand the server's answer: {error}") from None

    def _above(self, name: bytes) -> Remote | None:
        while b"." in name:
            name = name.rpartition(b".")[0]
            if found := self.mailbox(name):
                return found
        return None

    def _trial(self, prefix: bytes, partition: bytes) -> Place:
        name = prefix + b"DELETED.cyrsync.%08X" % int(time.time())
        uniqueid = uuid.uuid4().hex
        try:
            self._connection.command(*sync_apply.trial(name, partition, uniqueid))
        except CommandRefused:
            self._connection.command(*sync_apply.trial(name, b"", uniqueid))
        made = self.with_uniqueid(uniqueid)
        if made is None:
            raise CommandRefused("NO", "no mailbox can be made")
        self.remove(made)
        domain, mark, _ = made.name.rpartition(b"!")
        return Place(domain + mark, made.partition)


def admits(connection: Connection) -> bool:
    """Tell whether the server takes SYNCRESTORE [3.0+]. Raise RefusedError where the login is no administrator's."""
    if "X-REPLICATION" not in connection.capabilities:
        return False
    try:
        # To anybody else, Cyrus denies that there are such commands.
        connection.command(*sync_apply.get(b"MAILBOXES", []))
    except CommandRefused:
        raise RefusedError(
            f"{connection.address}: {printable(connection.owner)} is no administrator there: see `admins` in its "
            "imapd.conf"
        ) from None
    try:
        connection.command(b"SYNCRESTORE NOTHING NIL")
    except CommandRefused as refused:
        return refused.status == "NO"
    return True
