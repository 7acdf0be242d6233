"""What is read of real servers' mailboxes is what those servers said: messages, dates, flags and contents."""

from __future__ import annotations

import calendar
import hashlib
import os
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from cyrsync.cyrus.mailbox import records
from cyrsync.errors import UnusableError
from cyrsync.history import contents, reading
from cyrsync.history.choose import Request, choose
from cyrsync.history.mailbox_files import Unreadable
from cyrsync.history.reading import read
from cyrsync.history.selected import Annotation, Message, Selection
from cyrsync.history.tree import Tree, open_tree
from support.boxes import NAMES, Box


def opened(box: Box, conf: bool = True) -> Tree:
    return open_tree(os.fsencode(box.root), str(box.conf) if conf else None)


def selections(tree: Tree, request: Request) -> dict[str, Selection]:
    unreadable: list[str] = []
    found = {one.mailbox.name.decode(): one for one in reading.selections(tree, request, unreadable.append)}
    assert not unreadable
    return found


def seconds(internaldate: str) -> int:
    day, clock, _ = internaldate.split()
    return calendar.timegm(time.strptime(f"{day} {clock}", "%d-%b-%Y %H:%M:%S"))


def in_state(mailbox: dict[str, Any], state: str) -> dict[int, dict[str, Any]]:
    return {one["uid"]: one for one in mailbox["messages"] if one["state"] == state}


def check(message: Message, true: dict[str, Any], *, seen: bool = True) -> None:
    assert message.size == true["size"]
    assert message.internaldate == seconds(true["internaldate"])
    assert set(message.flags) - {"\\Seen"} == set(true["flags"]) - {"\\Seen", "\\Recent"}
    if true.get("seen_by_owner") is not None and seen:
        assert ("\\Seen" in message.flags) == true["seen_by_owner"]
    assert hashlib.sha1(contents.whole(message)).hexdigest() == true["sha1"]


@pytest.mark.parametrize("by", ["mailboxes.db", "directories"])
@pytest.mark.parametrize("name", NAMES)
def test_real_servers(tmp_path: Path, name: str, by: str) -> None:
    box = Box(name, tmp_path)
    if by == "directories":
        (box.root / "conf" / "mailboxes.db").unlink()
    tree = opened(box)
    found = selections(tree, Request(deleted=True))
    assert found.keys() == {mailbox["name"] for mailbox in box.mailboxes}
    for true in box.mailboxes:
        one = found[true["name"]]
        visible = in_state(true, "visible")
        assert (one.count, one.size) == (len(visible), sum(message["size"] for message in visible.values()))
        assert (one.mailbox.uidvalidity, one.mailbox.uniqueid) == (true["uidvalidity"], true["uniqueid"])
        assert one.mailbox.deleted == true["deleted"]
        assert [message.uid for message in one.messages()] == sorted(visible)
        for message in one.messages():
            # What is in john^doe.seen of 2.3 newer servers do not find.
            check(message, visible[message.uid], seen="^" not in true["name"])
    assert [f"{box.root}/conf/mailboxes.db" in line for line in tree.warnings] == [True] * (by == "directories")


@pytest.mark.parametrize("name", NAMES)
def test_expunged_messages_that_still_have_their_files(tmp_path: Path, name: str) -> None:
    box = Box(name, tmp_path)
    found = selections(opened(box), Request(only_expunged=True, deleted=True))
    for true in box.mailboxes:
        expunged = in_state(true, "expunged")
        assert sorted(message.uid for message in found[true["name"]].messages()) == sorted(expunged)
        for message in found[true["name"]].messages():
            assert message.expunged
            assert hashlib.sha1(contents.whole(message)).hexdigest() == expunged[message.uid]["sha1"]


@pytest.mark.parametrize("at", [4, 32], ids=["a date", "the flags"])
@pytest.mark.parametrize("whose", ["its own", "another's"])
def test_no_expunged_message_is_told_of_by_an_index_with_a_damaged_record(tmp_path: Path, whose: str, at: int) -> None:
    box = Box("3.4.9-plain", tmp_path)
    mailbox = box.mailbox("user.joe")
    path = Path(box.root / mailbox["datadir"] / "cyrus.index")
    expunged = min(in_state(mailbox, "expunged"))
    request = Request(mailbox="user/joe", only_expunged=True)
    assert expunged in [one.uid for one in selections(opened(box), request)["user.joe"].messages()]
    data = bytearray(path.read_bytes())
    index = records.read(bytes(data))
    live = next(number for number, is_live in enumerate(index.live) if is_live)
    number = index.uids.index(expunged) if whose == "its own" else live
    data[index.header.start_offset + number * index.header.record_size + at] ^= 0x80
    path.write_bytes(data)
    unreadable: list[str] = []
    assert not list(reading.selections(opened(box), request, unreadable.append))
    assert "wrong CRC of a record" in unreadable[0]


def names(box: Box) -> list[str]:
    return [mailbox["name"] for mailbox in box.mailboxes]


@pytest.mark.parametrize("name", NAMES)
def test_a_tree_without_an_imapd_conf(tmp_path: Path, name: str) -> None:
    """Where the mailboxes are is found by looking: partitions begin before `user` and `uuid`, metapartitions too."""
    box = Box(name, tmp_path)
    found = selections(opened(box, conf=False), Request(deleted=True))
    assert sorted(found) == sorted(names(box))
    for true in box.mailboxes:
        visible = in_state(true, "visible")
        assert [message.uid for message in found[true["name"]].messages()] == sorted(visible)
        for message in found[true["name"]].messages():
            # Up to 2.3, the owner's \\Seen is in a file of the configdirectory.
            check(message, visible[message.uid], seen="2.3.12" not in name)


