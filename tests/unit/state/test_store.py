"""What the replica has acknowledged is kept as it was given."""

from __future__ import annotations

from array import array
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrsync.far.uids import MAX_UID
from cyrsync.state.mailbox_row import UNSEEN, Key, Location, MailboxRow, seen_of
from cyrsync.state.store import Store
from support import campaign
from support.memory import in_memory
from support.states import PAIR, location, narrowed, uids

text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
paths = st.binary(min_size=1, max_size=12).filter(lambda path: 0 not in path)
keys = st.builds(Key, text, paths)
uid_arrays = st.frozensets(st.integers(1, MAX_UID) | st.integers(1, 40), max_size=30).map(
    lambda uids: array("I", sorted(uids))
)
some_rows = st.builds(
    MailboxRow,
    keys,
    text,
    st.integers(0, MAX_UID),
    st.binary(min_size=64, max_size=64) | st.just(UNSEEN),
    *[uid_arrays] * 3,
    *[st.lists(paths, max_size=3).map(tuple)] * 2,
)
some_places = st.builds(Location, keys, paths, text, *[paths] * 3, paths | st.just(b""))


@contextmanager
def stored() -> Iterator[Store]:
    """A new store, for one example."""
    with in_memory() as directory, closing(Store(directory / "key.sqlite", PAIR)) as found:
        yield found


# --- What is put comes back


@campaign.slow()
@given(st.lists(some_rows, max_size=6, unique_by=lambda row: row.key))
def test_rows_come_back(rows: list[MailboxRow]) -> None:
    with stored() as store:
        store.put(rows)
        assert [store.row(row.key) for row in rows] == rows
        assert store.gone() == sorted(rows, key=lambda row: (row.key.partition.encode(), row.key.path))
        assert store.rows() == len(rows)
        assert store.messages() == sum(len(row.uids) + len(row.archived) for row in rows)
        store.drop(row.key for row in rows[::2])
        assert store.gone() == sorted(rows[1::2], key=lambda row: (row.key.partition.encode(), row.key.path))


@campaign.slow()
@given(st.lists(some_places, max_size=6, unique_by=lambda location: location.key))
def test_places_come_back(locations: list[Location]) -> None:
    with stored() as store:
        store.locations.replace(locations, b"signature")
        assert [store.locations.get(location.key) for location in locations] == locations
        assert {row[:4] for row in store.files()} == {
            (*location.key, location.header_path, location.index_path) for location in locations
        }
        assert store.locations.signature() == b"signature"


@campaign.slow()
@given(some_rows, some_rows)
def test_the_last_row_counts(first: MailboxRow, second: MailboxRow) -> None:
    second.key = first.key
    with stored() as store:
        store.put([first])
        store.put([second])
        assert store.gone() == [second]


def test_it_outlives_the_run(store: Store, path: Path) -> None:
    row = MailboxRow(Key("default", b"user/\xff\n"), "id", 7, b"s" * 64, uids(1, 300, MAX_UID), names=(b"cyrus.\xff",))
    store.put([row])
    store.complete = True
    store.close()
    with closing(Store(path, PAIR)) as again:
        assert (again.row(row.key), again.complete) == (row, True)


def test_nothing_is_known_of_others(store: Store) -> None:
    key = Key("default", b"a")
    assert store.row(key) is None
    with pytest.raises(KeyError):
        store.locations.get(key)


def test_messages_one_after_the_other_take_next_to_nothing(store: Store, path: Path) -> None:
    store.put([MailboxRow(Key("default", b"a"), "id", 1, b"", array("I", range(1, 500_000)))])
    store.close()
    assert path.stat().st_size < 50_000


# --- What follows from both


def test_gone_is_what_has_no_place(store: Store) -> None:
    store.locations.replace([location(b"a"), location(b"b", "other")], b"")
    rows = [MailboxRow(Key(*key)) for key in (("default", b"a"), ("default", b"b"), ("other", b"a"), ("other", b"b"))]
    store.put(rows)
    assert [row.key for row in store.gone()] == [("default", b"b"), ("other", b"a")]


def test_files_tells_what_was_seen_of_each_place(store: Store) -> None:
    store.locations.replace([location(name) for name in (b"new", b"same", b"stale", b"unsettled")], b"")
    seen = b"s" * 64
    store.put(
        [MailboxRow(Key("default", b"same"), seen=seen, uids=uids(1)), MailboxRow(Key("other", b"new"), seen=seen)]
    )
    store.put([MailboxRow(Key("default", b"unsettled"), seen=seen, maybe=uids(9))])
    store.put([MailboxRow(Key("default", b"stale"), seen=seen, stale=(b"cyrus.annotations",))])
    assert sorted((row[1], row[4], row[5]) for row in store.files()) == [
        (b"new", None, True),
        (b"same", seen, True),
        (b"stale", seen, False),
        (b"unsettled", seen, False),
    ]


