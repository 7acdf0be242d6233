"""Which mailboxes are meant by what people write."""

from __future__ import annotations

import pytest

from cyrsync.cyrus.mailbox.snapshot import MetaFiles
from cyrsync.cyrus.server.mailboxes import Mailbox
from cyrsync.cyrus.server.server import Located
from cyrsync.errors import UnusableError
from cyrsync.history.choose import Request, choose, deleted_at, former_name, shown

NAMES = (
    "DELETED.user.joe.Plans.65A00000",
    "example.com!user.john^doe.Sent",
    "shared.news",
    "user.joe",
    "user.joe-2",
    "user.joe.Entw&APw-rfe",
    "user.joe.Plans",
    "user.joe.Plans.2023",
    "user.joe.Plans-old",
)


def located(name: str) -> Located:
    mailbox = Mailbox(name.encode(), "default", f"id-{name}", 1, "e", False, False, "", False, False, True, ())
    return Located(mailbox, b"/d", b"/d", b"/d", MetaFiles(b"/h", b"/i", b"/e"))


KNOWN = [located(name) for name in NAMES]


def chosen(request: Request) -> list[str]:
    return [one.mailbox.name.decode() for one in choose(KNOWN, request)]


@pytest.mark.parametrize(
    "name", ["user.joe.Entw&APw-rfe", "user/joe/Entw&APw-rfe", "user/joe/Entwürfe", "id-user.joe.Entw&APw-rfe"]
)
def test_every_spelling_of_a_name(name: str) -> None:
    assert chosen(Request(mailbox=name)) == ["user.joe.Entw&APw-rfe"]


@pytest.mark.parametrize("name", ["user/john.doe/Sent@example.com", "example.com!user.john^doe.Sent"])
def test_a_domain(name: str) -> None:
    assert chosen(Request(mailbox=name)) == ["example.com!user.john^doe.Sent"]


def test_what_is_below_a_mailbox() -> None:
    assert chosen(Request(mailbox="user/joe/Plans", recursive=True)) == ["user.joe.Plans", "user.joe.Plans.2023"]
    assert chosen(Request(mailbox="user/joe/Plans")) == ["user.joe.Plans"]


def test_what_is_below_a_name_that_is_no_mailbox() -> None:
    known = [one for one in KNOWN if one.mailbox.name != b"user.joe.Plans"]
    for name in ("user/joe/Plans", "user.joe.Plans"):
        (one,) = choose(known, Request(mailbox=name, recursive=True))
        assert one.mailbox.name == b"user.joe.Plans.2023"
    known = [one for one in known if not one.mailbox.name.startswith(b"DELETED")]
    with pytest.raises(UnusableError, match="user/joe/Plans: no mailbox itself; -r restores those below it"):
        choose(known, Request(mailbox="user/joe/Plans"))


def test_a_user() -> None:
    assert chosen(Request(user="joe")) == [
        "user.joe",
        "user.joe.Entw&APw-rfe",
        "user.joe.Plans",
        "user.joe.Plans.2023",
        "user.joe.Plans-old",
    ]
    assert chosen(Request(user="john.doe@example.com")) == ["example.com!user.john^doe.Sent"]


def test_all_but_what_is_deleted() -> None:
    assert chosen(Request()) == [*NAMES[1:3], *chosen(Request(user="joe")), "user.joe-2"]
    assert chosen(Request(deleted=True)) == [*chosen(Request()), NAMES[0]]
    assert chosen(Request(message=5, user="joe")) == [*chosen(Request(user="joe")), NAMES[0]]


def test_a_user_who_is_deleted() -> None:
    """Each mailbox as it was when it was last deleted."""
    names = ["65A00000", "Sent.65A00001", "Sent.65A00003", "Sent.65A00002"]
    known = [*KNOWN, *(located(f"DELETED.user.zoe.{name}") for name in names)]
    found = [one.mailbox.name.decode() for one in choose(known, Request(user="zoe"))]
    assert found == ["DELETED.user.zoe.65A00000", "DELETED.user.zoe.Sent.65A00003"]


def test_nobody() -> None:
    with pytest.raises(UnusableError, match="nobody: no mailbox of this user"):
        chosen(Request(user="nobody"))


def test_a_deleted_mailbox_is_named_where_its_former_name_is_asked_for() -> None:
    known = [one for one in KNOWN if one.mailbox.name != b"user.joe.Plans"]
    known = [one for one in known if one.mailbox.name != b"user.joe.Plans.2023"]
    with pytest.raises(UnusableError, match="no such mailbox; deleted ones of that name: DELETED/user/joe/Plans/65A0"):
        choose(known, Request(mailbox="user/joe/Plans"))
    assert chosen(Request(mailbox="DELETED/user/joe/Plans/65A00000")) == [NAMES[0]]


def test_when_and_what_a_deleted_mailbox_was() -> None:
    assert former_name(b"DELETED.user.joe.Plans.65A00000") == b"user.joe.Plans"
    assert former_name(b"example.com!DELETED.user.joe.Plans.65A00000") == b"example.com!user.joe.Plans"
    assert former_name(b"user.joe.Plans") is None
    assert deleted_at(b"DELETED.user.joe.Plans.65A00000") == 0x65A00000
    assert deleted_at(b"DELETED.user.joe.Plans.65A0000") is None
    assert deleted_at(b"user.joe.65A00000") is None


def test_a_name_cannot_move_the_cursor() -> None:
    assert shown(b"user.joe.\x1b[2J") == "user/joe/\\x1b[2J"
