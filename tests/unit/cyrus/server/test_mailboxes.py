"""What the records of mailboxes.db say, in the form of every version."""

from __future__ import annotations

import json
import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrsync.cyrus.server import mailboxes
from cyrsync.cyrus.server.db.error import DbError
from cyrsync.cyrus.server.db.reader import read as read_db
from cyrsync.cyrus.server.mailboxes import Mailbox, internal_name, live, read
from support import campaign
from support.tree import DATA, unpack_spool

SPOOLS = sorted(path.name.removeprefix("cyrus-").removesuffix(".tar.xz") for path in DATA.glob("cyrus-*.tar.xz"))
#: Versions whose records hold no uniqueid and no UIDVALIDITY.
BARE = ("2.3.12-plain",)
NEW = (b"Iabc", b"%(T e N user\x1fjoe P default V 1 A %())")


def one(key: bytes, value: bytes, *others: tuple[bytes, bytes]) -> Mailbox:
    """What is read of the first of some records."""
    return next(mailbox for mailbox in read([(key, value), *others]))


@pytest.mark.parametrize("name", SPOOLS)
def test_real_servers(name: str, tmp_path: Path) -> None:
    box = unpack_spool(name, tmp_path)
    truth: list[dict[str, Any]] = json.loads((box / "truth.json").read_text())["mailboxes"]
    found = {os.fsdecode(m.name): m for m in read(read_db(os.fsencode(box / "conf" / "mailboxes.db")))}
    assert found.keys() - {m["name"] for m in truth} == {n for n, m in found.items() if m.intermediate}
    assert found.keys() >= {m["name"] for m in truth}
    for known in truth:
        mailbox = found[known["name"]]
        assert mailbox.deleted is known["tombstone"]
        assert live(mailbox) is not known["tombstone"]
        if known["tombstone"]:
            continue
        assert mailbox.partition == known["partition"]
        assert (mailbox.uniqueid, mailbox.uidvalidity) in (
            [("", 0)] if name in BARE else [(known["uniqueid"], v) for v in (0, known["uidvalidity"])]
        )
        assert mailbox.legacy is ("/uuid/" not in known["datadir"])
        assert dict(mailbox.acl) == acl_of(box, known["name"])
        assert mailbox.kind == ("e" if name[:3] in ("3.6", "3.8") or name.startswith("3.13") else "")
        assert not mailbox.moving and not mailbox.reserved and not mailbox.remote


def acl_of(box: Path, name: str) -> dict[str, str]:
    """What `ctl_mboxlist -d` says: lines of name, TAB, type, partition, ACL up to 3.4, JSON from 3.6."""
    dump = (box / "mailboxes.txt").read_text()
    if dump.startswith("{"):
        acl: dict[str, str] = json.loads(dump)[name]["acl"]
        return acl
    for line in dump.splitlines():
        if line.startswith(name + "\t"):
            words = line.partition("\t")[2].split(" ", 2)[2].split("\t")
            return dict(zip(words[::2], words[1::2], strict=False))
    raise KeyError(name)


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"0 default joe\tlrs\tann\tl\t", {"partition": "default", "acl": (("joe", "lrs"), ("ann", "l"))}),
        (b"default joe\tlrs\t", {"partition": "default"}),  # 2.2
        (b"0 default ", {"partition": "default", "acl": ()}),
        (b"1 there!part2 joe\tlrs\t", {"partition": "part2", "remote": "there"}),
        (b"1 there joe\tlrs\t", {"partition": "", "remote": "there"}),
        (b"2 default ", {"reserved": True}),
        (b"9 there!default ", {"moving": True, "remote": "there"}),
        (b"16  ", {"deleted": True, "partition": ""}),
        (b"36 default ", {"kind": "nc"}),
        (b"(uniqueid abc specialuse \\Sent) 0 default joe\tl\t", {"uniqueid": "abc", "partition": "default"}),
        (b"%(A %(joe lrs) I abc P default V 5 M 6)", {"uniqueid": "abc", "uidvalidity": 5, "acl": (("joe", "lrs"),)}),
        (b"%(I abc T d V 5 F 7 M 6)", {"deleted": True, "uidvalidity": 5}),
        (b"%(T i M 6)", {"intermediate": True}),
        (b"%(A %() I abc P part2 S there T r)", {"remote": "there", "partition": "part2"}),
        (b"%(A %() P default T am)", {"kind": "a", "moving": True}),
    ],
)
def test_records_up_to_3_4(value: bytes, expected: dict[str, object]) -> None:
    mailbox = one(b"user.joe.Sent", value)._asdict()
    assert mailbox["name"] == b"user.joe.Sent" and mailbox["legacy"]
    assert {key: mailbox[key] for key in expected} == expected


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (b"%(T e I abc P default V 5 C 1 F 2 M 6 A %(joe lrs))", {"uniqueid": "abc", "legacy": False, "kind": "e"}),
        (b'%(T el I abc P "a b" V 5 A %("jane doe" lrs))', {"legacy": True, "partition": "a b"}),
        (b"%(T ed I abc V 5 M 6)", {"deleted": True, "acl": ()}),
        (b"%(T ez I abc P default)", {"reserved": True}),
        (b"%(T cmr I abc P default S there)", {"kind": "c", "moving": True, "remote": "there"}),
    ],
)
def test_records_from_3_6(value: bytes, expected: dict[str, object]) -> None:
    mailbox = one(b"Nexample.com\x1duser\x1fjohn.doe\x1fSent", value, NEW)._asdict()
    assert mailbox["name"] == b"example.com!user.john^doe.Sent"
    assert {key: mailbox[key] for key in expected} == expected


