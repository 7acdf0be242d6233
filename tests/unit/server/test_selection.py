"""What of a server belongs to a part: mailboxes by name or path, files by their path or the uniqueid of INBOX."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrsync.cyrus.server import config
from cyrsync.cyrus.server.conf_files import FileOwner
from cyrsync.server.selection import Selection
from cyrsync.state.location_table import MailboxName
from cyrsync.state.mailbox_row import Key
from cyrsync.sync.part import Part

JOE, JANE = Part(frozenset(["joe"])), Part(frozenset(["jane.doe@example.com"]))
FAST = Part(partitions=frozenset(["fast"]))
ID = b"uuid/a/b/ab12"


def selection(part: Part, directory: Path, *names: MailboxName, conf: str = "") -> Selection:
    path = directory / "imapd.conf"
    path.write_text(f"configdirectory: /conf\npartition-default: /spool\npartition-fast: /fast\n{conf}")
    found = Selection(part, config.read(str(path)))
    found.learn(names)
    return found


def named(name: bytes, path: bytes = b"", partition: str = "default", is_live: bool = True) -> MailboxName:
    return MailboxName(Key(partition, path or name.replace(b".", b"/")), name, is_live)


@pytest.mark.parametrize(
    ("part", "name", "belongs"),
    [
        (JOE, b"user.joe", True),
        (JOE, b"user.joe.Sent", True),
        (JOE, b"DELETED.user.joe.Sent.5F3A1B2C", True),
        (JOE, b"DELETED.user.joe.5F3A1B2C", True),
        (JOE, b"user.joe1", False),
        (JOE, b"user.joe^x", False),
        (JOE, b"user", False),
        (JOE, b"joe", False),
        (JOE, b"shared.user.joe", False),
        (JOE, b"example.com!user.joe", False),
        (JANE, b"example.com!user.jane^doe.Sent", True),
        (JANE, b"example.com!DELETED.user.jane^doe.Sent.5F3A1B2C", True),
        (JANE, b"user.jane^doe", False),
        (FAST, b"user.joe", False),
    ],
)
def test_mailboxes_by_name(tmp_path: Path, part: Part, name: bytes, belongs: bool) -> None:
    for path in (ID, b"user/somebody"):
        assert selection(part, tmp_path).has("default", path, name) == belongs


@pytest.mark.parametrize(
    ("part", "path", "belongs", "may"),
    [
        (JOE, b"j/user/joe/Sent", True, True),
        (JOE, b"u/DELETED/user/joe/Sent/5F3A1B2C", True, True),
        (JOE, b"j/user", False, True),
        (JOE, b"", False, True),
        (JOE, b"j/user/jim", False, False),
        (JOE, b"a/user", False, False),
        (JOE, ID, False, True),  # only its header tells
        (JOE, b"uuid", False, True),
        (JANE, b"domain/e/example.com/j/user/jane^doe", True, True),
        (JANE, b"domain/e/example.org", False, False),
        (FAST, b"j/user/joe", False, False),
    ],
)
def test_mailboxes_by_path(tmp_path: Path, part: Part, path: bytes, belongs: bool, may: bool) -> None:
    found = selection(part, tmp_path)
    assert (found.has("default", path, None), found.may_have("default", path, None)) == (belongs, may)
    assert found.may_have("fast", path, None) == (may or part is FAST)
    assert found.is_known(path, None) == (part is FAST or not path.startswith(b"uuid"))


def test_the_prefix_of_deleted_mailboxes_may_be_another(tmp_path: Path) -> None:
    found = selection(JOE, tmp_path, conf="deletedprefix: GONE\n")
    assert found.has("default", ID, b"GONE.user.joe.Sent.5F3A1B2C")
    assert not found.has("default", ID, b"DELETED.user.joe.Sent.5F3A1B2C")


@pytest.mark.parametrize("part", [JOE, JANE, FAST, Part(frozenset(["joe"]), frozenset(["fast"]))])
@given(
    st.lists(st.sampled_from([b"user", b"joe", b"j", b"a", b"domain", b"e", b"example.com", b"DELETED"]), max_size=6)
)
def test_what_belongs_is_looked_for(tmp_path_factory: pytest.TempPathFactory, part: Part, words: list[bytes]) -> None:
    """Also in all directories above; and no directory goes with what somebody else may have in it."""
    found = selection(part, tmp_path_factory.mktemp("conf"))
    path = b"/".join(words)
    for partition in ("default", "fast"):
        if found.has(partition, path, None):
            above = [b"/".join(words[:depth]) for depth in range(len(words) + 1)]
            assert all(found.may_have(partition, one, None) for one in above)
        if part.users and found.has_all_below(path):
            assert found.has("fast", path, None)


def test_files_by_path_and_by_uniqueid(tmp_path: Path) -> None:
    inbox, child = named(b"user.joe", ID), named(b"user.joe.Sent", b"uuid/x/y/xy")
    found = selection(JOE, tmp_path, inbox, child, named(b"user.ann", b"uuid/p/q/pq"))
    assert found.has_file(FileOwner(user="joe"))
    assert found.has_file(FileOwner(uniqueid="ab12"))
    for other in (FileOwner(user="ann"), FileOwner(uniqueid="pq"), FileOwner(uniqueid="xy"), None):
        assert not found.has_file(other)
    assert found.has_path(b"/conf/user/j/joe.sub")
    assert found.has_path(b"/conf/user/uuid/a/b/ab12/sub.db")
    assert not found.has_path(b"/conf/annotations.db")


def test_the_files_of_one_who_was_deleted(tmp_path: Path) -> None:
    found = selection(JOE, tmp_path, named(b"user.joe", ID, is_live=False))
    assert found.has_file(FileOwner(uniqueid="ab12"))
    assert not found.knows("joe")


def test_files_belong_to_the_partition_of_the_inbox(tmp_path: Path) -> None:
    mailboxes = [named(b"user.joe"), named(b"user.joe.Sent", partition="fast"), named(b"user.ann", partition="fast")]
    found = selection(FAST, tmp_path, *mailboxes, named(b"user.ann", b"user/old", is_live=False))
    assert found.has_file(FileOwner(user="ann"))
    for other in (FileOwner(user="joe"), FileOwner(user="nobody")):
        assert not found.has_file(other)


def test_all_that_is_asked_for_has_to_fit(tmp_path: Path) -> None:
    found = selection(Part(JOE.users, FAST.partitions), tmp_path, named(b"user.joe"))
    assert found.has("fast", b"", b"user.joe.Sent")
    assert not found.has("default", b"", b"user.joe.Sent")
    assert not found.has("fast", b"", b"user.ann")
    assert not found.has_file(FileOwner(user="joe"))


def test_users_of_the_default_domain_have_none(tmp_path: Path) -> None:
    part = Part(frozenset(["joe@example.com", "ann@example.org"]))
    found = selection(part, tmp_path, conf="virtdomains: userid\ndefaultdomain: example.com\n")
    assert found.part.users == {"joe", "ann@example.org"}
    assert selection(part, tmp_path).part == part


def test_users_that_are_known_are_those_with_mailboxes(tmp_path: Path) -> None:
    found = selection(JOE, tmp_path, named(b"DELETED.user.joe.5F3A1B2C"), named(b"user.ann", is_live=False))
    assert (found.knows("joe"), found.knows("ann"), found.has_learned) == (True, False, True)
    assert not selection(JOE, tmp_path, named(b"user.ann", is_live=False)).has_learned
