"""The session of one server: its mailboxes, the part that is sent, and the writers to its replica."""

from __future__ import annotations

from dataclasses import dataclass

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.cyrus.server.config import Config
from cyrsync.cyrus.server.settings import layout_settings
from cyrsync.server import leftovers, mapping
from cyrsync.server.conf_run import ConfRun
from cyrsync.server.delivery import Delivery
from cyrsync.server.ownership import Ownership, source_name
from cyrsync.server.replica import Replica
from cyrsync.server.roots import Roots
from cyrsync.server.run_patience import RunPatience
from cyrsync.server.selection import Selection
from cyrsync.server.sender import Sender
from cyrsync.server.snapshots import Snapshots
from cyrsync.state.conf_table import ConfTable
from cyrsync.state.store import Store
from cyrsync.sync.session import Session


@dataclass(frozen=True, slots=True)
class ServerSession:
    """The parts of whole runs and of single sends."""

    session: Session  # its source is the imapd.conf
    config: Config
    selection: Selection | None  # the part that it is for, None for all
    roots: dict[str, Roots]
    patience: RunPatience

    @classmethod
    def of(cls, session: Session, config: Config, *, patient: bool = True) -> ServerSession:
        """Return the server session of a session; for `patient` see `RunPatience`."""
        selection = Selection(session.options.part, config) if session.options.part else None
        roots = {partition.name: Roots.of(partition) for partition in config.partitions.values()}
        return cls(session, config, selection, roots, RunPatience(patient=patient))

    def conf_run(self, store: Store) -> ConfRun | None:
        """Return the sender of the files beside the partitions, None if these are not sent."""
        if not self.session.options.with_conf:
            return None
        return ConfRun(self.session, self.config, ConfTable(store.file), self.patience, self.selection)

    def ownership(
        self, store: Store, replica: Replica, conf: ConfRun | None, *, has_leftovers: bool = False
    ) -> Ownership:
        """Return the right to write to the replica; with `has_leftovers`, a killed run may have left files there."""
        options = self.session.options
        beside = conf.roots() if conf else ()
        mapping.check_server(replica.maps, replica.address, self.config, beside)
        return Ownership(
            *(store, replica, self.roots, beside),
            source_name(self.session.source.path),
            layout_settings(self.config),
            overwrite=options.overwrite,
            from_replica=options.from_replica,
            times=options.policy.preserve.times,
            full=options.full,
            state=options.state,
            dry_run=options.dry_run,
            is_shard=options.part.shard is not None,
            deadline=self.session.deadline,
            leftovers=leftovers.find(store, self.roots) if has_leftovers else {},
        )

    def snapshots(self) -> Snapshots:
        """Return the reader of mailboxes."""
        options = self.session.options
        left_out = kinds.DERIVED if options.policy.skip_derived else frozenset[bytes]()
        # On a disk: what stages metadata may be in memory.
        directory = str(self.session.directory)
        return Snapshots(self.roots, self.patience, last_look=options.dry_run, left_out=left_out, directory=directory)

    def delivery(self, store: Store, replica: Replica, snapshots: Snapshots, sender: Sender) -> Delivery:
        """Return the sender of the mailboxes that `snapshots` reads."""
        return Delivery(self.session, store, replica, self.roots, snapshots, sender)
