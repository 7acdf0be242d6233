"""States are removed, then messages and pieces that nothing names any more; whatever happens, nothing else is."""

from __future__ import annotations

import errno
import io
import json
import os
import shutil
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

import samplespool
from cyrsync.cyrus.mailbox import records
from cyrsync.far import store_service, stored
from cyrsync.far.named import named
from cyrsync.far.packed import Packer
from cyrsync.far.prune import Pruner, Swept
from cyrsync.far.store import Store
from cyrsync.far.stored import StoreReader
from cyrsync.far.unnamed import Removal
from support.made_store import MadeStore, ago

HOUR = 3600
NOW = time.time


class Spool:
    """A root with two mailboxes, each with three states, of which the last two lack messages of the one before."""

    def __init__(self, root: Path, *, packed: str = "") -> None:
        self.root = root
        samplespool.make(root, 60, 2, seed=3)
        self.kept = MadeStore(root)
        self.folders = samplespool.folders(root)
        self.states: dict[Path, list[Path]] = {}
        self.pooled: dict[Path, list[set[str]]] = {}  # by mailbox: what each state is the last one to have
        for folder in self.folders:
            states, pooled = [], []
            for age in (30, 20, 10):
                states.append(self.kept.keep(folder, ago(age), packed=packed))
                pooled.append({path.name for path in self.kept.expunge(folder, 3).values()})
            self.states[folder], self.pooled[folder] = states, pooled

    def removal(self, state: Path) -> Removal:
        return Removal(os.fsencode(self.root), os.fsencode(state.relative_to(self.kept.store)))

    def first_ones(self) -> list[Removal]:
        return [self.removal(states[0]) for states in self.states.values() if states[0].exists()]


def prune(
    root: Path, removals: list[Removal], *, grace: float = 0, dry_run: bool = False
) -> tuple[Swept, list[tuple[bytes, str]]]:
    pruner = Pruner([os.fsencode(root)])
    try:
        if dry_run:
            return pruner.sweep(grace, True, frozenset(removals)), list(pruner.problems)
        pruner.clear()
        pruner.delete(pruner.remove(removals))
        pruner.settle()
        swept = pruner.sweep(grace, False)
        pruner.tidy()
        return swept, list(pruner.problems)
    finally:
        pruner.close()


def forget(root: Path, removals: list[Removal]) -> tuple[Swept, list[tuple[bytes, str]]]:
    pruner = Pruner([os.fsencode(root)])
    try:
        pruner.remove(removals, stored.FORGOTTEN)
        hidden = pruner.hidden(stored.FORGOTTEN)
        swept = pruner.delete_messages(pruner.named_by(hidden))
        pruner.delete(hidden)
        pruner.tidy()
        return swept, list(pruner.problems)
    finally:
        pruner.close()


def later(monkeypatch: pytest.MonkeyPatch, seconds: float) -> None:
    """Let it be so much later than it is."""
    monkeypatch.setattr(time, "time", lambda: NOW() + seconds)


@pytest.mark.parametrize("packed", ["", "gz", "pieces"])
def test_messages_that_no_state_names_are_deleted(tmp_path: Path, packed: str) -> None:
    spool = Spool(tmp_path / "root", packed=packed)
    removals = spool.first_ones()
    lost = {name for pooled in spool.pooled.values() for name in pooled[0]}
    before = set(spool.kept.pool())
    swept, problems = prune(spool.root, removals, dry_run=True)
    assert (swept.messages, problems, set(spool.kept.pool())) == (len(lost), [], before)
    swept, problems = prune(spool.root, removals)
    assert (swept.messages, swept.pool, problems) == (len(lost), len(before), [])
    assert set(spool.kept.pool()) == before - lost
    assert [len(spool.kept.states(folder)) for folder in spool.folders] == [2 + (packed == "pieces")] * 2
    assert (swept.pieces > 0) == (packed == "pieces")
    store = StoreReader(os.fsencode(spool.root))
    for mailbox in store.mailboxes():
        for state in mailbox.states:
            assert named(store, mailbox.name, state, {})


