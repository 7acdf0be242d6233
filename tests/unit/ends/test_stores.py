"""What an agent says of stores is checked where it is read, and what it is asked where it reads that."""

from __future__ import annotations

from typing import Any

import pytest

from cyrsync.ends.stores import _READ, KeptFile, KeptMailbox, KeptState, Listed, _swept
from cyrsync.far.store_service import _removal
from cyrsync.far.unnamed import Removal
from cyrsync.far.wire import WRONG, WireError

STATE = "20261128T101500.123456789Z"


def listed(*lines: list[Any]) -> Listed:
    found = Listed()
    for kind, *rest in lines:
        _READ[kind](found, *rest)
    return found


def test_what_a_store_has() -> None:
    found = listed(
        ["held", "joe", "{}"],
        ["mailbox", "abc-1", [[STATE, "user/joe", "user.joe"], [f"{STATE}.gone", "", ""]], 5],
        ["file", "user/j/joe.sub.versions", [STATE, f"{STATE}.gz"], 6],
        ["damaged", f"mailboxes/abc-1/{STATE}"],
        ["problem", "/root/.cyrsync-history", "it is damaged"],
    )
    first, second = (KeptState(name.encode(), b"", b"") for name in (STATE, f"{STATE}.gone"))
    assert found.held == {b"joe": b"{}"}
    states = (first._replace(folder=b"user/joe", mailbox=b"user.joe"), second)
    assert found.mailboxes == [KeptMailbox(b"abc-1", states, 5)]
    assert found.files == [KeptFile(b"user/j/joe.sub.versions", (STATE.encode(), f"{STATE}.gz".encode()), 6)]
    assert (found.damaged, len(found.problems)) == ([f"mailboxes/abc-1/{STATE}".encode()], 1)


@pytest.mark.parametrize(
    "line",
    [
        ["held", 5, "{}"],
        ["mailbox", "../..", [], 5],
        ["mailbox", "", [], 5],
        ["mailbox", "abc", [["..", "", ""]], 5],
        ["mailbox", "abc", [[f"{STATE}/x", "", ""]], 5],
        ["mailbox", "abc", [[STATE, ""]], 5],
        ["mailbox", "abc", [], -1],
        ["mailbox", "abc", [], 1 << 100],
        ["file", "../x.versions", [STATE], 5],
        ["file", "/etc/passwd", [STATE], 5],
        ["file", "x.versions", ["passwd"], 5],
        ["damaged", "../../etc"],
        ["problem", "/x", 5],
        ["other", "x"],
    ],
)
def test_what_cannot_be_right_is_refused(line: list[Any]) -> None:
    with pytest.raises(WRONG):
        listed(line)


def test_counts() -> None:
    assert _swept({"swept": [1, 2, 3, 4, 5]}).bytes == 2
    for wrong in ([1, 2, 3, 4, 5, 6], [-1, 2, 3, 4, 5], ["1", 2, 3, 4, 5], None):
        with pytest.raises(WRONG):
            _swept({"swept": wrong})


def test_only_states_and_versions_are_removed() -> None:
    roots = [b"/one", b"/two"]
    assert _removal([1, f"mailboxes/abc/{STATE}"], roots) == Removal(b"/two", f"mailboxes/abc/{STATE}".encode())
    assert _removal([0, f"files/mailboxes.db.versions/{STATE}.gz"], roots).root == b"/one"
    for number, path in (
        (2, f"mailboxes/abc/{STATE}"),
        (-1, f"mailboxes/abc/{STATE}"),
        (0, "mailboxes/abc"),
        (0, "messages/ab/abcdef"),
        (0, f"mailboxes/../{STATE}"),
        (0, f"files/../../x.versions/{STATE}"),
        (0, f"files/x/{STATE}"),
        (0, f"/mailboxes/abc/{STATE}"),
        (0, f"mailboxes/abc/{STATE}/cyrus.index"),
        (0, f"mailboxes/abc/.{STATE}.pruned"),
    ):
        with pytest.raises(WireError):
            _removal([number, path], roots)
