"""Reading a database while Cyrus may be at it: locks, replacement by rename, and what engine it is."""

from __future__ import annotations

import errno
import fcntl
import json
import os
import struct
import subprocess
import sys
import threading
from pathlib import Path

import pytest

from cyrsync.cyrus.mailbox import locks
from cyrsync.cyrus.server.db import reader
from cyrsync.cyrus.server.db.error import BusyDb, DbError, UnsupportedDb
from cyrsync.cyrus.server.db.reader import read
from support.cyrusdb import Skiplist, Twom, Twoskip
from support.tree import DATA, unpack_spool

SPOOLS = sorted(path.name.removeprefix("cyrus-").removesuffix(".tar.xz") for path in DATA.glob("cyrus-*.tar.xz"))
PAIRS = {b"user.joe": b"1", b"user.ann": b"2"}

#: Takes an exclusive lock as Cyrus does, says so, and holds it until its stdin ends.
_HOLDER = """
import fcntl, sys
with open(sys.argv[1], "r+b") as file:
    fcntl.lockf(file, fcntl.LOCK_EX)
    print("locked", flush=True)
    sys.stdin.read()
"""


@pytest.fixture
def db(tmp_path: Path) -> Path:
    path = tmp_path / "mailboxes.db"
    path.write_bytes(Twoskip(PAIRS).data)
    return path


