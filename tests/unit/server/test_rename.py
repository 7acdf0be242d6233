"""Messages of renamed mailboxes are linked into their new place, which has no other mailbox's index by then."""

from __future__ import annotations

import errno
from array import array
from collections.abc import Sequence
from typing import Any
from unittest.mock import Mock

import pytest

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.ends.tree import Removed
from cyrsync.far.relink import Move
from cyrsync.server.rename import relink
from cyrsync.state.mailbox_row import Key, MailboxRow
from cyrsync.sync.folder_plan import FolderPlan, State
from cyrsync.sync.result import RunResult

ROOT = b"/spool"
JOE, ANN = b"j/user/joe", b"a/user/ann"


def change(path: bytes, state: State) -> Any:
    """A mailbox that is at a path now, with three messages."""
    plan = FolderPlan(path, state, uids=array("I", [1, 2, 3]), messages_send=3)
    made = Mock(plans={ROOT: plan, b"": FolderPlan(path, state)}, summary=FolderPlan(path, state, messages_send=3))
    made.location.key = Key("default", path)
    index = Mock()
    index.name = kinds.INDEX
    made.mailbox.snapshot_files = [(ROOT, index)]
    return made


@pytest.mark.parametrize(("failed", "linked"), [([], [JOE, ANN]), ([(JOE, errno.EIO)], [ANN])])
def test_nothing_is_linked_beside_an_index_that_cannot_be_removed(
    failed: list[tuple[bytes, int]], linked: list[bytes]
) -> None:
    """They would be another mailbox's messages under its names."""
    moved: list[bytes] = []

    def link(moves: Sequence[Move]) -> list[array[int]]:
        moved.extend(move.new[1] for move in moves)
        return [move.uids for move in moves]

    replica = Mock()
    replica.root = lambda root, make=False: root
    replica.tree.remove.return_value = Removed(failed=failed)
    replica.tree.relink = link
    roots = {"default": Mock(data=ROOT, archive=b"")}
    changes = [change(JOE, State.RECREATED), change(ANN, State.NEW)]
    rows = [MailboxRow(Key("default", path), uids=array("I", [1, 2, 3])) for path in (b"old/1", b"old/2")]
    result = RunResult(source="", destination="", engine="index", dry_run=False, started="")
    relink(Mock(), replica, roots, list(zip(changes, rows, strict=True)), result)
    assert moved == linked
    assert [len(one.plans[ROOT].uids) for one in changes] == [0 if path in linked else 3 for path in (JOE, ANN)]
    assert result.messages.present == 3 * len(linked)
