"""The decision table: what is sent, what waits, what goes, for every way two folders can stand to each other."""

from __future__ import annotations

import errno
import stat
from array import array
from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrsync.ends.tree import Rights
from cyrsync.far.folder import Entry, Folder, Incarnation
from cyrsync.far.message_files import MessageFiles
from cyrsync.far.uids import above
from cyrsync.rsync.preserve import Preserve
from cyrsync.spool.compare import compare, gone, names_in_doubt, unchanged
from cyrsync.sync.folder_plan import State
from cyrsync.sync.policy import Policy

POLICY = Policy()
KEPT = {*Preserve._fields}
FILE = Entry(stat.S_IFREG | 0o600, 100, 10**18, "97:8:cyrus:mail", "")
LINK = Entry(stat.S_IFLNK | 0o777, 4, 10**18, "97:8:cyrus:mail", "to/a")
DEVICE = Entry(stat.S_IFCHR | 0o600, 0, 10**18, "97:8:cyrus:mail", "1281")
FIFO = Entry(stat.S_IFIFO | 0o600, 0, 10**18, "97:8:cyrus:mail", "")
DIRECTORY = Entry(stat.S_IFDIR | 0o700, 4096, 10**18, "97:8:cyrus:mail", "")
MAILBOX = Incarnation("3f1d0cb8", 1000, 10)


def kept_by(**words: Any) -> Policy:
    """The policy with these of its values, and of what is to be kept."""
    kept = {name: value for name, value in words.items() if name in KEPT}
    others = {name: value for name, value in words.items() if name not in KEPT}
    return replace(POLICY, preserve=POLICY.preserve._replace(**kept), **others)


def folder(*uids: int, **fields: Any) -> Folder:
    """A mailbox called user/joe that holds these messages."""
    known: dict[str, Any] = {"path": b"user/joe", "attributes": DIRECTORY, "incarnation": MAILBOX}
    messages = MessageFiles.of(array("I", uids), fields.pop("nonstandard", ()))
    return Folder(**{**known, "messages": messages, **fields})