def holding(path: Path) -> subprocess.Popen[bytes]:
    """A process that holds the file locked; it lets go when its stdin is closed."""
    holder = subprocess.Popen([sys.executable, "-c", _HOLDER, str(path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert holder.stdout and holder.stdout.readline() == b"locked\n"
    return holder


@pytest.mark.parametrize("engine", [Skiplist, Twoskip, Twom])
def test_the_engine_is_told_by_the_file(tmp_path: Path, engine: type[Skiplist | Twoskip | Twom]) -> None:
    path = tmp_path / "any.name"
    path.write_bytes(engine(PAIRS).data)
    assert read(os.fsencode(path)) == sorted(PAIRS.items())


def test_text(tmp_path: Path) -> None:
    path = tmp_path / "joe.sub"
    path.write_bytes(b"user.joe\t\nuser.joe.Sent\t\n")
    assert read(os.fsencode(path)) == [(b"user.joe", b""), (b"user.joe.Sent", b"")]


@pytest.mark.parametrize("magic", [struct.pack("<I", 0x053162), struct.pack(">I", 0x053162)])
def test_berkeley_is_refused_with_the_command_that_converts_it(tmp_path: Path, magic: bytes) -> None:
    path = tmp_path / "the mailboxes.db"
    path.write_bytes(bytes(12) + magic + bytes(4096))
    with pytest.raises(UnsupportedDb) as caught:
        read(os.fsencode(path))
    assert f"cvt_cyrusdb '{path}' berkeley '{path}.flat' flat" in str(caught.value)


def test_other_engines_are_refused_by_name(tmp_path: Path) -> None:
    (tmp_path / "sqlite").write_bytes(b"SQLite format 3\0" + bytes(100))
    with pytest.raises(UnsupportedDb, match="SQLite"):
        read(os.fsencode(tmp_path / "sqlite"))
    with pytest.raises(UnsupportedDb, match="zeroskip"):
        read(os.fsencode(tmp_path))
    os.mkfifo(tmp_path / "fifo")
    with pytest.raises(UnsupportedDb):
        read(os.fsencode(tmp_path / "fifo"))


def test_damage_names_the_file(db: Path) -> None:
    db.write_bytes(db.read_bytes()[:-8])
    with pytest.raises(DbError, match=r"mailboxes\.db: the file ends before its current size"):
        read(os.fsencode(db))
    db.write_bytes(b"")
    with pytest.raises(DbError, match="empty"):
        read(os.fsencode(db))
    with pytest.raises(FileNotFoundError):
        read(os.fsencode(db) + b".none")


def test_a_shared_lock_does_not_matter(db: Path) -> None:
    with db.open("rb") as file:
        fcntl.lockf(file, fcntl.LOCK_SH)
        assert len(read(os.fsencode(db), patience=0)) == 2


def test_an_exclusive_lock_is_waited_for_only_so_long(db: Path) -> None:
    with holding(db), pytest.raises(BusyDb, match="locked"):
        read(os.fsencode(db), patience=0.2)


def test_what_a_writer_leaves_is_read_when_it_lets_go(db: Path) -> None:
    with holding(db) as holder:
        changed = Twoskip(PAIRS)
        changed.change({b"user.zoe": b"3"})
        changed.commit()
        # Not by rename: the file itself changes.
        with db.open("r+b") as file:
            file.write(changed.data)
        release = threading.Timer(0.2, holder.communicate)
        release.start()
        assert len(read(os.fsencode(db), patience=60)) == 3
        release.join()


def test_the_file_that_was_renamed_into_place_meanwhile_is_read(db: Path) -> None:
    with holding(db) as holder:

        def replace() -> None:
            new = db.with_name("mailboxes.db.NEW")
            new.write_bytes(Twoskip({b"new": b"1"}).data)
            new.rename(db)
            holder.communicate()

        release = threading.Timer(0.2, replace)
        release.start()
        assert read(os.fsencode(db), patience=60) == [(b"new", b"1")]
        release.join()


def test_a_file_that_is_replaced_again_and_again(db: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(locks, "_is_at", lambda descriptor, path: False)
    with pytest.raises(BusyDb, match="locked by a writer"):
        read(os.fsencode(db), patience=0.05)


def test_the_lock_is_given_up(db: Path) -> None:
    read(os.fsencode(db))
    with holding(db):
        pass


def test_a_link_to_a_database(db: Path) -> None:
    (db.parent / "link").symlink_to(db.name)
    assert len(read(os.fsencode(db.parent / "link"))) == 2


@pytest.mark.parametrize("code", [errno.ENOLCK, errno.EINVAL])
def test_without_locks_it_is_read_until_two_readings_agree(
    db: Path, monkeypatch: pytest.MonkeyPatch, code: int
) -> None:
    monkeypatch.setattr(locks.fcntl, "fcntl", _failing(code))
    assert len(read(os.fsencode(db))) == 2
    changed = Twoskip(PAIRS)

    def change(_: float) -> None:
        changed.change({b"another": b"%d" % len(changed.data)})
        changed.commit()
        db.write_bytes(changed.data)

    monkeypatch.setattr(reader.time, "sleep", change)
    with pytest.raises(BusyDb, match="changes again and again"):
        read(os.fsencode(db))


def _failing(code: int) -> object:
    def call(*_: object) -> None:
        raise OSError(code, os.strerror(code))

    return call


@pytest.mark.parametrize("name", SPOOLS)
def test_real_databases(name: str, tmp_path: Path) -> None:
    """Every pair of mailboxes.db is what `cyr_dbtool show` prints; every other database at least reads."""
    box = unpack_spool(name, tmp_path)
    pairs = read(os.fsencode(box / "conf" / "mailboxes.db"))
    shown = b"".join(key + b"\t" + value + b"\n" for key, value in pairs)
    assert shown == (box / "mailboxes.raw.txt").read_bytes()
    assert json.loads((box / "truth.json").read_text())["mailboxes"]
    others = [path for end in ("*.db", "*.seen", "*.sub", "*.conversations") for path in box.rglob(end)]
    refused = {path.name for path in [*others, *box.rglob("cyrus.annotations")] if not readable(path)}
    # The counters of a user are no database; 2.x keeps deliveries in Berkeley's.
    assert refused <= {"counters.db", "deliver.db"}


def readable(path: Path) -> bool:
    try:
        read(os.fsencode(path))
    except DbError:
        return False
    return True
