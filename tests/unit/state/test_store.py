"""What the replica has acknowledged is kept as it was given; a file that cannot be trusted is put aside."""

from __future__ import annotations

import random
import sqlite3
from array import array
from collections.abc import Iterator
from contextlib import closing, contextmanager
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cyrsync.far.uids import MAX_UID
from cyrsync.state.conf_table import ConfRow, ConfTable
from cyrsync.state.mailbox_row import UNSEEN, Key, Location, MailboxRow, StateDamaged, seen_of
from cyrsync.state.store import Store
from support import campaign
from support.memory import in_memory

PAIR = "/etc/imapd.conf backup:/replica"

text = st.text(st.characters(codec="utf-8", exclude_characters="\0"), max_size=8)
paths = st.binary(min_size=1, max_size=12).filter(lambda path: 0 not in path)
keys = st.builds(Key, text, paths)
uid_arrays = st.frozensets(st.integers(1, MAX_UID) | st.integers(1, 40), max_size=30).map(
    lambda uids: array("I", sorted(uids))
)
some_sent = st.builds(
    MailboxRow,
    keys,
    text,
    st.integers(0, MAX_UID),
    st.binary(min_size=64, max_size=64) | st.just(UNSEEN),
    *[uid_arrays] * 3,
    *[st.lists(paths, max_size=3).map(tuple)] * 2,
)
some_places = st.builds(Location, keys, paths, text, *[paths] * 3, paths | st.just(b""))


def location(path: bytes, partition: str = "default") -> Location:
    files = [b"/meta/" + path + name for name in (b"/cyrus.header", b"/cyrus.index", b"/cyrus.expunge")]
    return Location(Key(partition, path), path.replace(b"/", b"."), "id-" + path.decode(), *files, b"/lock/" + path)


def uids(*numbers: int) -> array[int]:
    return array("I", numbers)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "key.sqlite"


@pytest.fixture
def store(path: Path) -> Store:
    return Store(path, PAIR)


@contextmanager
def stored() -> Iterator[Store]:
    """A new store, for one example."""
    with in_memory() as directory, closing(Store(directory / "key.sqlite", PAIR)) as found:
        yield found


# --- What is put comes back


@campaign.slow()
@given(st.lists(some_sent, max_size=6, unique_by=lambda sent: sent.key))
def test_rows_come_back(rows: list[MailboxRow]) -> None:
    with stored() as store:
        store.put(rows)
        assert [store.sent(row.key) for row in rows] == rows
        assert store.gone() == sorted(rows, key=lambda row: (row.key.partition.encode(), row.key.path))
        assert store.rows() == len(rows)
        assert store.messages() == sum(len(row.uids) + len(row.archived) for row in rows)
        store.drop(row.key for row in rows[::2])
        assert store.gone() == sorted(rows[1::2], key=lambda row: (row.key.partition.encode(), row.key.path))


@campaign.slow()
@given(st.lists(some_places, max_size=6, unique_by=lambda location: location.key))
def test_places_come_back(locations: list[Location]) -> None:
    with stored() as store:
        store.set_locations(locations, b"signature")
        assert [store.location(location.key) for location in locations] == locations
        assert {row[:4] for row in store.files()} == {
            (*location.key, location.header_path, location.index_path) for location in locations
        }
        assert store.locations_signature() == b"signature"


@campaign.slow()
@given(some_sent, some_sent)
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
        assert (again.sent(row.key), again.complete) == (row, True)


def test_nothing_is_known_of_others(store: Store) -> None:
    key = Key("default", b"a")
    assert store.sent(key) is None
    with pytest.raises(KeyError):
        store.location(key)


def test_messages_one_after_the_other_take_next_to_nothing(store: Store, path: Path) -> None:
    store.put([MailboxRow(Key("default", b"a"), "id", 1, b"", array("I", range(1, 500_000)))])
    store.close()
    assert path.stat().st_size < 50_000


# --- What follows from both


def test_gone_is_what_has_no_place(store: Store) -> None:
    store.set_locations([location(b"a"), location(b"b", "other")], b"")
    rows = [MailboxRow(Key(*key)) for key in (("default", b"a"), ("default", b"b"), ("other", b"a"), ("other", b"b"))]
    store.put(rows)
    assert [sent.key for sent in store.gone()] == [("default", b"b"), ("other", b"a")]