def test_keys_that_are_no_mailboxes() -> None:
    old = [(b"$RACL", b"3"), (b"$RUNQ$abc$user.joe", b""), (b"\x1fVER\x1f", b"2"), (b"user.joe", b"0 default ")]
    assert [mailbox.name for mailbox in read(old)] == [b"user.joe"]
    others = [(b"AU\x1ejoe\x1euser\x1fjoe", b"lrs"), (b"J\x1ex", b""), (b"\x1fVER\x1f", b"2"), (b"$RACL", b"1")]
    assert [m.name for m in read([*others, NEW, (b"Nuser\x1fjoe", b"%(T e P default)")])] == [b"user.joe"]
    assert list(read([])) == []


@pytest.mark.parametrize(
    "value", [b"0 default joe\tlrs\t", b"%(A %(joe lrs) I abc P default V 5)", b"%(I abc T d V 5)", b"%(T i M 6)"]
)
def test_mailboxes_up_to_3_4_that_begin_like_the_keys_of_3_6(value: bytes) -> None:
    names = [b"AU", b"INBOX", b"Iabc", b"Jobs", b"News", b"Nxyz"]
    assert [mailbox.name for mailbox in read([(name, value) for name in names])] == names


def test_a_servers_own_name_in_a_record() -> None:
    mailbox = one(b"user.joe", b"%(A %() P default S imap1)")
    assert not live(mailbox)
    assert not live(mailbox, "imap2")
    assert live(mailbox, "imap1")
    assert not live(mailbox._replace(deleted=True), "imap1")


@pytest.mark.parametrize(
    "value",
    [
        b"",
        b"nonsense",
        b"0  joe\tlrs\t",
        b"%(P default",
        b"%(A (joe lrs) P default)",
        b"%(P default V x)",
        "%(P default V \N{SUPERSCRIPT TWO})".encode(),
        b"%(P (default))",
        b"%(A %() I abc V 5)",
        b"%x",
    ],
)
def test_a_value_that_cannot_be_read_is_an_error_that_names_the_key(value: bytes) -> None:
    with pytest.raises(DbError, match=r"user\.joe"):
        list(read([(b"user.joe", value)]))
    with pytest.raises(DbError, match=r"user\\x1fjoe"):
        list(read([NEW, (b"Nuser\x1fjoe", value)]))


@given(st.binary(max_size=60), st.booleans())
def test_any_value_is_read_or_refused(value: bytes, new: bool) -> None:
    try:
        list(read([NEW, (b"Nuser\x1fjoe", value)] if new else [(b"user.joe", value)]))
    except DbError:
        pass


@campaign.slow()
@given(
    st.from_regex(mailboxes._USUAL, fullmatch=True),
    st.data(),
    st.sampled_from([*b'()%{" \\\r\n\0AINPTV', 0xC2, 0xB2]),
)
def test_what_is_read_at_once_is_what_the_parser_finds(value: bytes, data: st.DataObject, byte: int) -> None:
    at = data.draw(st.integers(0, len(value) - 1))
    before, behind = value[:at] + bytes([byte]), value[at:]
    for altered in (value, before + behind, before + behind[1:]):
        found = mailboxes._usual(altered)
        assert found is None or found == mailboxes._general(altered)


@pytest.mark.parametrize("name", [name for name in SPOOLS if name not in BARE])
def test_real_records_are_usual(name: str, tmp_path: Path) -> None:
    pairs = read_db(os.fsencode(unpack_spool(name, tmp_path) / "conf" / "mailboxes.db"))
    values = [value for key, value in pairs if b" P " in value and not key.startswith(b"I")]
    usual = [value for value in values if mailboxes._usual(value) == mailboxes._general(value)]
    assert len(values) > 20 and len(usual) > 0.8 * len(values)


def test_internal_names() -> None:
    assert internal_name(b"user\x1fa.b\x1fx y") == b"user.a^b.x y"
    assert internal_name(b"example.com\x1duser\x1fa.b") == b"example.com!user.a^b"
    assert internal_name(b"DELETED\x1fuser\x1fjoe\x1fDrop\x1f6B039BF6") == b"DELETED.user.joe.Drop.6B039BF6"
