"""The audit of a whole server, as its imapd.conf and its mailboxes.db have it."""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable, Iterator, Mapping

from cyrsync.cyrus.mailbox import header, regular_file
from cyrsync.cyrus.server.config import Config
from cyrsync.cyrus.server.server import Located
from cyrsync.far.audit_mailbox import Place, audit, list_files
from cyrsync.far.finding import Audited, Problem
from cyrsync.far.folder import Folder
from cyrsync.far.message_files import MessageFiles
from cyrsync.far.walk import walk
from cyrsync.history.by_directory import located_at
from cyrsync.inspect.inspection import Places, places
from cyrsync.server.absence import ABSENT, is_absent
from cyrsync.server.mounted import check_roots
from cyrsync.server.roots import Roots
from cyrsync.spool.walk_engine import links_in

#: Looks at what seems wrong, and seconds between them.
_ROUNDS, _PAUSE = 20, 0.2
_NO_LINKS: Mapping[bytes, bytes] = {}


def verify_server(config: Config, content: bool) -> Iterator[Audited]:
    """Audit every mailbox of a server whose disks are mounted. Raise UnusableError where one seems not to be."""
    check_roots(config, places(config).located)
    yield from audit_server(config, content)


def audit_server(config: Config, content: bool) -> Iterator[Audited]:
    """Audit every mailbox, and tell of mailboxes without a directory and directories without a mailbox.

    The paths are absolute. Raise UnusableError where mailboxes.db cannot be read.
    """
    known = places(config)
    expected = _by_directory(known)
    suspects: dict[bytes, Audited | None] = {}
    links: dict[bytes, bytes] = {}
    for root in sorted({partition.data for partition in config.partitions.values()}):
        for directory, folder in _folders(root):
            found_links = (os.path.join(root, link) for link in links_in(folder))
            links.update((os.path.realpath(link), link) for link in found_links if os.path.isdir(link))
            place = expected.pop(directory, None)
            if place and not folder.problem:
                found = _audit(place, folder.messages, content)
                if not found.problems:
                    yield found
                    continue
                suspects[directory] = found
            elif folder.problem or folder.is_cyrus():
                suspects[directory] = None
    suspects.update(dict.fromkeys(expected))
    suspects.update(dict.fromkeys(known.left_out))
    suspects.update(dict.fromkeys(_strange_elsewhere(config)))
    yield from _settled(config, suspects, content, links)


def audit_again(config: Config, directories: Iterable[bytes], content: bool) -> Iterator[Audited]:
    """Audit a few mailboxes once more, by what `audit_server` called them; those that are well now have no problems."""
    yield from _settled(config, dict.fromkeys(directories), content)


def _settled(
    config: Config, suspects: dict[bytes, Audited | None], content: bool, links: Mapping[bytes, bytes] = _NO_LINKS
) -> Iterator[Audited]:
    """Look again at what may be wrong until two looks find the same in a directory that stayed as it was.

    Mailboxes are made, renamed and deleted meanwhile: their directories change before or after mailboxes.db does.
    Directories may be mailboxes' by `links`, which are known by where they lead.
    """
    before: dict[bytes, object] = {}
    for left in reversed(range(_ROUNDS)):
        known = places(config)
        now = _by_directory(known)
        owned = {path for place in now.values() for path in _directories(place)}
        for directory in sorted(suspects):
            state = _state(directory)
            found = None
            if directory in known.left_out:
                found = _left_out(directory, known.left_out[directory])
            elif directory in now or not (_is_owned(directory, owned, links) or _is_named(directory, config, known)):
                found = _look_again(directory, now, content)
            if found is None:
                del suspects[directory]
            elif not found.problems or not left or before.get(directory) == (state, found.problems):
                del suspects[directory]
                yield found
            before[directory] = (state, found.problems if found else ())
        if not suspects:
            return
        time.sleep(_PAUSE)


def _is_owned(directory: bytes, owned: set[bytes], links: Mapping[bytes, bytes]) -> bool:
    """Tell whether a directory is a mailbox's, perhaps by a link that leads to it, or to one above it."""
    tops = (top for top in links if (directory + b"/").startswith(top + b"/"))
    return directory in owned or any(links[top] + directory[len(top) :] in owned for top in tops)