def test_it_is_not_complete_before_it_is_said(store: Store) -> None:
    assert not store.complete
    store.complete = True
    assert store.complete
    store.put([MailboxRow(Key("default", b"a"))])
    store.begin_anew([])
    assert (store.complete, store.rows()) == (False, 0)


def test_whose_the_files_are(store: Store) -> None:
    key = Key("default", b"user/joe")
    assert store.life(key) is None
    store.put([MailboxRow(key, "abc", 7)])
    assert store.life(key) == ("abc", 7)


def test_what_there_is_for_certain() -> None:
    row = MailboxRow(Key("default", b"x"), uids=uids(1, 5), archived=uids(3), maybe=uids(9))
    assert [uid for uid in range(11) if row.has(uid)] == [1, 3, 5]
    assert (row.last_uid(), MailboxRow(Key("default", b"x")).last_uid()) == (5, 0)


def test_homes_of_a_life(store: Store) -> None:
    a, b, c, nobody = (Key("default", name) for name in (b"a", b"b", b"c", b"nobody"))
    store.put([MailboxRow(a, "x", 1), MailboxRow(b, "x", 1), MailboxRow(c, "x", 2), MailboxRow(nobody)])
    assert store.homes() == {("x", 1): [a, b], ("x", 2): [c]}


def test_seen_tells_each_file_apart(tmp_path: Path) -> None:
    header, index, other = (tmp_path / name for name in ("header", "index", "other"))
    for file in (header, index, other):
        file.write_text("x")
    seen = seen_of(header.stat(), index.stat())
    assert seen == seen_of(header.stat(), index.stat())
    assert seen != seen_of(index.stat(), header.stat())
    other.replace(index)
    assert seen != seen_of(header.stat(), index.stat())


# --- A part of the server


def test_a_part_is_all_that_is_asked_for(store: Store) -> None:
    mine, other, gone = (Key("default", path) for path in (b"joe", b"ann", b"joe/gone"))
    store.locations.replace(
        [location(b"joe"), location(b"ann"), location(b"joe/new"), location(b"ann/new")], b"signature"
    )
    store.put(MailboxRow(key, uids=uids(*range(1, count))) for key, count in ((mine, 3), (other, 9), (gone, 4)))
    store.put([MailboxRow(Key("default", b"ann/gone"))])
    narrowed(store, b"joe")
    assert {row[1] for row in store.files()} == {b"joe", b"joe/new"}
    assert store.not_sent() == [Key("default", b"joe/new")]
    assert [row.key for row in store.gone()] == [gone]
    assert (store.messages(), store.rows(), {row.key for row in store.all_rows()}) == (5, 2, {mine, gone})
    assert store.left() == {gone, Key("default", b"ann/gone")}
    assert {b"ann", b"ann/new", b"ann/gone"} <= store.locations.directories(
        "default"
    )  # nothing of others' goes with a directory


def test_a_part_that_is_made_anew_leaves_the_rest(store: Store) -> None:
    mine, other, gone = (MailboxRow(Key("default", path), seen=bytes(64)) for path in (b"joe", b"ann", b"joe/gone"))
    store.put([mine, other, gone])
    store.file.change(("INSERT INTO main.conf VALUES (?, ?, ?, ?)", [(b"/ann", b"/", b"", b"")]))
    store.complete = True
    narrowed(store, b"joe").begin_anew([mine])
    assert not store.complete
    assert {row[1] for row in store.file.query("SELECT * FROM main.sent")} == {b"joe", b"ann"}
    assert len(list(store.file.query("SELECT * FROM main.conf"))) == 1


def test_a_mailbox_that_went_to_somebody_else_is_not_gone(store: Store) -> None:
    old, new = location(b"joe/old")._replace(uniqueid="x"), location(b"ann/new")._replace(uniqueid="x")
    store.locations.replace([old], b"")
    store.put([MailboxRow(old.key, uniqueid="x"), MailboxRow(Key("default", b"joe/gone"), uniqueid="y")])
    store.locations.replace([new], b"")
    narrowed(store, b"joe")
    assert [row.key.path for row in store.gone()] == [b"joe/gone"]
    assert b"joe/old" in store.locations.directories("default")
