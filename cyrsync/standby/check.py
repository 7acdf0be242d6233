"""What has to be right before a first run, on the source. Nothing is written but temporary files."""

from __future__ import annotations

import errno
import os
import stat
import tempfile
from collections import Counter, defaultdict
from collections.abc import Iterator
from contextlib import suppress
from functools import partial
from pathlib import Path

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.cyrus.mailbox import regular_file, snapshot
from cyrsync.cyrus.mailbox.locks import LockTimeout
from cyrsync.cyrus.server import config as imapd_conf
from cyrsync.cyrus.server import database_copy
from cyrsync.cyrus.server.conf_files import ConfFile, ConfFiles
from cyrsync.cyrus.server.config import Config, ConfigError
from cyrsync.cyrus.server.database_copy import CopyError
from cyrsync.cyrus.server.db import reader, skiplist, twom, twoskip
from cyrsync.cyrus.server.db.error import DbError
from cyrsync.cyrus.server.mailboxes import Mailbox
from cyrsync.cyrus.server.server import Located, located
from cyrsync.errors import ConnectionFailed, RefusedError, UnusableError, UsageError, error_text
from cyrsync.far import host, message_files
from cyrsync.far.message_files import MessageFiles
from cyrsync.far.uids import file_names
from cyrsync.server.mounted import INDEX_HEAD, lacking
from cyrsync.server.roots import Roots
from cyrsync.standby.checked import Finding, Verdict
from cyrsync.state.lock import refuse_shared
from cyrsync.sync import direction
from cyrsync.text import human_bytes, human_count, path_text

Findings = Iterator[Finding]
ok, note, fail = (partial(Finding, verdict) for verdict in Verdict)
#: Errors that end one check, and not the others.
TOLD = (ConfigError, DbError, UsageError, UnusableError, RefusedError, ConnectionFailed, LockTimeout, OSError)

_HALF_A_BLOCK = 2048  # of a disk's, which a message wastes
_SAMPLE = 20  # mailboxes to lock, and kinds of files to copy
_STAGED, _ROW = 256 << 20, 4096  # bytes: what a run stages at most, and what the state has of a mailbox
_ENGINES = {skiplist.MAGIC: "skiplist", twoskip.MAGIC: "twoskip", twom.MAGIC: "twom"}
_WHO = "run cyrsync as root, or as Cyrus's own user"
_ADVICE = {errno.EACCES: _WHO, errno.EPERM: _WHO, errno.ENOENT: "is its disk mounted?"}


def told(check: str, findings: Findings, advice: str = "") -> Findings:
    """Turn the error that ends a check into a finding, in place of what the check would find; others follow."""
    failed = False
    try:
        for one in findings:
            failed = failed or one.verdict is Verdict.FAIL
            if not failed or one.verdict is not Verdict.OK:
                yield one
    except TOLD as error:
        yield fail(check, error_text(error), _advice(error) or advice)


def _advice(error: Exception) -> str:
    return _ADVICE.get(error.errno or 0, "") if isinstance(error, OSError) else ""


