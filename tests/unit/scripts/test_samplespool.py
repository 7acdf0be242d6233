"""The sample spools are what Cyrus would have written, before and after each change."""

from __future__ import annotations

import hashlib
import random
import struct
import zlib
from pathlib import Path

import pytest

import samplespool
from cyrsync.cyrus.mailbox.header import uniqueid
from cyrsync.cyrus.mailbox.index import READ_SIZE, head

UNLINKED = 1 << 30
EXPUNGED = 1 << 31
SEEN = 1 << 4


def assert_valid(folder: Path) -> None:
    """Check a folder's metadata and messages against each other, as `reconstruct -n` would."""
    header, index = (folder / "cyrus.header").read_bytes(), (folder / "cyrus.index").read_bytes()
    cache = (folder / "cyrus.cache").read_bytes()
    seen = head(index[:READ_SIZE])
    assert uniqueid(header)
    assert seen is not None
    generation, _, minor, start, size, records, _, last_uid = struct.unpack_from(">8I", index)
    assert (minor, start, size, len(index)) == (17, 160, 112, 160 + 112 * records)
    assert cache[:4] == index[:4] == struct.pack(">I", generation)
    assert struct.unpack_from(">I", index, 96)[0] == zlib.crc32(header)
    live: dict[int, int] = {}
    previous = unseen = 0
    for at in range(start, len(index), size):
        record = index[at : at + size]
        uid, *_, flags = struct.unpack_from(">9I", record)
        assert previous < uid <= last_uid
        assert zlib.crc32(record[:108]) == struct.unpack_from(">I", record, 108)[0]
        assert struct.unpack_from(">Q", record, 80) <= struct.unpack_from(">Q", index, 68)
        assert_cached(cache, record)
        previous = uid
        if not flags & UNLINKED:
            live[uid] = at
            unseen += not flags & SEEN
            assert_message(folder / f"{uid}.", record)
        else:
            assert flags & EXPUNGED
    assert {int(path.name[:-1]) for path in folder.glob("[0-9]*.")} == set(live)
    assert struct.unpack_from(">I", index, 84)[0] == len(live)
    assert struct.unpack_from(">I", index, 124)[0] == unseen
    used = sum(struct.unpack_from(">I", index, at + 12)[0] for at in live.values())
    assert struct.unpack_from(">Q", index, 32)[0] == used


def assert_cached(cache: bytes, record: bytes) -> None:
    offset = at = struct.unpack_from(">I", record, 24)[0]
    for _ in range(10):
        length = struct.unpack_from(">I", cache, at)[0]
        at += 4 + length + -length % 4
    assert zlib.crc32(cache[offset:at]) == struct.unpack_from(">I", record, 104)[0]


def assert_message(path: Path, record: bytes) -> None:
    content = path.read_bytes()
    internal_date, _, size, header_size = struct.unpack_from(">4I", record, 4)
    assert (len(content), hashlib.sha1(content).digest()) == (size, record[60:80])
    assert path.stat().st_mtime == internal_date
    assert content[:header_size].endswith(b"\r\n\r\n")
    assert content.count(b"\n") == content.count(b"\r\n")


def ident(folder: Path) -> tuple[str, int]:
    seen = head((folder / "cyrus.index").read_bytes()[:READ_SIZE])
    assert seen is not None
    return uniqueid((folder / "cyrus.header").read_bytes()), seen.uidvalidity


def messages(root: Path) -> set[Path]:
    return set(root.rglob("[0-9]*."))


@pytest.fixture
def root(tmp_path: Path) -> Path:
    samplespool.make(tmp_path / "spool", 300, 30)
    return tmp_path / "spool"


def assert_all_valid(root: Path) -> None:
    for folder in samplespool.folders(root):
        assert_valid(folder)


def test_has_the_messages_and_folders_asked_for(root: Path) -> None:
    assert len(messages(root)) == 300
    assert len(samplespool.folders(root)) == 30
    assert (root / "j/user/joe/Sent Items/cyrus.header").is_file()
    assert_all_valid(root)


def test_headers_of_old_and_new_versions(root: Path) -> None:
    headers = [(folder / "cyrus.header").read_bytes() for folder in samplespool.folders(root)]
    assert 0 < sum(b"%(T el N" in header for header in headers) < len(headers)


def test_sizes_have_a_heavy_tail_and_uids_gaps(root: Path) -> None:
    counts = sorted(len(list(folder.glob("[0-9]*."))) for folder in samplespool.folders(root))
    assert sum(counts[-6:]) > 300 / 2
    last_uids = [max((int(path.name[:-1]) for path in folder.glob("[0-9]*.")), default=0) for folder in root.rglob("*")]
    assert sum(last_uids) > 300


