"""What a mailbox has had is not sent again, and a message that is twice not there is done without."""

from __future__ import annotations

from array import array

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.far.folder import Incarnation
from cyrsync.server.contents import UnreadableFileError
from cyrsync.server.engine import MailboxChange, plan_mailbox
from cyrsync.server.read_again import ReadAgain
from cyrsync.server.reading import MailboxState, UnreadableMailboxError
from cyrsync.server.roots import Roots
from cyrsync.state.mailbox_row import UNSEEN, Key, Location

ROOT = b"/data"
KEY = Key("default", b"user/joe")
ROOTS = Roots("default", ROOT, ROOT, dict.fromkeys(kinds.SNAPSHOT, ROOT), ROOT)


def change(*uids: int, uidvalidity: int = 1) -> MailboxChange:
    """A new mailbox with these messages."""
    found = MailboxState(Incarnation("id", uidvalidity, 100), UNSEEN, array("I", uids))
    return plan_mailbox(Location(KEY, b"user.joe", "", b"", b"", b"", b""), None, found, ROOTS)


def wanted(looks: ReadAgain, found: MailboxChange) -> list[int]:
    return list(looks.wanted(found)[ROOT])


def test_what_has_arrived_is_not_sent_twice() -> None:
    looks = ReadAgain()
    looks.note_arrived(change(1, 2, 3), ROOT, array("I", [1]))
    looks.note_arrived(change(1, 2, 3), ROOT, array("I", [3]))
    assert wanted(looks, change(1, 2, 3, 4)) == [2, 4]
    assert wanted(looks, change(1, 2, 3, 4, uidvalidity=2)) == [1, 2, 3, 4]


def test_only_what_lacks_at_two_looks_in_a_row_is_left_out() -> None:
    looks = ReadAgain()
    for lost in ([1, 2], [3], [2, 3]):
        assert looks.leave_out(change(1, 2, 3)) == []
        looks.add_lost(change(1, 2, 3), {ROOT: lost})
        assert KEY in looks
    found = change(1, 2, 3)
    assert (looks.leave_out(found), wanted(looks, found)) == ([3], [1, 2])
    assert looks.leave_out(change(1, 2, 3, uidvalidity=2)) == []


def test_why_nothing_was_sent() -> None:
    looks = ReadAgain()
    looks.add_unsent(change(1), UnreadableMailboxError("its directory has gone"))
    assert (looks.reasons, KEY in looks) == ({KEY: "its directory has gone"}, True)
    looks.discard(KEY)
    looks.add_unsent(change(1), UnreadableFileError(b"1.", "Input/output error"))
    assert (looks.reasons, KEY in looks) == ({KEY: ""}, True)
    assert (looks.bad(change(1)), looks.bad(change(1, uidvalidity=2))) == ({b"1.": "Input/output error"}, {})
