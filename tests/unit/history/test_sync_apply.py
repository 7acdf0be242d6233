"""What is said to Cyrus for a mailbox, and what its answers are taken for."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrsync.cyrus.mailbox import dlist
from cyrsync.history import sync_apply
from cyrsync.history.selected import Annotation, Mailbox, Message
from cyrsync.history.sync_apply import BadAnswer, Remote, RemoteMessage

MAILBOX = Mailbox(
    name=b"user.joe.Work",
    kind="e",
    partition="default",
    uniqueid="abc",
    uidvalidity=7,
    last_uid=9,
    highest_modseq=30,
    options=1 | 8 | 1 << 31,
    acl=((b"joe", b"lrs"), (b"group:a b", b"l")),
    quota_root=None,
    user_flags=(),
    deleted=False,
    legacy=False,
)
MESSAGE = Message(3, b"\1" * 20, 5, 1400000000, ("\\Seen", "$Work"), 12, 1500000000, True, False, 0, ())
ANSWER = (
    b'MAILBOX %(UNIQUEID abc MBOXNAME "user.joe.Two words" LAST_UID 9 HIGHESTMODSEQ 30 UIDVALIDITY 7 PARTITION default)'
)


def words(parts: list[bytes]) -> dlist.Value:
    whole = b"".join(parts)
    assert whole.startswith(b"MAILBOX ")
    return dlist.parse(whole[8:])


def test_a_mailbox_as_it_was() -> None:
    record = sync_apply.record(MESSAGE, b"\1" * 20)
    assert words(list(sync_apply.restore(MAILBOX, b"default", [record, record]))) == {
        b"UNIQUEID": b"abc",
        b"MBOXNAME": b"user.joe.Work",
        b"HIGHESTMODSEQ": b"30",
        b"UIDVALIDITY": b"7",
        b"PARTITION": b"default",
        b"ACL": b"joe\tlrs\tgroup:a b\tl\t",
        b"OPTIONS": b"PD",
        b"RECORD": [dlist.parse(record)] * 2,
    }


def test_messages_for_a_mailbox_have_no_identity_to_keep() -> None:
    found = words(list(sync_apply.append(MAILBOX, b"user.joe.Work", [])))
    assert found == {b"MBOXNAME": b"user.joe.Work", b"OPTIONS": b"PD", b"RECORD": []}


def test_an_expunged_message_is_restored_alive() -> None:
    found = dlist.parse(sync_apply.record(MESSAGE, b"\1" * 20))
    assert isinstance(found, dict)
    assert found[b"FLAGS"] == [b"\\Seen", b"$Work"]


def test_annotations_of_a_message() -> None:
    one = Annotation(b"/comment", b"joe", b"two\r\nlines\0", 4)
    message = Message(3, None, 5, 0, (), 12, 0, False, False, 0, (), (one,))
    found = dlist.parse(sync_apply.record(message, b"\1" * 20))
    assert isinstance(found, dict)
    assert found[b"ANNOTATIONS"] == [
        {b"ENTRY": b"/comment", b"USERID": b"joe", b"MODSEQ": b"4", b"VALUE": b"two\r\nlines\0"}
    ]


def test_a_record_for_the_last_uid_has_what_cyrus_asserts() -> None:
    found = dlist.parse(sync_apply.last_uid(9, 100))
    assert isinstance(found, dict)
    assert (found[b"UID"], found[b"FLAGS"]) == (b"9", [b"\\Expunged"])
    assert found[b"SIZE"] != b"0"
    assert found[b"GUID"] != b"0" * 40


def test_a_server_that_leaves_its_domain_out() -> None:
    mailbox = replace(MAILBOX, name=b"a.org!user.joe", acl=((b"joe@a.org", b"l"), (b"x@b.org", b"l")))
    assert sync_apply.in_domain(mailbox, b"a.org!") == mailbox
    found = sync_apply.in_domain(mailbox, b"")
    assert (found.name, found.acl) == (b"user.joe", ((b"joe", b"l"), (b"x@b.org", b"l")))


def test_answers() -> None:
    between = b"MAILBOX %(MBOXTYPE i UNIQUEID x MBOXNAME user.joe LAST_UID 0 HIGHESTMODSEQ 0 UIDVALIDITY 0 PARTITION p)"
    assert list(sync_apply.mailboxes([b"OK [ALERT] full", between, ANSWER])) == [
        Remote(b"user.joe.Two words", "abc", 7, 9, 30, b"default")
    ]
    record = b"%%(UID 3 FLAGS (\\Seen \\Expunged) GUID %s)" % (b"01" * 20)
    lines = [b"MAILBOX %(UNIQUEID abc RECORD (" + record + b"))"]
    assert list(sync_apply.messages(lines)) == [RemoteMessage(3, b"\1" * 20, frozenset(["\\Seen"]), True)]


@pytest.mark.parametrize(
    "line",
    [
        b"MAILBOX x",
        b"MAILBOX %(",
        b"MAILBOX %()",
        ANSWER.replace(b"LAST_UID 9", b"LAST_UID -1"),
        ANSWER.replace(b"LAST_UID 9", b"LAST_UID (9)"),
        ANSWER.replace(b"LAST_UID 9", b"LAST_UID " + b"9" * 5000),
        ANSWER.replace(b"MBOXNAME", b"NAME"),
    ],
)
def test_wrong_answers(line: bytes) -> None:
    with pytest.raises(BadAnswer):
        list(sync_apply.mailboxes([line]))


@given(st.binary() | st.text('%()"{}5+\r\n UIDGFLAS01', max_size=60).map(str.encode))
def test_any_answer_is_understood_or_an_error(data: bytes) -> None:
    for read in (sync_apply.mailboxes, sync_apply.messages):
        for line in (data, b"%(RECORD (" + data, b"%(RECORD (%(" + data + b")))"):
            try:
                list(read([b"MAILBOX " + line]))
            except BadAnswer:
                pass