@pytest.mark.parametrize(
    ("source", "replica", "state", "sent", "deleted"),
    [
        pytest.param(folder(1, 2), folder(1, 2), State.SAME, [], [], id="same"),
        pytest.param(folder(), folder(), State.SAME, [], [], id="both-empty"),
        pytest.param(folder(1, 2, 3), folder(1), State.CHANGED, [2, 3], [], id="new-messages"),
        pytest.param(folder(2), folder(1, 2), State.CHANGED, [], [1], id="expunged"),
        pytest.param(folder(2, 3), folder(1, 2), State.CHANGED, [3], [1], id="both-ways"),
        pytest.param(folder(), folder(1), State.CHANGED, [], [1], id="emptied"),
        pytest.param(folder(1, 2), None, State.NEW, [1, 2], [], id="new"),
        pytest.param(folder(), None, State.NEW, [], [], id="new-and-empty"),
        pytest.param(
            folder(1, 2),
            folder(1, 3, incarnation=Incarnation("other", 1000, 10)),
            State.RECREATED,
            [1, 2],
            [3],
            id="another-uniqueid",
        ),
        pytest.param(
            folder(1, 2),
            folder(1, 3, incarnation=Incarnation("3f1d0cb8", 1001, 10)),
            State.RECREATED,
            [1, 2],
            [3],
            id="another-uidvalidity",
        ),
        pytest.param(
            folder(1), folder(1, incarnation=Incarnation("3f1d0cb8", 1000, 9)), State.SAME, [], [], id="older-index"
        ),
        pytest.param(folder(1, 2, incarnation=None), folder(1), State.COMPARED, [1, 2], [], id="source-has-no-header"),
        pytest.param(folder(1, 2), folder(1, incarnation=None), State.COMPARED, [1, 2], [], id="replica-has-no-header"),
        pytest.param(
            folder(1, 2, incarnation=None),
            folder(1, 3, incarnation=None),
            State.COMPARED,
            [1, 2],
            [3],
            id="neither-has-a-header",
        ),
        pytest.param(folder(incarnation=None), folder(incarnation=None), State.SAME, [], [], id="no-mailboxes"),
        pytest.param(
            folder(incarnation=None), folder(1, incarnation=None), State.CHANGED, [], [1], id="no-messages-left"
        ),
        pytest.param(
            folder(1, 2), Folder(b"user/joe", problem=errno.EACCES), State.COMPARED, [1, 2], [], id="unreadable-replica"
        ),
        # UIDs above the source's last UID wait.
        pytest.param(folder(1, 11), folder(1), State.SAME, [], [], id="waits"),
        pytest.param(folder(9, 10, 11, 12), folder(9), State.CHANGED, [10], [], id="one-waits-not"),
        pytest.param(folder(1, 11), folder(1, 11), State.SAME, [], [], id="waits-and-is-not-deleted"),
        pytest.param(folder(1, 11), folder(1, 11, 12), State.CHANGED, [], [12], id="never-was"),
        # What lies above the replica's own last UID is not proven to be the message.
        pytest.param(
            folder(1, 8, 9),
            folder(1, 8, 9, incarnation=MAILBOX._replace(last_uid=8)),
            State.CHANGED,
            [9],
            [],
            id="unproven",
        ),
        pytest.param(
            folder(1, 8, 9),
            folder(1, 8, incarnation=MAILBOX._replace(last_uid=8)),
            State.CHANGED,
            [9],
            [],
            id="delivered-since",
        ),
        pytest.param(
            folder(1, 8, 11),
            folder(1, 8, 11, incarnation=MAILBOX._replace(last_uid=8)),
            State.SAME,
            [],
            [],
            id="unproven-waits",
        ),
        pytest.param(
            folder(1, 8),
            folder(1, 8, incarnation=MAILBOX._replace(last_uid=99)),
            State.COMPARED,
            [1, 8],
            [],
            id="ahead",
        ),
    ],
)
@pytest.mark.parametrize("one_by_one", [False, True])
def test_messages(
    source: Folder, replica: Folder | None, state: State, sent: list[int], deleted: list[int], one_by_one: bool
) -> None:
    plan = compare(source, replica, replace(POLICY, one_by_one=one_by_one))
    assert plan.state is state
    assert plan.whole is (bool(sent) and not one_by_one and state not in (State.SAME, State.CHANGED))
    assert list(plan.uids) == sent
    assert plan.messages_send == len(sent)
    assert list(plan.delete_uids) == deleted
    assert plan.messages_delete == len(deleted)
    assert plan.messages_seen == len(source.messages.uids)
    waiting = [uid for uid in source.messages.uids if source.incarnation and uid > MAILBOX.last_uid]
    if replica and state in (State.SAME, State.CHANGED):
        waiting = [uid for uid in waiting if uid not in replica.messages.uids]
    assert plan.messages_waiting == len(waiting)
    assert plan.replica_messages == (len(replica.messages.uids) if replica else 0)
    if state in (State.SAME, State.CHANGED):
        assert plan.messages_seen == plan.messages_present + plan.messages_waiting + plan.messages_send
    else:
        assert plan.messages_present == 0


@pytest.mark.parametrize(
    ("ours", "theirs", "under_index"),
    [
        (["cyrus.index", "cyrus.header"], ["cyrus.index", "cyrus.header"], True),
        (["cyrus.header"], ["cyrus.index", "cyrus.header"], False),  # nothing could be put in the index's place
        (["cyrus.index", "cyrus.header"], [], False),
    ],
)
def test_messages_that_may_be_replaced_under_an_index(ours: list[str], theirs: list[str], under_index: bool) -> None:
    source, replica = (folder(1, metadata={name.encode(): FILE for name in names}) for names in (ours, theirs))
    plan = compare(source, replica, POLICY, doubted=True)
    assert (plan.state, plan.under_index) == (State.COMPARED, under_index)
    both = {b"cyrus.header", b"cyrus.index"}
    assert {*plan.restored, *plan.metadata} >= both or not under_index
    assert not compare(source, replica, POLICY).under_index