def test_files_tells_what_was_seen_of_each_place(store: Store) -> None:
    store.set_locations([location(name) for name in (b"new", b"same", b"stale", b"unsettled")], b"")
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


def test_mailboxes_that_came_while_nobody_looked(store: Store) -> None:
    """Be it that they are new, or have another's directory."""
    assert store.new_locations() == []
    store.set_locations([location(b"stays"), location(b"goes"), location(b"swapped")], b"one")
    store.set_locations(
        [location(b"stays"), location(b"new"), location(b"swapped")._replace(uniqueid="another")], b"two"
    )
    assert sorted(store.new_locations()) == [Key("default", b"new"), Key("default", b"swapped")]
    store.set_locations([location(b"stays"), location(b"goes")], b"three")
    assert store.new_locations() == [Key("default", b"goes")]


def test_places_are_replaced_as_a_whole(store: Store) -> None:
    store.set_locations([location(b"a"), location(b"b")], b"one")
    store.set_locations([location(b"b"), location(b"c")], b"two")
    assert sorted(row[1] for row in store.files()) == [b"b", b"c"]


def test_a_failure_on_the_way_leaves_what_was(store: Store) -> None:
    store.set_locations([location(b"a")], b"one")
    store.put([MailboxRow(Key("default", b"a"))])

    def fail() -> object:
        yield location(b"b")
        raise RuntimeError

    with pytest.raises(RuntimeError):
        store.set_locations(fail(), b"two")  # type: ignore[arg-type]
    assert [row[1] for row in store.files()] == [b"a"]
    assert store.locations_signature() == b"one"
    store.put([MailboxRow(Key("default", b"b"))])


def test_it_is_not_complete_before_it_is_said(store: Store) -> None:
    assert not store.complete
    store.complete = True
    assert store.complete
    store.put([MailboxRow(Key("default", b"a"))])
    store.begin_anew([])
    assert (store.complete, store.rows()) == (False, 0)


def test_the_mailboxes_of_a_user(store: Store) -> None:
    others = [b"user.joey", b"user.joe-x", b"user.jo", b"x!user.joe"]
    names = [b"user.joe", b"user.joe.Sent", b"user.joe.Sent.2024"]
    store.set_locations([location(name.replace(b".", b"/")) for name in [*names, *others]], b"")
    assert sorted(store.siblings(b"user.joe")) == [Key("default", name.replace(b".", b"/")) for name in names]
    assert store.siblings(b"user.nobody") == []
    store.set_locations([location(b"user/joe/New")], b"")
    assert store.siblings(b"user.joe") == [Key("default", b"user/joe/New")]


def test_whose_the_files_are(store: Store) -> None:
    key = Key("default", b"user/joe")
    assert store.life(key) is None
    store.put([MailboxRow(key, "abc", 7)])
    assert store.life(key) == ("abc", 7)


def test_what_there_is_for_certain() -> None:
    sent = MailboxRow(Key("default", b"x"), uids=uids(1, 5), archived=uids(3), maybe=uids(9))
    assert [uid for uid in range(11) if sent.has(uid)] == [1, 3, 5]
    assert (sent.last_uid(), MailboxRow(Key("default", b"x")).last_uid()) == (5, 0)


def test_the_directories_of_a_partition(store: Store) -> None:
    store.set_locations([location(b"j/user/joe/Sent/2020"), location(b"a/user/ann", "other")], b"")
    assert store.directories("default") == {b"j", b"j/user", b"j/user/joe", b"j/user/joe/Sent", b"j/user/joe/Sent/2020"}
    assert store.directories("none") == set()


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


# --- Files that cannot be trusted


def set_aside(path: Path) -> list[str]:
    return sorted(entry.name for entry in path.parent.iterdir() if not entry.name.startswith(path.name + "-"))


def assert_made_anew(path: Path, pair: str = PAIR) -> None:
    """What was there is kept under another name, and the new file is empty and usable."""
    before = path.read_bytes()
    store, warning = Store.open(path, pair)
    with closing(store):
        (aside,) = (entry for entry in path.parent.glob("key.sqlite.*") if not entry.name.endswith(("-wal", "-shm")))
        assert aside.read_bytes() == before
        assert str(path) in warning
        assert aside.name in warning
        assert (store.rows(), store.complete) == (0, False)
        store.put([MailboxRow(Key("default", b"a"))])
    assert Store.open(path, pair)[1] == ""


