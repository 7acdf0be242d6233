"""Addresses of servers, and what must not stand in them."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrsync.errors import UsageError
from cyrsync.history.imap_address import ImapAddress, parse


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("imaps://cyrus@mail.example.com", ImapAddress("mail.example.com", 993, "cyrus", True)),
        ("imap://cyrus@mail.example.com/", ImapAddress("mail.example.com", 143, "cyrus", False)),
        ("imap://admin%40example.com@10.0.0.1:1143", ImapAddress("10.0.0.1", 1143, "admin@example.com", False)),
        ("imaps://cyrus@[::1]:1993", ImapAddress("::1", 1993, "cyrus", True)),
    ],
)
def test_addresses(text: str, address: ImapAddress) -> None:
    assert parse(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "mail.example.com",
        "imaps://mail.example.com",
        "http://cyrus@mail.example.com",
        "imaps://cyrus@",
        "imaps://cyrus@host:port",
        "imaps://cyrus@host:99999",
        "imaps://cyrus@host/user.joe",
        "imaps://cyrus@[::1",
        "imaps://a%00b@host",
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UsageError, match="imap"):
        parse(text)


def test_a_password_is_refused_and_not_shown() -> None:
    with pytest.raises(UsageError, match="CYRSYNC_PASSWORD") as error:
        parse("imaps://cyrus:secret@host")
    assert "secret" not in str(error.value)


@given(st.text() | st.text("imaps:/@[]%.19a").map("imap://{}".format))
def test_anything_is_an_address_or_an_error(text: str) -> None:
    with suppress(UsageError):
        assert parse(text).host
