"""Whose the replica is: asked before anything is written there, and noted when something is.

Every root of a replica has an owner file (far/owner_file.py), and the state knows what that said at the end of the last
run. So another disk, an older snapshot and another master's replica are told from the one that the state speaks of.
"""

from __future__ import annotations

import errno
import os
import time
from collections.abc import Iterable
from pathlib import Path

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.ends.tree import OVERWRITE, NotWrittenError, Status, owner_file_of, refuse_promoted
from cyrsync.errors import LockedError, RefusedError, UnusableError
from cyrsync.far.folder import Folder
from cyrsync.far.hold import Busy
from cyrsync.far.owner_file import OwnerFile
from cyrsync.far.remove import Removal
from cyrsync.server import after_power_cut, leftovers, mapping
from cyrsync.server.foreign_writes import ForeignWrites
from cyrsync.server.rebuild import Provenance
from cyrsync.server.replica import Replica
from cyrsync.server.roots import Roots
from cyrsync.state.mailbox_row import Key, Location
from cyrsync.state.store import Memory, Store
from cyrsync.sync import direction, known_roots
from cyrsync.sync.ownership import CUT_OFF, hold, said_of, to_disk

#: Seconds after which a run looks at the replica, though it has nothing to send.
_LOOK_AT_LEAST = 600.0
#: Seconds that shards which are begun at once have to wait for each other; and between two looks.
_BEGINNING, _LOOK_AGAIN = 60.0, 0.2


def source_name(conf: bytes) -> str:
    """Return what an owner file calls the server that an imapd.conf on this machine is of."""
    return f"{os.uname().nodename}:{os.fsdecode(conf)}"


def refuse(owner_file: OwnerFile, status: Status, source: str) -> None:
    """Raise RefusedError for the root of a replica that is not this source's to write to."""
    refuse_promoted(owner_file, status)
    if owner_file.source not in ("", source):
        raise RefusedError(f"{os.fsdecode(status.root)}: it is the replica of {owner_file.source}: {OVERWRITE}")