def pragma(path: Path, statement: str) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA wal_checkpoint(TRUNCATE)")
        database.execute(statement)
        database.commit()


def full(path: Path, count: int = 60) -> None:
    """A state with something in it, closed."""
    with closing(Store(path, PAIR)) as store:
        store.set_locations([location(b"user/%d" % number) for number in range(count)], b"signature")
        store.put(
            MailboxRow(
                Key("default", b"user/%d" % number),
                f"id{number}",
                number + 1,
                b"s" * 64,
                uids(*range(1, 90, 1 + number % 7)),
            )
            for number in range(count)
        )
        store.complete = True


def test_a_file_of_this_pair_is_opened(path: Path) -> None:
    full(path)
    store, warning = Store.open(path, PAIR)
    with closing(store):
        assert (warning, store.rows(), store.complete) == ("", 60, True)


@pytest.mark.parametrize("content", [b"no database at all" * 100, b"SQLite format 3\0" + b"\xff" * 4096])
def test_no_database(path: Path, content: bytes) -> None:
    path.write_bytes(content)
    assert_made_anew(path)


def test_an_empty_file_is_a_new_one(path: Path) -> None:
    path.touch()
    store, warning = Store.open(path, PAIR)
    with closing(store):
        assert (warning, store.complete) == ("", False)


@pytest.mark.parametrize(
    "statement",
    [
        "PRAGMA application_id = 5",
        "PRAGMA user_version = 99",
        "PRAGMA application_id = 0",
        "DROP TABLE about",
        "ALTER TABLE place ADD COLUMN more",
        "UPDATE about SET value = NULL WHERE name = 'pair'",
        "UPDATE about SET value = 7 WHERE name = 'pair'",
    ],
)
def test_a_database_that_is_not_ours(path: Path, statement: str) -> None:
    full(path)
    pragma(path, statement)
    assert_made_anew(path)


def test_somebody_elses_database(path: Path) -> None:
    with closing(sqlite3.connect(path)) as database:
        database.execute("CREATE TABLE sent (a)")
    assert_made_anew(path)


def test_the_state_of_another_pair(path: Path) -> None:
    full(path)
    assert_made_anew(path, "/etc/imapd.conf other:/replica")


def test_names_of_any_bytes_are_a_pair(path: Path) -> None:
    pair = "/etc/\udcff.conf /r\udce9plica"
    Store(path, pair).close()
    assert Store.open(path, pair)[1] == ""


def test_what_belongs_to_a_file_is_set_aside_with_it(path: Path) -> None:
    """A log that is left would be taken for the new file's."""
    writer = Store(path, PAIR)
    writer.put([MailboxRow(Key("default", b"a"))])
    store, _ = Store.open(path, "another pair")
    with closing(store), closing(writer):
        assert store.rows() == 0
        assert sorted(entry.name[-4:] for entry in path.parent.glob("key.sqlite.*-*-*")) == ["-shm", "-wal"]


def use(store: Store) -> None:
    """All that a run does with it."""
    assert isinstance(store.complete, bool)
    assert isinstance(store.locations_signature(), bytes)
    for partition, folder, *_ in list(store.files()):
        try:
            store.location(Key(partition, folder))
        except KeyError:
            continue
        store.sent(Key(partition, folder))
    rows = store.gone()
    store.messages(), store.rows(), store.directories("default"), store.homes()
    store.put(rows)
    store.set_locations([location(b"user/1"), location(b"new")], b"another")
    store.gone()
    store.drop(sent.key for sent in rows)
    store.begin_anew([])
    store.complete = True


def assert_no_surprise(path: Path) -> None:
    """The file can be used, or is told to be damaged; nothing else."""
    store, _ = Store.open(path, PAIR)
    with closing(store):
        try:
            use(store)
        except StateDamaged:
            return


@pytest.mark.parametrize("size", [1, 15, 16, 99, 100, 101, 2000, 4095, 4096, 4097, 8192, 20_000])
def test_a_file_that_is_cut_off(path: Path, size: int) -> None:
    full(path)
    with path.open("r+b") as file:
        file.truncate(size)
    assert_no_surprise(path)