def test_odd_names_are_messages_too() -> None:
    source, replica = folder(1, nonstandard=(b"007.", b"0.")), folder(1, nonstandard=(b"0.", b"99999999999."))
    plan = compare(source, replica, POLICY)
    assert (plan.nonstandard, plan.delete_files) == ((b"007.",), (b"99999999999.",))
    assert (plan.messages_seen, plan.messages_present, plan.messages_send, plan.messages_delete) == (3, 2, 1, 1)
    assert (plan.others_delete, plan.files_planned()) == (0, 1)


def test_odd_names_of_another_incarnation() -> None:
    replica = folder(nonstandard=(b"007.",), incarnation=None)
    plan = compare(folder(nonstandard=(b"007.",)), replica, replace(POLICY, one_by_one=True))
    assert (plan.state, plan.nonstandard, plan.messages_send) == (State.COMPARED, (b"007.",), 1)


@pytest.mark.parametrize(
    ("source", "whole"),
    [
        (folder(1, 2), True),
        (folder(nonstandard=(b"007.",)), True),
        (folder(), False),
        (folder(1, 11), False),  # a message has to wait
        (folder(1, path=b""), False),  # one entry for the root would be the whole tree
        (folder(1, path=b"user/cyrus.x"), False),  # a filter would hide it
        (folder(1, path=b"cyrus.x/joe"), True),
        (folder(1, path=b"#calendars"), True),
    ],
)
@pytest.mark.parametrize("renewed", [False, True])
def test_whole_or_one_by_one(source: Folder, whole: bool, renewed: bool) -> None:
    replica = source._replace(incarnation=Incarnation("other", 1, 1)) if renewed else None
    plan = compare(source, replica, POLICY)
    assert plan.whole is whole
    assert plan.state is (State.RECREATED if renewed else State.NEW)
    assert not compare(source, replica, replace(POLICY, one_by_one=True)).whole


@pytest.mark.parametrize(
    ("problem", "state"),
    [
        (errno.ENOENT, State.VANISHED),
        (errno.ENOTDIR, State.VANISHED),
        (errno.EACCES, State.UNREADABLE),
        (errno.EIO, State.UNREADABLE),
        (errno.ESTALE, State.UNREADABLE),
    ],
)
@pytest.mark.parametrize("replica", [None, folder(1, 2, metadata={b"cyrus.index": FILE}, leftovers=(b".1..AbCdEf",))])
def test_what_cannot_be_read_is_left_as_it_is(problem: int, state: State, replica: Folder | None) -> None:
    plan = compare(Folder(b"user/joe", problem=problem), replica, POLICY)
    assert plan.state is state
    assert not plan.sends()
    assert not plan.deletes()


def test_nothing_is_deleted_in_a_replica_folder_that_cannot_be_read() -> None:
    plan = compare(folder(1), Folder(b"user/joe", problem=errno.EACCES), POLICY)
    assert not plan.deletes()
    assert plan.touch


def test_metadata_and_strays() -> None:
    changed = FILE._replace(size=101)
    source = folder(
        metadata={b"cyrus.index": changed, b"cyrus.header": FILE, b"cyrus.cache": FILE, b"cyrus.x": None},
        other_files={b"same": LINK, b"new": FILE, b"other": changed},
    )
    replica = folder(
        metadata={b"cyrus.index": FILE, b"cyrus.header": FILE, b"cyrus.old": FILE, b"cyrus.x": FILE},
        other_files={b"same": LINK, b"other": FILE, b"old": FILE, b"gone": None},
    )
    plan = compare(source, replica, POLICY)
    assert plan.state is State.CHANGED
    assert (plan.metadata, plan.derived) == ((b"cyrus.index",), (b"cyrus.cache", b"cyrus.x"))
    assert plan.other_files == (b"new", b"other")
    assert (plan.metadata_seen, plan.other_files_seen, plan.files_planned()) == (4, 3, 5)
    assert plan.delete_files == (b"cyrus.old", b"gone", b"old")
    assert (plan.others_delete, plan.messages_delete) == (3, 0)