def test_what_a_killed_run_has_packed_is_removed(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path / "root")
    store = Store(os.fsencode(spool.root))
    states = [state for states in spool.states.values() for state in states]
    before = {state: sorted(state.iterdir()) for state in states}
    for state in states:
        store.note(os.fsencode(state.relative_to(spool.kept.store)))
    for wrong in (b"../../..", b"mailboxes/../../..", b"files/x"):
        store.note(wrong)
    with monkeypatch.context() as patch:
        killed = KeyboardInterrupt  # which nothing cleans up after, as after SIGKILL
        patch.setattr(Packer, "_settle", lambda _: (_ for _ in ()).throw(killed))
        with pytest.raises(killed):
            Packer(os.fsencode(spool.root)).pack()
    (spool.root / ".hidden").touch()
    (spool.kept.store / "unpacked/no-note").touch()
    assert {state: sorted(state.iterdir()) for state in states} != before
    assert prune(spool.root, [])[1] == []
    assert {state: sorted(state.iterdir()) for state in states} == before
    assert (spool.root / ".hidden").exists()


def test_there_is_a_grace(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path / "root")
    lost = {name for pooled in spool.pooled.values() for name in pooled[0]}
    before = set(spool.kept.pool())
    swept, _ = prune(spool.root, spool.first_ones(), grace=24 * HOUR)
    assert (swept.messages, swept.unnamed) == (0, len(lost))
    later(monkeypatch, 23 * HOUR)
    assert prune(spool.root, [], grace=24 * HOUR)[0].messages == 0
    later(monkeypatch, 25 * HOUR)
    assert prune(spool.root, [], grace=24 * HOUR)[0].messages == len(lost)
    assert set(spool.kept.pool()) == before - lost


def test_the_grace_of_an_old_message_begins_when_its_last_state_is_removed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path / "root")
    lost = {name for pooled in spool.pooled.values() for name in pooled[0]}
    later(monkeypatch, 48 * HOUR)
    swept, _ = prune(spool.root, spool.first_ones(), grace=24 * HOUR)
    assert (swept.messages, swept.unnamed) == (0, len(lost))
    later(monkeypatch, 73 * HOUR)
    assert prune(spool.root, [], grace=24 * HOUR)[0].messages == len(lost)


def test_a_message_that_is_named_again_is_not_deleted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path / "root")
    data = b"Subject: one more\r\n\r\n"
    place = spool.kept.put(data)
    assert prune(spool.root, [], grace=24 * HOUR)[0].unnamed == 1
    folder = spool.folders[0]
    state = spool.kept.keep(folder, ago(1))
    (state.parent / "hashed").write_text(f"1 1 {place.name}\n{_identity(folder)} {place.name}\n")
    later(monkeypatch, 48 * HOUR)
    swept, problems = prune(spool.root, [], grace=24 * HOUR)
    assert (swept.messages, swept.unnamed, problems) == (0, 0, [])
    assert place.exists()


def _identity(folder: Path) -> str:
    """UIDVALIDITY and a UID that the index has."""
    index = records.read((folder / "cyrus.index").read_bytes())
    return f"{index.header.uidvalidity} {index.uids[-1]}"


def test_a_message_that_went_and_came_again_has_a_grace_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    spool = Spool(tmp_path / "root")
    data = b"Subject: one more\r\n\r\n"
    place = spool.kept.put(data)
    prune(spool.root, [], grace=24 * HOUR)
    marks = spool.kept.store / "unnamed"
    marks.write_text(marks.read_text().replace(marks.read_text().split()[0], "1000000000"))
    assert prune(spool.root, [], grace=24 * HOUR)[0].messages == 0  # it was put there only now
    assert place.exists()


def test_records_of_what_came_and_went_name_their_messages(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "root")
    folder = spool.folders[0]
    [uid] = samplespool.deliver(folder, 1)
    data = (folder / f"{uid}.").read_bytes()
    gone = spool.kept.keep(folder, ago(1), gone=(uid,))
    (folder / f"{uid}.").unlink()
    place = spool.kept.put(data)
    assert prune(spool.root, [])[0].messages == 0
    assert place.exists()
    prune(spool.root, [spool.removal(gone)])
    assert not place.exists()


