"""The GUIDs that an index has of some messages.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import os
from typing import TYPE_CHECKING, NamedTuple

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.cyrus.mailbox import guids
from cyrsync.cyrus.mailbox.records import UNKNOWN_GUID
from cyrsync.far.descent import Descent
from cyrsync.far.remove import Removal
from cyrsync.far.remove import encode as encode_removal

if TYPE_CHECKING:
    from array import array
    from collections.abc import Callable, Iterable


class Question(NamedTuple):
    """A folder below a root, and the UIDs whose GUIDs are asked for."""

    path: bytes
    uids: "array[int]"


def encode(question: Question) -> bytes:
    """Return a question as one frame, which `remove.decode` reads."""
    return encode_removal(Removal(question.path, question.uids))


def answers(questions: "Iterable[Question | Removal]", root: bytes, wanted: "Callable[[], bool]") -> "list[str]":
    """Answer questions in order, as long as somebody wants that: the GUIDs in hexadecimal, in a row."""
    descent = Descent(root)
    found = []
    for question in questions:
        found.append(_of_folder(descent, question) if wanted() else "")
    return found


def _of_folder(descent: Descent, question: "Question | Removal") -> str:
    """Return the GUIDs of one folder, UNKNOWN_GUID for what its index does not tell, "" if it cannot be read."""
    asked = set(question.uids)
    try:
        path = os.path.join(descent.where(question.path), kinds.INDEX)
        known = {uid: guid for uid, guid in guids.read(path) if uid in asked}
    except OSError:
        return ""
    return b"".join([known.get(uid, UNKNOWN_GUID) for uid in question.uids]).hex()