@settings(max_examples=60, derandomize=True)
@given(seed=st.integers(0, 2**32), count=st.integers(1, 30))
def test_bits_that_have_flipped(tmp_path_factory: pytest.TempPathFactory, seed: int, count: int) -> None:
    path = tmp_path_factory.mktemp("flipped") / "key.sqlite"
    full(path, 8)
    content = bytearray(path.read_bytes())
    rng = random.Random(seed)
    for _ in range(count):
        content[rng.randrange(len(content))] ^= 1 << rng.randrange(8)
    path.write_bytes(content)
    assert_no_surprise(path)


@pytest.mark.parametrize(
    ("column", "value"),
    [
        ("uids", b""),
        ("uids", b"\x01"),
        ("uids", b"\x09" + b"x" * 20),
        ("uids", 7),
        ("uids", "text"),
        ("maybe", b"\x01no zlib"),
        ("names", 7),
        ("names", "7"),
        ("names", "[7]"),
        ("names", "["),
        ("names", '["\u0100"]'),
    ],
)
def test_a_value_that_means_nothing(path: Path, column: str, value: object) -> None:
    """In every way to come by a row."""
    full(path, 3)
    with closing(sqlite3.connect(path)) as database:
        database.execute(f"UPDATE sent SET {column} = ?", (value,))
        database.execute("DELETE FROM place WHERE path = CAST('user/0' AS BLOB)")
        database.commit()
    with closing(Store(path, PAIR)) as store:
        for read in (lambda: store.sent(Key("default", b"user/1")), store.gone):
            if value == b"":
                read()
            else:
                with pytest.raises(StateDamaged):
                    read()


# --- What is no damage


def test_a_second_connection_sees_what_was_put(store: Store, path: Path) -> None:
    """Who looks at the state while a run is at work disturbs nothing."""
    with closing(Store(path, PAIR)) as other, closing(store):
        store.put([MailboxRow(Key("default", b"a"))])
        assert other.rows() == 1
        other.put([MailboxRow(Key("default", b"b"))])
        assert store.rows() == 2


def test_a_database_that_another_process_has_locked(store: Store, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other, closing(store):
        store._db.execute("PRAGMA busy_timeout = 10")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OSError, match="locked"):
            store.put([MailboxRow(Key("default", b"a"))])
        other.execute("ROLLBACK")
        store.put([MailboxRow(Key("default", b"a"))])


def test_a_full_disk(store: Store, path: Path) -> None:
    store.put([MailboxRow(Key("default", b"a"))])
    (pages,) = store._db.execute("PRAGMA page_count").fetchone()
    store._db.execute(f"PRAGMA max_page_count = {pages}")
    rng = random.Random(1)
    many = array("I", sorted(rng.sample(range(10**9), 20_000)))
    with pytest.raises(OSError, match="full"):
        store.put([MailboxRow(Key("default", b"b"), uids=many)])
    assert [sent.key.path for sent in store.gone()] == [b"a"]
    store.close()
    store, warning = Store.open(path, PAIR)
    with closing(store):
        assert (warning, store.rows()) == ("", 1)


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to("/nonexistent/file")])
def test_a_file_that_cannot_be_opened(path: Path, make: object) -> None:
    make(path)  # type: ignore[operator]
    with pytest.raises((OSError, StateDamaged)):
        Store(path, PAIR)


# --- A part of the server


def narrowed(store: Store, *owners: bytes) -> Store:
    """One that speaks of mailboxes and files whose path, or whose name, begins with one of these."""
    store.narrow(lambda _, path, name: (name or path).startswith(owners), lambda path: path.startswith(owners))
    return store


def test_a_part_is_all_that_is_asked_for(store: Store) -> None:
    mine, other, gone = (Key("default", path) for path in (b"joe", b"ann", b"joe/gone"))
    store.set_locations([location(b"joe"), location(b"ann"), location(b"joe/new"), location(b"ann/new")], b"signature")
    store.put(MailboxRow(key, uids=uids(*range(1, count))) for key, count in ((mine, 3), (other, 9), (gone, 4)))
    store.put([MailboxRow(Key("default", b"ann/gone"))])
    narrowed(store, b"joe")
    assert {row[1] for row in store.files()} == {b"joe", b"joe/new"}
    assert store.not_sent() == [Key("default", b"joe/new")]
    assert [sent.key for sent in store.gone()] == [gone]
    assert (store.messages(), store.rows(), {sent.key for sent in store.all_sent()}) == (5, 2, {mine, gone})
    assert store.left() == {gone, Key("default", b"ann/gone")}
    assert {b"ann", b"ann/new", b"ann/gone"} <= store.directories("default")  # nothing of others' goes with a directory