def test_all_metadata_of_another_mailbox_is_sent() -> None:
    """Neither its size nor its time tells it from the old one's."""
    same = {b"cyrus.header": FILE, b"cyrus.index": FILE}
    replica = folder(metadata=same, incarnation=Incarnation("other", 1000, 10))
    assert compare(folder(metadata=same), replica, POLICY).metadata == (b"cyrus.header", b"cyrus.index")
    assert compare(folder(metadata=same), folder(metadata=same), POLICY).metadata == ()


@pytest.mark.parametrize(
    ("source", "metadata", "state"),
    [
        (MAILBOX, {b"cyrus.header": FILE}, State.RECREATED),
        (MAILBOX, {b"cyrus.header": FILE, b"cyrus.index": FILE._replace(size=0)}, State.RECREATED),
        (MAILBOX, {b"cyrus.index": FILE}, State.RECREATED),
        (MAILBOX, {b"cyrus.index": FILE, b"cyrus.header": FILE}, State.COMPARED),
        (MAILBOX, {b"cyrus.index": None, b"cyrus.header": FILE}, State.COMPARED),
        (MAILBOX, {b"cyrus.index": FILE._replace(size=0)}, State.COMPARED),
        (MAILBOX, {}, State.COMPARED),
        (None, {b"cyrus.header": FILE}, State.COMPARED),
    ],
)
def test_a_run_that_died_while_it_put_another_mailbox_there(
    source: Incarnation | None, metadata: dict[bytes, Entry | None], state: State
) -> None:
    replica = folder(1, incarnation=None, metadata=metadata)
    assert compare(folder(1, incarnation=source), replica, POLICY).state is state


def test_everything_of_a_new_folder_is_sent() -> None:
    source = folder(1, metadata={b"cyrus.index": FILE}, other_files={b"x": LINK})
    plan = compare(source, None, POLICY)
    assert (plan.metadata, plan.other_files, plan.touch) == ((b"cyrus.index",), (b"x",), True)
    assert plan.files_planned() == 3


@pytest.mark.parametrize("skip", [False, True])
def test_skip_derived(skip: bool) -> None:
    metadata = {b"cyrus.cache": FILE, b"cyrus.index": FILE, b"cyrus.squat": FILE}
    policy = replace(POLICY, skip_derived=skip)
    expected = (b"cyrus.index",) if skip else (b"cyrus.cache", b"cyrus.index", b"cyrus.squat")
    plan = compare(folder(metadata=metadata), None, policy)
    assert (plan.metadata, plan.metadata_seen) == ((b"cyrus.index",), len(expected))
    assert plan.derived == (() if skip else (b"cyrus.cache", b"cyrus.squat"))
    plan = compare(folder(), folder(metadata=metadata), policy)
    assert (plan.delete_files, plan.others_delete) == (expected, len(expected))


@pytest.mark.parametrize(
    ("off", "found", "sent"),
    [
        ({}, LINK, True),
        ({"links": False}, LINK, False),
        ({"devices": False}, LINK, True),
        ({"devices": False}, DEVICE, False),
        ({"devices": False}, FIFO, False),
        ({"links": False, "devices": False}, FILE, True),
        ({"links": False, "devices": False}, None, True),
    ],
)
def test_strays_that_rsync_would_leave_out(off: dict[str, bool], found: Entry | None, sent: bool) -> None:
    plan = compare(folder(other_files={b"x": found}), folder(), kept_by(**off))
    assert plan.other_files == ((b"x",) if sent else ())
    assert plan.other_files_seen == sent


def with_(entry: Entry, **fields: Any) -> Entry:
    return entry._replace(**fields)


