"""Every way in which a replica can differ from its source has a name, and what does not matter has none."""

from __future__ import annotations

import errno
import stat
from array import array
from typing import Any

import pytest

from cyrsync.far.finding import KINDS, Problem
from cyrsync.far.folder import Entry, Folder, Incarnation
from cyrsync.far.message_files import MessageFiles
from cyrsync.sync.policy import Policy
from cyrsync.verify.compare import compare

POLICY = Policy()
FILE = Entry(stat.S_IFREG | 0o600, 100, 10**18 + 1, "97:8:cyrus:mail", "")
NEWER = FILE._replace(mtime=10**18 + 2)
MAILBOX = Incarnation("3f1d0cb8", 1000, 10)
OTHER = Incarnation("91445d1c", 1000, 10)
HERE = b"user/joe"


def folder(*uids: int, **fields: Any) -> Folder:
    """A mailbox that holds these messages."""
    known: dict[str, Any] = {"path": HERE, "incarnation": MAILBOX, "metadata": {b"cyrus.index": FILE}}
    return Folder(**{**known, "messages": MessageFiles.of(array("I", uids), ()), **fields})


def found(source: list[Folder], replica: list[Folder], policy: Policy = POLICY) -> list[tuple[bytes, Problem]]:
    """All problems, each with its folder."""
    audits = compare(iter(source), iter(replica), policy)
    return [(audited.path, problem) for audited in audits for problem in audited.problems]


@pytest.mark.parametrize(
    ("source", "replica", "expected"),
    [
        pytest.param(folder(1, 2), folder(1, 2), [], id="same"),
        pytest.param(folder(), folder(), [], id="empty"),
        pytest.param(folder(1, 2, 11), folder(1, 2), [], id="not-yet-in-the-index"),
        pytest.param(folder(1, incarnation=None), folder(1), [], id="source-unknown"),
        pytest.param(folder(1), folder(1, incarnation=None), [], id="replica-unknown"),
        pytest.param(folder(1), folder(1, incarnation=MAILBOX._replace(last_uid=9)), [], id="older-index"),
        pytest.param(folder(1, 2, 3), folder(2), [Problem("lacks", (1, 3))], id="lacks"),
        pytest.param(folder(1, 11, incarnation=None), folder(1), [Problem("lacks", (11,))], id="lacks-and-no-index"),
        pytest.param(folder(2), folder(1, 2), [Problem("extra", (1,))], id="extra"),
        pytest.param(folder(1), folder(2), [Problem("lacks", (1,)), Problem("extra", (2,))], id="both"),
        pytest.param(
            folder(1),
            folder(1, incarnation=OTHER),
            [Problem("other mailbox", detail="91445d1c of UIDVALIDITY 1000 instead of 3f1d0cb8 of UIDVALIDITY 1000")],
            id="other-mailbox",
        ),
        pytest.param(
            folder(1),
            folder(1, incarnation=MAILBOX._replace(uidvalidity=1001)),
            [Problem("other mailbox", detail="3f1d0cb8 of UIDVALIDITY 1001 instead of 3f1d0cb8 of UIDVALIDITY 1000")],
            id="recreated",
        ),
        pytest.param(
            folder(metadata={b"cyrus.cache": FILE, b"cyrus.header": FILE, b"cyrus.index": FILE}),
            folder(metadata={b"cyrus.cache": NEWER, b"cyrus.index": FILE, b"cyrus.\xff": FILE}),
            [Problem("metadata", detail="cyrus.cache, cyrus.header, cyrus.\\xff")],
            id="metadata",
        ),
        pytest.param(
            folder(problem=errno.EACCES),
            folder(1),
            [Problem("unreadable", detail="Permission denied")],
            id="unreadable",
        ),
        pytest.param(
            folder(1),
            folder(problem=errno.EACCES),
            [Problem("unreadable", detail="on the replica: Permission denied")],
            id="unreadable-there",
        ),
    ],
)
def test_one_folder(source: Folder, replica: Folder, expected: list[Problem]) -> None:
    assert [problem for _, problem in found([source], [replica])] == expected
    assert {problem.kind for problem in expected} <= KINDS.keys()


def test_folders_that_only_one_tree_has() -> None:
    above, mine, theirs = folder(path=b""), folder(1, path=b"a"), folder(1, path=b"b")
    assert found([above, mine], [above, theirs]) == [(b"a", Problem("lacks folder")), (b"b", Problem("extra folder"))]


@pytest.mark.parametrize("top", [b"", b"a"])
def test_of_what_is_below_an_unreadable_folder_nothing_is_known(top: bytes) -> None:
    there = [folder(1, path=path) for path in (top, b"a/x", b"b")]
    assert (b"a/x", Problem("extra folder")) not in found([folder(path=top, problem=errno.EIO)], there)
    assert ((b"b", Problem("extra folder")) in found([folder(path=top, problem=errno.EIO)], there)) == (top == b"a")


def test_counts() -> None:
    (audited,) = compare(iter([folder(1, 2, 3)]), iter([folder(1)]), POLICY)
    assert (audited.path, audited.messages, audited.files) == (HERE, 3, 1)


def test_whole_seconds() -> None:
    trees = [folder(metadata={b"cyrus.index": FILE})], [folder(metadata={b"cyrus.index": NEWER})]
    assert [problem.kind for _, problem in found(*trees)] == ["metadata"]
    assert not found(*trees, Policy(whole_seconds=True))