def _is_named(directory: bytes, config: Config, known: Places) -> bool:
    """Tell whether a directory has the name of a mailbox that is left out: by its path, else by its header."""
    for partition in config.partitions.values() if known.left_out else ():
        for root in Roots.of(partition).all():
            if directory.startswith(root + b"/"):
                place = located_at(partition, directory[len(root) + 1 :], config.hashimapspool)
                if place.mailbox.name in known.left_out:
                    return True
    return False


def _left_out(name: bytes, reason: str) -> Audited:
    return Audited(name, problems=(Problem("unreadable", detail=reason),), mailbox=name)


def _look_again(directory: bytes, now: dict[bytes, Located], content: bool) -> Audited | None:
    place = now.get(directory)
    if place:
        try:
            if place.data and not is_absent(os.path.dirname(place.files.index_path)):
                return _audit(place, list_files(place.data), content)
        except OSError as error:
            if error.errno not in ABSENT:
                return _unreadable(directory, error.errno or errno.EIO)
        lacks = "its directory" if place.data else f"partition {place.mailbox.partition} in imapd.conf"
        detail = f"{os.fsdecode(place.mailbox.name)} lacks {lacks}"
        return Audited(directory, problems=(Problem("no directory", detail=detail),), mailbox=place.mailbox.name)
    folder = next(walk(directory))
    if folder.problem == errno.ENOENT:
        return None
    if folder.problem:
        return _unreadable(directory, folder.problem)
    if not folder.is_cyrus():
        return None
    return Audited(directory, files=len(folder.messages), problems=(Problem("no mailbox"),))


def _unreadable(directory: bytes, number: int) -> Audited:
    return Audited(directory, problems=(Problem("unreadable", detail=os.strerror(number)),))


def _state(directory: bytes) -> tuple[int, int, int] | None:
    try:
        status = os.stat(directory)
    except OSError:
        return None
    return status.st_dev, status.st_ino, status.st_mtime_ns


def _folders(root: bytes) -> Iterator[tuple[bytes, Folder]]:
    """Yield the folders below a root, by their whole paths."""
    for folder in walk(root):
        yield (os.path.join(root, folder.path) if folder.path else root), folder


def _strange_elsewhere(config: Config) -> dict[bytes, Folder]:
    """Return the folders on meta- and archive partitions that have something in them and are no mailbox's."""
    partitions = config.partitions.values()
    roots = {root for one in partitions for root in (one.meta, one.archive, *one.elsewhere.values())}
    known = {path for place in places(config).located for path in _directories(place)}
    found = {}
    for root in sorted(roots - {one.data for one in partitions}):
        for directory, folder in _folders(root):
            if directory not in known and folder.is_cyrus():
                found[directory] = folder
    return found


def _directories(place: Located) -> set[bytes]:
    files = (place.files.header_path, place.files.index_path)
    return {place.data, place.meta, place.archive, *map(os.path.dirname, files)}


def _by_directory(known: Places) -> dict[bytes, Located]:
    """Return the mailboxes by their directories, those of an unknown partition by their names."""
    return {place.data or place.mailbox.name: place for place in known.located}


def _audit(place: Located, listed: MessageFiles, content: bool) -> Audited:
    found = audit(Place(place.data, place.data, place.archive, place.files), listed, content)
    found = found._replace(mailbox=place.mailbox.name)
    problem = _other_uniqueid(place)
    return found._replace(problems=(*found.problems, problem)) if problem else found


def _other_uniqueid(place: Located) -> Problem | None:
    """Tell of a header with another uniqueid than mailboxes.db has; up to 2.4 that has none."""
    try:
        found = header.uniqueid(regular_file.start(place.files.header_path, header.READ_SIZE))
    except OSError:
        return None  # told of already
    known = place.mailbox.uniqueid
    return Problem("uniqueid", detail=f"{found} instead of {known}") if found and known and found != known else None