@pytest.mark.parametrize(
    ("source", "replica", "policy", "same"),
    [
        (FILE, FILE, {}, True),
        (FILE, None, {}, False),
        (None, FILE, {}, False),
        (None, None, {}, False),
        (FILE, FILE, {"own_quick_check": False}, False),
        (FILE, with_(FILE, size=101), {}, False),
        (FILE, with_(FILE, size=101), {"times": False, "perms": False}, False),
        (FILE, with_(FILE, mtime=10**18 + 1), {}, False),
        (FILE, with_(FILE, mtime=10**18 + 1), {"whole_seconds": True}, True),
        (FILE, with_(FILE, mtime=10**18 + 10**9), {"whole_seconds": True}, False),
        (FILE, with_(FILE, mtime=10**18 - 1), {"whole_seconds": True}, False),
        (with_(FILE, mtime=-1), with_(FILE, mtime=-(10**9)), {"whole_seconds": True}, True),
        (FILE, with_(FILE, mtime=10**18 + 1), {"times": False}, False),  # the quick check needs no -t
        (FILE, with_(FILE, mode=stat.S_IFREG | 0o640), {}, False),
        (FILE, with_(FILE, mode=stat.S_IFREG | 0o640), {"perms": False}, True),
        (FILE, with_(FILE, mode=stat.S_IFREG | 0o4600), {}, False),
        (FILE, with_(FIFO, mode=stat.S_IFIFO | 0o600, size=100), {"perms": False}, False),
        (LINK, LINK, {}, True),
        (LINK, with_(LINK, extra="to/b"), {}, False),
        (LINK, with_(LINK, extra="to/b"), {"times": False, "perms": False}, False),
        (LINK, with_(LINK, mtime=1), {}, False),
        (LINK, with_(LINK, mtime=1), {"times": False}, True),
        (LINK, with_(LINK, mode=stat.S_IFLNK | 0o755), {}, True),  # a link's mode cannot be set
        (DEVICE, DEVICE, {}, True),
        (DEVICE, with_(DEVICE, extra="1282"), {}, False),
        (DEVICE, with_(DEVICE, mode=stat.S_IFBLK | 0o600), {}, False),
        (FIFO, with_(FIFO, size=4096), {}, True),
    ],
)
def test_quick_check(source: Entry | None, replica: Entry | None, policy: dict[str, bool], same: bool) -> None:
    assert unchanged(source, replica, kept_by(**policy)) is same


ROOT, USER, IN_MAIL = Rights(), Rights(root=False), Rights(root=False, groups=frozenset({8}))


@pytest.mark.parametrize("listed", [0, 1])
def test_metadata_that_differs_though_it_is_listed_alike(listed: int) -> None:
    """Within one second, on a side whose listing has no more: rsync is to send it without a look at its time."""
    metadata = {b"cyrus.index": FILE, b"cyrus.header": FILE}
    pair = [folder(1, metadata=metadata), folder(1, metadata=metadata)]
    pair[listed] = pair[listed]._replace(differing=frozenset({b"cyrus.index"}))
    plan = compare(*pair, replace(POLICY, whole_seconds=True))
    assert (plan.metadata, plan.unseen, plan.state) == ((b"cyrus.index",), True, State.CHANGED)
    by_size = compare(*pair, replace(POLICY, size_only=True))
    assert (by_size.metadata, by_size.unseen) == ((), False)
    all_by_rsync = compare(*pair, replace(POLICY, own_quick_check=False))
    assert (all_by_rsync.metadata, all_by_rsync.unseen) == ((b"cyrus.header", b"cyrus.index"), False)


