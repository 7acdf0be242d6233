"""Addresses of servers, and what must not stand in them."""

from __future__ import annotations

from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrsync.errors import UsageError
from cyrsync.history.imap_address import ImapAddress, parse
from support import campaign


@pytest.mark.parametrize(
    ("text", "address"),
    [
        ("imaps://cyrus@mail.example.com", ImapAddress("mail.example.com", 993, "cyrus", True)),
        ("IMAP://cyrus@Mail.example.com/", ImapAddress("mail.example.com", 143, "cyrus", False)),
        ("imap://admin%40example.com@10.0.0.1:1143", ImapAddress("10.0.0.1", 1143, "admin@example.com", False)),
        ("imaps://cyrus@[::1]:1993", ImapAddress("::1", 1993, "cyrus", True)),
        ("imaps://cyrus@[fe80::1%eth0]", ImapAddress("fe80::1%eth0", 993, "cyrus", True)),
    ],
)
def test_addresses(text: str, address: ImapAddress) -> None:
    assert parse(text) == address


@pytest.mark.parametrize(
    "text",
    [
        "",
        "mail.example.com",
        "imaps://mail.example.com",
        "http://cyrus@mail.example.com",
        "imaps://cyrus@",
        "imaps://cyrus@host:port",
        "imaps://cyrus@host:99999",
        "imaps://cyrus@host:0",
        "imaps://cyrus@host/user.joe",
        "imaps://cyrus@[::1",
        "imaps://a%00b@host",
    ],
)
def test_what_is_no_address(text: str) -> None:
    with pytest.raises(UsageError, match="--into: n"):
        parse(text)


@pytest.mark.parametrize(
    "text",
    [
        "imaps://cyrus:s3cret@host",
        "imaps://cyrus:s3cret@host:99999",
        "imaps://cyrus:s3c/ret@host",
        "imaps://cyrus:s3cret/@host",
        "imaps://cyrus:s3cret#1@host",
        "imaps://cyrus:s3cret?@host",
        "imaps://cyrus:@s3cret@host",
        "imaps://cyrus:[s3cret@host",
        "imaps://cyrus:s3cret",
        "imaps://cyrus%3As3cret@host",
        "imaps://cyrus@host:s3cret",
        "imaps://cyrus@host/s3cret",
        "imaps://cyrus@host#s3cret",
        "imaps:cyrus:s3cret@host",
        "http://cyrus:s3cret@host",
        "cyrus:s3cret@host",
    ],
)
def test_a_password_is_refused_and_not_shown(text: str) -> None:
    with pytest.raises(UsageError) as error:
        parse(text)
    assert "s3c" not in str(error.value)
    assert "host/" in text or "host#" in text or "CYRSYNC_PASSWORD" in str(error.value)


@campaign.slow()
@given(st.text() | st.text("imaps:/@[]%.19a").map("imap://{}".format))
def test_anything_is_an_address_or_an_error(text: str) -> None:
    with suppress(UsageError):
        assert parse(text).host
