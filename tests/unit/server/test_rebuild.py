"""What a replica has, as it lies there."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.far import uids as uid_sets
from cyrsync.far.folder import Folder, Incarnation
from cyrsync.far.message_files import MessageFiles
from cyrsync.server.rebuild import Provenance, rebuild
from cyrsync.server.roots import Roots
from cyrsync.state.mailbox_row import UNSEEN, Key, MailboxRow

DATA, META, ARCHIVE = b"/data", b"/meta", b"/archive"
NAMES = (kinds.HEADER, kinds.INDEX)


def roots(meta: bytes = DATA, archive: bytes = DATA) -> Roots:
    return Roots("default", DATA, archive, dict.fromkeys([*kinds.SNAPSHOT, b"cyrus.cache"], meta), meta)


def folder(
    path: bytes, messages: bytes = b"", names: tuple[bytes, ...] = (), life: Incarnation | None = None
) -> Folder:
    return Folder(path, messages=MessageFiles(messages), metadata=dict.fromkeys(names), incarnation=life)


class Replica:
    """A side that lists what it was given, each root below a prefix."""

    def __init__(self, **trees: list[Folder]) -> None:
        self._trees = {b"/replica/" + name.encode(): tree for name, tree in trees.items()}

    def walk(self, root: bytes, users: frozenset[str]) -> Iterator[Folder]:
        return iter(self._trees.get(root, []))


def rebuilt(where: Roots, replica: Replica) -> list[MailboxRow]:
    return list(rebuild(where, replica, {root: b"/replica" + root for root in where.all()}))  # type: ignore[arg-type]


def uids(*numbers: int) -> object:
    return uid_sets.of(list(numbers))


def test_messages_the_index_knows_are_proven() -> None:
    (row,) = rebuilt(roots(), Replica(data=[folder(b"j/joe", b"3.1.", NAMES, Incarnation("id", 7, 3))]))
    assert row == MailboxRow(Key("default", b"j/joe"), "id", 7, UNSEEN, uids(1, 3), names=NAMES)  # type: ignore[arg-type]


def test_messages_beyond_the_index_may_be_anybodys() -> None:
    """Also another mailbox's, that was here before: then the whole mailbox is sent, whatever its files look like."""
    (row,) = rebuilt(roots(), Replica(data=[folder(b"j/joe", b"3.1.12.", NAMES, Incarnation("id", 7, 3))]))
    assert row == MailboxRow(Key("default", b"j/joe"), "", 0, UNSEEN, uids(1, 3), maybe=uids(12), names=NAMES)  # type: ignore[arg-type]


def test_whose_messages_they_are_may_not_be_known() -> None:
    (row,) = rebuilt(roots(), Replica(data=[folder(b"j/joe", b"3.1.", (kinds.INDEX,))]))
    assert (row.uniqueid, row.uidvalidity) == ("", 0)


def test_directories_between_mailboxes_are_none() -> None:
    replica = Replica(data=[folder(b""), folder(b"j"), folder(b"j/joe", b"1."), folder(b"k", b"", (b"cyrus.squat",))])
    assert [row.key.path for row in rebuilt(roots(), replica)] == [b"j/joe", b"k"]


def test_an_empty_directory_is_a_mailbox_that_was() -> None:
    replica = Replica(data=[folder(b""), folder(b"j"), folder(b"j/joe"), folder(b"j/max")._replace(problem=errno.EIO)])
    left = {b"j/joe", b"j/max"}
    rows = rebuild(roots(), replica, {DATA: b"/replica" + DATA}, left=left)  # type: ignore[arg-type]
    assert list(rows) == [MailboxRow(Key("default", b"j/joe"))]


def test_the_parts_of_a_mailbox_are_put_together() -> None:
    replica = Replica(
        meta=[folder(b"j/joe", b"", NAMES, Incarnation("id", 7, 3))],
        data=[folder(b"j/joe", b"1.4.")],
        archive=[folder(b"j/joe", b"2.", (b"cyrus.cache",))],
    )
    (row,) = rebuilt(roots(META, ARCHIVE), replica)
    assert (row.uniqueid, list(row.uids), list(row.archived), list(row.maybe)) == ("", [1], [2], [4])
    assert row.names == (b"cyrus.cache", *NAMES)


def test_an_index_where_none_should_be_proves_nothing() -> None:
    """As one that is left from the time before there was a metapartition."""
    replica = Replica(
        meta=[folder(b"j/joe", b"", NAMES, Incarnation("id", 7, 3))],
        data=[folder(b"j/joe", b"1.4.", NAMES, Incarnation("old", 5, 9))],
    )
    (row,) = rebuilt(roots(META), replica)
    assert (row.uniqueid, row.uidvalidity, list(row.uids), list(row.maybe)) == ("", 0, [1], [4])


def test_a_replica_that_has_nothing() -> None:
    assert rebuilt(roots(META, ARCHIVE), Replica()) == []


@pytest.mark.parametrize("trust", [Provenance.DOUBTED, Provenance.FOREIGN])
def test_messages_that_somebody_else_may_have_written_are_not_proven(trust: Provenance) -> None:
    """They may be there, and are not taken for the source's; nor is the mailbox, if it is known that somebody has."""
    life = Incarnation("id", 7, 12)
    replica = Replica(
        meta=[folder(b"j/joe", b"", NAMES, life)], data=[folder(b"j/joe", b"3.1.")], archive=[folder(b"j/joe", b"2.")]
    )
    where = roots(META, ARCHIVE)
    found = rebuild(where, replica, {root: b"/replica" + root for root in where.all()}, lambda *_: trust)  # type: ignore[arg-type]
    whose = ("id", 7) if trust is Provenance.DOUBTED else ("", 0)
    assert list(found) == [MailboxRow(Key("default", b"j/joe"), *whose, maybe=uids(1, 2, 3), names=NAMES)]  # type: ignore[arg-type]
