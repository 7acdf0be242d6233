"""What a replica is about to lose is kept: by links and renames, once, and never half."""

from __future__ import annotations

import errno
import gzip
import hashlib
import os
import time
import zlib
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import samplespool
from cyrsync.cyrus.mailbox import header, records
from cyrsync.far import packed, pool, store
from cyrsync.far import uids as uid_sets
from cyrsync.far.keep import Keeper
from cyrsync.far.keeping import Keeping
from cyrsync.far.named import read_hashed
from cyrsync.far.remove import Removal, Remover
from cyrsync.far.stored import StoreReader

HOUR = 3600 * 10**9


class Mailbox:
    """A mailbox on a replica."""

    def __init__(self, root: Path, messages: int = 5) -> None:
        self.root = root / "spool"
        self.folder = samplespool.create_folder(self.root, "user/joe")
        samplespool.deliver(self.folder, messages)
        self.path = os.fsencode(self.folder.relative_to(self.root))
        self.uniqueid = header.uniqueid((self.folder / "cyrus.header").read_bytes())

    def keep(self, keeper: Keeper, new: bytes | None = None) -> None:
        descriptor = os.open(self.folder, os.O_RDONLY)
        try:
            keeper.keep_state(descriptor, self.path, {b"cyrus.index": new} if new else None)
        finally:
            os.close(descriptor)

    def replace_index(self, data: bytes, mtime: int) -> None:
        new = self.folder / "new"
        new.write_bytes(data)
        os.utime(new, ns=(mtime, mtime))
        new.rename(self.folder / "cyrus.index")

    def index(self) -> bytes:
        return (self.folder / "cyrus.index").read_bytes()

    @property
    def kept(self) -> Path:
        return self.root / os.fsdecode(store.STORE) / "mailboxes" / self.uniqueid

    def states(self) -> list[Path]:
        return sorted(self.kept.glob("*Z"))

    def uids(self) -> list[int]:
        return sorted(int(path.name[:-1]) for path in self.folder.glob("*[0-9]."))


@pytest.fixture
def mailbox(tmp_path: Path) -> Mailbox:
    return Mailbox(tmp_path)


def keeper_of(mailbox: Mailbox, spacing: int = 0) -> Keeper:
    return Keeper(os.fsencode(mailbox.root), spacing)


def pack(mailbox: Mailbox) -> None:
    packed.Packer(os.fsencode(mailbox.root)).pack()


def remove(mailbox: Mailbox, *removals: Removal) -> Remover:
    root = os.fsencode(mailbox.root)
    remover = Remover(root, keep_times=False, wanted=lambda: True)
    remover.guard = Keeping({root: root}, 0).guard(root)
    remover.remove(removals)
    return remover


@pytest.mark.parametrize("is_packed", [False, True])
def test_a_state_that_is_kept_again_is_kept_once(mailbox: Mailbox, is_packed: bool) -> None:
    """A run that is killed, or fails, between keeping and replacing is followed by one that keeps the same."""
    for _ in range(3):
        mailbox.keep(keeper_of(mailbox))
        if is_packed:
            pack(mailbox)
    assert len(mailbox.states()) == 1


@pytest.mark.parametrize("is_packed", [False, True])
def test_two_states_of_one_time_are_both_kept(mailbox: Mailbox, is_packed: bool) -> None:
    """Times of files are those of the kernel's tick."""
    mtime = (mailbox.folder / "cyrus.index").stat().st_mtime_ns
    mailbox.keep(keeper_of(mailbox))
    if is_packed:
        pack(mailbox)
    mailbox.replace_index(mailbox.index(), mtime)  # a file of its own, as on every replica
    samplespool.deliver(mailbox.folder, 1)
    os.utime(mailbox.folder / "cyrus.index", ns=(mtime, mtime))
    mailbox.keep(keeper_of(mailbox))
    assert [store.time_of(os.fsencode(state.name)) for state in mailbox.states()] == [mtime, mtime + 1]


