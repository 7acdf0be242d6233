"""Names of mailboxes as people read them."""

from __future__ import annotations

import pytest

from cyrsync.cyrus.server.names import shown_name


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