class Ownership:
    """The right of one run to write to a replica."""

    def __init__(
        self,
        store: Store,
        replica: Replica,
        roots: dict[str, Roots],
        more_roots: Iterable[bytes],
        source: str,
        settings: tuple[tuple[str, str], ...],
        *,
        overwrite: bool,
        from_replica: bool,
        times: bool,
        full: bool,
        state: Path,
        dry_run: bool,
        is_shard: bool,
        deadline: float,
        leftovers: dict[bytes, list[Removal]],
    ) -> None:
        """`roots` are the partitions', `more_roots` others of the source; `times`: rsync keeps times.

        With `full`, links may lead elsewhere than at the last run.
        `leftovers` has, by root of the source, what a killed run was sending: its temporary files are removed.
        The replica is held, but for a `dry_run`; who else holds it is waited for until the `deadline` (monotonic).
        What `is_shard` holds it together with others: the first says that they write, and the next run for all, that
        they do no more.
        """
        self._store = store
        self._replica = replica
        self._partitions = roots
        every = [root for one in roots.values() for root in one.all()]
        self._roots = tuple(dict.fromkeys([*every, *more_roots]))
        self._source = source
        self._settings = settings
        self._overwrite = overwrite
        self._from_replica = from_replica
        self._times = times
        self._full = full
        self._state = state
        self._holds = not dry_run
        self._is_shard = is_shard
        self._deadline = deadline
        self._leftovers = leftovers
        self._mapped = repr(replica.maps) if replica.maps else ""
        self._boot = ""
        self._found: dict[bytes, OwnerFile] = {}  # by root of the replica
        self.foreign_writes = ForeignWrites(replica, roots, times=times, overwrite=overwrite)
        self._checked = False
        self._owner_file: OwnerFile | None = None
        self._cut_off = ""  # where names prove nothing, see `OwnerFile.cut_off`
        #: What the state does not speak of is doubted in it by now: it does of all the rest.
        self.knows_doubts = False
        self.warnings: list[str] = []
        #: Where the directories of the replica are, by their names.
        self.roots: dict[str, str] = {}

    def check(self, *, anew: bool, in_full: bool = False, at_a_glance: bool = False) -> str:
        """Return why the state does not speak of what is there, "" if it does.

        With `in_full`, all of it is compared in any case. `at_a_glance` no index is looked at, and no process: whoever
        has just looked knows of these.

        Raise RefusedError where the replica is not ours to write to, or the source is one itself, UnusableError where
        the replica is not there; `anew`, one that was written to and is empty now may be filled.
        """
        self._checked = True
        if self._replica.address.local and not at_a_glance:
            mapping.refuse_own(self._replica.maps, self._replica.address.path, self._roots)
        memory = self._store.memory
        reasons = []
        if not self._from_replica:
            for root in self._roots:
                direction.refuse_replica(direction.source_here(root))
        if self._is_shard and self._holds:
            self._join()
        else:
            self._hold()
        for root, status, owner_file in self._statuses():
            name = known_roots.name_of(self._replica.address, self._replica.path(root))
            known_roots.check(self._state, name, status, anew=self._full)
            self.roots[name] = os.fsdecode(status.root)
            reason = self._doubt(memory, root, status, owner_file)
            if reason and (status.bare or not status.directory) and not anew:
                raise UnusableError(
                    f"{os.fsdecode(status.root)}: nothing of the replica is there any more: is its disk mounted? "
                    "--full makes it anew"
                )
            reasons.append(reason)
        reason = next(filter(None, reasons), "")
        if at_a_glance:
            return reason or self._lost(memory, in_full=in_full, doubts=False)
        self.refuse_cyrus()
        # Who else has written there has sent indexes, too: those are compared with the source's, see `look`.
        reason = reason or self._lost(memory, in_full=in_full, doubts=True)
        reason = reason or self.foreign_writes.drift(self._store.expected())
        self._store.memory = memory._replace(looked=time.time(), mapped=self._mapped)
        return reason

    def _statuses(self) -> list[tuple[bytes, Status, OwnerFile | None]]:
        """Return what stands at each root, and its owner file. Raise RefusedError for another's."""
        found = []
        for root in self._roots:
            status = self._replica.status(root)
            owner_file = owner_file_of(status)
            found.append((root, status, owner_file))
            if owner_file and not self._overwrite:
                refuse(owner_file, status, self._source)
            self._boot = status.boot
            if owner_file and owner_file.cut_off(self._boot):
                self._cut_off = os.fsdecode(status.root)
        self._found = {status.root: owner_file for _, status, owner_file in found if owner_file}
        if self._replica.maps:
            pairs = [(os.path.realpath(root), status.root) for root, status, _ in found]
            mapping.refuse_overlaps(self._replica.maps, pairs)
        return found

    def refuse_cyrus(self) -> None:
        """Raise RefusedError where a Cyrus is at work on the replica."""
        if not self._overwrite:
            roots = [self._replica.path(root) for root in self._roots]
            self.warnings = direction.refuse_cyrus(self._replica.tree, roots)

    def _join(self) -> None:
        """Hold the replica together with other shards, and say that they write there if none has yet."""
        if self.begun:
            return
        self._statuses()
        self.refuse_cyrus()
        for root in self._roots:
            self._replica.root(root, make=True)
        paths = [self._replica.path(root) for root in self._roots]
        deadline = max(self._deadline, time.monotonic() + _BEGINNING)
        while True:
            held = self._replica.tree.hold_among(paths)
            owner_files = [owner_file for _, _, owner_file in self._statuses()]
            if held.busy is None and held.alone:
                self._write(next((one.source for one in self._found.values()), ""))
                held = self._replica.tree.share()
            if held.busy is None and (
                self.begun or all(owner_file and owner_file.is_written_in(self._boot) for owner_file in owner_files)
            ):
                owner_file = self._owner_file = self._owner_file or next(iter(self._found.values()))
                self._store.memory = Memory(
                    *(owner_file.replica, self._roots, owner_file.run, owner_file.run),
                    complete=owner_file.complete,
                    mapped=self._mapped,
                )
                self._remove_leftovers()
                return
            if time.monotonic() >= deadline:
                busy = held.busy or Busy(self._replica.root(self._roots[0]), 0, 0.0)
                raise LockedError(said_of(busy, self._replica.address.host))
            time.sleep(_LOOK_AGAIN)

    def _hold(self) -> None:
        """Have all roots that are there alone, from before the first look at them."""
        if not self._holds:
            return
        paths = [self._replica.path(root) for root in self._roots]
        host = self._replica.address.host
        hold(self._replica.tree, paths, host, self._deadline, overwrite=self._overwrite)

    def _doubt(self, memory: Memory, root: bytes, status: Status, owner_file: OwnerFile | None) -> str:
        """Return why a root may not be what the last run left there."""
        where = os.fsdecode(status.root)
        if root not in memory.roots:
            return ""  # the state says nothing of it
        if owner_file is None:
            return f"{where}: it is not what the last run wrote to"
        if owner_file.replica != memory.replica or owner_file.run > memory.handed:
            return f"{where}: something else has written there since the last run"
        if owner_file.run < memory.written or (
            owner_file.run == memory.written and memory.ended and not owner_file.ended
        ):
            return f"{where}: it is older than the last run left it"
        return ""

    def _lost(self, memory: Memory, *, in_full: bool, doubts: bool) -> str:
        """Return why what is there may not be what was written, "" if it is.

        Where the run that a power cut ended was the last one of this state, the state knows what that was writing: if
        it `doubts`, all of that is unproven from then on, and nothing else need be compared.
        """
        if not self._cut_off:
            return ""
        reason = f"{self._cut_off}: {CUT_OFF}"
        if in_full or not self._was_ours(memory):
            return reason
        if self._store.unsynced.is_empty():
            return ""  # what was doubted is so in its rows
        rows = after_power_cut.rows_there(self._store, self._replica, self._partitions) if doubts else None
        if rows is not None:
            self._store.unsynced.doubt(rows)
            self.knows_doubts = True
        return reason

    def _was_ours(self, memory: Memory) -> bool:
        """Tell whether nobody but this state's runs has written there, and its last one had no end when it was cut off.

        Nothing else is known to speak against that.
        """
        known = self._store.complete and set(self._roots) <= set(memory.roots)
        return known and not any(
            owner_file.writing and (owner_file.ended or memory.ended) for owner_file in self._found.values()
        )

    def look(self, location: Location | None, root: bytes, folder: Folder) -> Provenance:
        """Do what `ForeignWrites.look` says, after `check`."""
        is_ours = any(owner_file.source for owner_file in self._found.values())
        return self.foreign_writes.look(location, root, folder, is_ours=is_ours, is_cut_off=bool(self._cut_off))

    def drift_of(self, keys: Iterable[Key]) -> str:
        """Compare the indexes of some mailboxes with what was sent; see `check`."""
        return self.foreign_writes.drift(row for key in keys for row in self._store.expected(key))

    def is_due(self) -> bool:
        """Tell whether a run with nothing to send should look at the replica.

        It should where the last run did not come to its end, where nobody has looked for long, and where directories
        are mapped otherwise.
        """
        memory = self._store.memory
        late = abs(time.time() - memory.looked) > _LOOK_AT_LEAST  # or the clock has been set back
        return bool(memory.replica) and (not memory.ended or late or memory.mapped != self._mapped)

    def enter(self) -> str:
        """Begin, if nothing is in doubt; return what is."""
        reason = "" if self._checked else self.check(anew=False)
        if not reason and not self.begun:
            self.begin()
        return reason

    @property
    def begun(self) -> bool:
        """Tell whether this run may write, and has said so."""
        return self._owner_file is not None

    def begin(self) -> None:
        """Note on every root that a run is writing there."""
        if self.begun:
            return
        for root in self._roots:
            self._replica.root(root, make=True)
        self._hold()  # those that were not there
        if any(owner_file.writing for owner_file in self._found.values()):
            self._to_disk()  # whoever was killed there may have written what this state does not know of
        self._write(self._source)
        for root in self._roots:
            self._replica.tree.clear(self._replica.root(root))
        self._remove_leftovers()
        partitions = self._partitions.values()
        homes = {root: one.homes[kinds.INDEX] for one in partitions for root in one.all()}
        self._replica.keep({root: homes.get(root, root) for root in self._roots})
        self._write_back()

    def to_disk(self) -> None:
        """See, in the middle of a run, that all that has arrived is on the replica's disks."""
        self._to_disk()
        self._write_back()

    def _write_back(self) -> None:
        self._replica.tree.write_back([self._replica.root(root) for root in self._roots])

    def _write(self, source: str) -> None:
        memory = self._store.memory
        known = {owner_file.replica for owner_file in self._found.values()}
        same = memory.replica if known == {memory.replica} else ""
        run = max([memory.handed, *(owner_file.run for owner_file in self._found.values())]) + 1
        complete = memory.complete or max([owner_file.complete for owner_file in self._found.values()], default=0.0)
        self._owner_file = OwnerFile(
            replica=same or os.urandom(16).hex(),
            source=source,
            run=run,
            begun=time.time(),
            ended=0.0,
            complete=complete,
            settings=self._settings,
            writing=self._boot,
            doubtful=bool(self._cut_off),
            more=next((owner_file.more for owner_file in self._found.values()), ()),
        )
        self._store.memory = memory._replace(handed=run)
        self._put(self._owner_file)
        self._store.memory = Memory(
            *(self._owner_file.replica, self._roots, run, run, 0.0, complete, self._owner_file.begun),
            mapped=self._mapped,
        )

    def _remove_leftovers(self) -> None:
        self.warnings += leftovers.remove(self._leftovers, self._replica, keep_times=self._times)

    def end(self, *, complete: bool) -> None:
        """See that all is on the disks, and note that the run is over, and whether it left nothing undone."""
        assert self._owner_file
        reason = self._replica.pack()
        if reason:
            self.warnings.append(f"what is kept of the replica cannot be packed: {reason}")
        self._to_disk()
        self._store.unsynced.clear()
        if self._is_shard:  # others may be writing still
            self._store.memory = self._store.memory._replace(ended=time.time())
            return
        owner_file = self._owner_file._replace(ended=time.time(), writing="")
        if complete:
            # After a power cut all was compared that it may have cost, see `check`.
            owner_file = owner_file._replace(complete=owner_file.begun, doubtful=False)
        self._put(owner_file)
        self._store.memory = self._store.memory._replace(ended=owner_file.ended, complete=owner_file.complete)

    def _to_disk(self) -> None:
        roots = [self._replica.root(root) for root in self._roots]
        to_disk(self._replica.tree, {root: self._owner_file or self._found.get(root) for root in roots})

    def _put(self, owner_file: OwnerFile) -> None:
        for root in self._roots:
            try:
                self._replica.tree.put_owner_file(self._replica.root(root, make=True), owner_file)
            except NotWrittenError as error:
                if error.number not in (errno.ENOSPC, errno.EDQUOT):
                    raise
                self.warnings.append(str(error))  # there is none yet; what makes room may go on
