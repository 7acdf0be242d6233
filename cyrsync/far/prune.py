"""Removing from the stores of one partition's roots: states, and messages and pieces that nothing names any more.

A state gets a hidden name first, then it is deleted. A message that no state names is noted, with the time, and deleted
when that is still so after the grace. Nothing is deleted of which a state that cannot be read might have told.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import errno
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.far import stored
from cyrsync.far.stored import Damaged, Store
from cyrsync.far.to_disk import to_disk

if TYPE_CHECKING:
    from typing import Callable, Dict, FrozenSet, Iterator, List, Sequence, Set

    from cyrsync.far.stored import Mailbox

#: In a store: a line `TIME PATH` for each message and each piece that nothing names, with the time when that was found.
UNNAMED = b"unnamed"
_NEW = b"." + UNNAMED + b".new"
_NEW_FILE = os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_NOFOLLOW | os.O_CLOEXEC
_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
_TELL_EACH = 500  # states


class Removal(NamedTuple):
    """A state, or a version of a file: the root, and the path in its store."""

    root: bytes
    path: bytes


class Swept(NamedTuple):
    """What was deleted, or would be: messages and their bytes, and pieces; and how many messages there are."""

    messages: int = 0
    bytes: int = 0
    pieces: int = 0
    unnamed: int = 0  # messages that nothing names, but still have their grace
    pool: int = 0


class Pruner:
    """Removes from the stores of one partition's roots, which nobody else writes to; `problems` has what goes wrong."""

    def __init__(self, roots: "Sequence[bytes]", tell: "Callable[[int], object]" = lambda _: None) -> None:
        """`tell` is told how many states were read so far, from time to time."""
        self._stores = {root: Store(root) for root in roots}
        self._tell = tell
        self._read = 0
        self._damaged = False
        #: Paths, and what is wrong there.
        self.problems = []  # type: list[tuple[bytes, str]]

    def close(self) -> None:
        """Let go of what is open."""
        for store in self._stores.values():
            store.close()

    def clear(self) -> None:
        """Delete what killed runs have left of states."""
        for root, store in self._stores.items():
            with self._noting(root):
                for directory, name in list(store.leftovers()):
                    self._delete(root, directory, name)

    def remove(self, removals: "Sequence[Removal]", suffix: bytes = stored.PRUNED) -> "List[Removal]":
        """Give states hidden names, and return what they are now."""
        hidden = []
        for root, path in removals:
            directory, _, name = path.rpartition(b"/")
            there = Removal(root, directory + b"/." + name + suffix)
            try:
                descriptor = self._stores[root].directory(directory)
                os.rename(name, b"." + name + suffix, src_dir_fd=descriptor, dst_dir_fd=descriptor)
                hidden.append(there)
            except OSError as error:
                self._note(root, path, error)
        return hidden

    def delete(self, hidden: "Sequence[Removal]") -> None:
        """Delete states that have hidden names."""
        for root, path in hidden:
            directory, _, name = path.rpartition(b"/")
            self._delete(root, directory, name)

    def settle(self) -> None:
        """Wait until all this is on the disks: only then is what was named deleted."""
        there = [root for root in self._stores if os.path.isdir(root)]
        try:
            to_disk(there)
        except OSError as error:
            self._note(there[0], b"", error)
            self._damaged = True

    def sweep(self, grace: float, dry_run: bool, without: "FrozenSet[Removal]" = frozenset()) -> Swept:
        """Delete messages and pieces that nothing names, and have had no name for `grace` seconds.

        In a `dry_run` nothing is done; states that are `without` are taken for removed.
        """
        unnamed = {}  # type: Dict[bytes, List[bytes]]
        pool = self._pool()
        nameless = set(pool)
        self._without_named(nameless, without)
        for root, store in self._stores.items():
            with self._noting(root):
                unnamed[root] = [_pooled(name) for name in store.pool() if bytes.fromhex(name.decode()) in nameless]
                unnamed[root] += self._pieces(store, without)
        if self._damaged:
            return Swept(pool=len(pool))
        now, found = time.time(), Swept(pool=len(pool))
        for root, paths in unnamed.items():
            with self._noting(root):
                found = self._sweep_root(root, paths, now, grace, dry_run, found)
        return found

    def named_by(self, states: "Sequence[Removal]") -> "Set[bytes]":
        """Return the SHA-1 of the messages that only these states name, which are hidden; of no state that stays."""
        only = set()  # type: Set[bytes]
        for root, path in states:
            _, mailbox, name = path.split(b"/", 2) if path.startswith(stored.MAILBOXES + b"/") else (b"", b"", b"")
            if mailbox:
                store = self._stores[root]
                try:
                    only.update(store.named(mailbox, name, store.hashed(mailbox)))
                except Damaged as damaged:
                    self._note_once(root, damaged.path, damaged.reason)
        self._without_named(only, frozenset())
        return set() if self._damaged else only

    def hidden(self, suffix: bytes) -> "List[Removal]":
        """Return the states with hidden names of a kind, also those that a killed run has left."""
        found = []
        for root, store in self._stores.items():
            with self._noting(root):
                for directory, name in store.leftovers():
                    if name.endswith(suffix):
                        found.append(Removal(root, directory + b"/" + name))
        return found

    def delete_messages(self, digests: "Set[bytes]") -> Swept:
        """Delete messages from the pool, and pieces that nothing names, at once."""
        found = Swept()
        if self._damaged:
            return found
        for root, store in self._stores.items():
            with self._noting(root):
                paths = [_pooled(name) for name in store.pool() if bytes.fromhex(name.decode()) in digests]
                paths += self._pieces(store, frozenset())
                if not self._damaged:
                    for path in paths:
                        found = self._unlink(root, path, found, dry_run=False)
        return found

    def tidy(self) -> None:
        """Remove directories with nothing in them."""
        for root, store in self._stores.items():
            with self._noting(root):
                for mailbox in list(store.mailboxes()):
                    if not (mailbox.states or mailbox.gone or mailbox.others):
                        self._remove_mailbox(store, mailbox.name)
                for file in list(store.files()):
                    path = file.path
                    while not file.versions and path and _rmdir(store, stored.FILES + b"/" + path):
                        path = path.rpartition(b"/")[0]

    def _pool(self) -> "Set[bytes]":
        found = set()  # type: Set[bytes]
        for root, store in self._stores.items():
            with self._noting(root):
                found.update([bytes.fromhex(name.decode()) for name in store.pool()])
        return found

    def _without_named(self, digests: "Set[bytes]", without: "FrozenSet[Removal]") -> None:
        """Take out of the digests what states name that stay."""
        for root, store in self._stores.items():
            with self._noting(root):
                for mailbox in store.mailboxes():
                    for found in self._named(root, store, mailbox, without):
                        digests.difference_update(found)

    def _named(
        self, root: bytes, store: Store, mailbox: "Mailbox", without: "FrozenSet[Removal]"
    ) -> "Iterator[List[bytes]]":
        for name in mailbox.others:
            path = b"/".join((stored.STORE, stored.MAILBOXES, mailbox.name, name))
            self._note_damaged(root, Damaged(path, "nothing that a store has: move it away"))
        try:
            hashed = store.hashed(mailbox.name)
        except Damaged as damaged:
            self._note_damaged(root, damaged)
            return
        for state in mailbox.states + mailbox.gone:
            if Removal(root, b"/".join((stored.MAILBOXES, mailbox.name, state))) in without:
                continue
            self._read += 1
            if self._read % _TELL_EACH == 0:
                self._tell(self._read)
            try:
                yield store.named(mailbox.name, state, hashed)
            except Damaged as damaged:
                self._note_damaged(root, damaged)

    def _pieces(self, store: Store, without: "FrozenSet[Removal]") -> "List[bytes]":
        """Return the paths of pieces that nothing names. Raise OSError."""
        unnamed = []
        try:
            for mailbox in store.mailboxes():
                above = (stored.MAILBOXES, mailbox.name)
                states = mailbox.states + mailbox.gone
                stay = [state for state in states if Removal(store.root, b"/".join((*above, state))) not in without]
                every = set(store.all_pieces(*above, stored.PIECES))
                if every:
                    used = [store.pieces(*above, state, kinds.INDEX) for state in stay]
                    unnamed += [b"/".join((*above, stored.PIECES, name)) for name in every.difference(*used)]
            every = set(store.all_pieces(stored.FILES, stored.FILE_PIECES))
            if every:
                every.difference_update(*self._file_pieces(store, without))
                unnamed += [b"/".join((stored.FILES, stored.FILE_PIECES, name)) for name in every]
        except Damaged as damaged:
            self._note_damaged(store.root, damaged)
        return sorted(unnamed)

    def _file_pieces(self, store: Store, without: "FrozenSet[Removal]") -> "Iterator[Set[bytes]]":
        for file in store.files():
            for version in file.versions:
                path = b"/".join((stored.FILES, file.path, version))
                if version.endswith(stored.IN_PIECES) and Removal(store.root, path) not in without:
                    yield store.pieces(stored.FILES, file.path, version[: -len(stored.IN_PIECES)])

    def _sweep_root(
        self, root: bytes, paths: "List[bytes]", now: float, grace: float, dry_run: bool, found: Swept
    ) -> Swept:
        before = self._marks(root)
        marks = {}
        for path in paths:
            since = min(before.get(path, int(now)), int(now))
            if now - since < grace or now - self._came(root, path) < grace:
                marks[path] = since
                found = found._replace(unnamed=found.unnamed + path.startswith(stored.MESSAGES + b"/"))
            else:
                found = self._unlink(root, path, found, dry_run)
        if not dry_run and marks != before:
            self._write_marks(root, marks)
        return found

    def _came(self, root: bytes, path: bytes) -> float:
        """Return when a file was put where it is; it may have been removed before, and come again. Raise OSError."""
        directory, _, name = path.rpartition(b"/")
        return os.lstat(name, dir_fd=self._stores[root].directory(directory)).st_ctime

    def _unlink(self, root: bytes, path: bytes, found: Swept, dry_run: bool) -> Swept:
        """Delete a message or a piece, and count it."""
        directory, _, name = path.rpartition(b"/")
        try:
            descriptor = self._stores[root].directory(directory)
            size = os.lstat(name, dir_fd=descriptor).st_size
            if not dry_run:
                os.unlink(name, dir_fd=descriptor)
        except FileNotFoundError:
            return found
        except OSError as error:
            self._note(root, path, error)
            return found
        if path.startswith(stored.MESSAGES + b"/"):
            return found._replace(messages=found.messages + 1, bytes=found.bytes + size)
        return found._replace(pieces=found.pieces + 1)

    def _marks(self, root: bytes) -> "Dict[bytes, int]":
        """Return since when each path has been known to have no name; what is no line of ours is left out."""
        try:
            data = self._stores[root].contents(UNNAMED)
        except FileNotFoundError:
            return {}
        found = {}
        for line in data.splitlines():
            since, _, path = line.partition(b" ")
            if since.isdigit():
                found[path] = int(since)
        return found

    def _write_marks(self, root: bytes, marks: "Dict[bytes, int]") -> None:
        descriptor = self._stores[root].directory()
        file = os.open(_NEW, _NEW_FILE, 0o600, dir_fd=descriptor)
        try:
            rest = memoryview(b"".join([b"%d %b\n" % (since, path) for path, since in sorted(marks.items())]))
            while rest:
                rest = rest[os.write(file, rest) :]
            os.fsync(file)
        finally:
            os.close(file)
        os.rename(_NEW, UNNAMED, src_dir_fd=descriptor, dst_dir_fd=descriptor)

    def _delete(self, root: bytes, directory: bytes, name: bytes) -> None:
        """Delete a file, or a directory and the files in it."""
        try:
            above = self._stores[root].directory(directory)
            try:
                inside = os.open(name, _DIRECTORY, dir_fd=above)
            except OSError as error:
                if error.errno not in (errno.ENOTDIR, errno.ELOOP):
                    raise
                os.unlink(name, dir_fd=above)
                return
            try:
                for one in os.listdir(inside):
                    os.unlink(one, dir_fd=inside)
            finally:
                os.close(inside)
            os.rmdir(name, dir_fd=above)
        except FileNotFoundError:
            pass
        except OSError as error:
            self._note(root, directory + b"/" + name, error)

    def _remove_mailbox(self, store: Store, mailbox: bytes) -> None:
        """Remove the directory of a mailbox of which nothing is kept any more; as long as there are pieces it stays."""
        above = stored.MAILBOXES + b"/" + mailbox
        for two in store.names(above, stored.PIECES):
            _rmdir(store, b"/".join((above, stored.PIECES, two)))
        _rmdir(store, above + b"/" + stored.PIECES)
        if store.names(above) == [stored.HASHED]:
            os.unlink(stored.HASHED, dir_fd=store.directory(above))
        _rmdir(store, above)

    def _noting(self, root: bytes) -> "_Noting":
        return _Noting(self, root)

    def _note(self, root: bytes, path: bytes, error: OSError) -> None:
        self._note_once(root, stored.STORE + b"/" + path if path else stored.STORE, error.strerror or str(error))

    def _note_damaged(self, root: bytes, damaged: Damaged) -> None:
        self._damaged = True
        self._note_once(root, damaged.path, damaged.reason)

    def _note_once(self, root: bytes, path: bytes, reason: str) -> None:
        problem = (os.path.join(root, path), reason)
        if problem not in self.problems:
            self.problems.append(problem)


class _Noting:
    """Notes that a store cannot be read: then it is not known what it has."""

    def __init__(self, pruner: Pruner, root: bytes) -> None:
        self._pruner, self._root = pruner, root

    def __enter__(self) -> None:
        pass

    def __exit__(self, kind: object, error: object, trace: object) -> bool:
        if not isinstance(error, OSError):
            return False
        self._pruner._note(self._root, b"", error)
        self._pruner._damaged = True
        return True


def _pooled(name: bytes) -> bytes:
    return b"/".join((stored.MESSAGES, name[:2], name))


def _rmdir(store: Store, path: bytes) -> bool:
    """Remove a directory if it is empty, and tell whether it was."""
    directory, _, name = path.rpartition(b"/")
    with suppress(OSError):
        os.rmdir(name, dir_fd=store.directory(directory))
        return True
    return False
