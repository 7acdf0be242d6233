"""What an audit of one mailbox found, and how it crosses a connection: as one line of JSON.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

from array import array
from typing import TYPE_CHECKING, NamedTuple

from cyrsync.far import wire
from cyrsync.far.wire import WireError

if TYPE_CHECKING:
    from typing import Any

#: The kinds of problems, worst first, each with what it means.
KINDS = {
    "unreadable": "cannot be read",
    "index": "no whole cyrus.index",
    "header": "no whole cyrus.header, or another mailbox's",
    "cache": "no whole cyrus.cache",
    "missing": "in the index, but there is no file",
    "size": "another size than in the index",
    "content": "other bytes than the index says",
    "uniqueid": "another uniqueid than in mailboxes.db",
    "no directory": "in mailboxes.db, but there is no directory",
    "no mailbox": "a directory with mail that no mailbox owns",
    "orphan": "a message file that the index does not name",
    "other mailbox": "another mailbox than on the source",
    "other message": "another message under a UID than on the source",
    "lacks folder": "only the source has it",
    "extra folder": "only the replica has it",
    "lacks": "a message that only the source has",
    "extra": "a message that only the replica has",
    "metadata": "other than on the source",
    "owner": "another owner or mode than on the source",
}


class Problem(NamedTuple):
    """One kind of trouble in one folder; `uids` are the messages concerned, if it is about messages."""

    kind: str
    uids: "tuple[int, ...]" = ()
    detail: str = ""

    def number(self) -> int:
        """Return how many things are wrong."""
        return len(self.uids) or 1


NO_INDEX = Problem("index", detail="cyrus.index: there is none")


class Audited(NamedTuple):
    """One mailbox, looked at."""

    path: bytes  # of its folder, below the root of the tree
    messages: int = 0  # that must have a file
    files: int = 0  # message files there are
    bytes_read: int = 0  # of messages
    problems: "tuple[Problem, ...]" = ()
    mailbox: bytes = b""  # Cyrus's own name for it, where that is known otherwise than by the path


def to_record(audited: Audited) -> "list[Any]":
    """Return what JSON can carry."""
    problems = [[problem.kind, list(problem.uids), problem.detail] for problem in audited.problems]
    return [
        audited.path.decode("latin-1"),
        audited.messages,
        audited.files,
        audited.bytes_read,
        problems,
        audited.mailbox.decode("latin-1"),
    ]


@wire.one_error
def from_record(record: "list[Any]") -> Audited:
    """Undo `to_record`. Raise WireError for anything else."""
    path, messages, files, bytes_read, problems, mailbox = record
    for count in (messages, files, bytes_read):
        wire.number(count, wire.MAX_SIZE)
    found = tuple([_problem(*fields) for fields in wire.list_of(problems)])
    return Audited(wire.path(path), messages, files, bytes_read, found, wire.text(mailbox).encode("latin-1"))


def _problem(kind: "Any", uids: "Any", detail: "Any") -> Problem:
    if kind not in KINDS:
        raise WireError("a problem of no known kind: " + wire.shown(wire.text(kind)))
    return Problem(kind, tuple(array("I", wire.list_of(uids))), wire.text(detail))