@given(ages=st.lists(st.integers(0, 50), min_size=1, max_size=12))
def test_states_rise_in_the_order_in_which_they_were_kept(
    tmp_path_factory: pytest.TempPathFactory, ages: list[int]
) -> None:
    """The source's clock may be set back in between. A state that is later than all before has its own time."""
    mailbox, start = Mailbox(tmp_path_factory.mktemp("box")), time.time_ns() - 100 * HOUR
    newest = 0
    for number, age in enumerate(ages):
        mtime = start + age * HOUR
        samplespool.deliver(mailbox.folder, 1)
        mailbox.replace_index(mailbox.index(), mtime)
        for _ in range(2):  # by a run that is killed then, and the next one
            mailbox.keep(keeper_of(mailbox))
        states = mailbox.states()
        assert len(states) == number + 1
        assert (states[-1] / "cyrus.index").read_bytes() == mailbox.index()
        found = store.time_of(os.fsencode(states[-1].name))
        assert found == mtime if mtime > newest else newest < found <= newest + len(ages)
        newest = found


def test_a_state_from_the_future_holds_up_no_other(mailbox: Mailbox) -> None:
    """The source's clock was wrong, and put right."""
    now = time.time_ns()
    for mtime in (now + 1000 * HOUR, now - HOUR, now - 2 * HOUR):
        samplespool.deliver(mailbox.folder, 1)
        mailbox.replace_index(mailbox.index(), mtime)
        mailbox.keep(keeper_of(mailbox))
    assert [store.time_of(os.fsencode(state.name)) - now for state in mailbox.states()] == [
        -HOUR,
        1 - HOUR,
        1000 * HOUR,
    ]


def test_versions_of_a_file_rise_in_the_order_in_which_they_were_kept(tmp_path: Path) -> None:
    descriptor = os.open(tmp_path, os.O_RDONLY)
    for number, mtime in enumerate((10**18, 10**18 - HOUR, 10**18 - 2 * HOUR)):
        (tmp_path / "new").write_text(str(number))
        os.utime(tmp_path / "new", ns=(mtime, mtime))
        (tmp_path / "new").rename(tmp_path / "seen")
        for _ in range(2):
            Keeper(os.fsencode(tmp_path)).keep_file(descriptor, b"user/j", b"seen")
        packed.Packer(os.fsencode(tmp_path)).pack()
    os.close(descriptor)
    versions = sorted((tmp_path / os.fsdecode(store.STORE)).glob("files/user/j/seen.versions/*"))
    assert [gzip.decompress(one.read_bytes()) for one in versions] == [b"0", b"1", b"2"]


def test_links_are_kept_as_links(tmp_path: Path) -> None:
    """Once, in their order, where a clock was set back, or ahead, and between files of that name."""
    descriptor = os.open(tmp_path, os.O_RDONLY)
    ahead = time.time_ns() + HOUR
    targets = ["a.bc", "../away", "a.bc", "b.bc", "", "c.bc", "d.bc"]
    times = [10**18, 10**18 - HOUR, 10**18 - HOUR, ahead, ahead, ahead, ahead]
    for target, mtime in zip(targets, times, strict=True):
        fresh = tmp_path / "new"
        fresh.symlink_to(target) if target else fresh.write_text("a file")
        os.utime(fresh, ns=(mtime, mtime), follow_symlinks=False)
        fresh.rename(tmp_path / "defaultbc")
        for _ in range(2):
            Keeper(os.fsencode(tmp_path)).keep_file(descriptor, b"sieve/j", b"defaultbc")
        packed.Packer(os.fsencode(tmp_path)).pack()
    os.close(descriptor)
    versions = sorted((tmp_path / os.fsdecode(store.STORE)).glob("files/sieve/j/defaultbc.versions/*"))
    assert sorted(os.readlink(one) if one.is_symlink() else "" for one in versions) == sorted(targets)
    assert [os.readlink(one) for one in versions[:3]] == targets[:3]
    assert all(store.VERSION.match(os.fsencode(one.name)) for one in versions)


