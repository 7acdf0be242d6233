"""A state file that cannot be trusted is put aside; what is no damage is told from it."""

from __future__ import annotations

import random
import sqlite3
from array import array
from contextlib import closing
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cyrsync.state.mailbox_row import Key, MailboxRow, StateDamaged
from cyrsync.state.store import Store
from support.states import PAIR, location, uids

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
        store.locations.replace([location(b"user/%d" % number) for number in range(count)], b"signature")
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
    assert isinstance(store.locations.signature(), bytes)
    for partition, folder, *_ in list(store.files()):
        try:
            store.locations.get(Key(partition, folder))
        except KeyError:
            continue
        store.row(Key(partition, folder))
    rows = store.gone()
    store.messages(), store.rows(), store.locations.directories("default"), store.homes()
    store.put(rows)
    store.locations.replace([location(b"user/1"), location(b"new")], b"another")
    store.gone()
    store.drop(row.key for row in rows)
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
        for read in (lambda: store.row(Key("default", b"user/1")), store.gone):
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


def test_a_change_that_need_not_be_on_the_disk_leaves_the_others_there(store: Store) -> None:
    """SQLite's name for what is on the disk at a commit is FULL, 2 (pragma.html)."""

    def mode() -> int:
        ((found,),) = store.file.query("PRAGMA synchronous")
        return int(found)

    modes = [mode()]
    store.file.change_unsynced(("DELETE FROM pending WHERE ?", (modes.append(mode()) or (0,) for _ in range(1))))
    with pytest.raises(StateDamaged):
        store.file.change_unsynced(("DELETE FROM nothing", [()]))
    assert [*modes, mode()] == [2, 1, 2]


def test_a_database_that_another_process_has_locked(store: Store, path: Path) -> None:
    with closing(sqlite3.connect(path, isolation_level=None)) as other, closing(store):
        store.file._db.execute("PRAGMA busy_timeout = 10")
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(OSError, match="locked"):
            store.put([MailboxRow(Key("default", b"a"))])
        other.execute("ROLLBACK")
        store.put([MailboxRow(Key("default", b"a"))])


def test_a_full_disk(store: Store, path: Path) -> None:
    store.put([MailboxRow(Key("default", b"a"))])
    (pages,) = store.file._db.execute("PRAGMA page_count").fetchone()
    store.file._db.execute(f"PRAGMA max_page_count = {pages}")
    rng = random.Random(1)
    many = array("I", sorted(rng.sample(range(10**9), 20_000)))
    with pytest.raises(OSError, match="full"):
        store.put([MailboxRow(Key("default", b"b"), uids=many)])
    assert [row.key.path for row in store.gone()] == [b"a"]
    store.close()
    store, warning = Store.open(path, PAIR)
    with closing(store):
        assert (warning, store.rows()) == ("", 1)


@pytest.mark.parametrize("make", [Path.mkdir, lambda path: path.symlink_to("/nonexistent/file")])
def test_a_file_that_cannot_be_opened(path: Path, make: object) -> None:
    make(path)  # type: ignore[operator]
    with pytest.raises((OSError, StateDamaged)):
        Store(path, PAIR)
