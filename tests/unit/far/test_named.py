"""What messages a kept state names: of an index in pieces each piece is read once."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest

import samplespool
from cyrsync.cyrus.mailbox import records
from cyrsync.far.keep import Keeper
from cyrsync.far.named import named, read_hashed
from cyrsync.far.packed import Packer
from cyrsync.far.stored import Damaged, StoreReader


class Large:
    """A mailbox with states in pieces: of 2,600 messages, of 10 more, and of 30 fewer."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.folder = samplespool.create_folder(root, "user/joe")
        samplespool.deliver(self.folder, 2600, size=200)
        self.expected = []
        for change in (lambda: samplespool.deliver(self.folder, 10), lambda: samplespool.expunge(self.folder, 30), int):
            self.keep()
            change()
        Packer(os.fsencode(root)).pack()
        self.store = StoreReader(os.fsencode(root))
        [self.mailbox] = self.store.mailboxes()

    def keep(self) -> None:
        index = self.folder / "cyrus.index"
        copy = index.with_suffix(".NEW")  # changes are made in place
        copy.write_bytes(index.read_bytes())
        when = (1_700_000_000 + len(self.expected)) * 10**9
        os.utime(copy, ns=(when, when))
        copy.replace(index)
        found = records.read(index.read_bytes())
        self.expected.append({found.guid(at) for at in range(len(found)) if not found.unlinked[at]})
        folder = os.open(self.folder, os.O_RDONLY)
        Keeper(os.fsencode(self.root)).keep_state(folder, os.fsencode(self.folder.relative_to(self.root)))
        os.close(folder)
        copy.write_bytes(index.read_bytes())
        copy.replace(index)

    def list_of(self, state: bytes) -> Path:
        directory = self.root / ".cyrsync-history" / "mailboxes" / os.fsdecode(self.mailbox.name)
        return directory / os.fsdecode(state) / "cyrus.index.pieces"


@pytest.fixture
def large(tmp_path: Path) -> Large:
    return Large(tmp_path)


def test_each_piece_is_read_once_and_all_is_named(large: Large, monkeypatch: pytest.MonkeyPatch) -> None:
    assert all(large.list_of(state).exists() for state in large.mailbox.states)
    read: list[bytes] = []
    contents = large.store.contents

    def counted(*path: bytes) -> bytes:
        read.append(path[-1])
        return contents(*path)

    for state, expected in zip(large.mailbox.states, large.expected, strict=True):
        assert set(named(large.store, large.mailbox.name, state, {})) == expected
    monkeypatch.setattr(large.store, "contents", counted)
    known: dict[tuple[bytes, int], int] = {}
    found: set[bytes] = set()
    for state, expected in zip(large.mailbox.states, large.expected, strict=True):
        found.update(named(large.store, large.mailbox.name, state, {}, known))
        assert found >= expected
    pieces = [name for name in read if name.endswith(b".gz")]
    assert len(pieces) == len(set(pieces))
    assert found == set.union(*large.expected)


@pytest.mark.parametrize("known", [None, {}])
def test_a_list_that_is_cut_off_is_damaged(large: Large, known: dict[tuple[bytes, int], int] | None) -> None:
    *_, newest = large.mailbox.states
    lines = large.list_of(newest).read_text().splitlines(keepends=True)
    large.list_of(newest).write_text("".join(lines[:-1]))
    for state in large.mailbox.states[:-1]:
        named(large.store, large.mailbox.name, state, {}, known)
    with pytest.raises(Damaged, match="torn"):
        named(large.store, large.mailbox.name, newest, {}, known)


@pytest.mark.parametrize("known", [None, {}])
def test_a_piece_that_lacks_is_damage(large: Large, known: dict[tuple[bytes, int], int] | None) -> None:
    *_, newest = large.mailbox.states
    name = large.list_of(newest).read_text().split()[-1]
    (large.list_of(newest).parent.parent / "pieces" / name).unlink()
    with pytest.raises(Damaged, match="No such file"):
        named(large.store, large.mailbox.name, newest, {}, known)


def test_what_is_hashed_is_named_by_the_uids_that_a_state_has(large: Large) -> None:
    index = records.read((large.folder / "cyrus.index").read_bytes())
    lines = [f"{index.header.uidvalidity} {index.uids[0]} {'ab' * 20}", f"1 {index.uids[0]} {'cd' * 20}", "torn 1"]
    (large.list_of(b"x").parent.parent / "hashed").write_text("\n".join(lines))
    hashed = read_hashed(large.store, large.mailbox.name)
    assert len(hashed) == 2
    found = named(large.store, large.mailbox.name, large.mailbox.states[0], hashed, {})
    assert bytes.fromhex("ab" * 20) in found
    assert bytes.fromhex("cd" * 20) not in found


def test_what_would_fill_the_memory_is_damaged(tmp_path: Path) -> None:
    """Whoever owns the replica's root may put anything there, and root unpacks it."""
    bomb = zlib.compressobj(9, zlib.DEFLATED, 31)
    data = b"".join(bomb.compress(bytes(1 << 20)) for _ in range(64)) + bomb.flush()
    state = tmp_path / ".cyrsync-history" / "mailboxes" / "id" / "20261128T101500.123456789Z"
    state.mkdir(parents=True)
    (state / "cyrus.index.gz").write_bytes(data)
    with pytest.raises(Damaged, match="too large to be right"):
        named(StoreReader(os.fsencode(tmp_path)), b"id", os.fsencode(state.name), {})
