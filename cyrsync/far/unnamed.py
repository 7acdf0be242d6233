"""The messages and pieces of a partition that no kept state names, and since when that is known.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import os
from typing import TYPE_CHECKING, NamedTuple

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.far import whole_file
from cyrsync.far.named import named, read_hashed
from cyrsync.far.store import FILE_PIECES, FILES, IN_PIECES, MAILBOXES, MESSAGES, PIECES, STORE
from cyrsync.far.stored import UNKNOWN, Damaged, StoreReader

if TYPE_CHECKING:
    from typing import Callable, Dict, FrozenSet, Iterator, List, Set

    from cyrsync.far.stored import Mailbox

#: In a store: a line `TIME PATH` for each message and each piece that nothing names, with the time when that was found.
UNNAMED = b"unnamed"
_NEW = b"." + UNNAMED + b".new"
_TELL_EACH = 500  # states


class Removal(NamedTuple):
    """A state, or a version of a file: the root, and the path in its store."""

    root: bytes
    path: bytes


class Problems:
    """What goes wrong. As a context manager, it notes that the store below `root` cannot be read."""

    def __init__(self) -> None:
        self._found = {}  # type: Dict[tuple[bytes, str], None]
        self._root = b""
        #: Whether something that cannot be read may name anything.
        self.damaged = False

    def __iter__(self) -> "Iterator[tuple[bytes, str]]":
        """Yield paths, and what is wrong there."""
        return iter(self._found)

    def note(self, root: bytes, path: bytes, error: OSError) -> None:
        """Note an error at a path in the store below a root."""
        self._found[os.path.join(root, STORE, path).rstrip(b"/"), error.strerror or str(error)] = None

    def note_damaged(self, root: bytes, damaged: Damaged, *, stays: bool = True) -> None:
        """Note that it is not known what something names, which `stays`, and needs what it names."""
        self.damaged |= stays
        self._found[os.path.join(root, damaged.path), damaged.reason] = None

    def of(self, root: bytes) -> "Problems":
        """Return this for a `with` that is about a root."""
        self._root = root
        return self

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: object, trace: object) -> bool:
        if not isinstance(error, OSError):
            return False
        self.damaged = True
        self.note(self._root, b"", error)
        return True


class UnnamedFinder:
    """Tells what has no name in the stores of a partition; states that are `without` are taken for removed."""

    def __init__(
        self,
        stores: "Dict[bytes, StoreReader]",
        problems: Problems,
        tell: "Callable[[int], object]",
        without: "FrozenSet[Removal]" = frozenset(),
    ) -> None:
        """`tell` receives how many states were read so far, from time to time."""
        self._stores = stores
        self._problems = problems
        self._tell = tell
        self._without = without
        self._read = 0

    def pool(self) -> "Set[bytes]":
        """Return the SHA-1 of each message in the pool."""
        found = set()  # type: Set[bytes]
        for root, store in self._stores.items():
            with self._problems.of(root):
                found.update([bytes.fromhex(name.decode()) for name in store.pool()])
        return found

    def take_out_named(self, digests: "Set[bytes]") -> None:
        """Remove from the digests what states name."""
        for root, store in self._stores.items():
            with self._problems.of(root):
                for mailbox in store.mailboxes():
                    for found in self._named(root, store, mailbox):
                        digests.difference_update(found)

    def messages(self, store: StoreReader, digests: "Set[bytes]") -> "List[bytes]":
        """Return the paths of the messages that are in the pool below one root. Raise OSError."""
        names = [name for name in store.pool() if bytes.fromhex(name.decode()) in digests]
        return [b"/".join((MESSAGES, name[:2], name)) for name in names]

    def pieces(self, store: StoreReader) -> "List[bytes]":
        """Return the paths of the pieces below one root that nothing names. Raise OSError."""
        unnamed = []
        try:
            for mailbox in store.mailboxes():
                above = (MAILBOXES, mailbox.name)
                every = set(store.all_pieces(*above, PIECES))
                if every:
                    states = [one for one in mailbox.states + mailbox.gone if not self._is_removed(store, *above, one)]
                    every.difference_update(*[store.pieces(*above, state, kinds.INDEX) for state in states])
                    unnamed += [b"/".join((*above, PIECES, name)) for name in every]
            every = set(store.all_pieces(FILES, FILE_PIECES))
            if every:
                every.difference_update(*self._of_files(store))
                unnamed += [b"/".join((FILES, FILE_PIECES, name)) for name in every]
        except Damaged as damaged:
            self._problems.note_damaged(store.root, damaged)
        return sorted(unnamed)

    def _named(self, root: bytes, store: StoreReader, mailbox: "Mailbox") -> "Iterator[List[bytes]]":
        for name in mailbox.others:
            self._problems.note_damaged(root, Damaged(b"/".join((STORE, MAILBOXES, mailbox.name, name)), UNKNOWN))
        if not mailbox.is_known:
            return
        try:
            hashed = read_hashed(store, mailbox.name)
        except Damaged as damaged:
            self._problems.note_damaged(root, damaged)
            return
        known = {}  # type: Dict[tuple[bytes, int], int]
        for state in mailbox.states + mailbox.gone:
            if self._is_removed(store, MAILBOXES, mailbox.name, state):
                continue
            self._read += 1
            if self._read % _TELL_EACH == 0:
                self._tell(self._read)
            try:
                yield named(store, mailbox.name, state, hashed, known)
            except Damaged as damaged:
                self._problems.note_damaged(root, damaged)

    def _of_files(self, store: StoreReader) -> "Iterator[Set[bytes]]":
        for file in store.files():
            for version in file.versions:
                if version.endswith(IN_PIECES) and not self._is_removed(store, FILES, file.path, version):
                    yield store.pieces(FILES, file.path, version[: -len(IN_PIECES)])

    def _is_removed(self, store: StoreReader, *path: bytes) -> bool:
        return bool(self._without) and Removal(store.root, b"/".join(path)) in self._without


def read_marks(store: StoreReader) -> "Dict[bytes, int]":
    """Return since when each path is known to have no name; what is no line of ours is left out. Raise OSError."""
    try:
        data = store.contents(UNNAMED)
    except FileNotFoundError:
        return {}
    found = {}
    for line in data.splitlines():
        since, _, path = line.partition(b" ")
        if since.isdigit():
            found[path] = int(since)
    return found


def write_marks(store: StoreReader, marks: "Dict[bytes, int]") -> None:
    """Put such a list in place; after a power cut, the one before may be there, and more stays. Raise OSError."""
    data = b"".join([b"%d %b\n" % (since, path) for path, since in sorted(marks.items())])
    whole_file.replace(UNNAMED, data, store.directory(), _NEW)
