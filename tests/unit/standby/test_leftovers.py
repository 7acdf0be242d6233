"""Which names are leftovers, and which only look like them."""

from __future__ import annotations

import os
from pathlib import Path

from cyrsync.far.remove import Remover
from cyrsync.standby import leftovers


def test_in_a_partition() -> None:
    gone = [b"cyrus.index.NEW", b"cyrus.header.NEW", b".17..AbCdEf", b".17.AbCdEf", b".cyrus.index.AbCdEf"]
    kept = [b"17.", b"cyrus.index", b"NEW", b"letter.NEW", b".hidden", b".forward.AbCdEf", b".cyrsync-replica"]
    assert leftovers.in_partition(b"j/user/joe", gone + kept) == gone


def test_beside_the_owner_file_there_may_be_a_new_one() -> None:
    names = [b".cyrsync-replica", b".cyrsync-replica.new"]
    assert leftovers.in_partition(b"", names) == [b".cyrsync-replica.new"]
    assert leftovers.in_state(b"", names, frozenset()) == [b".cyrsync-replica.new"]
    assert leftovers.in_partition(b"j/user/joe", names) == []


def test_in_configdirectory() -> None:
    gone = [b"mailboxes.db.NEW", b"joe.sub.NEW", b".mailboxes.db.AbCdEf", b".joe.seen.a1B2c3", b".user.joe.AbCdEf"]
    kept = [b"mailboxes.db", b"joe.sub", b"NEW", b".joe.sub", b".joe.counters", b".AbCdEf", b"new.joe"]
    assert leftovers.in_state(b"user/j", gone + kept, frozenset()) == gone


def test_a_quota_root_may_be_called_new() -> None:
    names = [b"user.joe", b"user.joe.NEW", b"user.ann.NEW"]
    assert leftovers.in_state(b"quota/j", names, frozenset([b"quota/j/user.joe.NEW"])) == [b"user.ann.NEW"]


def removed_at(root: Path) -> Remover:
    """The result of removing what goes from a root."""
    descriptor = os.open(root, os.O_RDONLY)
    try:
        remover = Remover(os.fsencode(root), keep_times=False, wanted=lambda: True)
        remover.remove(leftovers.at_root(descriptor))
    finally:
        os.close(descriptor)
    return remover


def test_staging_is_emptied_and_stays(tmp_path: Path) -> None:
    for name in ("stage.", "sync./123", ".cyrsync-renamed/0"):
        (tmp_path / name).mkdir(parents=True)
    for name in ("stage./1-2-3", "sync./123/guid", ".cyrsync-renamed/0/1.", "1."):
        (tmp_path / name).write_text("mail")
    remover = removed_at(tmp_path)
    assert remover.failed == []
    assert sorted(path.name for path in tmp_path.rglob("*")) == ["1.", "stage.", "sync."]
    assert (remover.files, remover.folders) == (3, 3)


def test_a_linked_staging_is_somebody_elses(tmp_path: Path) -> None:
    elsewhere, root = tmp_path / "elsewhere", tmp_path / "root"
    elsewhere.mkdir()
    root.mkdir()
    (elsewhere / "1-2-3").write_text("mail")
    (root / "stage.").symlink_to(elsewhere)
    (root / "sync.").mkdir()
    (root / "sync." / "link").symlink_to(elsewhere)
    removed_at(root)
    assert (elsewhere / "1-2-3").exists()
    assert not os.path.lexists(root / "sync." / "link")
