"""The history of a replica, root by root: whoever replaces or removes something there asks first.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

from typing import TYPE_CHECKING

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.far.descent import Descent
from cyrsync.far.keep import Keeper
from cyrsync.far.packed import Packer
from cyrsync.far.pool import Pool

if TYPE_CHECKING:
    from collections.abc import Collection
    from typing import Optional


class Keeping:
    """The roots of a replica that keep a history."""

    def __init__(self, homes: "dict[bytes, bytes]", spacing: int) -> None:
        """By root: the root that has the indexes of its mailboxes. For `spacing`, see `Keeper`."""
        self._homes = homes
        self._keepers = {root: Keeper(root, spacing) for root in homes}

    def keeper(self, root: bytes) -> "Optional[Keeper]":
        """Return the keeper of states of mailboxes and files below a root; None for a root without a history."""
        return self._keepers.get(root)

    def guard(self, root: bytes) -> "Optional[Guard]":
        """Return the guard to ask before something is removed below a root; None for a root without a history."""
        keeper, home = self._keepers.get(root), self._homes.get(root)
        if keeper is None or home is None:
            return None
        return Guard(root, home, keeper, self._keepers.get(home, keeper))

    def pack(self) -> None:
        """Pack what was kept and is large: the rest waits for prune. Raise OSError; then the next run does it."""
        for root in self._homes:
            Packer(root).pack_large()


class Guard:
    """Keeps what is about to be removed below one root."""

    def __init__(self, root: bytes, home: bytes, keeper: Keeper, states: Keeper) -> None:
        self._folders = Descent(home)
        self._is_home = home == root
        self._keeper = keeper
        self._pool = Pool(root, states)

    def enter(self, folder: int, path: bytes, names: "Collection[bytes]") -> None:
        """Keep the state of a mailbox whose index is among the names that are to be removed. Raise OSError."""
        if kinds.INDEX in names:
            self._keeper.keep_state(folder, path)

    def takes(self, folder: int, path: bytes, name: bytes) -> bool:
        """Keep a file, and tell whether there is nothing to remove any more. Raise OSError.

        `folder` is open, and `path` is its path below the root.
        """
        if kinds.is_message(name):
            self._pool.take(folder, path, name, folder if self._is_home else self._elsewhere(path))
            return True
        if not name.startswith(kinds.METADATA_PREFIX):
            self._keeper.keep_file(folder, path, name)
        return False

    def _elsewhere(self, path: bytes) -> "Optional[int]":
        """Return the folder, open, that has the index of the messages in a folder; None where it is not there."""
        try:
            return self._folders.open(path)
        except (FileNotFoundError, NotADirectoryError):
            return None
