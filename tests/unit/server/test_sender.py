"""What is sent takes the place of another mailbox's files: in an order that leaves no index without its messages."""

from __future__ import annotations

import errno
from array import array
from collections.abc import Iterable
from typing import Any
from unittest.mock import Mock

import pytest

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.ends.tree import Removed
from cyrsync.far.remove import Removal
from cyrsync.server.sender import Sender

DATA, META, ARCHIVE = b"/b", b"/c", b"/a"
PATH = b"j/user/joe"


def clear(failing: bytes) -> tuple[bool, list[tuple[bytes, Removal]]]:
    """Clear the way for a mailbox in three roots; nothing can be removed below one that is `failing`."""
    removed: list[tuple[bytes, Removal]] = []

    def remove(root: bytes, removals: Iterable[Removal], **_: Any) -> Removed:
        removed.extend((root, removal) for removal in removals)
        return Removed(failed=[(PATH, errno.EIO)] if root == failing else [])

    sender = Mock(**{"_replica.root": lambda root, make: root, "_replica.tree.remove": remove})
    change = Mock(plans={root: Mock(path=PATH) for root in (ARCHIVE, DATA, META)})
    header, index = Mock(), Mock()
    header.name, index.name = kinds.HEADER, kinds.INDEX
    change.mailbox.snapshot_files = [(DATA, header), (META, index)]
    contents = Mock(wanted={ARCHIVE: array("I", [1]), DATA: array("I", [2, 3]), META: array("I")})
    return Sender._clear(sender, change, contents), removed


def test_an_index_is_removed_before_the_messages_that_it_names() -> None:
    done, removed = clear(b"")
    assert done
    assert [root for root, _ in removed] == [META, ARCHIVE, DATA]
    assert [removal.files for _, removal in removed] == [(kinds.INDEX,), (), ()]
    assert [list(removal.uids) for _, removal in removed] == [[], [1], [2, 3]]


@pytest.mark.parametrize(("failing", "count"), [(META, 1), (ARCHIVE, 2), (DATA, 3)])
def test_nothing_more_is_removed_where_something_cannot_be(failing: bytes, count: int) -> None:
    done, removed = clear(failing)
    assert (done, len(removed)) == (False, count)