def damage_index(spool: Spool, state: Path) -> None:
    data = bytearray((state / "cyrus.index").read_bytes())
    data[-1] ^= 1
    (state / "cyrus.index").write_bytes(data)


def tear_index(spool: Spool, state: Path) -> None:
    os.truncate(state / "cyrus.index", 300)


def empty_index(spool: Spool, state: Path) -> None:
    os.truncate(state / "cyrus.index", 0)


def lose_index(spool: Spool, state: Path) -> None:
    (state / "cyrus.index").unlink()


def link_index(spool: Spool, state: Path) -> None:
    index = state / "cyrus.index"
    index.rename(spool.root / "elsewhere")
    index.symlink_to(spool.root / "elsewhere")


def unknown_name(spool: Spool, state: Path) -> None:
    state.rename(state.with_name("20261128"))


@pytest.mark.parametrize("spoil", [damage_index, tear_index, empty_index, lose_index, link_index, unknown_name])
def test_nothing_is_deleted_of_which_a_damaged_state_might_tell(
    tmp_path: Path, spoil: Callable[[Spool, Path], None]
) -> None:
    spool = Spool(tmp_path / "root")
    spoil(spool, spool.states[spool.folders[0]][1])
    before = spool.kept.pool()
    swept, problems = prune(spool.root, spool.first_ones())
    assert (swept.messages, swept.unnamed) == (0, 0)
    assert len(problems) == 1
    assert spool.kept.pool() == before


def test_a_damaged_list_of_pieces_keeps_all_pieces(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "root", packed="pieces")
    state = spool.states[spool.folders[0]][1]
    (state / "cyrus.index.pieces").write_text("../../../../../etc/passwd\n")
    pieces = sorted(spool.kept.store.rglob("*.gz"))
    swept, problems = prune(spool.root, spool.first_ones())
    assert (swept.messages, swept.pieces, len(problems)) == (0, 0, 2)
    assert sorted(spool.kept.store.rglob("*.gz")) == pieces


def test_versions_of_files(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "root")
    data = os.urandom(5000)
    old = spool.kept.version("user/j/joe.seen", ago(30), data + b"old", packed="pieces")
    new = spool.kept.version("user/j/joe.seen", ago(20), data + b"new", packed="pieces")
    other = spool.kept.version("mailboxes.db", ago(20), packed="gz")
    swept, problems = prune(spool.root, [spool.removal(old), spool.removal(other)])
    assert (swept.pieces, problems) == (1, [])
    assert new.exists()
    assert not old.exists()
    assert not other.parent.exists()
    prune(spool.root, [spool.removal(new)])
    assert not new.parent.parent.parent.exists()
    assert not [path for path in spool.kept.store.rglob("*.gz") if path.is_file()]


def test_a_mailbox_of_which_nothing_is_kept_any_more_has_no_directory(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "root", packed="pieces")
    folder = spool.folders[0]
    (spool.kept.mailbox(folder) / "hashed").write_text("1 1 da39a3ee5e6b4b0d3255bfef95601890afd80709\n")
    prune(spool.root, [spool.removal(state) for state in spool.states[folder]], grace=HOUR)
    assert spool.kept.states(folder) == ["hashed", "pieces"]
    prune(spool.root, [])
    assert not spool.kept.mailbox(folder).exists()


def test_no_link_is_followed(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "root")
    outside = tmp_path / "outside"
    shutil.copytree(spool.kept.store, outside, symlinks=True)
    shutil.rmtree(spool.kept.store / "messages")
    (spool.kept.store / "messages").symlink_to(outside / "messages")
    swept, problems = prune(spool.root, spool.first_ones())
    assert swept.messages == 0
    assert len(problems) >= 1
    assert len(list(outside.glob("messages/*/*"))) == 18


