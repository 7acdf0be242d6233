"""Directories for mailboxes: whatever they are called, below DIR, and each another one."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrsync.history.choose import Request
from cyrsync.history.destinations import as_on_disk, maildir, nested, place

FORMS = (maildir, nested, as_on_disk)
#: What is likely to be mixed up: signs that mean something, and the words of modified UTF-7.
PARTS = st.one_of(
    st.binary(max_size=12).map(lambda part: part.replace(b".", b"")),
    st.text(alphabet="%&-/^ \0\x1b\x7f~aAü2f", max_size=8).map(str.encode),
    st.sampled_from(
        [b"&APw-", b"&-", b"&", b"%26", "ü".encode(), b"\xfc", b"%fc", b"\\xfc", b"", b"a" * 300, b"a" * 301]
    ),
)
NAMES = st.lists(PARTS, min_size=1, max_size=4).map(b".".join)


def directories(name: bytes, request: Request, top: bytes | None = None) -> list[tuple[bytes, ...]]:
    where = place(name, request, top)
    return [(*where.above, *form(where.parts)) for form in FORMS]


@pytest.mark.parametrize("request_", [Request(), Request(user="joe"), Request(mailbox="x")])
@given(name=NAMES)
def test_nothing_leads_out_of_the_directory(request_: Request, name: bytes) -> None:
    for one in directories(b"user.joe." + name, request_, b"user.joe" if request_.mailbox else None) + directories(
        name, request_
    ):
        for part in one:
            assert part not in (b"", b".", b"..") and b"/" not in part and b"\0" not in part
            assert len(part) <= 255
            assert not any(byte < 0x20 or byte == 0x7F for byte in part)


@pytest.mark.parametrize("user", ["^", "^^", "^^^"])
def test_a_user_who_is_called_as_a_directory_above(user: str) -> None:
    (above, directory, *_), *_ = directories(f"user.{user}.user.joe".encode(), Request())
    assert (above, directory) == (b"user", {"^": b"%2e", "^^": b"%2e%2e"}.get(user, b"..."))


@given(names=st.tuples(NAMES, NAMES))
def test_two_mailboxes_never_share_a_directory(names: tuple[bytes, bytes]) -> None:
    if names[0] == names[1]:
        return
    for top in (b"user.joe.", b""):
        found = [directories(top + name, Request()) for name in names]
        for one, other in zip(*found, strict=True):
            assert one != other


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        (b"user.joe", ((b"user", b"joe"), (b"user", b"joe"))),
        (b"user.joe.Sent.2023", ((b"user", b"joe", b".Sent.2023"), (b"user", b"joe", b"Sent", b"2023"))),
        (
            b"example.com!user.john^doe.Entw&APw-rfe",
            (
                (b"user", b"john.doe@example.com", b".Entw&APw-rfe"),
                (b"user", b"john.doe@example.com", "Entwürfe".encode()),
            ),
        ),
        (b"lists.a", ((b"shared", b".lists.a"), (b"shared", b"lists", b"a"))),
    ],
)
def test_of_a_whole_server(name: bytes, expected: tuple[tuple[bytes, ...], ...]) -> None:
    assert tuple(directories(name, Request())[:2]) == expected


def test_of_one_user_and_of_one_mailbox() -> None:
    assert directories(b"user.joe.Sent", Request(user="joe"))[0] == (b".Sent",)
    assert directories(b"user.joe", Request(user="joe"))[0] == ()
    assert directories(b"user.joe.Work", Request(mailbox="x"), b"user.joe.Work")[0] == ()
    assert directories(b"user.joe.Work.2023", Request(mailbox="x"), b"user.joe.Work")[1] == (b"2023",)


def test_of_a_user_who_is_deleted() -> None:
    assert directories(b"DELETED.user.joe.65A00000", Request(user="joe"))[0] == ()
    assert directories(b"DELETED.user.joe.Sent.65A00000", Request(user="joe"))[0] == (b".Sent",)
