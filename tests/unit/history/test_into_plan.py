"""What is done to a server's mailbox, by what the server has."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, replace
from typing import Any

import pytest

from cyrsync.history.into_plan import Action, Had, decide
from cyrsync.history.selected import Mailbox, Message, Selection
from cyrsync.history.sync_apply import Remote, RemoteMessage

MAILBOX = Mailbox(b"user.joe.Work", "e", "default", "abc", 7, 9, 30, 0, (), None, (), False, False)
MESSAGES = [Message(uid, bytes([uid]) * 20, 5, 0, (), 1, 0, False, False, 0, ()) for uid in (1, 2, 3)]
WORK = Remote(b"user.joe.Work", "abc", 7, 9, 30, b"default")


@dataclass
class Server:
    """What a server has, for one that is asked."""

    has: tuple[Remote, ...] = ()
    records: tuple[RemoteMessage, ...] = ()

    def mailbox(self, name: bytes) -> Remote | None:
        return next((one for one in self.has if one.name == name), None)

    def with_uniqueid(self, uniqueid: str) -> Remote | None:
        return next((one for one in self.has if one.uniqueid == uniqueid), None)

    def of_user(self, user: bytes) -> list[Remote]:
        return [one for one in self.has if b"user." + user in one.name]

    def messages(self, _name: bytes) -> Iterator[RemoteMessage]:
        return iter(self.records)


def selection(mailbox: Mailbox = MAILBOX) -> Selection:
    return Selection(mailbox, 3, 0, 15, lambda: iter(MESSAGES), {}, (b"", b""))


def record(uid: int, *, expunged: bool = False) -> RemoteMessage:
    return RemoteMessage(uid, bytes([uid]) * 20, frozenset(), expunged)


def named(name: bytes, **changes: Any) -> Remote:
    return replace(WORK, name=name, **changes)


CASES = {
    "nothing": ((), Action.MAKE, b"user.joe.Work"),
    "the mailbox": ((WORK,), Action.APPEND, b"user.joe.Work"),
    "another of the name": ((replace(WORK, uniqueid="x", last_uid=0),), Action.APPEND, b"user.joe.Work"),
    "left over": ((replace(WORK, last_uid=0),), Action.MAKE_OVER_EMPTY, b"user.joe.Work"),
    "deleted": ((named(b"DELETED.user.joe.Work.5F3A1B2C"),), Action.RENAME_BACK, b"user.joe.Work"),
    "another prefix": ((named(b"GONE.user.joe.Work.5F3A1B2C"),), Action.RENAME_BACK, b"user.joe.Work"),
    "left over, deleted": (
        (named(b"DELETED.user.joe.Work.5F3A1B2C", last_uid=0),),
        Action.MAKE_OVER_EMPTY,
        b"user.joe.Work",
    ),
    "renamed": ((named(b"user.joe.Projects"),), Action.MAKE_ANEW, b"user.joe.Work"),
    "renamed and deleted": ((named(b"DELETED.user.joe.Projects.5F3A1B2C"),), Action.MAKE_ANEW, b"user.joe.Work"),
    "another's": ((named(b"DELETED.user.joe.Work"),), Action.MAKE_ANEW, b"user.joe.Work"),
}


@pytest.mark.parametrize(("has", "action", "name"), CASES.values(), ids=CASES)
def test_decisions(has: tuple[Remote, ...], action: Action, name: bytes) -> None:
    plan = decide(Server(has), selection(), "user/joe/Work", frozenset())  # type: ignore[arg-type]
    assert (plan.action, plan.name) == (action, name)
    assert bool(plan.note) == (action is Action.MAKE_ANEW)


def test_what_is_deleted_here_comes_back_under_its_own_name() -> None:
    mailbox = replace(MAILBOX, name=b"a.org!GONE.user.joe.Work.5F3A1B2C", deleted=True)
    plan = decide(Server(), selection(mailbox), "", frozenset())  # type: ignore[arg-type]
    assert (plan.action, plan.name) == (Action.MAKE, b"a.org!user.joe.Work")


def test_a_server_that_leaves_its_domain_out() -> None:
    has = (named(b"DELETED.user.joe.Work.5F3A1B2C"),)
    mailbox = replace(MAILBOX, name=b"a.org!user.joe.Work")
    plan = decide(Server(has), selection(mailbox), "", frozenset())  # type: ignore[arg-type]
    assert (plan.action, plan.name) == (Action.RENAME_BACK, b"user.joe.Work")


@pytest.mark.parametrize("uniqueid", ["", "../../../etc", "a b", "x" * 65, "a\n"])
def test_a_uniqueid_is_no_path(uniqueid: str) -> None:
    plan = decide(Server(), selection(replace(MAILBOX, uniqueid=uniqueid)), "x", frozenset())  # type: ignore[arg-type]
    assert plan.action is Action.MAKE_ANEW


def test_what_is_left_out() -> None:
    server: Any = Server((WORK, named(b"user.joe")), (record(1), record(2, expunged=True)))
    plan = decide(server, selection(), "", frozenset())
    assert [one.uid for one in plan.messages()] == [2, 3]
    plan = decide(server, selection(), "", Had(server).by(b"user.joe.Work"))
    assert [one.uid for one in plan.messages()] == [3]
