"""The audit of a history: every state has its messages, here or in the pool, and all of it can be read."""

from __future__ import annotations

import os
import stat
import zlib
from collections import defaultdict
from collections.abc import Iterator

from cyrsync.cyrus.mailbox import entry, header, records
from cyrsync.errors import error_text
from cyrsync.far.audit_mailbox import list_files
from cyrsync.far.finding import Audited, Problem
from cyrsync.history import contents
from cyrsync.history.contents import Damaged
from cyrsync.history.kept.kept import WRONG, Kept, no_store
from cyrsync.history.kept.store import State, Version
from cyrsync.history.kept.unpack import BadState
from cyrsync.history.mailbox_files import MailboxFiles
from cyrsync.history.selected import Message
from cyrsync.history.tree import Tree


def audit_history(tree: Tree, content: bool) -> Iterator[Audited]:
    """Audit every state of every mailbox, and every version of other files; with `content`, read each message once.

    Paths are absolute. Raise UnusableError where nothing is kept.
    """
    kept = Kept(tree)
    if not kept.stores:
        raise no_store(tree)
    proved: set[bytes] = set()  # paths in the pool
    for mailbox in kept.mailboxes:
        place = kept.live.get(mailbox) or kept.gone.get(mailbox)
        name = place.mailbox.name if place else b""
        audit = _Mailbox(kept, mailbox, content, proved)
        try:
            states = kept.states(mailbox)
        except OSError as error:
            yield Audited(os.path.join(tree.top, mailbox), problems=(Problem("unreadable", detail=error_text(error)),))
            continue
        for state in states:
            found = audit.state(state)
            if found.problems and not _is_there(state):
                continue  # removed by `prune` meanwhile
            yield found._replace(mailbox=name)
    for store in kept.stores:
        try:
            for version in store.every_version():
                yield from _audit_version(version)
        except OSError as error:
            yield Audited(store.root, problems=(Problem("unreadable", detail=error_text(error)),))


class _Mailbox:
    """The audit of one mailbox's states; what one has been found to have, the next ones have too."""

    def __init__(self, kept: Kept, mailbox: bytes, content: bool, proved: set[bytes]) -> None:
        self._kept, self._mailbox, self._content, self._proved = kept, mailbox, content, proved
        self._known: dict[tuple[int, int, bytes | None], str] = {}  # what is wrong with a message, "" for nothing
        self._names = self._listed()
        self._bytes_read = 0

    def state(self, state: State) -> Audited:
        """Audit one state."""
        try:
            files = self._kept.files(state)
            state.folder()
        except WRONG as error:
            kind = "unreadable" if isinstance(error, OSError) else "index"
            return Audited(state.path, problems=(Problem(kind, detail=_reason(error)),))
        problems = _of_header(files)
        wrong: dict[str, list[int]] = defaultdict(list)
        looked = there = 0
        self._bytes_read = 0
        for name in (entry.INDEX, entry.EXPUNGE):
            data = files.metadata.get(name)
            if data is None:
                continue
            try:
                index = records.read(data, sorted_uids=name == entry.INDEX)
            except records.BadIndex as error:
                problems.append(Problem("index", detail=f"{name.decode()}: {error}"))
                continue
            if name == entry.INDEX and index.header.minor_version >= 12:
                files.metadata.pop(entry.EXPUNGE, None)  # left over
            for uid, message in _messages(index, files):
                key = index.header.uidvalidity, uid, message.guid
                if key not in self._known:
                    self._known[key] = self._wrong(message)
                    looked, there = looked + 1, there + (self._known[key] != "missing")
                if self._known[key]:
                    wrong[self._known[key]].append(uid)
        problems += [Problem(kind, tuple(uids)) for kind, uids in wrong.items()]
        return Audited(state.path, looked, there, self._bytes_read, tuple(problems))

    def _wrong(self, message: Message) -> str:
        """Return what is wrong with a message, the kind of problem."""
        if any(path in self._names for path in message.places):
            return ""
        for path in message.places:
            try:
                status = os.lstat(path)
            except OSError:
                continue
            if path in self._proved:
                return ""
            if self._content:
                return self._wrong_content(message, path)
            return "" if stat.S_ISREG(status.st_mode) and status.st_size == message.size else "size"
        return "missing"

    def _wrong_content(self, message: Message, path: bytes) -> str:
        try:
            for block in contents.blocks(message):
                self._bytes_read += len(block)
        except Damaged as error:
            return "missing" if error.missing else error.kind
        if message.guid and path.endswith(message.guid.hex().encode("ascii")):
            self._proved.add(path)  # of the pool: other mailboxes may have had it, too
        return ""

    def _listed(self) -> frozenset[bytes]:
        """Return the paths of the message files in the mailbox's directories as they are now."""
        live = self._kept.live.get(self._mailbox)
        if live is None or self._content:
            return frozenset()
        found: set[bytes] = set()
        try:
            placed = self._kept.tree.placed(live)
            for directory in {placed.data, placed.archive}:
                found.update(os.path.join(directory, b"%d." % uid) for uid in list_files(directory).uids)
        except OSError:
            pass  # each is looked for by itself
        return frozenset(found)


def _messages(index: records.Index, files: MailboxFiles) -> Iterator[tuple[int, Message]]:
    """Yield the messages that must have a file, with what tells whether they do."""
    for number, uid in enumerate(index.uids):
        if index.unlinked[number]:
            continue
        guid, archived = index.guid(number) or files.digests.get(uid), bool(index.archived[number])
        places = files.places(uid, guid, archived)
        yield uid, Message(uid, guid, index.sizes[number], 0, (), 0, 0, False, archived, 0, places)


def _of_header(files: MailboxFiles) -> list[Problem]:
    data = files.metadata[entry.HEADER]
    try:
        header.read(data)
    except header.HeaderError as error:
        return [Problem("header", detail=f"cyrus.header: {error}")]
    crc = records.read_header(files.metadata[entry.INDEX]).header_file_crc
    if crc not in (None, zlib.crc32(data)):
        return [Problem("header", detail="cyrus.header: not the one that cyrus.index was written with")]
    return []


def _audit_version(version: Version) -> Iterator[Audited]:
    try:
        if not version.link():
            version.contents()
    except FileNotFoundError:
        return  # removed by `prune` meanwhile
    except (OSError, BadState) as error:
        yield Audited(version.path, problems=(Problem("unreadable", detail=_reason(error)),))


def _is_there(state: State) -> bool:
    return os.path.lexists(state.path)


def _reason(error: Exception) -> str:
    return (error.strerror or str(error)) if isinstance(error, OSError) else str(error)
