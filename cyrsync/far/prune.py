"""Removing from the stores of one partition's roots: states, and messages and pieces that no state names any more.

A state gets a hidden name first, then it is deleted. A message that no state names is noted, with the time, and deleted
when that is still so after the grace. What an unreadable state might name is not deleted.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import errno
import os
import time
from contextlib import suppress
from typing import TYPE_CHECKING, NamedTuple

from cyrsync.far import stored
from cyrsync.far.named import named, read_hashed
from cyrsync.far.packed import Packer
from cyrsync.far.store import FILES, HASHED, MAILBOXES, MESSAGES, PIECES, Store
from cyrsync.far.stored import Damaged, StoreReader
from cyrsync.far.to_disk import to_disk
from cyrsync.far.unnamed import Problems, Removal, UnnamedFinder, read_marks, write_marks

if TYPE_CHECKING:
    from typing import Callable, Dict, FrozenSet, List, Sequence, Set

_DIRECTORY = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC


class Swept(NamedTuple):
    """What was deleted, or would be: messages and their bytes, and pieces; and how many messages there are."""

    messages: int = 0
    bytes: int = 0
    pieces: int = 0
    unnamed: int = 0  # messages that nothing names, but still have their grace
    pool: int = 0


class Pruner:
    """Removes from the stores of one partition's roots, which nobody else writes to; `problems` has what goes wrong."""

    def __init__(
        self,
        roots: "Sequence[bytes]",
        tell: "Callable[[int], object]" = lambda _: None,
        wanted: "Callable[[], bool]" = lambda: True,
    ) -> None:
        """`tell` receives how many states were read so far. Raise EOFError before a removal that is not `wanted`."""
        self._stores = {root: StoreReader(root) for root in roots}
        self._tell = tell
        self._wanted = wanted
        self.problems = Problems()

    def close(self) -> None:
        """Close what is open."""
        for store in self._stores.values():
            store.close()

    def clear(self) -> None:
        """Delete what killed runs have left of states."""
        for root, store in self._stores.items():
            with self.problems.of(root):
                for directory, name in list(store.leftovers()):
                    self._delete(root, directory, name)

    def pack(self) -> None:
        """Pack what runs have kept, and not packed."""
        for root in self._stores:
            try:
                Packer(root).pack()
            except OSError as error:
                self.problems.note(root, b"", error)

    def forget_notes(self) -> None:
        """Remove the notes of what is to be packed, and is not there any more: they say whose it was."""
        for root in self._stores:
            with self.problems.of(root):
                notes = Store(root)
                for note in notes.notes():
                    path = notes.noted(note)
                    if path and not self._is_there(root, path):
                        notes.forget(note)

    def remove(self, removals: "Sequence[Removal]", suffix: bytes = stored.PRUNED) -> "List[Removal]":
        """Give states hidden names, and return what they are now."""
        hidden = []
        for root, path in removals:
            directory, _, name = path.rpartition(b"/")
            self._go_on()
            try:
                descriptor = self._stores[root].directory(directory)
                os.rename(name, b"." + name + suffix, src_dir_fd=descriptor, dst_dir_fd=descriptor)
                hidden.append(Removal(root, directory + b"/." + name + suffix))
            except OSError as error:
                self.problems.note(root, path, error)
        return hidden

    def delete(self, hidden: "Sequence[Removal]") -> None:
        """Delete states that have hidden names."""
        for root, path in hidden:
            directory, _, name = path.rpartition(b"/")
            self._delete(root, directory, name)

    def settle(self) -> None:
        """Wait until all this is on the disks: only then are messages deleted that were named."""
        there = [root for root in self._stores if os.path.isdir(root)]
        try:
            to_disk(there)
        except OSError as error:
            self.problems.damaged = True
            self.problems.note(there[0], b"", error)

    def sweep(self, grace: float, dry_run: bool, without: "FrozenSet[Removal]" = frozenset()) -> Swept:
        """Delete messages and pieces that nothing names, and have had no name for `grace` seconds.

        In a `dry_run` nothing is done; states that are `without` are taken for removed.
        """
        unnamed = UnnamedFinder(self._stores, self.problems, self._tell, without)
        pool = unnamed.pool()
        nameless = set(pool)
        unnamed.take_out_named(nameless)
        paths: "Dict[bytes, List[bytes]]" = {}
        for root, store in self._stores.items():
            with self.problems.of(root):
                paths[root] = unnamed.messages(store, nameless) + unnamed.pieces(store)
        if self.problems.damaged:
            return Swept(pool=len(pool))
        now, found = time.time(), Swept(pool=len(pool))
        for root, some in paths.items():
            with self.problems.of(root):
                found = self._sweep_root(root, some, now, grace, dry_run, found)
        return found

    def named_by(self, states: "Sequence[Removal]") -> "Set[bytes]":
        """Return the SHA-1 of the messages that only these states name, which are hidden; of no state that stays."""
        only = set()  # type: Set[bytes]
        for root, path in states:
            _, mailbox, name = path.split(b"/", 2) if path.startswith(MAILBOXES + b"/") else (b"", b"", b"")
            if mailbox:
                store = self._stores[root]
                try:
                    only.update(named(store, mailbox, name, read_hashed(store, mailbox)))
                except Damaged as damaged:
                    self.problems.note_damaged(root, damaged, stays=False)
        UnnamedFinder(self._stores, self.problems, self._tell).take_out_named(only)
        return set() if self.problems.damaged else only

    def hidden(self, suffix: bytes) -> "List[Removal]":
        """Return the states with hidden names of a kind, also those that a killed run has left."""
        found = []
        for root, store in self._stores.items():
            with self.problems.of(root):
                for directory, name in store.leftovers():
                    if name.endswith(suffix):
                        found.append(Removal(root, directory + b"/" + name))
        return found

    def delete_messages(self, digests: "Set[bytes]") -> Swept:
        """Delete messages from the pool, and pieces that nothing names, at once."""
        found = Swept()
        unnamed = UnnamedFinder(self._stores, self.problems, self._tell)
        for root, store in self._stores.items():
            with self.problems.of(root):
                paths = unnamed.messages(store, digests) + unnamed.pieces(store)
                if not self.problems.damaged:
                    for path in paths:
                        found = self._unlink(root, path, found, dry_run=False)
        return found

    def tidy(self) -> None:
        """Remove directories with nothing in them."""
        for root, store in self._stores.items():
            with self.problems.of(root):
                for mailbox in list(store.mailboxes()):
                    if not (mailbox.states or mailbox.gone or mailbox.others):
                        self._remove_mailbox(store, mailbox.name)
                for file in list(store.files()):
                    path = file.path
                    while not file.versions and path and _rmdir(store, FILES + b"/" + path):
                        path = path.rpartition(b"/")[0]

    def _go_on(self) -> None:
        """Raise EOFError if nobody waits for the answer any more."""
        if not self._wanted():
            raise EOFError

    def _sweep_root(
        self, root: bytes, paths: "List[bytes]", now: float, grace: float, dry_run: bool, found: Swept
    ) -> Swept:
        before = read_marks(self._stores[root])
        marks = {}
        for path in paths:
            since = min(before.get(path, int(now)), int(now))
            if now - since < grace or now - self._came(root, path) < grace:
                marks[path] = since
                found = found._replace(unnamed=found.unnamed + path.startswith(MESSAGES + b"/"))
            else:
                found = self._unlink(root, path, found, dry_run)
        if not dry_run and marks != before:
            write_marks(self._stores[root], marks)
        return found

    def _is_there(self, root: bytes, path: bytes) -> bool:
        """Tell whether anything is at a path in the store. Raise OSError where that is not to be seen."""
        try:
            self._stores[root].status(path)
        except FileNotFoundError:
            return False
        return True

    def _came(self, root: bytes, path: bytes) -> float:
        """Return when a file was put where it is; it may have been removed and written again. Raise OSError."""
        directory, _, name = path.rpartition(b"/")
        return os.lstat(name, dir_fd=self._stores[root].directory(directory)).st_ctime

    def _unlink(self, root: bytes, path: bytes, found: Swept, dry_run: bool) -> Swept:
        """Delete a message or a piece, and count it."""
        directory, _, name = path.rpartition(b"/")
        try:
            descriptor = self._stores[root].directory(directory)
            size = os.lstat(name, dir_fd=descriptor).st_size
            if not dry_run:
                self._go_on()
                os.unlink(name, dir_fd=descriptor)
        except FileNotFoundError:
            return found
        except OSError as error:
            self.problems.note(root, path, error)
            return found
        if path.startswith(MESSAGES + b"/"):
            return found._replace(messages=found.messages + 1, bytes=found.bytes + size)
        return found._replace(pieces=found.pieces + 1)

    def _delete(self, root: bytes, directory: bytes, name: bytes) -> None:
        """Delete a file, or a directory and the files in it."""
        self._go_on()
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
            self.problems.note(root, directory + b"/" + name, error)

    def _remove_mailbox(self, store: StoreReader, mailbox: bytes) -> None:
        """Remove the directory of a mailbox without any kept state; as long as there are pieces, it stays."""
        above = MAILBOXES + b"/" + mailbox
        for two in store.names(above, PIECES):
            _rmdir(store, b"/".join((above, PIECES, two)))
        _rmdir(store, above + b"/" + PIECES)
        if store.names(above) == [HASHED]:
            os.unlink(HASHED, dir_fd=store.directory(above))
        _rmdir(store, above)


def _rmdir(store: StoreReader, path: bytes) -> bool:
    """Remove a directory if it is empty, and tell whether it was."""
    directory, _, name = path.rpartition(b"/")
    with suppress(OSError):
        os.rmdir(name, dir_fd=store.directory(directory))
        return True
    return False