def test_the_seed_decides_everything_but_the_time(tmp_path: Path) -> None:
    for name in ("one", "two"):
        samplespool.make(tmp_path / name, 50, 10, seed=7, size=80)
    one, two = ({path.relative_to(tmp_path / name) for path in messages(tmp_path / name)} for name in ("one", "two"))
    assert one == two


def test_changes_in_shares(root: Path) -> None:
    before = messages(root)
    delivered, expunged, flagged = samplespool.change(root, new=0.1, expunged=0.05, flags=0.2, size=200)
    assert (delivered, flagged) == (30, 6)
    assert 0 < expunged <= 15
    assert len(messages(root)) == len(before) + delivered - expunged
    assert_all_valid(root)


def test_deliver(root: Path) -> None:
    folder = root / "j/user/joe"
    before, last = messages(folder), max((int(path.name[:-1]) for path in folder.glob("[0-9]*.")), default=0)
    assert samplespool.deliver(folder, 3) == [last + 1, last + 2, last + 3]
    assert {path.name for path in messages(folder) - before} == {f"{last + step}." for step in (1, 2, 3)}
    assert_valid(folder)


def test_expunge_more_than_there_is(root: Path) -> None:
    folder = root / "j/user/joe"
    samplespool.deliver(folder, 3)
    samplespool.expunge(folder, 10**6)
    assert not list(folder.glob("[0-9]*."))
    assert_valid(folder)


def test_move_links_messages(root: Path) -> None:
    source, target = root / "j/user/joe", root / "a/user/ann"
    samplespool.deliver(source, 4)
    before = {path.stat().st_ino: path.read_bytes() for path in messages(source)}
    count, last = len(messages(source)), max((int(path.name[:-1]) for path in target.glob("[0-9]*.")), default=0)
    assert samplespool.move(source, target, 3) == 3
    assert len(messages(source)) == count - 3
    moved = [target / f"{uid}." for uid in range(last + 1, last + 4)]
    assert [before[path.stat().st_ino] for path in moved] == [path.read_bytes() for path in moved]
    assert_valid(source)
    assert_valid(target)


def test_flags_change_the_index_in_place(root: Path) -> None:
    folder = root / "j/user/joe"
    samplespool.deliver(folder, 3)
    path = folder / "cyrus.index"
    before, content = path.stat(), path.read_bytes()
    samplespool.set_flags(folder)
    after = path.stat()
    assert (after.st_ino, after.st_size) == (before.st_ino, before.st_size)
    assert after.st_mtime_ns > before.st_mtime_ns
    assert path.read_bytes() != content
    assert_valid(folder)


def test_create_and_delete(root: Path) -> None:
    folder = samplespool.create_folder(root, "user/7up/A b")
    assert folder == root / "q/user/7up/A b"
    samplespool.deliver(folder, 2)
    assert_valid(folder)
    samplespool.delete_folder(folder)
    assert not folder.exists()


def test_delete_keeps_the_folders_below(root: Path) -> None:
    samplespool.delete_folder(root / "j/user/joe")
    assert not list((root / "j/user/joe").glob("cyrus.*"))
    assert_valid(root / "j/user/joe/Sent")


def test_recreated_folder_is_another_incarnation_from_uid_1(root: Path) -> None:
    folder = root / "j/user/joe/Sent"
    before = ident(folder)
    samplespool.recreate_folder(folder, 4, rng=random.Random(5))
    after = ident(folder)
    assert after[0] != before[0]
    assert after[1] > before[1]
    assert sorted(path.name for path in folder.glob("[0-9]*.")) == ["1.", "2.", "3.", "4."]
    assert_valid(folder)


def test_swap_exchanges_folders_with_all_below(root: Path) -> None:
    left, right = root / "j/user/joe/Archive", root / "a/user/ann/Sent Items"
    idents, below = (ident(left), ident(right)), ident(left / "2023")
    samplespool.swap(left, right)
    assert (ident(right), ident(left)) == idents
    assert ident(right / "2023") == below
    for folder in (left, right, right / "2023"):
        header = (folder / "cyrus.header").read_bytes()
        name = folder.relative_to(root).as_posix()[2:].replace("/", ".").encode()
        quoted = b'"%s"' % name if b" " in name else name
        assert b"%(T el N" not in header or b"N " + quoted + b" I" in header
        assert_valid(folder)