@pytest.mark.parametrize(
    ("source", "replica", "policy", "same"),
    [
        ("97:8:cyrus:mail", "97:8:cyrus:mail", {}, True),
        # By name, whatever the numbers.
        ("97:8:cyrus:mail", "101:12:cyrus:mail", {}, True),
        ("97:8:cyrus:mail", "97:8:news:mail", {}, False),
        ("97:8:cyrus:mail", "97:8:cyrus:news", {}, False),
        ("97:8:cyrus:mail", "97:8:news:news", {"owner": False, "group": False}, True),
        ("97:8:cyrus:mail", "97:8:news:mail", {"owner": False}, True),
        ("97:8:cyrus:mail", "97:8:cyrus:news", {"group": False}, True),
        # By number where there is no name.
        ("97:8::", "97:8::", {}, True),
        ("97:8::", "98:8::", {}, False),
        ("97:8::", "97:9::", {}, False),
        ("97:8::", "97:8:cyrus:mail", {}, True),
        ("97:8:cyrus:mail", "97:8::", {}, True),
        ("97:8:cyrus:mail", "98:8::mail", {}, False),
        # By number where that is asked for.
        ("97:8:cyrus:mail", "97:8:news:news", {"numeric_ids": True}, True),
        ("97:8:cyrus:mail", "98:8:cyrus:mail", {"numeric_ids": True}, False),
        ("97:8:cyrus:mail", "97:9:cyrus:mail", {"numeric_ids": True}, False),
        # What the receiving process cannot set is no difference.
        ("97:8:cyrus:mail", "0:0:root:root", {"rights": ROOT}, False),
        ("97:8:cyrus:mail", "0:0:root:root", {"rights": USER}, True),
        ("97:8:cyrus:mail", "97:0:cyrus:root", {"rights": IN_MAIL}, False),
        ("97:8:cyrus:mail", "0:8:root:mail", {"rights": IN_MAIL}, True),
        ("97:9:cyrus:news", "97:8:cyrus:mail", {"rights": IN_MAIL}, True),
        # A daemon's listing has no owners.
        ("97:8:cyrus:mail", "", {}, True),
        ("", "97:8:cyrus:mail", {}, True),
        ("", "", {"numeric_ids": True}, True),
    ],
)
def test_owners(source: str, replica: str, policy: dict[str, Any], same: bool) -> None:
    for entry in (FILE, LINK, FIFO):
        assert unchanged(with_(entry, owner=source), with_(entry, owner=replica), kept_by(**policy)) is same
    ours, theirs = (folder(attributes=with_(DIRECTORY, owner=owner)) for owner in (source, replica))
    assert compare(ours, theirs, kept_by(**policy)).touch is not same


THERE: dict[str, int | None] = {"user:cyrus": 105, "group:mail": 12, "user:news": None, "user:root": 3}


@pytest.mark.parametrize(
    ("source", "replica", "same"),
    [
        # The name is known there, and means that number; whatever the number here is called there.
        ("97:8:cyrus:mail", "105:12:cyrus:mail", True),
        ("97:8:cyrus:mail", "97:12::mail", False),
        ("97:8:cyrus:mail", "105:8:cyrus:", False),
        ("97:8:cyrus:mail", "97:12:other:mail", False),
        # It is not known there: the number is kept.
        ("9:8:news:mail", "9:12::mail", True),
        ("9:8:news:mail", "9:12:other:mail", True),
        ("9:8:news:mail", "105:12:cyrus:mail", False),
        # Nobody has asked.
        ("33:8:www:mail", "33:12::mail", True),
        ("33:8:www:mail", "33:12:other:mail", False),
        # 0 is 0 everywhere.
        ("0:8:root:mail", "3:12:root:mail", False),
        ("0:8:root:mail", "0:12:toor:mail", True),
    ],
)
def test_names_that_the_replicas_tree_knows(source: str, replica: str, same: bool) -> None:
    policy = replace(POLICY, numbers=THERE)
    assert unchanged(with_(FILE, owner=source), with_(FILE, owner=replica), policy) is same


INDEX = {b"cyrus.index": FILE}


