"""What Cyrus's records of somebody leave behind when they are erased: nothing of the person, all of others."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest

from cyrsync.cyrus.mailbox import header, index
from cyrsync.cyrus.server import erasing
from cyrsync.cyrus.server.db import flat
from cyrsync.cyrus.server.db.reader import read as read_db
from cyrsync.cyrus.server.db.reader import records
from cyrsync.cyrus.server.erasing import Person
from cyrsync.cyrus.server.layout import user_of_name
from cyrsync.cyrus.server.mailboxes import read
from support.tree import DATA, unpack_spool

SPOOLS = sorted(path.name.removeprefix("cyrus-").removesuffix(".tar.xz") for path in DATA.glob("cyrus-*.tar.xz"))
LETTERED = (b"Iabc", b"%(T e N user\x1fsue P default V 1 A %())")
PREAMBLE = header.MAGIC.ljust(header.PREAMBLE_SIZE - 1, b"x") + b"\n"


def person(name: bytes, *called: bytes) -> Person:
    local = name.partition(b"@")[0]
    words = {local, local.replace(b".", b"^")}
    return Person(lambda mailbox: user_of_name(mailbox) == name, frozenset({name, *called}), tuple(words))


JOE = person(b"joe", b"joe@example.com")


@pytest.mark.parametrize("name", SPOOLS)
def test_records_of_a_user_are_left_out(name: str, tmp_path: Path) -> None:
    pairs = read_db(os.fsencode(unpack_spool(name, tmp_path) / "conf" / "mailboxes.db"))
    found = list(read(pairs))
    users = {user for one in found if (user := user_of_name(one.name)) is not None}
    assert len(users) >= 3
    for user in users:
        who = person(user)
        left, unreadable = erasing.of_mailboxes(pairs, who)
        assert not unreadable
        again = records(flat.written(left), b"")
        others = [one for one in found if user_of_name(one.name) != user]
        acls = [tuple(pair for pair in one.acl if not who.is_called(os.fsencode(pair[0]))) for one in others]
        assert list(read(again)) == [one._replace(acl=acl) for one, acl in zip(others, acls, strict=True)]
        # Nor does another record name them: by uniqueid, in reverse, or of a name it had before.
        names = [one.name.rpartition(b"!")[2].replace(b".", b"\x1f") for one in found if user_of_name(one.name) == user]
        assert not [key for key, value in again for part in names if part + b" " in value]
        assert not [key for key, _ in again if key.startswith(b"$")]


@pytest.mark.parametrize("name", SPOOLS)
def test_rights_of_a_user_are_left_out(name: str, tmp_path: Path) -> None:
    pairs = read_db(os.fsencode(unpack_spool(name, tmp_path) / "conf" / "mailboxes.db"))
    found = list(read(pairs))
    plain = [pair for pair in pairs if not pair[0].startswith(b"$")]
    for who in {os.fsencode(who).removeprefix(b"-") for one in found for who, _ in one.acl}:
        nobody = Person(lambda name: False, frozenset({who}), (who,))
        left, _ = erasing.of_mailboxes(pairs, nobody)
        again = list(read(records(flat.written(left), b"")))
        acls = [tuple(pair for pair in one.acl if not nobody.is_called(os.fsencode(pair[0]))) for one in found]
        assert again == [one._replace(acl=acl) for one, acl in zip(found, acls, strict=True)] != found
        assert erasing.of_mailboxes(left, nobody) == (left, [])
    for word in (b"nobody-of-this-name", b"lrs", b"default"):
        assert erasing.of_mailboxes(pairs, Person(lambda name: False, frozenset({word}), (word,)))[0] == plain


@pytest.mark.parametrize(
    ("value", "left"),
    [
        (b"0 default joe\tlrs\tann\tlr\t-joe\tw\t", b"0 default ann\tlr\t"),
        (b"default joe\tlrs\t", b"default "),
        (
            b"(uniqueid joe specialuse x) 0 default ann\tlr\tjoe\tl\t",
            b"(uniqueid joe specialuse x) 0 default ann\tlr\t",
        ),
        (b"0 joe!default joe\tlrs\t", b"0 joe!default "),
        (b"0 default joey\tlrs\t", b"0 default joey\tlrs\t"),
        (b'%(A %(joe lrs "x y" l -joe w) I joe P default V 5)', b'%(A %("x y" l) I joe P default V 5)'),
        (b'%(T e N "a\x1dx" P default A %(joe lrs) H ())', b'%(T e N "a\x1dx" P default A %() H ())'),
        (b"%(T e I joe P joe A %(joe@example.com lrs ann lr))", b"%(T e I joe P joe A %(ann lr))"),
        (b"%(T e I joe P joe A %(joey lrs))", b"%(T e I joe P joe A %(joey lrs))"),
        (rb'%(T e I joe P joe A %("j\oe" l ann lr))', b"%(T e I joe P joe A %(ann lr))"),
        (
            b"%(T e P p A %(ann lr) H (%(N user\x1fjoe\x1fOld M 5 T ed) %(N user\x1fann\x1fOld)))",
            b"%(T e P p A %(ann lr) H ())",
        ),
        (b"%(T e P p H (%(N user\x1fann\x1fjoe)))", b"%(T e P p H (%(N user\x1fann\x1fjoe)))"),
    ],
)
def test_nothing_but_rights_and_former_names_is_left_out(value: bytes, left: bytes) -> None:
    key, *others = (b"Nuser\x1fann", LETTERED) if value.startswith(b"%(T") else (b"user.ann",)
    assert erasing.of_mailboxes([(key, value), *others], JOE) == ([(key, left), *others], [])


@pytest.mark.parametrize(
    ("pair", "stays"),
    [
        ((b"AU\x1ejoe\x1euser\x1fann", b""), False),
        ((b"AU\x1e-joe\x1euser\x1fann", b""), False),
        ((b"AU\x1eann\x1euser\x1fjoe\x1fShared", b""), False),
        ((b"AS\x1eann\x1ejoe", b""), True),
        ((b"AU\x1ejoey\x1euser\x1fann", b""), True),
        ((b"Jjoe\x1e5", b"x"), False),
        ((b"Jann\x1e5", b"x"), True),
        ((b"Ijoe", b"%(T e N user\x1fann P default A %(ann lr))"), True),
        ((b"I5", b"%(T e N user\x1fjoe\x1fx P default A %(ann lr))"), False),
        ((b"\x1fVER\x1f", b"2"), True),
    ],
)
def test_other_kinds_of_records(pair: tuple[bytes, bytes], stays: bool) -> None:
    assert erasing.of_mailboxes([pair, LETTERED], JOE) == ([*([pair] if stays else []), LETTERED], [])


@pytest.mark.parametrize(
    "value",
    [
        b"%(T e A %(joe lrs P default)",
        b"%(T e A %(jo",
        b"joe",
        b"0 default joe",
        b"0 default ann\tlrs\tjoe",
        b"%joe",
        b"\x00\x01joe lrs\t",
        rb'%(A %("j\oe',
    ],
)
@pytest.mark.parametrize("key", [b"user.ann", b"user.joe", b"user.joe.Sent"])
def test_a_record_that_cannot_be_read_stays_only_if_it_cannot_name_the_user(key: bytes, value: bytes) -> None:
    pairs = [(b"user.sue", b"0 default joe\tlrs\tsue\tlr\t"), (key, value), (b"user.zoe", value.replace(b"o", b"x"))]
    stay, unreadable = erasing.of_mailboxes(pairs, JOE)
    named = key == b"user.ann" and erasing.dlist.mentions(value, [b"joe"])
    assert unreadable == ([key] if named else [])
    left = [] if named or b"joe" in key else [pairs[1]]
    assert stay == [(b"user.sue", b"0 default sue\tlr\t"), *left, pairs[2]]


def test_a_record_of_an_unknown_kind_that_may_name_the_user_is_left_out() -> None:
    pairs = [(b"Zjoe", b""), (b"Zann", b"x"), (b"Zeve", b"joe"), LETTERED]
    assert erasing.of_mailboxes(pairs, JOE) == ([pairs[1], LETTERED], [b"Zjoe", b"Zeve"])


def test_quotas_of_a_user_are_left_out() -> None:
    pairs = [(b"user.ann", b"0 5"), (b"user.joe", b"0 5"), (b"user.joe^doe", b"0 5"), (b"user.joe.Big", b"0 5")]
    assert erasing.of_quotas(pairs, JOE) == [pairs[0], pairs[2]]
    others = [(b"x\x1duser\x1fjoe", b"")]
    assert erasing.of_quotas([(b"user\x1fjoe", b"0 5"), *others], JOE) == others
    doe = person(b"joe.doe")
    assert erasing.of_quotas(pairs, doe) == [*pairs[:2], pairs[3]]


def test_subscriptions_to_a_users_mailboxes_are_left_out() -> None:
    """Their keys are internal names up to 3.4; from 3.6 they have a letter in front (V 3.6.1)."""
    stay = [(b"user.ann.joe", b""), (b"user.joey", b""), (b"News", b"")]
    assert erasing.of_subscriptions([*stay, (b"user.joe.Shared", b"")], JOE) == stay
    stay = [(b"\x1fVER\x1f", b"2"), (b"Nuser\x1fann\x1fjoe", b"")]
    assert erasing.of_subscriptions([*stay, (b"Nuser\x1fjoe\x1fShared", b"")], JOE) == stay


def test_who_is_denied_is_left_out() -> None:
    stay = [(b"ann", b"2\t*\tjoe"), (b"joey", b"")]
    assert erasing.of_denied([*stay, (b"joe", b"2\t*\t"), (b"joe@example.com", b"")], JOE) == stay


def test_annotations_of_messages() -> None:
    stay = [(b"5\0/comment\0\0", b"joe"), (b"5\0/comment\0ann\0", b"x"), (b"6\0/joe\0[.OwNeR.]\0", b"x"), (b"ann", b"")]
    lost = [(b"5\0/comment\0joe\0", b"x"), (b"joe is no key", b"")]
    assert erasing.of_annotations([*stay, *lost], JOE) == stay


@pytest.mark.parametrize(
    ("rest", "left"),
    [
        (
            b"user.ann\t5f\n$Work joe \njoe\tlrs\tann\tlr\t-joe\tw\t\nmore joe",
            b"user.ann\t5f\n$Work joe \nann\tlr\t\nmore joe",
        ),
        (
            b'%(T e N "user.ann.joe" I 5f A %(ann lr joe lrs -joe w) U (joe NIL x))\nmore',
            b'%(T e N "user.ann.joe" I 5f A %(ann lr) U (joe NIL x))\nmore',
        ),
        (b"%(T e N user.ann I 5f A %(joey lrs))\n", b"%(T e N user.ann I 5f A %(joey lrs))\n"),
    ],
)
def test_rights_in_a_header(rest: bytes, left: bytes) -> None:
    assert erasing.of_header(PREAMBLE + rest, JOE) == PREAMBLE + left


@pytest.mark.parametrize(
    "rest", [b"%(T e I 5f A %(joe", b"user.ann\t5f\n\njoe", b"%joe\n", b"user.ann\t5f\n\nann\tlr\tjoe\n"]
)
def test_a_header_that_cannot_be_read(rest: bytes) -> None:
    with pytest.raises(ValueError, match=r"."):
        erasing.of_header(PREAMBLE + rest, JOE)


@pytest.mark.parametrize("name", SPOOLS)
def test_headers_of_real_servers(name: str, tmp_path: Path) -> None:
    changed = 0
    for path in unpack_spool(name, tmp_path).rglob("cyrus.header"):
        before = path.read_bytes()
        found = header.read(before)
        for who, _ in found.acl:
            nobody = Person(lambda _: False, frozenset({who}), (who,))
            after = erasing.of_header(before, nobody)
            acl = tuple(pair for pair in found.acl if not nobody.is_called(pair[0]))
            assert header.read(after) == found._replace(acl=acl) != found
            _assert_fits(path.with_name("cyrus.index"), before, after)
            changed += 1
    assert changed


def _assert_fits(path: Path, before: bytes, after: bytes) -> None:
    """The index that was written with a header is made one that was written with another."""
    if not path.exists():
        return
    data = path.read_bytes()
    fit = index.with_header_file(data, before, after)
    minor = int.from_bytes(data[8:12], "big")
    if minor < 12:
        assert fit is None
        return
    assert fit is not None and index.head(fit) == index.head(data) is not None
    assert int.from_bytes(fit[96:100], "big") == zlib.crc32(after)
    assert index.with_header_file(fit, after, before) == data
    assert index.with_header_file(fit, before, after) is None