class Source:
    """The server here, as far as it can be understood."""

    def __init__(self, conf: str, state: Path, channel: str, *, with_conf: bool) -> None:
        self.conf = conf
        self.channel = channel  # of the sync log, that a watcher is to read
        self.config: Config | None = None
        self.needs: dict[bytes, tuple[int, int]] = defaultdict(lambda: (0, 0))  # bytes and inodes, by root
        self._with_conf = with_conf
        self._state_directory = state
        self._places: list[Located] = []
        self._metadata = 0  # bytes

    def findings(self) -> Findings:
        """Look at everything; what needs an imapd.conf is left out if that cannot be understood."""
        yield from told("imapd.conf", self._read(), "-C names the server's imapd.conf")
        if self.config:
            yield from told("source", self._role())
            yield from told("mailboxes.db", self._list(self.config))
            yield from told("spool", self._spool(self.config))
            yield from told(
                "locks", self._locks(self.config), "`lsof` names the process that holds it: runs leave it out"
            )
            if self._with_conf:
                yield from told("configdirectory", self._conf_files(self.config))
        yield from told("state", self._state(), "--state or CYRSYNC_STATE names another directory")

    def roots(self) -> list[bytes]:
        """Return the directories that have their replicas."""
        if not self.config:
            return []
        beside = ConfFiles(self.config).roots() if self._with_conf else ()
        return list(dict.fromkeys([*_partition_roots(self.config), *beside]))

    def _read(self) -> Findings:
        config = self.config = imapd_conf.read(self.conf)
        if not config.partitions:
            yield fail("imapd.conf", "it has no partition", "-C names that of a server with mailboxes, not a proxy's")
        if config.switch("object_storage_enabled"):
            yield fail("imapd.conf", "object_storage_enabled", "messages that are not in the spool are not replicated")
        yield ok("imapd.conf", f"{self.conf}: partitions {', '.join(config.partitions)}")

    def _role(self) -> Findings:
        for root in self.roots():
            found = direction.replica_at(direction.source_here(root))
            if found:
                yield fail("source", found, "sync refuses to send from it without --from-replica (exit 4)")
        yield ok("source", "a server, no replica of another")

    def _list(self, config: Config) -> Findings:
        path = config.database("mboxlist")[1]
        data = reader.stable(path)[0]
        lost: list[Mailbox] = []
        places = list(located(config, reader.records(data, path), lambda one, _: lost.append(one)))
        if not places:
            raise UnusableError(f"{path_text(path)}: no mailbox on this server: is it the right file, and servername?")
        self._places = [one for one in places if one.data]
        if lost:
            text = f"no directory can be told from {len(lost)} records, of {path_text(lost[0].name)} first"
            yield fail("mailboxes.db", text, "these mailboxes are not sent")
        for name, number in Counter(one.mailbox.partition for one in places if not one.data).items():
            yield fail("mailboxes.db", f"{number} mailboxes in {name}, no partition of imapd.conf", "they are not sent")
        engine = next((name for magic, name in _ENGINES.items() if data.startswith(magic)), "flat")
        yield ok("mailboxes.db", f"{engine}, {human_count(len(places))} mailboxes")

    def _spool(self, config: Config) -> Findings:
        """Open every directory of a partition, every index, and of a few mailboxes the directory and a message."""
        for root in _partition_roots(config):
            yield from told("spool", _list_directory(root))
        for root, name in self._unmounted(config):
            text = f"{path_text(root)}: it is empty, but the indexes of partition {name} name messages"
            yield fail("spool", text, "is it mounted? sync refuses such a source (exit 3)")
        for place in self._sample():
            if os.path.lexists(place.data):  # with a metapartition, an empty mailbox may have none
                yield from told("spool", _open_a_message(place.data))
        failed: Counter[tuple[str, int]] = Counter()
        for place in self._places:
            try:
                self._count(config, place)
            except OSError as error:
                failed[place.mailbox.partition, error.errno or 0] += 1
        for (name, number), count in failed.items():
            every = count == sum(place.mailbox.partition == name for place in self._places)
            text = f"{human_count(count)} mailboxes of partition {name}: {os.strerror(number)}"
            if number == errno.ENOENT and not every:
                yield note("spool", text, "`cyrsync verify` names them; runs exit with 23 as long as they are so")
            else:
                yield fail("spool", text, _ADVICE.get(number, ""))
        number, size = len(self._places), sum(size for size, _ in self.needs.values())
        who = host.user_name(os.geteuid())
        yield ok("spool", f"{who} can read {human_count(number)} mailboxes, some {human_bytes(size)}")

    def _unmounted(self, config: Config) -> Iterator[tuple[bytes, str]]:
        """Yield directories for messages that have nothing in them, with their partitions, whose indexes name some."""
        for partition in config.partitions.values():
            within = [one for one in self._places if one.mailbox.partition == partition.name]
            for root in lacking(Roots.of(partition), [one.files.index_path for one in within]):
                yield root, partition.name

    def _count(self, config: Config, place: Located) -> None:
        """Count what a mailbox needs on a replica, at least: its index tells. Raise OSError."""
        descriptor, status = regular_file.opened(place.files.index_path)
        try:
            head = os.read(descriptor, INDEX_HEAD.size).ljust(INDEX_HEAD.size, b"\0")
        finally:
            os.close(descriptor)
        records, size = INDEX_HEAD.unpack(head)
        roots = Roots.of(config.partitions[place.mailbox.partition])
        self._need(roots.data, size + records * _HALF_A_BLOCK, records)
        self._need(roots.homes[kinds.INDEX], status.st_size, len(kinds.SNAPSHOT))
        self._metadata += status.st_size

    def _need(self, root: bytes, size: int, inodes: int) -> None:
        self.needs[root] = (self.needs[root][0] + size, self.needs[root][1] + inodes)

    def _sample(self) -> list[Located]:
        """Return some mailboxes, from all over the list."""
        return self._places[:: -(-len(self._places) // _SAMPLE) or 1]

    def _locks(self, config: Config) -> Findings:
        """Lock a few mailboxes as a run does. One that cannot be locked takes seconds, and ends the check."""
        sample = self._sample()
        snapshots = [snapshot.read(place.files) for place in sample]
        named = sum(os.path.exists(place.files.name_lock) for place in sample)
        directory = path_text(config.lock_directory)
        if not all(one.locked for one in snapshots if one.index_data is not None):
            yield note(
                "locks", "the file system has none", "only checksums show whether a writer changed them meanwhile"
            )
        if not named:
            advice = "if Cyrus is running, is mboxname_lockpath right? Without them it may rewrite what is being read"
            yield note("locks", f"no name locks in {directory}", advice)
        yield ok("locks", f"{len(sample)} mailboxes, {named} of them with a name lock in {directory}")

    def _conf_files(self, config: Config) -> Findings:
        """Copy one file of each kind beside the partitions, the smallest, as a run does."""
        unreadable: dict[bytes, OSError] = {}
        some: dict[bytes, ConfFile] = {}
        for file in ConfFiles(config).listed(unreadable):
            self._need(file.root, file.status.st_size + _HALF_A_BLOCK, 1)
            self._metadata += file.status.st_size
            kind = _kind(file.path)
            known = some.get(kind, file) if len(some) < _SAMPLE else some.get(kind)
            if known and stat.S_ISREG(file.status.st_mode):
                some[kind] = min(known, file, key=lambda one: one.status.st_size or 1 << 60)
        for error in unreadable.values():
            yield fail("configdirectory", error_text(error), _advice(error))
        with tempfile.TemporaryDirectory(prefix="cyrsync-") as directory:
            for number, one in enumerate(some.values()):
                yield from told("configdirectory", _copy(one, os.path.join(os.fsencode(directory), b"%d" % number)))
        yield ok("configdirectory", f"one of each of {len(some)} kinds of files copied")

    def _state(self) -> Findings:
        directory = self._state_directory
        refuse_shared(directory)
        above = next(path for path in (directory, *directory.absolute().parents) if path.exists())
        room = host.room(bytes(above))
        needed = min(self._metadata, _STAGED) + _ROW * len(self._places)
        if not room.writable:
            raise UnusableError(f"{directory}: no right to write in {above}")
        if room.free < needed:
            raise UnusableError(f"{directory}: {human_bytes(room.free)} free, of {human_bytes(needed)} needed")
        yield ok("state", f"{directory}: {human_bytes(room.free)} free")


def _partition_roots(config: Config) -> dict[bytes, None]:
    return dict.fromkeys(root for partition in config.partitions.values() for root in Roots.of(partition).all())


def _list_directory(path: bytes) -> Findings:
    os.scandir(path).close()
    yield from ()


def _open_a_message(directory: bytes) -> Findings:
    """Open one message of a mailbox. Raise OSError, but not for one that has just been expunged."""
    uids = MessageFiles(message_files.sort_out(os.listdir(directory))[0]).uids
    with suppress(FileNotFoundError):
        for name in file_names(uids[-1:]):
            os.close(regular_file.opened(os.path.join(directory, name))[0])
    yield from ()


def _kind(path: bytes) -> bytes:
    """Return what tells kinds of files apart; quotas are called by their mailboxes."""
    name = os.path.basename(path)
    return b"quota" if b"/quota/" in b"/" + path else os.path.splitext(name)[1] or name


def _copy(file: ConfFile, to: bytes) -> Findings:
    try:
        database_copy.copy(os.path.realpath(file.whole_path), to)
    except FileNotFoundError:
        pass  # gone meanwhile
    except CopyError as error:
        raise UnusableError(f"{path_text(file.whole_path)}: {error}") from None
    yield from ()