@pytest.mark.parametrize(
    ("theirs", "policy", "state"),
    [
        ({"metadata": {b"cyrus.index": with_(FILE, mtime=1)}}, {}, State.CHANGED),
        ({"metadata": {b"cyrus.index": with_(FILE, owner="0:0:root:root")}}, {}, State.COMPARED),
        ({"metadata": {b"cyrus.index": with_(FILE, mode=stat.S_IFREG | 0o644)}}, {}, State.COMPARED),
        ({"attributes": with_(DIRECTORY, owner="0:0:root:root")}, {}, State.COMPARED),
        ({"attributes": with_(DIRECTORY, mode=stat.S_IFDIR | 0o755)}, {}, State.COMPARED),
        ({"attributes": with_(DIRECTORY, mode=stat.S_IFDIR | 0o755)}, {"perms": False}, State.SAME),
        ({"attributes": with_(DIRECTORY, mtime=1)}, {}, State.CHANGED),
        ({"attributes": None}, {}, State.CHANGED),
        ({"attributes": with_(DIRECTORY, owner="")}, {}, State.SAME),
        ({"attributes": with_(DIRECTORY, owner="0:0:root:root")}, {"rights": USER}, State.SAME),
    ],
)
def test_a_folder_with_other_attributes_is_compared(
    theirs: dict[str, Any], policy: dict[str, Any], state: State
) -> None:
    """Nobody has looked at the messages': they may be as wrong."""
    plan = compare(folder(1, 2, metadata=INDEX), folder(1, 2, **{"metadata": INDEX, **theirs}), kept_by(**policy))
    assert (plan.state, plan.doubted) == (state, state is State.COMPARED)
    assert plan.messages_send == (2 if plan.doubted else 0)


def test_names_in_doubt() -> None:
    ours = folder(attributes=with_(DIRECTORY, owner="97:8:cyrus:mail"), metadata={b"cyrus.index": FILE})
    theirs = folder(attributes=with_(DIRECTORY, owner="97:8::mail"), metadata={b"cyrus.index": with_(FILE, owner="")})
    assert names_in_doubt(ours, theirs) == {"user:cyrus"}
    assert names_in_doubt(ours, ours) == set()


@pytest.mark.parametrize(
    ("replica", "policy", "touch"),
    [
        (DIRECTORY, {}, False),
        (with_(DIRECTORY, size=8192), {}, False),
        (with_(DIRECTORY, mtime=1), {}, True),
        (with_(DIRECTORY, mtime=1), {"times": False}, False),
        (with_(DIRECTORY, mtime=1), {"dir_times": False}, False),
        (with_(DIRECTORY, mtime=10**18 + 1), {"whole_seconds": True}, False),
        (with_(DIRECTORY, mode=stat.S_IFDIR | 0o755), {}, True),
        (with_(DIRECTORY, mode=stat.S_IFDIR | 0o755), {"perms": False}, False),
        (DIRECTORY, {"own_quick_check": False}, True),
        (None, {}, True),
    ],
)
def test_the_folders_own_attributes(replica: Entry | None, policy: dict[str, bool], touch: bool) -> None:
    plan = compare(folder(), folder(attributes=replica), kept_by(**policy))
    assert plan.touch is touch
    assert plan.state is (State.CHANGED if touch else State.SAME)


def test_leftovers_of_the_replica_go() -> None:
    plan = compare(folder(1), folder(1, leftovers=(b".1..AbCdEf",)), POLICY)
    assert (plan.leftovers, plan.messages_delete, plan.others_delete) == ((b".1..AbCdEf",), 0, 0)
    assert plan.deletes()


def test_what_is_kept() -> None:
    plan = compare(folder(), folder(1), POLICY)
    assert plan.deletes()
    plan.keep()
    assert not plan.deletes()
    assert plan.messages_delete == 0