@pytest.mark.parametrize("later", [0, 1])
def test_a_link_that_comes_again_is_not_kept(tmp_path: Path, later: int) -> None:
    for name, mtime in (("defaultbc", 10**18), ("coming", 10**18 + later)):
        (tmp_path / name).symlink_to("a.bc")
        os.utime(tmp_path / name, ns=(mtime, mtime), follow_symlinks=False)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    Keeper(os.fsencode(tmp_path)).keep_file(descriptor, b"sieve/j", b"defaultbc", b"coming")
    os.close(descriptor)
    versions = (tmp_path / os.fsdecode(store.STORE)).glob("files/sieve/j/defaultbc.versions/*")
    assert [store.time_of(os.fsencode(one.name)) for one in versions] == [10**18][:later]


@pytest.mark.parametrize("later", [0, 1])
def test_a_state_that_comes_again_is_not_kept(mailbox: Mailbox, later: int) -> None:
    """A run that compares everything sends all indexes. Where Cyrus has written one anew, it was so before, too."""
    mtime = (mailbox.folder / "cyrus.index").stat().st_mtime_ns
    (mailbox.folder / "coming").write_bytes(mailbox.index())
    os.utime(mailbox.folder / "coming", ns=(mtime + later, mtime + later))
    mailbox.keep(keeper_of(mailbox), b"coming")
    assert [store.time_of(os.fsencode(state.name)) for state in mailbox.states()] == [mtime][:later]


@pytest.mark.parametrize("later", [0, 1])
def test_a_file_that_comes_again_is_not_kept(tmp_path: Path, later: int) -> None:
    for name, mtime in (("seen", 10**18), ("coming", 10**18 + later)):
        (tmp_path / name).write_bytes(b"the same")
        os.utime(tmp_path / name, ns=(mtime, mtime))
    descriptor = os.open(tmp_path, os.O_RDONLY)
    Keeper(os.fsencode(tmp_path)).keep_file(descriptor, b"user/j", b"seen", b"coming")
    os.close(descriptor)
    versions = (tmp_path / os.fsdecode(store.STORE)).glob("files/user/j/seen.versions/*")
    assert [store.time_of(os.fsencode(one.name)) for one in versions] == [10**18][:later]


def test_what_is_no_mailbox_has_no_state(mailbox: Mailbox) -> None:
    (mailbox.folder / "cyrus.header").unlink()
    mailbox.keep(keeper_of(mailbox))
    (mailbox.folder / "cyrus.index").unlink()
    mailbox.keep(keeper_of(mailbox))
    assert not mailbox.kept.exists()


def test_annotations_are_copied_as_cyrus_changes_them_in_their_place(mailbox: Mailbox) -> None:
    annotations = mailbox.folder / "cyrus.annotations"
    annotations.write_bytes(b"before")
    mailbox.keep(keeper_of(mailbox))
    annotations.write_bytes(b"after!")
    (state,) = mailbox.states()
    assert (state / "cyrus.annotations").read_bytes() == b"before"
    assert (state / "cyrus.index").stat().st_ino == (mailbox.folder / "cyrus.index").stat().st_ino


def age(state: Path, seconds: float) -> None:
    """Have a state been kept so long ago."""
    made = time.time() - seconds
    os.utime(state / "folder", times=(made, made), follow_symlinks=False)