def test_forgetting_deletes_at_once_what_only_these_states_name(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "root", packed="pieces")
    joe, ann = spool.folders
    shared = spool.kept.put(b"a message that both have")
    for folder in (joe, ann):
        (spool.kept.mailbox(folder) / "hashed").write_text(f"{_identity(folder)} {shared.name}\n")
    unnamed = spool.kept.put(b"a message that nobody has")
    swept, problems = forget(spool.root, [spool.removal(state) for state in spool.states[joe]])
    assert (swept.messages, problems) == (9, [])
    assert set(spool.kept.pool()) == {shared.name, unnamed.name}.union(*spool.pooled[ann])
    assert not spool.kept.mailbox(joe).exists()
    assert len(spool.kept.states(ann)) == 5


@pytest.mark.parametrize(("what", "syncs"), [("prune", [True]), ("forget", [True, False])])
def test_no_message_is_deleted_before_its_names_are_off_the_disk(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, syncs: list[bool]
) -> None:
    spool = Spool(tmp_path / "root", packed="pieces")
    joe, _ = spool.folders
    removals = [[0, spool.removal(state).path.decode()] for state in spool.states[joe]]
    pool, mailbox = set(spool.kept.pool()), spool.kept.mailbox(joe)
    pieces = set(mailbox.glob("pieces/*/*"))
    synced: list[tuple[list[str], bool]] = []

    def sync(_: object) -> None:
        is_whole = set(spool.kept.pool()) == pool and set(mailbox.glob("pieces/*/*")) == pieces
        synced.append(([path.name for path in mailbox.glob("2*")], is_whole))

    monkeypatch.setattr("cyrsync.far.prune.to_disk", sync)
    request = Mock(
        fields={"what": what, "grace": 0},
        flag={"dry_run": False, "sweep": True}.get,
        source=io.BytesIO(b"".join(json.dumps(line).encode() + b"\n" for line in (*removals, None))),
    )
    request.whole_paths.return_value = [os.fsencode(spool.root)]
    store_service.serve(request)
    assert synced == [([], is_whole) for is_whole in syncs]
    assert set(spool.kept.pool()) < pool and not mailbox.exists()


def test_of_other_damage_nothing_is_forgotten_but_the_states(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "root")
    joe, ann = spool.folders
    damage_index(spool, spool.states[ann][0])
    before = spool.kept.pool()
    swept, problems = forget(spool.root, [spool.removal(state) for state in spool.states[joe]])
    assert (swept.messages, len(problems)) == (0, 1)
    assert spool.kept.pool() == before
    assert not spool.kept.mailbox(joe).exists()


def test_forgetting_leaves_all_pieces_beside_a_name_that_is_unknown(tmp_path: Path) -> None:
    """It may be a state that somebody has renamed, and needs its pieces."""
    spool = Spool(tmp_path / "root", packed="pieces")
    joe, ann = spool.folders
    unknown_name(spool, spool.states[ann][1])
    pieces = sorted(spool.kept.mailbox(ann).rglob("*.gz"))
    swept, problems = forget(spool.root, [spool.removal(state) for state in spool.states[joe]])
    assert (swept.messages, swept.pieces, len(problems)) == (0, 0, 1)
    assert sorted(spool.kept.mailbox(ann).rglob("*.gz")) == pieces


def test_a_damaged_state_that_is_forgotten_keeps_nothing_else(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "root")
    joe, ann = spool.folders
    damage_index(spool, spool.states[joe][0])
    swept, problems = forget(spool.root, [spool.removal(state) for state in spool.states[joe]])
    assert len(problems) == 1  # its messages are left to prune
    assert swept.messages == len(spool.pooled[joe][1] | spool.pooled[joe][2])
    assert set(spool.kept.pool()) == spool.pooled[joe][0].union(*spool.pooled[ann])
    assert prune(spool.root, [])[0].messages == len(spool.pooled[joe][0])


# --- Kills and full disks


class Killed(BaseException):
    pass


CALLS = ("unlink", "rename", "rmdir", "write", "fsync")


def at_call(monkeypatch: pytest.MonkeyPatch, number: int, error: BaseException) -> Callable[[], int]:
    """Have the call of this number fail, of those that change anything; return what tells how many there were."""
    count = 0

    def failing(call: Callable[..., Any]) -> Callable[..., Any]:
        def made(*args: Any, **words: Any) -> Any:
            nonlocal count
            count += 1
            if count == number:
                raise error
            return call(*args, **words)

        return made

    for name in CALLS:
        monkeypatch.setattr(os, name, failing(getattr(os, name)))
    return lambda: count


