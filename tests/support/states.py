"""States to test with: where mailboxes lie, what UIDs the replica has of them."""

from __future__ import annotations

from array import array

from cyrsync.state.mailbox_row import Key, Location
from cyrsync.state.store import Store

PAIR = "/etc/imapd.conf backup:/replica"


def location(path: bytes, partition: str = "default") -> Location:
    files = [b"/meta/" + path + name for name in (b"/cyrus.header", b"/cyrus.index", b"/cyrus.expunge")]
    return Location(Key(partition, path), path.replace(b"/", b"."), "id-" + path.decode(), *files, b"/lock/" + path)


def uids(*numbers: int) -> array[int]:
    return array("I", numbers)


def narrowed(store: Store, *owners: bytes) -> Store:
    """One that speaks of mailboxes and files whose path, or whose name, begins with one of these."""
    store.narrow(lambda _, path, name: (name or path).startswith(owners), lambda path: path.startswith(owners))
    return store
