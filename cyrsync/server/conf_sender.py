"""Sends files beside the partitions by the stream, and keeps in the state what has arrived."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Sequence
from itertools import chain

from cyrsync.far.folder import Entry
from cyrsync.far.frames import Part
from cyrsync.far.receive import Failure
from cyrsync.server.contents import Begin, CutShort, File, Item, pieces_of
from cyrsync.server.replica import Replica
from cyrsync.state.conf_table import ConfRow, ConfTable
from cyrsync.state.mailbox_row import UNSEEN

#: Bytes of contents that wait until the state knows of them.
_PORTION_BYTES = 16 << 20
#: Bytes of a file from which on it is sent while it is read.
_ALONE = 4 << 20


class ConfSender:
    """Sends files one by one. What has arrived is known when it has settled.

    Sending raises CutShort for a copy that was cut off: nothing of it is installed.
    """

    def __init__(self, table: ConfTable, replica: Replica) -> None:
        self.files = self.bytes_sent = 0  # that have arrived
        #: What has not arrived: the errno, and the path on the replica.
        self.failed: list[tuple[int, bytes]] = []
        #: Directories that are not as on the source.
        self.undressed: list[Failure] = []
        self._table = table
        self._replica = replica
        self._waiting: list[tuple[ConfRow, list[Item]]] = []
        self._bytes = 0

    def send_copy(self, row: ConfRow, above: tuple[tuple[bytes, Entry], ...], entry: Entry, copy: bytes) -> None:
        """Send what was copied, as the file of a row; `above` are the directories that lead to it."""
        if stat.S_ISLNK(entry.mode):
            return self._send(row, above, [File(_name(row), entry._replace(extra=_text(os.readlink(copy))), b"")])
        descriptor = os.open(copy, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC)
        try:
            entry = entry._replace(size=os.fstat(descriptor).st_size)
            self._send_contents(row, above, entry, descriptor)
        finally:
            os.close(descriptor)
        return None

    def send_data(self, row: ConfRow, above: tuple[tuple[bytes, Entry], ...], entry: Entry, data: bytes) -> None:
        """Send what is in memory, as the file of a row."""
        self._send_contents(row, above, entry._replace(size=len(data)), data)

    def settle(self) -> None:
        """Wait until all has arrived, and note that in the state."""
        waiting, self._waiting, self._bytes = self._waiting, [], 0
        if waiting:
            self._stream(waiting)

    def _stream(self, waiting: Sequence[tuple[ConfRow, Iterable[Item]]]) -> None:
        """Send files, once the state knows of them, and keep in it which have arrived."""
        # From now on it is not known what the replica has of them, only that it may have them.
        self._table.put(row._replace(seen=UNSEEN, digest=b"") for row, _ in waiting)
        sink = self._replica.begin_stream(much=False)
        for _, items in waiting:
            try:
                for item in items:
                    item.put(sink)
                    self.bytes_sent += len(item.data)
            except (CutShort, OSError):
                sink.abandon()
                self._replica.tree.finish_stream()
                self._replica.tree.stream_failures()
                raise
            sink.commit()
        self._replica.tree.finish_stream()
        told = self._replica.tree.stream_failures()
        failures = {failure.mailbox: failure for failure in told if not failure.arrived}
        self.failed += [(failure.number, failure.path) for failure in failures.values()]
        self.undressed += [failure for failure in told if failure.arrived]
        arrived = [row for number, (row, _) in enumerate(waiting) if number not in failures]
        self.files += len(arrived)
        self._table.put(arrived)

    def _send_contents(
        self, row: ConfRow, above: tuple[tuple[bytes, Entry], ...], entry: Entry, contents: int | bytes
    ) -> None:
        items = pieces_of(_name(row), entry, contents)
        if entry.size <= _ALONE:
            self._send(row, above, list(items))
        else:
            self.settle()
            self._stream([(row, chain([self._begin(row, above)], items))])

    def _send(self, row: ConfRow, above: tuple[tuple[bytes, Entry], ...], items: list[Item]) -> None:
        self._waiting.append((row, [self._begin(row, above), *items]))
        self._bytes += sum(len(item.data) for item in items)
        if self._bytes >= _PORTION_BYTES:
            self.settle()

    def _begin(self, row: ConfRow, above: tuple[tuple[bytes, Entry], ...]) -> Item:
        return Begin(Part(self._replica.root(row.root, make=True), above[-1][0], above))


def _name(row: ConfRow) -> bytes:
    return os.path.basename(row.path)


def _text(path: bytes) -> str:
    return path.decode("latin-1")
