"""What is kept is read as it was, and whatever somebody puts in its place is named, and leads nowhere."""

from __future__ import annotations

import gzip
import hashlib
import os
import re
import shutil
import time
import tracemalloc
from collections.abc import Callable
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

import sampleindex
import samplespool
from cyrsync.cyrus.mailbox import records
from cyrsync.cyrus.server.server import Located
from cyrsync.errors import UnusableError
from cyrsync.far import store as names
from cyrsync.history import contents, reading
from cyrsync.history.as_of import tree_as_of
from cyrsync.history.choose import Request
from cyrsync.history.kept import excerpt
from cyrsync.history.kept.kept import WRONG, Kept
from cyrsync.history.kept.store import Store
from cyrsync.history.mailbox_files import MailboxFiles
from cyrsync.history.selected import Selection
from cyrsync.history.tree import Tree, open_tree
from support.kept import STORE, KeepingReplica
from support.servers import SampleServer

TICK = 0.02  # seconds that the clock of a file system tells apart
YEAR_2020 = 1_577_836_800 * 10**9


@pytest.fixture
def server(tmp_path: Path) -> SampleServer:
    return SampleServer(tmp_path / "server", messages=40, folder_count=2)


def kept_once(server: SampleServer, top: Path, pack: str = "no") -> tuple[KeepingReplica, Path]:
    """A replica with one kept state of user/joe, of 2020, in which every message was there."""
    folder = server.folder("user/joe")
    os.utime(folder / "cyrus.index", ns=(YEAR_2020, YEAR_2020))
    os.utime(server.database, ns=(YEAR_2020, YEAR_2020))
    replica = KeepingReplica(server, top, pack=pack)
    replica.sync()
    samplespool.expunge(folder, 5)
    replica.sync()
    (state,) = (replica.here(server.spool) / STORE / "mailboxes").glob("*/2*")
    return replica, state


def opened(replica: KeepingReplica) -> Tree:
    return open_tree(os.fsencode(replica.top), str(replica.conf))


def in_2020(tree: Tree, later: int = 1) -> tuple[list[Selection], list[str]]:
    errors: list[str] = []
    tree = tree_as_of(tree, YEAR_2020 + later)
    return list(reading.selections(tree, Request("user/joe"), errors.append)), errors


@pytest.mark.parametrize("pack", ["no", "gz", "pieces"])
def test_a_state(server: SampleServer, tmp_path: Path, pack: str) -> None:
    index = (server.folder("user/joe") / "cyrus.index").read_bytes()
    replica, state = kept_once(server, tmp_path / "replica", pack)
    tree = opened(replica)
    (one,), errors = in_2020(tree)
    assert not errors and one.metadata[b"cyrus.index"] == index
    assert (one.since, one.count) == (YEAR_2020, len(records.read(index).uids))
    assert all(contents.whole(message) for message in one.messages())
    (kept,) = Kept(tree).states(os.fsencode(state.parent.name))
    assert kept.index(192)[:192] == index[:192] and kept.folder() == b"j/user/joe"
    assert abs(kept.made() - state.stat().st_ctime_ns) < 10**9


def test_the_last_uid_that_was_ever_given(server: SampleServer, tmp_path: Path) -> None:
    """Not that of the state: another message would get a UID that one had which came later."""
    folder = server.folder("user/joe")
    replica, _ = kept_once(server, tmp_path / "replica")
    uids = samplespool.deliver(folder, 3)
    replica.sync()
    highest = records.read_header((folder / "cyrus.index").read_bytes())
    (one,), _ = in_2020(opened(replica))
    assert (one.mailbox.last_uid, one.mailbox.highest_modseq) == (uids[-1], highest.highestmodseq)
    # Where it was deleted, or made anew, its newest state tells.
    samplespool.recreate_folder(folder, 1)
    replica.sync()
    (one,), _ = in_2020(opened(replica))
    assert (one.mailbox.last_uid, one.mailbox.highest_modseq) == (uids[-1], highest.highestmodseq)


def test_a_message_without_a_guid(server: SampleServer, tmp_path: Path) -> None:
    """Up to 2.3 the index has none: the store tells, and what is in the pool is compared with that."""
    replica, state = kept_once(server, tmp_path / "replica")
    data = bytearray((state / "cyrus.index").read_bytes())
    header = records.read_header(bytes(data))
    pool = replica.here(server.spool) / STORE / "messages"
    gone = {path.name for path in pool.glob("*/*")}
    lines = []
    for at in range(160, len(data), 112):
        guid = data[at + 60 : at + 80].hex()
        if guid in gone:
            lines.append(f"{header.uidvalidity} {sampleindex.get(data, at)} {guid}\n")
            data[at + 60 : at + 80] = bytes(20)
            sampleindex.set_record(data, at, sampleindex.get(data, at + 32), sampleindex.get_long(data, at + 80))
    (state / "cyrus.index").unlink()
    (state / "cyrus.index").write_bytes(data)
    (state.parent / "hashed").write_text(f"{''.join(lines)}nonsense\n1 2 3\n{'9' * 99} 1 {'0' * 40}\n")
    (one,), _ = in_2020(opened(replica))
    assert len(lines) == 5 and all(contents.whole(message) for message in one.messages())
    next(pool.glob("*/*")).write_bytes(b"another")
    damaged = []
    for message in one.messages():
        try:
            contents.whole(message)
        except contents.Damaged as error:
            damaged.append(str(error))
    assert len(damaged) == 1


