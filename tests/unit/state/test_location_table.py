"""Where the mailboxes lie is kept as a whole, with what they were called while the replica has them."""

from __future__ import annotations

import pytest

from cyrsync.state.mailbox_row import Key, MailboxRow
from cyrsync.state.store import Store
from support.states import location, narrowed


def test_mailboxes_that_came_while_nobody_looked(store: Store) -> None:
    """Be it that they are new, or have another's directory."""
    assert store.locations.new() == []
    store.locations.replace([location(b"stays"), location(b"goes"), location(b"swapped")], b"one")
    store.locations.replace(
        [location(b"stays"), location(b"new"), location(b"swapped")._replace(uniqueid="another")], b"two"
    )
    assert sorted(store.locations.new()) == [Key("default", b"new"), Key("default", b"swapped")]
    store.locations.replace([location(b"stays"), location(b"goes")], b"three")
    assert store.locations.new() == [Key("default", b"goes")]


def test_places_are_replaced_as_a_whole(store: Store) -> None:
    store.locations.replace([location(b"a"), location(b"b")], b"one")
    store.locations.replace([location(b"b"), location(b"c")], b"two")
    assert sorted(row[1] for row in store.files()) == [b"b", b"c"]


def test_a_failure_on_the_way_leaves_what_was(store: Store) -> None:
    store.locations.replace([location(b"a")], b"one")
    store.put([MailboxRow(Key("default", b"a"))])

    def fail() -> object:
        yield location(b"b")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.locations.replace(fail(), b"two")  # type: ignore[arg-type]
    assert [row[1] for row in store.files()] == [b"a"]
    assert store.locations.signature() == b"one"
    store.put([MailboxRow(Key("default", b"b"))])


def test_the_mailboxes_of_a_user(store: Store) -> None:
    others = [b"user.joey", b"user.joe-x", b"user.jo", b"x!user.joe"]
    names = [b"user.joe", b"user.joe.Sent", b"user.joe.Sent.2024"]
    store.locations.replace([location(name.replace(b".", b"/")) for name in [*names, *others]], b"")
    assert sorted(store.locations.siblings(b"user.joe")) == [Key("default", name.replace(b".", b"/")) for name in names]
    assert store.locations.siblings(b"user.nobody") == []
    store.locations.replace([location(b"user/joe/New")], b"")
    assert store.locations.siblings(b"user.joe") == [Key("default", b"user/joe/New")]


def test_the_directories_of_a_partition(store: Store) -> None:
    store.locations.replace([location(b"j/user/joe/Sent/2020"), location(b"a/user/ann", "other")], b"")
    assert store.locations.directories("default") == {
        b"j",
        b"j/user",
        b"j/user/joe",
        b"j/user/joe/Sent",
        b"j/user/joe/Sent/2020",
    }
    assert store.locations.directories("none") == set()


def test_the_name_of_a_mailbox_that_is_no_more_is_kept_while_the_replica_has_it(store: Store) -> None:
    one, other = location(b"uuid/1")._replace(name=b"joe"), location(b"uuid/2")._replace(name=b"joe.none there")
    store.locations.replace([one, other], b"")
    store.put([MailboxRow(one.key)])
    store.locations.replace([], b"")
    store.locations.replace([], b"")
    assert [(named.key, named.name, named.is_live) for named in store.locations.names()] == [(one.key, b"joe", False)]
    narrowed(store, b"joe")
    assert [row.key for row in store.gone()] == [one.key]
    store.drop([one.key])
    store.locations.replace([], b"")
    assert list(store.locations.names()) == []
