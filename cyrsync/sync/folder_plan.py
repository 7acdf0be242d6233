"""What is to be done for one folder: engines plan it, all later steps execute it."""

from __future__ import annotations

from array import array
from dataclasses import dataclass, field
from enum import Enum

from cyrsync.far import uids as uid_sets
from cyrsync.far.folder import Folder, Incarnation, join


class State(Enum):
    """How the folder of the source stands to the one of the replica."""

    SAME = "unchanged"
    CHANGED = "changed"
    NEW = "new"
    #: Another mailbox under the same path: what the replica holds under the same names is something else.
    RECREATED = "recreated"
    #: Names prove nothing here, or which mailbox it is cannot be read on both sides: rsync compares every file.
    COMPARED = "compared"
    #: Only the replica has it.
    GONE = "gone"
    UNREADABLE = "unreadable"
    #: What the replica has of it is not known, as it, or one above it, cannot be listed there.
    UNSEEN = "not to be seen on the replica"
    #: Listed by its parent, but no longer there: what is below it is not known.
    VANISHED = "vanished"


@dataclass(slots=True)
class FolderPlan:
    """The work in one folder.

    Messages are sent by UID, or as a `whole` folder: one list entry for all that is in it. What is deleted on the
    replica is named, too; a folder that is `GONE` is deleted with all that is in it.
    """

    path: bytes
    state: State
    problem: int = 0  # the errno, where the folder cannot be read, or the replica's not be listed
    whole: bool = False
    uids: array[int] = field(default_factory=uid_sets.empty)
    nonstandard: tuple[bytes, ...] = ()
    metadata: tuple[bytes, ...] = ()  # sent last, and all of one moment
    under_index: bool = False  # both sides have an index, and messages that the replica has may be replaced
    restored: tuple[bytes, ...] = ()  # metadata that has to be sent only if the index is taken away
    derived: tuple[bytes, ...] = ()  # metadata that is sent with the messages
    other_files: tuple[bytes, ...] = ()
    inside_gone: bool = False  # deleted with a folder above it
    made_now: bool = False  # made by this run: its deletion counts for no limit
    spares: bool = False  # gone from the source, but not deleted as a whole: what is left out lies in it
    kept: bool = False  # nothing is deleted here: it was not asked for, or is withheld
    by_size: bool = False  # the metadata, too, is the same if its size is: no messages change beside it
    unseen: bool = False  # some metadata differs in a way that rsync's quick check does not see
    touch: bool = False  # the folder's own mode, owner or time differ
    doubted: bool = False  # that a message has a name on the replica does not prove that it is there as it should be
    was_locked: bool = False  # as it was under Cyrus's locks: if it loses messages now, it can be read again
    staged: bool = False  # the metadata is sent from a copy that was made under Cyrus's locks
    delete_uids: array[int] = field(default_factory=uid_sets.empty)
    delete_files: tuple[bytes, ...] = ()  # message files with nonstandard names, metadata, other files
    leftovers: tuple[bytes, ...] = ()
    # What was found out while comparing:
    is_cyrus: bool = False  # on the source, or for a folder that is gone, on the replica
    messages_seen: int = 0
    messages_present: int = 0
    messages_waiting: int = 0
    messages_send: int = 0
    messages_delete: int = 0
    others_delete: int = 0
    metadata_seen: int = 0
    other_files_seen: int = 0
    replica_messages: int = 0
    metadata_bytes: int = 0
    replica: Folder | None = None  # as it was compared
    source: Folder | None = None  # so, too, if the replica has none
    incarnation: Incarnation | None = None  # of the source
    identity: tuple[object, ...] = ()  # what changes if another mailbox takes the folder's name

    def sends(self) -> bool:
        """Tell whether rsync has anything to do here."""
        return bool(self.messages_send or self.metadata or self.derived or self.other_files or self.touch)

    def deletes(self) -> bool:
        """Tell whether anything is deleted on the replica here."""
        return not self.kept and bool(
            self.delete_uids or self.delete_files or self.leftovers or self.state is State.GONE
        )

    def keep(self) -> None:
        """Withdraw the deletions."""
        self.kept = True
        self.messages_delete = 0

    def delete_too(self, uids: array[int]) -> None:
        """Also delete messages that this run may have sent in error; they count for no limit."""
        self.delete_uids = uid_sets.union(self.delete_uids, uids)

    def files_planned(self) -> int:
        """Return how many files rsync is to send: the sum of `sent + vanished + failed`."""
        return self.messages_send + len(self.derived) + len(self.metadata) + len(self.other_files)

    def entries(self, names: list[bytes] | tuple[bytes, ...]) -> list[bytes]:
        """Return the paths of these names below the root."""
        return [join(self.path, name) for name in names]
