"""What was written to a replica since its disks were synced is known, and can be doubted."""

from __future__ import annotations

from cyrsync.state.conf_table import ConfRow, ConfTable
from cyrsync.state.mailbox_row import UNSEEN, Key, MailboxRow
from cyrsync.state.store import Store
from support.states import uids


def test_what_was_written_since_the_disks_were_synced(store: Store) -> None:
    """Whose files were there when they were, is not what a mailbox has become since."""
    one, other, gone = (Key("p", name) for name in (b"one", b"other", b"gone"))
    assert store.unsynced.is_empty()
    store.put([MailboxRow(one, "A", 1), MailboxRow(gone, "G", 3)])
    store.unsynced.clear()
    assert store.unsynced.is_empty() and store.unsynced.mailboxes() == []
    store.put([MailboxRow(one, "A", 1)])
    store.put([MailboxRow(one, "B", 2), MailboxRow(other, "C", 4)])
    store.drop([gone])
    assert not store.unsynced.is_empty()
    assert sorted(store.unsynced.mailboxes()) == [(gone, "", 0), (one, "A", 1), (other, "C", 4)]
    store.unsynced.doubt([MailboxRow(one, maybe=uids(1, 2))])
    assert store.unsynced.is_empty()
    assert [row.key for row in store.all_rows()] == [one]
    assert store.row(one) == MailboxRow(one, maybe=uids(1, 2))


def test_other_files_that_were_written_since_the_disks_were_synced(store: Store) -> None:
    table = ConfTable(store.file)
    rows = [ConfRow(b"/conf/" + name, b"/conf", b"look", b"digest") for name in (b"a", b"b", b"c")]
    table.put([rows[0]._replace(seen=UNSEEN, digest=b"")])
    table.put(rows)
    store.unsynced.clear()
    table.put([rows[0]])
    assert store.unsynced.is_empty()
    table.put([rows[1]._replace(seen=UNSEEN, digest=b"")])
    table.put([rows[1]])
    table.drop([rows[2]])
    assert not store.unsynced.is_empty() and store.unsynced.mailboxes() == []
    store.unsynced.doubt([])
    unknown = [row._replace(seen=UNSEEN, digest=b"") for row in rows[1:]]
    assert [table.row(row.path) for row in rows] == [rows[0], *unknown]


def test_a_state_that_is_made_anew_forgets_nothing_that_is_not_on_a_disk(store: Store) -> None:
    store.put([MailboxRow(Key("p", b"one"), "A", 1)])
    store.begin_anew([])
    assert not store.unsynced.is_empty()