def test_before_anything_is_known(server: SampleServer, tmp_path: Path) -> None:
    replica, _ = kept_once(server, tmp_path / "replica")
    found, errors = in_2020(opened(replica), later=-(10**9))
    assert found == [] and len(errors) == 1
    assert re.fullmatch(r"user/joe: nothing is known of it as of .*: the earliest that is kept is of .*", errors[0])


def test_a_tree_that_keeps_nothing(server: SampleServer) -> None:
    with pytest.raises(UnusableError, match=r"no history is kept in it: `cyrsync sync -C \.\.\. --history` keeps one"):
        tree_as_of(open_tree(os.fsencode(server.root), None), YEAR_2020)


@pytest.mark.parametrize("torn", [b"", b"\0" * 400])
def test_a_state_that_is_torn_is_passed_over(server: SampleServer, tmp_path: Path, torn: bytes) -> None:
    replica, state = kept_once(server, tmp_path / "replica")
    late = state.with_name(names.since(YEAR_2020 + 5).decode())
    shutil.copytree(state, late, symlinks=True)
    (late / "cyrus.index").write_bytes(torn)
    tree = opened(replica)
    (one,), errors = in_2020(tree, later=10)
    assert (one.since, errors) == (YEAR_2020, [])
    assert len(tree.warnings) == 1 and tree.warnings[0].endswith(": skipped, an older state is used")


def secret(tmp_path: Path, state: Path) -> Path:
    """A copy of a whole state where nobody may be led."""
    return Path(shutil.copytree(state, tmp_path / "secret", symlinks=True))


LINKS: dict[str, Callable[[Path], Path]] = {
    "index": lambda state: state / "cyrus.index",
    "header": lambda state: state / "cyrus.header",
    "state": lambda state: state,
    "mailbox": lambda state: state.parent,
    "mailboxes": lambda state: state.parents[1],
    "store": lambda state: state.parents[2],
}


@pytest.mark.parametrize("which", LINKS)
def test_no_link_is_followed(server: SampleServer, tmp_path: Path, which: str) -> None:
    replica, state = kept_once(server, tmp_path / "replica")
    place = LINKS[which](state)
    moved = tmp_path / "elsewhere"
    place.rename(moved)
    place.symlink_to(moved)
    if which in ("mailboxes", "store"):
        with pytest.raises(UnusableError):
            in_2020(opened(replica))
    else:
        found, errors = in_2020(opened(replica))
        assert found == [] and len(errors) == 1


def test_a_pool_that_leads_elsewhere(server: SampleServer, tmp_path: Path) -> None:
    """Nothing is read that is not the very message."""
    replica, _ = kept_once(server, tmp_path / "replica")
    pool = replica.here(server.spool) / STORE / "messages"
    for path in pool.glob("*/*"):
        path.unlink()
        path.symlink_to("/etc/passwd")
    (one,), _ = in_2020(opened(replica))
    wrong = 0
    for message in one.messages():
        try:
            contents.whole(message)
        except contents.Damaged:
            wrong += 1
    assert wrong == 5


@pytest.mark.parametrize("folder", ["../../../etc", "/etc", "a//b", "a/./b", "", "a/.."])
def test_a_folder_that_leads_out(server: SampleServer, tmp_path: Path, folder: str) -> None:
    """Its name is looked at alone; a mailbox that has none is named."""
    replica, state = kept_once(server, tmp_path / "replica")
    (state / "folder").unlink()
    if folder:
        (state / "folder").symlink_to(folder)
    store = Store(os.fsencode(replica.here(server.spool)))
    (one,) = store.states(os.fsencode(state.parent.name))
    with pytest.raises(WRONG):
        one.folder()


def test_names_that_are_none(server: SampleServer, tmp_path: Path) -> None:
    replica, state = kept_once(server, tmp_path / "replica")
    for name in (".20200101T000000.000000000Z.ab", "20201301T000000.000000000Z", "x", "20200101T000000.000000000Z.gz"):
        (state.parent / name).mkdir()
    store = Store(os.fsencode(replica.here(server.spool)))
    assert len(store.states(os.fsencode(state.parent.name))) == 1
    assert names.time_of(names.since(YEAR_2020 + 7)) == YEAR_2020 + 7


