"""Names of mailboxes as people read them."""

from __future__ import annotations

import pytest

from cyrsync.cyrus.server.names import mailbox_text, shown_name


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        (b"user.joe", "user/joe"),
        (b"user.john^doe.Sent Items", "user/john.doe/Sent Items"),
        (b"example.com!user.ann.Drafts", "user/ann/Drafts@example.com"),
        (b"user.joe.Entw&APw-rfe", "user/joe/Entwürfe"),
        (b"user.joe.\xff&x", "user/joe/\\xff&x"),
        (b"", ""),
    ],
)
def test_names(name: bytes, shown: str) -> None:
    assert shown_name(name) == shown


def test_a_directory_is_named_where_it_does_not_tell_the_name() -> None:
    assert mailbox_text(b"j/user/joe/Sent", b"user.joe.Sent") == "j/user/joe/Sent"
    assert mailbox_text(b"uuid/4/5/45ab", b"user.joe.Sent") == "user/joe/Sent (uuid/4/5/45ab)"
    assert mailbox_text(b"uuid/4/5/45ab", b"user.joe.Sent", b"17.") == "user/joe/Sent (uuid/4/5/45ab/17.)"
    assert mailbox_text(b"uuid/4/5/45ab", b"") == "uuid/4/5/45ab"
    assert mailbox_text(b"uuid/4/5/45ab", b"user.\x1b[31m") == "user/\\x1b[31m (uuid/4/5/45ab)"
