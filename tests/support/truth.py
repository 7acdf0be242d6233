"""What was ever true of a server's mailboxes, and what has to be true of its replica at any moment."""

from __future__ import annotations

import hashlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from cyrsync.cyrus.mailbox import header, index
from support.tree import is_message
from support.whole import live_uids


class Life(NamedTuple):
    """One mailbox from its making to its end, whatever its name."""

    uniqueid: str
    uidvalidity: int


class Mailbox(NamedTuple):
    """What lies in a directory: digests of the index and of each message; a life where header and index are there."""

    directory: Path
    life: Life | None
    index: bytes
    messages: dict[int, bytes]


class Truth:
    """What a spool has held so far."""

    def __init__(self) -> None:
        self._messages: dict[Life, dict[int, bytes]] = {}
        self._indexes: dict[bytes, set[Life]] = {}
        self._contents: set[tuple[int, bytes]] = set()

    def remember(self, spool: Path) -> None:
        """Take in what a spool holds now."""
        for mailbox in mailboxes(spool):
            assert mailbox.life
            known = self._messages.setdefault(mailbox.life, {})
            for uid, digest in mailbox.messages.items():
                assert known.setdefault(uid, digest) == digest, "the test has used a UID again"
                self._contents.add((uid, digest))
            self._indexes.setdefault(mailbox.index, set()).add(mailbox.life)

    def check(self, replica: Path) -> None:
        """See that a replica is right, however the last run has ended.

        A message under its own name is whole, and of the mailbox whose header and index lie beside it.

        An index is one whole snapshot of that mailbox, and every message that it has is there.
        """
        for mailbox in mailboxes(replica):
            where = mailbox.directory
            for message in mailbox.messages.items():
                assert message in self._contents, f"{where}/{message[0]}. is not whole"
            if mailbox.index:
                assert mailbox.index in self._indexes, f"{where}: an index that the source never had"
                missing = set(live_uids(where / "cyrus.index")) - mailbox.messages.keys()
                assert not missing, f"{where}: the index has messages without files: {sorted(missing)}"
            if mailbox.life:
                assert mailbox.life in self._indexes[mailbox.index], f"{where}: header and index of two mailboxes"
                true = self._messages[mailbox.life]
                # What another mailbox had here before may wait to be deleted: deletions come last. No record names it.
                wrong = [uid for uid, digest in mailbox.messages.items() if true.get(uid, digest) != digest]
                assert not wrong, f"{where}: messages of another mailbox: {wrong}"


def mailboxes(spool: Path) -> Iterator[Mailbox]:
    """Every directory with an index or messages in it, those left out that Cyrus does not look into."""
    for top, directories, names in os.walk(spool):
        directories[:] = [name for name in directories if not name.startswith(".")]
        if "cyrus.index" in names or any(is_message(os.fsencode(name)) for name in names):
            yield _mailbox(Path(top), names)


def by_path(spool: Path) -> dict[Path, Mailbox]:
    """The mailboxes of a spool by their paths in it."""
    return {mailbox.directory.relative_to(spool): mailbox for mailbox in mailboxes(spool)}


def assert_kept(before: dict[Path, Mailbox], now: dict[Path, Mailbox], source: dict[Path, Mailbox]) -> None:
    """The replica has lost no message of a mailbox that the source has under the same name."""
    for path, mailbox in before.items():
        if path in source and mailbox.life and mailbox.life == source[path].life:
            lost = mailbox.messages.keys() & source[path].messages.keys() - now[path].messages.keys()
            assert not lost, f"{path}: lost {sorted(lost)}"


def _mailbox(directory: Path, names: list[str]) -> Mailbox:
    parts = {name: (directory / name).read_bytes() for name in ("cyrus.header", "cyrus.index") if name in names}
    life = None
    if len(parts) == 2:
        head = index.head(parts["cyrus.index"])
        assert head, f"{directory}: a torn index"
        life = Life(header.uniqueid(parts["cyrus.header"]), head.uidvalidity)
    messages = {int(name[:-1]): _digest((directory / name).read_bytes()) for name in names if is_message(name.encode())}
    digest = _digest(parts["cyrus.index"]) if "cyrus.index" in parts else b""
    return Mailbox(directory, life, digest, messages)


def _digest(content: bytes) -> bytes:
    return hashlib.sha1(content).digest()