@pytest.mark.parametrize(
    ("source", "replica"),
    [
        (folder(5), folder(other_files={b"5.": LINK})),
        (folder(nonstandard=(b"007.",)), folder(other_files={b"007.": LINK})),
        (folder(folders=(b"5.",)), folder(5)),
        (folder(folders=(b"007.",)), folder(nonstandard=(b"007.",))),
        (folder(folders=(b"cyrus.x",)), folder(metadata={b"cyrus.x": FILE})),
        (folder(folders=(b"x",)), folder(other_files={b"x": FILE})),
        (folder(metadata={b"cyrus.x": None}), folder(metadata={b"cyrus.x": FILE})),
        (folder(other_files={b"x": None}), folder(other_files={b"x": FILE})),
        (folder(11), folder(11)),
    ],
)
def test_no_name_goes_that_the_source_has_as_something_else(source: Folder, replica: Folder) -> None:
    plan = compare(source, replica, POLICY)
    assert not plan.deletes()
    assert plan.messages_delete == plan.others_delete == 0


NAMES = [b"1.", b"5.", b"11.", b"007.", b"cyrus.index", b"cyrus.cache", b"stray", b"Sub"]
KINDS = {b"1.": "mf", b"5.": "mf", b"11.": "mf", b"007.": "mf", b"cyrus.index": "df", b"cyrus.cache": "df",
         b"stray": "sf", b"Sub": "sf"}  # fmt: skip


@st.composite
def folders(draw: st.DrawFn) -> Folder:
    """Any of the names, each as a file of its kind or as a folder."""
    names = draw(st.lists(st.sampled_from(NAMES), unique=True))
    kinds = {name: draw(st.sampled_from(KINDS[name])) for name in names}
    entries = st.none() | st.just(FILE) | st.just(with_(FILE, size=1))
    return folder(
        *sorted(int(name[:-1]) for name in names if kinds[name] == "m" and name != b"007."),
        nonstandard=(b"007.",) if kinds.get(b"007.") == "m" else (),
        metadata={name: draw(entries) for name in names if kinds[name] == "d"},
        other_files={name: draw(entries) for name in names if kinds[name] == "s"},
        folders=tuple(sorted(name for name in names if kinds[name] == "f")),
        incarnation=draw(st.sampled_from([None, MAILBOX, Incarnation("other", 1, 1)])),
    )


def names_of(found: Folder) -> set[bytes]:
    uids = {b"%d." % uid for uid in found.messages.uids}
    return uids | {*found.messages.nonstandard, *found.metadata, *found.other_files, *found.folders}


@given(folders(), folders(), st.booleans())
def test_deletions_are_what_only_the_replica_has(source: Folder, replica: Folder, skip_derived: bool) -> None:
    plan = compare(source, replica, replace(POLICY, skip_derived=skip_derived))
    goes = {b"%d." % uid for uid in plan.delete_uids} | set(plan.delete_files)
    derived = {b"cyrus.cache"} & replica.metadata.keys() if skip_derived else set()
    waiting = above(source.messages.uids, source.incarnation.last_uid) if source.incarnation else []
    # Of another mailbox nothing stays, also not under the name of a message that waits.
    strangers = {b"%d." % uid for uid in waiting} & names_of(replica) if plan.state is State.RECREATED else set()
    assert goes == (names_of(replica) - names_of(source) | strangers) - set(replica.folders) - derived
    assert plan.messages_delete + plan.others_delete == len(goes) == len(plan.delete_uids) + len(plan.delete_files)


def test_gone() -> None:
    replica = folder(1, 2, nonstandard=(b"007.",), metadata={b"cyrus.index": FILE}, other_files={b"x": None})
    plan = gone(replica)
    assert plan.state is State.GONE
    assert (plan.messages_delete, plan.others_delete, plan.replica_messages) == (3, 2, 3)
    assert plan.deletes()
    assert not plan.sends()
    assert gone(Folder(b"empty")).deletes()


def test_entries_are_paths() -> None:
    plan = compare(folder(metadata={b"cyrus.index": FILE}), None, POLICY)
    assert plan.entries(plan.metadata) == [b"user/joe/cyrus.index"]
    assert compare(folder(path=b""), None, POLICY).entries([b"x"]) == [b"x"]