@pytest.mark.parametrize("kind", ["gz", "piece", "pieces"])
def test_what_is_packed_stays_within_bounds(server: SampleServer, tmp_path: Path, kind: str) -> None:
    replica, state = kept_once(server, tmp_path / "replica")
    (state / "cyrus.index").unlink()
    size = (2 if kind == "piece" else 200) << 20
    if kind == "gz":
        (state / "cyrus.index.gz").write_bytes(gzip.compress(bytes(size)))
    else:
        block = bytes(size if kind == "piece" else 1 << 20)
        digest = hashlib.sha1(block).hexdigest()
        piece = state.parent / "pieces" / digest[:2] / f"{digest}.gz"
        piece.parent.mkdir(parents=True)
        piece.write_bytes(gzip.compress(block))
        (state / "cyrus.index.pieces").write_text(f"{digest[:2]}/{digest}.gz\n" * (size // len(block)))
    tracemalloc.start()
    found, errors = in_2020(opened(replica))
    _, most = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert found == [] and len(errors) == 1
    assert most < 60 << 20


@pytest.mark.parametrize(
    "listed",
    ["../../../../etc/passwd\n", "ab/" + "0" * 40 + ".gz\n", "00/" + "0" * 40 + ".gz", "00/" + "0" * 40 + ".gz\n"],
)
def test_a_list_of_pieces_that_are_none(server: SampleServer, tmp_path: Path, listed: str) -> None:
    replica, state = kept_once(server, tmp_path / "replica")
    (state / "cyrus.index").unlink()
    (state / "cyrus.index.pieces").write_text(listed)
    found, errors = in_2020(opened(replica))
    assert found == [] and len(errors) == 1


def test_records_alone(server: SampleServer, tmp_path: Path) -> None:
    """Those of messages that came and went make an index of their own."""
    folder = server.folder("user/joe")
    replica = KeepingReplica(server, tmp_path / "replica")
    replica.sync()
    whole = records.read((folder / "cyrus.index").read_bytes())
    some = set(whole.uids[2:5])
    state = replica.keep_gone(Path("j/user/joe"), some)
    data = (state / "cyrus.index").read_bytes()
    found = records.read(excerpt.as_index(data))
    assert set(found.uids) == some and found.header.uidvalidity == whole.header.uidvalidity
    assert found.header.exists == 3


@pytest.fixture(scope="module", params=["gz", "pieces"])
def damageable(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[KeepingReplica, Path]:
    root = tmp_path_factory.mktemp("kept")
    server = SampleServer(root / "server", messages=40, folder_count=2)
    return kept_once(server, root / "replica", request.param)


@settings(max_examples=40, deadline=None)
@given(
    where=st.floats(0, 1, exclude_max=True),
    patch=st.binary(min_size=1, max_size=8),
    number=st.integers(0, 30),
    cut=st.none() | st.floats(0, 1),
)
def test_whatever_is_damaged(
    damageable: tuple[KeepingReplica, Path], where: float, patch: bytes, number: int, cut: float | None
) -> None:
    """It is read as it was, or named; or it is a message that is not what its record says."""
    replica, _ = damageable
    files = sorted(path for store in replica.stores for path in store.rglob("*") if path.is_file())
    path = files[number % len(files)]
    whole = path.read_bytes()
    data = bytearray(whole)
    data[int(where * len(data)) : int(where * len(data)) + len(patch)] = patch
    path.write_bytes(data if cut is None else data[: int(cut * len(data))])
    try:
        found, errors = in_2020(opened(replica))
        for message in (message for one in found for message in one.messages()):
            try:
                contents.whole(message)
            except contents.Damaged as error:
                errors.append(str(error))
        assert all("\n" not in error for error in errors)
    except UnusableError:
        pass
    finally:
        path.write_bytes(whole)


@pytest.mark.parametrize("moment", ["while it is read", "before its messages are read"])
def test_a_run_at_the_same_time(
    server: SampleServer, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, moment: str
) -> None:
    """It replaces the index, and moves messages into the pool."""
    replica = KeepingReplica(server, tmp_path / "replica")
    folder = server.folder("user/joe")
    for _ in range(2):
        samplespool.set_flags(folder)
        replica.sync()
    had = {path.read_bytes() for path in folder.glob("[0-9]*.")}
    time.sleep(TICK)
    when, runs = time.time_ns(), 0
    time.sleep(TICK)

    def run() -> None:
        nonlocal runs
        runs += 1
        samplespool.expunge(folder, 2)
        replica.sync()

    files = Tree.files

    def meanwhile(tree: Tree, place: Located) -> MailboxFiles:
        if not tree.past:
            run()
        return files(tree, place)

    if moment == "while it is read":
        monkeypatch.setattr(Tree, "files", meanwhile)
    errors: list[str] = []
    (one,) = reading.selections(tree_as_of(opened(replica), when), Request("user/joe"), errors.append)
    if moment != "while it is read":
        run()
    assert runs == 1 and not errors
    assert {contents.whole(message) for message in one.messages()} == had