def assert_whole(spool: Spool, before: dict[tuple[bytes, bytes], set[str]], pool: set[str]) -> None:
    """Every state that has its name has its messages."""
    store = StoreReader(os.fsencode(spool.root))
    there = set(spool.kept.pool())
    for mailbox in store.mailboxes():
        for state in mailbox.states:
            wanted = {digest.hex() for digest in named(store, mailbox.name, state, {})}
            assert before[mailbox.name, state] == wanted
            assert wanted & pool <= there
    store.close()


def names_in(spool: Spool) -> dict[tuple[bytes, bytes], set[str]]:
    store = StoreReader(os.fsencode(spool.root))
    try:
        return {
            (mailbox.name, state): {digest.hex() for digest in named(store, mailbox.name, state, {})}
            for mailbox in store.mailboxes()
            for state in mailbox.states
        }
    finally:
        store.close()


def contents(spool: Spool) -> set[str]:
    return {str(path.relative_to(spool.root)) for path in spool.kept.store.rglob("*")} - {".cyrsync-history/unnamed"}


FAILURES = [
    pytest.param(Killed, id="killed"),
    pytest.param(lambda: OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), id="full"),
]


@pytest.mark.parametrize("work", [prune, forget])
@pytest.mark.parametrize("error", FAILURES)
def test_it_can_fail_at_any_step_and_the_next_one_finishes(
    tmp_path: Path, work: Callable[..., Any], error: Callable[[], BaseException]
) -> None:
    original = Spool(tmp_path / "original", packed="pieces")
    removals = [original.removal(states[0]).path for states in original.states.values()]
    before, pool = names_in(original), set(original.kept.pool())

    def copy(name: str) -> Spool:
        root = tmp_path / name
        shutil.copytree(original.root, root, symlinks=True)
        other = Spool.__new__(Spool)
        other.root, other.kept = root, MadeStore(root)
        return other

    def left(spool: Spool) -> list[Removal]:
        return [Removal(os.fsencode(spool.root), path) for path in removals if _is_there(spool, path)]

    undisturbed = copy("undisturbed")
    work(undisturbed.root, left(undisturbed))
    number, is_reached = 0, True
    while is_reached:
        number += 1
        spool = copy(f"at{number}")
        with pytest.MonkeyPatch.context() as patch:
            count = at_call(patch, number, error())
            try:
                work(spool.root, left(spool))
            except Killed:
                pass
            is_reached = count() >= number
        assert_whole(spool, before, pool)
        work(spool.root, left(spool))
        if work is forget:
            prune(spool.root, [])  # what a failure made it leave
        assert_whole(spool, before, pool)
        assert contents(spool) == contents(undisturbed)
        shutil.rmtree(spool.root)
    assert number > 15


def _is_there(spool: Spool, path: bytes) -> bool:
    return os.path.lexists(os.path.join(os.fsencode(spool.kept.store), path))


def test_nothing_is_removed_any_more_when_nobody_listens(tmp_path: Path) -> None:
    spool = Spool(tmp_path / "root")
    before = contents(spool)
    pruner = Pruner([os.fsencode(spool.root)], wanted=lambda: False)
    with pytest.raises(EOFError):
        pruner.remove(spool.first_ones())
    with pytest.raises(EOFError):
        pruner.sweep(0, False, frozenset(spool.first_ones()))
    pruner.close()
    assert contents(spool) == before


def test_a_store_that_cannot_be_read_may_name_anything(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path / "root")
    state = spool.states[spool.folders[0]][1].name.encode()
    opened = os.open

    def failing(path: Any, *args: Any, **words: Any) -> int:
        if path == state:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return opened(path, *args, **words)

    monkeypatch.setattr(os, "open", failing)
    swept, problems = prune(spool.root, spool.first_ones())
    assert (swept.messages, [reason for _, reason in problems]) == (0, [os.strerror(errno.EIO)])