def test_states_that_are_near_to_the_last_one_are_not_kept_but_what_they_alone_have(mailbox: Mailbox) -> None:
    keeper = keeper_of(mailbox, HOUR)
    start = 1_600_000_000 * 10**9
    mailbox.replace_index(mailbox.index(), start)
    mailbox.keep(keeper)
    before = mailbox.index()
    mailbox.replace_index(before, start)
    (uid,) = samplespool.deliver(mailbox.folder, 1)  # comes ...
    with_it = mailbox.index()
    mailbox.replace_index(with_it, start + HOUR // 4)
    (mailbox.folder / "coming").write_bytes(before)  # ... and goes
    mailbox.keep(keeper, b"coming")
    mailbox.replace_index(with_it, start + HOUR // 2)
    (mailbox.folder / "coming").write_bytes(with_it + b"more")  # nothing goes
    age(mailbox.states()[0], 3590)
    mailbox.keep(keeper, b"coming")
    assert [state.name for state in mailbox.states()] == [os.fsdecode(store.since(start))]
    (gone,) = mailbox.kept.glob("*.gone")
    assert gone.name == os.fsdecode(store.since(start + HOUR // 4)) + ".gone"
    whole, index = records.read(with_it), (gone / "cyrus.index").read_bytes()
    size, begin = whole.header.record_size, whole.header.start_offset
    assert len(index) == begin + size
    assert index[begin:] == with_it[begin + whole.uids.index(uid) * size :][:size]
    age(mailbox.states()[0], 3601)
    mailbox.keep(keeper, b"coming")
    assert len(mailbox.states()) == 2


@pytest.mark.parametrize("seconds", [3601, -3601])
def test_a_state_that_began_soon_after_the_last_one_and_was_there_for_long_is_kept(
    mailbox: Mailbox, seconds: float
) -> None:
    """Else it would never be known. Where the clock has been set back, nothing tells how long it was."""
    keeper = keeper_of(mailbox, HOUR)
    start = 1_600_000_000 * 10**9
    mailbox.replace_index(mailbox.index(), start)
    mailbox.keep(keeper)
    age(mailbox.states()[0], seconds)
    samplespool.deliver(mailbox.folder, 1)
    mailbox.replace_index(mailbox.index(), start + 10**9)
    (mailbox.folder / "coming").write_bytes(mailbox.index() + b"more")
    mailbox.keep(keeper, b"coming")
    assert [store.time_of(os.fsencode(state.name)) for state in mailbox.states()] == [start, start + 10**9]


def test_a_message_is_moved_by_what_its_record_says_without_being_read(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    bodies = {uid: (mailbox.folder / f"{uid}.").read_bytes() for uid in mailbox.uids()}
    mailbox.keep(keeper_of(mailbox))

    def refuse(name: bytes, folder: int) -> bytes:
        raise AssertionError(name)

    monkeypatch.setattr(pool, "_digest", refuse)
    uids = mailbox.uids()[:2]
    remover = remove(mailbox, Removal(mailbox.path, uid_sets.of(uids)))
    assert (remover.files, remover.failed) == (2, [])
    found = {path.name: path.read_bytes() for path in (mailbox.kept.parents[1] / "messages").glob("*/*")}
    assert found == {hashlib.sha1(bodies[uid]).hexdigest(): bodies[uid] for uid in uids}


def test_a_message_whose_record_is_of_another_mailbox_is_named_by_what_it_is(mailbox: Mailbox) -> None:
    """A mailbox was made again, with the same UIDs: the messages that go are not those of its records."""
    mailbox.keep(keeper_of(mailbox))
    uid = mailbox.uids()[0]
    old = (mailbox.folder / f"{uid}.").read_bytes()
    samplespool.recreate_folder(mailbox.folder, 5)
    changed = bytes(reversed(old))
    (mailbox.folder / "77.").write_bytes(changed)
    mailbox.uniqueid = header.uniqueid((mailbox.folder / "cyrus.header").read_bytes())
    remove(mailbox, Removal(mailbox.path, uid_sets.of([77])))
    found = {path.name: path.read_bytes() for path in (mailbox.kept.parents[1] / "messages").glob("*/*")}
    assert found == {hashlib.sha1(changed).hexdigest(): changed}


def test_two_messages_of_one_sha1_are_one(mailbox: Mailbox) -> None:
    one, two, other = mailbox.uids()[:3]
    body = (mailbox.folder / f"{one}.").read_bytes()
    (mailbox.folder / f"{two}.").unlink()
    os.link(mailbox.folder / f"{one}.", mailbox.folder / f"{two}.")
    (mailbox.folder / f"{other}.").write_bytes(body)
    remove(mailbox, Removal(mailbox.path, uid_sets.of([one, two, other])))
    (path,) = (mailbox.root / os.fsdecode(store.STORE) / "messages").glob("*/*")
    assert path.read_bytes() == body
    assert not [uid for uid in (one, two, other) if (mailbox.folder / f"{uid}.").exists()]


def test_a_damaged_message_does_not_take_the_place_of_a_right_one(mailbox: Mailbox) -> None:
    """Nor the other way round: both are kept."""
    mailbox.keep(keeper_of(mailbox))
    uid = mailbox.uids()[0]
    path = mailbox.folder / f"{uid}."
    body, damaged = path.read_bytes(), bytes(path.stat().st_size)
    for contents in (body, damaged, body):
        path.write_bytes(contents)
        remove(mailbox, Removal(mailbox.path, uid_sets.of([uid])))
    found = {one.name: one.read_bytes() for one in (mailbox.kept.parents[1] / "messages").glob("*/*")}
    assert found == {hashlib.sha1(data).hexdigest(): data for data in (body, damaged)}


def test_where_nothing_can_be_kept_nothing_is_removed(mailbox: Mailbox) -> None:
    (mailbox.root / os.fsdecode(store.STORE)).write_bytes(b"in the way")
    before = sorted(path.name for path in mailbox.folder.iterdir())
    remover = remove(mailbox, Removal(mailbox.path, uid_sets.of(mailbox.uids()), files=(b"cyrus.index",)))
    assert remover.failed
    remover = remove(mailbox, Removal(b"j/user", folders=(b"joe",)))
    assert remover.failed
    assert sorted(path.name for path in mailbox.folder.iterdir()) == before


def test_messages_without_a_guid_are_noted(mailbox: Mailbox) -> None:
    data = bytearray(mailbox.index())
    head = records.read(bytes(data)).header
    for number in range(head.num_records):
        at = head.start_offset + number * head.record_size
        data[at + 60 : at + 80] = bytes(20)
        data[at + 108 : at + 112] = zlib.crc32(data[at : at + 108]).to_bytes(4, "big")
    mailbox.replace_index(bytes(data), 1_600_000_000 * 10**9)
    mailbox.keep(keeper_of(mailbox))
    uid = mailbox.uids()[0]
    body = (mailbox.folder / f"{uid}.").read_bytes()
    remove(mailbox, Removal(b"j/user", folders=(b"joe",)))
    lines = (mailbox.kept / "hashed").read_text().splitlines()
    assert f"{head.uidvalidity} {uid} {hashlib.sha1(body).hexdigest()}" in lines


def test_a_message_whose_note_is_torn_stays_and_tears_no_other(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a full disk a note may be written in part; the next one begins a line of its own."""
    mailbox.keep(keeper_of(mailbox))
    uid = mailbox.uids()[0]
    (mailbox.folder / f"{uid}.").write_bytes(b"cut off")
    write, left = os.write, 10

    def short(file: int, data: bytes) -> int:
        nonlocal left
        if not left:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        written = write(file, data[:left])
        left -= written
        return written

    with monkeypatch.context() as patched:
        patched.setattr(os, "write", short)
        assert [number for _, number in remove(mailbox, Removal(mailbox.path, uid_sets.of([uid]))).failed] == [28]
    assert uid in mailbox.uids()
    assert not remove(mailbox, Removal(mailbox.path, uid_sets.of([uid]))).failed
    uidvalidity = records.read(mailbox.index()).header.uidvalidity
    hashed = read_hashed(StoreReader(os.fsencode(mailbox.root)), os.fsencode(mailbox.uniqueid))
    assert hashed == {(uidvalidity, uid): hashlib.sha1(b"cut off").digest()}


def index_of(state: Path) -> bytes:
    if (state / "cyrus.index.gz").exists():
        return gzip.decompress((state / "cyrus.index.gz").read_bytes())
    names = (state / "cyrus.index.pieces").read_text().split()
    return gzip.decompress(b"".join((state.parent / "pieces" / name).read_bytes() for name in names))


def test_a_state_is_packed(mailbox: Mailbox) -> None:
    before = mailbox.index()
    mailbox.keep(keeper_of(mailbox))
    pack(mailbox)
    pack(mailbox)
    (state,) = mailbox.states()
    assert not (state / "cyrus.index").exists()
    assert index_of(state) == before


def test_what_is_not_large_waits_to_be_packed_until_there_is_much(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    packer = packed.Packer(os.fsencode(mailbox.root))
    waiting = []
    for number in range(4):
        samplespool.deliver(mailbox.folder, 1)
        monkeypatch.setattr(packed, "_LARGE", 0 if number == 2 else 256 << 10)
        mailbox.keep(keeper_of(mailbox))
        monkeypatch.setattr(packed, "_MOST_WAITING", 3 if number < 3 else 2)
        packer.pack_large()
        waiting.append([(state / "cyrus.index").exists() for state in mailbox.states()])
    assert waiting == [[True], [True] * 2, [True, True, False], [False] * 4]
    assert not list((mailbox.kept.parents[1] / "unpacked").iterdir())


def test_what_no_index_tells_is_on_the_disk_before_its_message_moves(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[tuple[str, list[int]]] = []
    monkeypatch.setattr(os, "fsync", lambda one: synced.append((os.readlink(f"/proc/self/fd/{one}"), mailbox.uids())))
    (mailbox.folder / "3.").write_bytes(b"cut off")
    before = mailbox.uids()
    mailbox.keep(keeper_of(mailbox))
    remove(mailbox, Removal(mailbox.path, uid_sets.of([3])))
    assert synced == [(str(mailbox.kept / "hashed"), before), (str(mailbox.kept), before)]
    assert mailbox.uids() == [uid for uid in before if uid != 3]


def test_a_full_disk_has_no_more_on_it_after_each_try_to_pack(
    mailbox: Mailbox, monkeypatch: pytest.MonkeyPatch
) -> None:
    for _ in range(3):
        samplespool.deliver(mailbox.folder, 1)
        mailbox.keep(keeper_of(mailbox))
    before = sorted(mailbox.kept.rglob("*"))
    for step, call in (("write_all", 1), ("write_all", 3), ("to_disk", 1)):
        with monkeypatch.context() as patch:
            patch.setattr(packed.whole_file if step == "write_all" else packed, step, _full_at(call))
            with pytest.raises(OSError, match="No space left"):
                pack(mailbox)
        assert sorted(mailbox.kept.rglob("*")) == before
    pack(mailbox)
    assert not list(mailbox.kept.rglob("cyrus.index"))


def _full_at(number: int) -> Callable[..., None]:
    calls = iter(range(1, number + 1))

    def write(*_: object) -> None:
        if next(calls) == number:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    return write


def test_a_large_mailbox_that_changes_a_little_costs_a_little(tmp_path: Path) -> None:
    mailbox = Mailbox(tmp_path, 4000)
    indexes = []
    costs = []
    for change in (lambda: None, lambda: samplespool.deliver(mailbox.folder, 1), lambda: repack(mailbox, 7)):
        change()
        indexes.append(mailbox.index())
        before = size_of(mailbox.kept)
        mailbox.keep(keeper_of(mailbox))
        pack(mailbox)
        costs.append(size_of(mailbox.kept) - before)
    assert [index_of(state) for state in mailbox.states()] == indexes
    assert costs[1] < costs[0] // 4
    assert costs[2] < costs[0] // 4


def repack(mailbox: Mailbox, number: int) -> None:
    """Remove a record near the beginning: all the others move up."""
    data = mailbox.index()
    head = records.read(data).header
    at = head.start_offset + number * head.record_size
    data = data[:at] + data[at + head.record_size :]
    counted = data[:20] + (head.num_records - 1).to_bytes(4, "big") + data[24:]
    crc = zlib.crc32(counted[: head.start_offset - 4]).to_bytes(4, "big")
    mailbox.replace_index(counted[: head.start_offset - 4] + crc + counted[head.start_offset :], 2_000_000_000 * 10**9)


def size_of(directory: Path) -> int:
    return sum(path.lstat().st_size for path in directory.rglob("*") if path.is_file()) if directory.exists() else 0


@pytest.mark.parametrize("size", [0, 1000, 300_000])
def test_another_file_is_packed(tmp_path: Path, size: int) -> None:
    root = os.fsencode(tmp_path)
    data = os.urandom(size)
    (tmp_path / "seen").write_bytes(data)
    descriptor = os.open(tmp_path, os.O_RDONLY)
    Keeper(root).keep_file(descriptor, b"user/j", b"seen")
    os.close(descriptor)
    packed.Packer(root).pack()
    files = tmp_path / os.fsdecode(store.STORE) / "files"
    (state,) = (files / "user" / "j" / "seen.versions").iterdir()
    if state.suffix == ".gz":
        assert gzip.decompress(state.read_bytes()) == data
    else:
        names = state.read_text().split()
        assert gzip.decompress(b"".join((files / "pieces.gz" / name).read_bytes() for name in names)) == data


@pytest.mark.parametrize("data", [b"", b"no index", bytes(400_000), b"\0" * 12 + b"\xff" * 400_000])
def test_what_is_no_index_is_packed_all_the_same(mailbox: Mailbox, data: bytes) -> None:
    mailbox.replace_index(data, 1_600_000_000 * 10**9)
    mailbox.keep(keeper_of(mailbox))
    pack(mailbox)
    (state,) = mailbox.states()
    assert index_of(state) == data


def test_links_that_somebody_puts_in_the_way_are_not_followed(mailbox: Mailbox, tmp_path: Path) -> None:
    (tmp_path / "else").mkdir()
    mailbox.keep(keeper_of(mailbox))
    (state,) = mailbox.states()
    state.rename(tmp_path / "away")
    os.symlink(tmp_path / "else", state)
    with pytest.raises(OSError, match=r"ot a directory|oo many"):
        pack(mailbox)
    assert not list((tmp_path / "else").iterdir())


def test_a_message_that_is_not_of_its_records_size_is_noted(mailbox: Mailbox) -> None:
    """It is called by what it is, which no record tells: prune would take it for nobody's."""
    mailbox.keep(keeper_of(mailbox))
    uid = mailbox.uids()[0]
    (mailbox.folder / f"{uid}.").write_bytes(b"cut off")
    remove(mailbox, Removal(mailbox.path, uid_sets.of([uid])))
    uidvalidity = records.read(mailbox.index()).header.uidvalidity
    line = f"{uidvalidity} {uid} {hashlib.sha1(b'cut off').hexdigest()}"
    assert (mailbox.kept / "hashed").read_text().split("\n") == ["", line, ""]


def test_a_state_of_another_uidvalidity_says_nothing_of_a_message(mailbox: Mailbox) -> None:
    """The mailbox was made again under the same uniqueid: its UIDs are other messages, also where sizes are equal."""
    mailbox.keep(keeper_of(mailbox))
    data = mailbox.index()
    start = records.read(data).header.start_offset
    head = data[:44] + b"\0\0\0\7" + data[48 : start - 4]  # minor version 17: UIDVALIDITY stands at 44
    mailbox.replace_index(head + zlib.crc32(head).to_bytes(4, "big") + data[start:], 2_000_000_000 * 10**9)
    uid = mailbox.uids()[0]
    path = mailbox.folder / f"{uid}."
    other = bytes(reversed(path.read_bytes()))
    path.write_bytes(other)
    remove(mailbox, Removal(mailbox.path, uid_sets.of([uid])))
    found = {one.name: one.read_bytes() for one in (mailbox.kept.parents[1] / "messages").glob("*/*")}
    assert found == {hashlib.sha1(other).hexdigest(): other}
