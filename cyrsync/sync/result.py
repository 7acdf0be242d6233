"""The result of a run: one model that tables, JSON and exit codes are made from."""

from __future__ import annotations

from dataclasses import asdict, dataclass, field
from typing import Any

from cyrsync.errors import Exit
from cyrsync.sync.folder_plan import FolderPlan, State
from cyrsync.sync.phases import PhaseSeconds


@dataclass(slots=True)
class FolderCounts:
    """Folders of the source by what became of them; `gone` are folders of the replica alone.

    `failed` are those of which not all could be sent: they keep their metadata on the replica.
    """

    seen: int = 0
    new: int = 0
    changed: int = 0
    recreated: int = 0
    gone: int = 0
    unreadable: int = 0
    failed: int = 0

    def behind(self) -> int:
        """Return how many the replica does not have as they are."""
        return self.unreadable + self.failed


@dataclass(slots=True)
class MessageCounts:
    """Message files: seen = present + send + waiting; and those to delete.

    `present` are on the replica already and never looked at; `waiting` are not yet in the source's index. `linked` are
    those of `send` that the replica had under another name.
    """

    seen: int = 0
    present: int = 0
    send: int = 0
    waiting: int = 0
    delete: int = 0
    linked: int = 0


@dataclass(slots=True)
class MetadataCounts:
    """Metadata files seen on the source, and of these the ones that differ."""

    seen: int = 0
    send: int = 0


@dataclass(slots=True)
class ConfigCounts:
    """Files beside the partitions that were seen on the source, and of these the ones that differ; those to delete."""

    seen: int = 0
    send: int = 0
    delete: int = 0


@dataclass(slots=True)
class FileCounts:
    """What became of the files that were planned: planned = sent + vanished + failed."""

    planned: int = 0
    sent: int = 0
    vanished: int = 0
    failed: int = 0
    deleted: int = 0


@dataclass(slots=True)
class FolderWork:
    """One folder with something to do, for the report."""

    path: bytes
    state: str
    send: int
    delete: int
    mailbox: bytes = b""  # Cyrus's own name for it, where mailboxes.db tells


@dataclass(slots=True)
class RunResult:
    """What a run found, did and could not do. `to_json` is the schema of `--json`."""

    source: str
    destination: str
    engine: str
    dry_run: bool
    started: str
    part: list[str] = field(default_factory=list)  # the options that name the part that the run is for; [] for all
    seconds: float = 0.0
    seconds_by_phase: PhaseSeconds = field(default_factory=PhaseSeconds)
    folders: FolderCounts = field(default_factory=FolderCounts)
    messages: MessageCounts = field(default_factory=MessageCounts)
    metadata: MetadataCounts = field(default_factory=MetadataCounts)
    config: ConfigCounts = field(default_factory=ConfigCounts)
    other_files: int = 0
    files: FileCounts = field(default_factory=FileCounts)
    bytes_sent: int = 0
    rsync_runs: int = 0
    withheld: int = 0
    roots: dict[str, str] = field(default_factory=dict)  # of the replica, by their names, with all links resolved
    warnings: list[str] = field(default_factory=list)
    errors: list[str] = field(default_factory=list)
    exit: int = 0
    work: list[FolderWork] = field(default_factory=list)
    held: set[bytes] = field(default_factory=set)

    def add(self, plan: FolderPlan, mailbox: bytes = b"") -> None:
        """Count one folder's plan; `mailbox` is its name, where that is known otherwise than by the path."""
        self._count(plan, 1)
        self.files.planned += plan.files_planned()
        if plan.sends() or plan.deletes():
            numbers = plan.messages_send, plan.messages_delete
            self.work.append(FolderWork(plan.path, plan.state.value, *numbers, mailbox))

    def revise(self, old: FolderPlan, new: FolderPlan) -> None:
        """Count a folder's plan in place of its earlier one; files are counted by the transfers."""
        self._count(old, -1)
        self._count(new, 1)

    def spare(self, messages: int, folders: set[bytes]) -> None:
        """Count messages that were to be sent as present, and folders as not changed: they are the same."""
        self.messages.send -= messages
        self.messages.present += messages
        self.folders.changed -= len(folders)
        self.work = [one for one in self.work if one.path not in folders] if folders else self.work

    def hold(self, paths: set[bytes]) -> None:
        """Count folders that failed, each once."""
        self.held |= paths
        self.folders.failed = len(self.held)

    def release(self, paths: set[bytes]) -> None:
        """Count folders no longer as failed: they are tried again."""
        self.held -= paths
        self.folders.failed = len(self.held)

    def exit_code(self) -> int:
        """Return the exit code of a run that was not broken off."""
        if self.folders.unreadable or self.files.failed or len(self.errors) > bool(self.withheld):
            return Exit.PARTIAL
        return Exit.WITHHELD if self.withheld else Exit.DONE

    def _count(self, plan: FolderPlan, one: int) -> None:
        folders, messages = self.folders, self.messages
        if plan.state is State.GONE:
            folders.gone += one
        else:
            folders.seen += one
        folders.new += one * (plan.state is State.NEW)
        folders.recreated += one * (plan.state is State.RECREATED)
        folders.changed += one * (plan.state in (State.CHANGED, State.COMPARED))
        folders.unreadable += one * (plan.state in (State.UNREADABLE, State.UNSEEN))
        messages.seen += one * plan.messages_seen
        messages.present += one * plan.messages_present
        messages.send += one * plan.messages_send
        messages.waiting += one * plan.messages_waiting
        messages.delete += one * plan.messages_delete
        self.metadata.seen += one * plan.metadata_seen
        self.metadata.send += one * (len(plan.metadata) + len(plan.derived))
        self.other_files += one * plan.other_files_seen

    def to_json(self) -> dict[str, Any]:
        """Return the object that `--json` prints; `work` is for people only, `roots` for the record."""
        record = asdict(self)
        del record["work"], record["held"], record["roots"]
        return record