def test_a_part_that_is_made_anew_leaves_the_rest(store: Store) -> None:
    mine, other, gone = (MailboxRow(Key("default", path), seen=bytes(64)) for path in (b"joe", b"ann", b"joe/gone"))
    store.put([mine, other, gone])
    store.change("INSERT INTO main.conf VALUES (?, ?, ?, ?)", [(b"/ann", b"/", b"", b"")])
    store.complete = True
    narrowed(store, b"joe").begin_anew([mine])
    assert not store.complete
    assert {row[1] for row in store.query("SELECT * FROM main.sent")} == {b"joe", b"ann"}
    assert len(list(store.query("SELECT * FROM main.conf"))) == 1


def test_the_name_of_a_mailbox_that_is_no_more_is_kept_while_the_replica_has_it(store: Store) -> None:
    one, other = location(b"uuid/1")._replace(name=b"joe"), location(b"uuid/2")._replace(name=b"joe.none there")
    store.set_locations([one, other], b"")
    store.put([MailboxRow(one.key)])
    store.set_locations([], b"")
    store.set_locations([], b"")
    assert [(named.key, named.name, named.is_live) for named in store.names()] == [(one.key, b"joe", False)]
    narrowed(store, b"joe")
    assert [sent.key for sent in store.gone()] == [one.key]
    store.drop([one.key])
    store.set_locations([], b"")
    assert list(store.names()) == []


def test_a_mailbox_that_went_to_somebody_else_is_not_gone(store: Store) -> None:
    old, new = location(b"joe/old")._replace(uniqueid="x"), location(b"ann/new")._replace(uniqueid="x")
    store.set_locations([old], b"")
    store.put([MailboxRow(old.key, uniqueid="x"), MailboxRow(Key("default", b"joe/gone"), uniqueid="y")])
    store.set_locations([new], b"")
    narrowed(store, b"joe")
    assert [sent.key.path for sent in store.gone()] == [b"joe/gone"]
    assert b"joe/old" in store.directories("default")


def test_what_was_written_since_the_disks_were_synced(store: Store) -> None:
    """Whose files were there when they were, is not what a mailbox has become since."""
    one, other, gone = (Key("p", name) for name in (b"one", b"other", b"gone"))
    assert store.is_synced
    store.put([MailboxRow(one, "A", 1), MailboxRow(gone, "G", 3)])
    store.note_synced()
    assert store.is_synced and store.unsynced() == []
    store.put([MailboxRow(one, "A", 1)])
    store.put([MailboxRow(one, "B", 2), MailboxRow(other, "C", 4)])
    store.drop([gone])
    assert not store.is_synced
    assert sorted(store.unsynced()) == [(gone, "", 0), (one, "A", 1), (other, "C", 4)]
    store.doubt_unsynced([MailboxRow(one, maybe=uids(1, 2))])
    assert store.is_synced
    assert [sent.key for sent in store.all_sent()] == [one]
    assert store.sent(one) == MailboxRow(one, maybe=uids(1, 2))


def test_other_files_that_were_written_since_the_disks_were_synced(store: Store) -> None:
    table = ConfTable(store)
    rows = [ConfRow(b"/conf/" + name, b"/conf", b"look", b"digest") for name in (b"a", b"b", b"c")]
    table.put([rows[0]._replace(seen=UNSEEN, digest=b"")])
    table.put(rows)
    store.note_synced()
    table.put([rows[0]])
    assert store.is_synced
    table.put([rows[1]._replace(seen=UNSEEN, digest=b"")])
    table.put([rows[1]])
    table.drop([rows[2]])
    assert not store.is_synced and store.unsynced() == []
    store.doubt_unsynced([])
    unknown = [row._replace(seen=UNSEEN, digest=b"") for row in rows[1:]]
    assert [table.row(row.path) for row in rows] == [rows[0], *unknown]


def test_a_state_that_is_made_anew_forgets_nothing_that_is_not_on_a_disk(store: Store) -> None:
    store.put([MailboxRow(Key("p", b"one"), "A", 1)])
    store.begin_anew([])
    assert not store.is_synced