def test_one_message_by_its_guid(tmp_path: Path) -> None:
    box = Box("3.4.9-plain", tmp_path)
    true = next(iter(in_state(box.mailbox("user.joe"), "visible").values()))
    request = Request(mailbox="user/joe", message=bytes.fromhex(true["sha1"]))
    (one,) = selections(opened(box), request)["user.joe"].messages()
    check(one, true)


def test_one_message_by_its_uid(tmp_path: Path) -> None:
    box = Box("2.3.12-plain", tmp_path)
    true = next(iter(in_state(box.mailbox("user.joe"), "expunged").values()))
    (one,) = selections(opened(box), Request(mailbox="user/joe", message=true["uid"]))["user.joe"].messages()
    assert one.uid == true["uid"] and one.expunged


def test_annotations(tmp_path: Path) -> None:
    found = selections(opened(Box("3.6.1-rich", tmp_path)), Request())
    annotated = {
        (name, message.uid, one)
        for name, selection in found.items()
        for message in selection.messages()
        for one in message.annotations
    }
    assert {one for _, _, one in annotated} == {
        Annotation(b"/comment", b"", b"a note", 0x7D),
        Annotation(b"/comment", b"", b"a note", 0x7F),
    }


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box("3.4.9-plain", tmp_path)


def joes(box: Box, name: str) -> Path:
    return Path(box.root / box.mailbox("user.joe")["datadir"] / name)


def test_a_message_that_is_not_what_its_record_says(box: Box) -> None:
    path = joes(box, "1.")
    path.write_bytes(path.read_bytes()[::-1])
    bad = joes(box, "3.")
    bad.unlink()
    bad.symlink_to(joes(box, "4."))
    found = {one.uid: one for one in selections(opened(box), Request(mailbox="user/joe"))["user.joe"].messages()}
    for uid, reason in ((1, "SHA-1"), (3, "symbolic link")):
        with pytest.raises(contents.Damaged, match=rf"UID {uid}: .*{reason}"):
            contents.whole(found[uid])
    contents.whole(found[4])


@pytest.mark.parametrize("name", ["cyrus.header", "cyrus.index"])
def test_a_mailbox_that_cannot_be_read(box: Box, name: str) -> None:
    tree = opened(box)
    (place,) = choose(tree.mailboxes, Request(mailbox="user/joe"))
    for damage in (lambda: joes(box, name).write_bytes(b"none"), joes(box, name).unlink):
        damage()
        with pytest.raises(Unreadable, match=r"^user/joe: "):
            read(tree, place, Request())


def test_a_record_with_a_wrong_crc_is_not_restored_by_its_guid(box: Box) -> None:
    true = in_state(box.mailbox("user.joe"), "visible")[4]
    path = joes(box, "cyrus.index")
    data = bytearray(path.read_bytes())
    data[data.index(bytes.fromhex(true["sha1"])) - 50] ^= 1
    path.write_bytes(data)
    tree = opened(box)
    request = Request(mailbox="user/joe", message=bytes.fromhex(true["sha1"]))
    with pytest.raises(Unreadable, match="CRC"):
        read(tree, choose(tree.mailboxes, request)[0], request)


def test_annotations_that_cannot_be_read_cost_only_themselves(box: Box) -> None:
    joes(box, "cyrus.annotations").write_bytes(b"\xa1\x02\x8b\x0dtwoskip file\0\0\0\0" + bytes(60))
    tree = opened(box)
    assert selections(tree, Request(mailbox="user/joe"))["user.joe"].count == 28
    assert [line.partition(": cyrus")[0] for line in tree.warnings] == [
        "user/joe: the annotations of its messages are left out"
    ]


def test_a_list_of_expunged_messages_that_a_newer_cyrus_has_left_over(box: Box, tmp_path: Path) -> None:
    """Its UIDs may be other messages' by now."""
    old = Box("2.3.12-plain", tmp_path / "old")
    left = old.root / old.mailbox("user.joe")["datadir"] / "cyrus.expunge"
    joes(box, "cyrus.expunge").write_bytes(left.read_bytes())
    for request in (Request(mailbox="user/joe", only_expunged=True), Request(mailbox="user/joe", every=True)):
        one = selections(opened(box), request)["user.joe"]
        uids = [message.uid for message in one.messages()]
        assert len(uids) == len(set(uids)) and b"cyrus.expunge" not in one.metadata


def test_a_message_that_2_3_has_brought_back_is_there_once(tmp_path: Path) -> None:
    """Its record may stay in cyrus.expunge."""
    box = Box("2.3.12-plain", tmp_path)
    expunge, index = joes(box, "cyrus.expunge"), joes(box, "cyrus.index")
    expunge.write_bytes(index.read_bytes())
    for request, count in ((Request(only_expunged=True), 0), (Request(every=True), 28)):
        assert selections(opened(box), replace(request, mailbox="user/joe"))["user.joe"].count == count


@pytest.mark.parametrize("name", ["", "x"])
def test_no_mailbox_has_no_name(tmp_path: Path, name: str) -> None:
    """Up to 2.4, mailboxes.db knows no uniqueids."""
    with pytest.raises(UnusableError, match="no such mailbox"):
        selections(opened(Box("2.3.12-plain", tmp_path)), Request(mailbox=name))


def test_no_message_has_no_guid(tmp_path: Path) -> None:
    assert selections(opened(Box("2.3.12-plain", tmp_path)), Request(message=bytes(20))) == {}
