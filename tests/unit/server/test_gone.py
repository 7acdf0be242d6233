"""Mailboxes that mailboxes.db has no more are deleted on the replica, unless the source has them still."""

from __future__ import annotations

import os
import shutil
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest

import samplespool
from cyrsync.cyrus.mailbox import header
from cyrsync.cyrus.mailbox import index as indexes
from cyrsync.server import gone
from cyrsync.server.roots import Roots
from cyrsync.state.mailbox_row import Key, MailboxRow
from cyrsync.sync.folder_plan import FolderPlan

NAMES = (b"cyrus.header", b"cyrus.index", b"cyrus.expunge", b"cyrus.annotations", b"cyrus.cache", b"cyrus.squat")


class Source:
    """A partition with the mailboxes of joe and ann."""

    def __init__(self, directory: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        self.joe, self.ann = (samplespool.create_folder(directory, f"user/{name}") for name in ("joe", "ann"))
        root = os.fsencode(directory)
        self.roots = Roots("default", root, root, dict.fromkeys(NAMES, root), root)
        self.rows = [self._row(directory, folder) for folder in (self.joe, self.ann)]
        self.meta = b"/metapartition"
        self.deleted: list[bytes] = []
        self.roots_deleted: list[bytes] = []
        self.stays: set[bytes] = set()  # what cannot be deleted in the metapartition
        self.session = Mock()
        self.session.result.errors = []
        monkeypatch.setattr(gone, "delete", self._delete)

    def _row(self, directory: Path, folder: Path) -> MailboxRow:
        head = indexes.head((folder / "cyrus.index").read_bytes())
        assert head
        uniqueid = header.uniqueid((folder / "cyrus.header").read_bytes()) or ""
        return MailboxRow(Key("default", os.fsencode(folder.relative_to(directory))), uniqueid, head.uidvalidity)

    def _delete(self, session: Any, replica: Any, root: bytes, plans: list[FolderPlan]) -> set[bytes]:
        self.deleted += [plan.path for plan in plans]
        self.roots_deleted += [root for _ in plans]
        return self.stays if root == self.meta else set()

    def remove_gone(self) -> list[Key]:
        """Return what the state forgets."""
        store = Mock()
        store.locations.directories.return_value = set()
        dropped: list[Key] = []
        store.drop = dropped.extend
        gone.remove_gone(self.session, {"default": self.roots}, store, Mock(), self.rows, lambda _: True)
        return dropped


@pytest.fixture
def source(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Source:
    return Source(tmp_path / "spool", monkeypatch)


def test_one_that_has_come_back_meanwhile_stays(source: Source) -> None:
    shutil.rmtree(source.joe)
    assert source.remove_gone() == [source.rows[0].key]
    assert len(source.deleted) == 1


def test_another_one_that_was_made_in_its_place_does_not_keep_it(source: Source) -> None:
    samplespool.recreate_folder(source.joe)
    assert source.remove_gone() == [source.rows[0].key]


def test_one_that_cannot_be_seen_stays_and_is_named(source: Source, monkeypatch: pytest.MonkeyPatch) -> None:
    shutil.rmtree(source.joe)
    shutil.rmtree(source.ann)
    lstat = os.lstat

    def unseen(path: Any, **words: Any) -> os.stat_result:
        if isinstance(path, bytes) and b"/joe/" in path:
            raise OSError(5, "Input/output error")
        return lstat(path, **words)

    with monkeypatch.context() as patched:
        patched.setattr(os, "lstat", unseen)
        assert source.remove_gone() == [source.rows[1].key]
    (error,) = source.session.result.errors
    assert "whether it is gone cannot be seen: Input/output error" in error


@pytest.mark.parametrize("stays", [False, True])
def test_where_an_index_stays_so_do_the_messages_in_another_root(
    source: Source, stays: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One mailbox that cannot be deleted costs only itself."""
    source.roots = Roots("default", source.roots.data, source.roots.data, dict.fromkeys(NAMES, source.meta), b"")
    source.stays = {source.rows[0].key.path} if stays else set()
    monkeypatch.setattr(gone, "_has_mailbox", lambda *_: False)
    forgotten = source.rows[1:] if stays else source.rows
    assert source.remove_gone() == [row.key for row in forgotten]
    data = [path for path, root in zip(source.deleted, source.roots_deleted, strict=True) if root == source.roots.data]
    assert len(data) == len(forgotten)
