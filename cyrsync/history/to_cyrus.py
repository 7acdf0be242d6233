"""A mailbox's directory restored as Cyrus had it: header, index, annotations, cache, and every message they name.

Messages of an archive partition are with the others.
"""

from __future__ import annotations

import os
from collections.abc import Iterator

from cyrsync.cyrus.mailbox import entry, records, regular_file
from cyrsync.history.destinations import Place, as_on_disk
from cyrsync.history.outcome import MailboxRestore
from cyrsync.history.selected import Selection
from cyrsync.history.target import Target, names_in
from cyrsync.text import path_text

_CACHE = b"cyrus.cache"
_BLOCK = 1 << 20


class DirectoryInUse(Exception):
    """Another mailbox was restored to this directory, and its files would be replaced."""


def write(target: Target, selection: Selection, place: Place, restore: MailboxRestore) -> None:
    """Write a mailbox: its messages, then the metadata that names them. Raise NotWritten; first DirectoryInUse."""
    names = [*place.above, *as_on_disk(place.parts)]
    folder = target.directory(names)
    try:
        # Every mailbox has metadata, and nothing was here before: also where case makes no difference on this disk.
        if not selection.metadata.keys().isdisjoint(names_in(folder)):
            source = path_text(os.path.dirname(selection.caches[0]))
            path = path_text(os.path.join(target.path, *names))
            raise DirectoryInUse(
                f"{source}: not restored: another mailbox was restored to {path}: restore this one by itself, with its "
                "partition as TREE"
            )
        if selection.since is not None:
            _warn_of_later_uids(selection, restore)
        for message in selection.messages():
            target.write_message(folder, b"%d." % message.uid, message, restore)
        cache = selection.caches[0]
        if os.path.lexists(cache):
            try:
                target.write(folder, _CACHE, _blocks(cache))
            except _Unreadable as error:
                restore.warn(f"{error}; Cyrus makes it anew")
        for name, data in selection.metadata.items():
            target.write(folder, name, [data])
    finally:
        os.close(folder)


def _warn_of_later_uids(selection: Selection, restore: MailboxRestore) -> None:
    """Warn of UIDs that the mailbox gave after the state that is restored."""
    last_uid = records.read_header(selection.metadata[entry.INDEX]).last_uid
    if selection.mailbox.last_uid > last_uid:
        later = f"UIDs {last_uid + 1} to {selection.mailbox.last_uid}"
        restore.warn(
            f"Cyrus gave {later} later; a server with this directory gives them again, one restored by --into does not"
        )


class _Unreadable(Exception):
    """A cache that cannot be read."""


def _blocks(path: bytes) -> Iterator[bytes]:
    try:
        descriptor, _ = regular_file.opened(path)
        try:
            while block := os.read(descriptor, _BLOCK):
                yield block
        finally:
            os.close(descriptor)
    except OSError as error:
        raise _Unreadable(f"cyrus.cache: {error.strerror}") from None
