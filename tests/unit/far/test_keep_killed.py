"""Killed at any call that changes the disk, or full there, a replica has all messages of every state that it keeps."""

from __future__ import annotations

import gzip
import hashlib
import os
import shutil
from pathlib import Path

import pytest

import samplespool
from cyrsync.cyrus.mailbox import records
from cyrsync.far import store
from cyrsync.far import uids as uid_sets
from cyrsync.far.frames import Part
from cyrsync.far.keeping import Keeping
from cyrsync.far.packed import Packer
from cyrsync.far.receive import Receiver
from cyrsync.far.remove import Removal, Remover
from cyrsync.far.walk import Reader
from support.killed import full_before, killed_before, makes_a_file

#: What changes a disk. After the last one that a run needs, it ends by itself.
CALLS = ("link", "mkdir", "open", "rename", "rmdir", "symlink", "unlink", "write")


class Replica:
    """A mailbox and its replica, which is one change behind."""

    def __init__(self, directory: Path) -> None:
        self.source, self.there = directory / "source" / "spool", directory / "there" / "spool"
        self.folder = samplespool.create_folder(self.source, "user/joe")
        samplespool.deliver(self.folder, 4)
        shutil.copytree(self.source, self.there)
        for path in self.source.rglob("*"):
            status = path.stat()
            os.utime(self.there / path.relative_to(self.source), ns=(status.st_atime_ns, status.st_mtime_ns))
        before = self.uids()
        samplespool.expunge(self.folder, 2)
        samplespool.deliver(self.folder, 1)
        self.new, self.lost = sorted(self.uids() - before), sorted(before - self.uids())
        self.path = os.fsencode(self.folder.relative_to(self.source))

    def uids(self) -> set[int]:
        return {int(path.name[:-1]) for path in self.folder.glob("*[0-9].")}

    def update(self) -> None:
        root = os.fsencode(self.there)
        keeping, reader = Keeping({root: root}, 0), Reader(os.fsencode(self.source))
        receiver = Receiver(numeric_ids=False, keeping=keeping)
        receiver.part(Part(root, self.path, reader.above(self.path)))
        for uid in self.new:
            path = self.folder / f"{uid}."
            receiver.message(uid, reader.entry(path.stat()), path.read_bytes())
        for name in ("cyrus.header", "cyrus.index"):
            path = self.folder / name
            receiver.file(name.encode(), reader.entry(path.stat()), path.read_bytes())
        receiver.commit()
        assert receiver.end() == []
        remover = Remover(root, keep_times=True, wanted=lambda: True)
        remover.guard = keeping.guard(root)
        remover.remove([Removal(self.path, uid_sets.of(self.lost))])
        assert remover.failed == []
        keeping.pack()
        Packer(root).pack()

    def remove(self) -> None:
        root = os.fsencode(self.there)
        keeping = Keeping({root: root}, 0)
        remover = Remover(root, keep_times=True, wanted=lambda: True)
        remover.guard = keeping.guard(root)
        above, name = os.path.split(self.path)
        remover.remove([Removal(above, folders=(name,))])
        assert remover.failed == []
        keeping.pack()
        Packer(root).pack()

    def assert_whole(self) -> list[bytes]:
        """Every index has its messages, that of the replica and those that are kept; return the latter."""
        live = self.there / self.folder.relative_to(self.source)
        kept = self.there / os.fsdecode(store.STORE)
        bodies = {path.name: path.read_bytes() for path in kept.glob("messages/*/*")}
        assert all(hashlib.sha1(body).hexdigest() == name for name, body in bodies.items())
        there = {*bodies, *(hashlib.sha1(path.read_bytes()).hexdigest() for path in live.glob("*[0-9]."))}
        found = [index_of(state) for state in sorted(kept.glob("mailboxes/*/*Z"))]
        for data in [*found, *((live / name).read_bytes() for name in ("cyrus.index",) if (live / name).exists())]:
            index = records.read(data)
            for number in range(len(index)):
                guid = index.guid(number)
                assert index.unlinked[number] or (guid and guid.hex() in there)
        return found


def index_of(state: Path) -> bytes:
    raw = state / "cyrus.index"
    return raw.read_bytes() if raw.exists() else gzip.decompress((state / "cyrus.index.gz").read_bytes())


@pytest.mark.parametrize("what", ["update", "remove"])
@pytest.mark.parametrize("how", ["killed", "full"])
def test_at_any_call(tmp_path: Path, what: str, how: str) -> None:
    template = Replica(tmp_path / "template")
    before = (template.there / os.fsdecode(template.path) / "cyrus.index").read_bytes()
    number, again = 0, True
    while again:
        replica = Replica.__new__(Replica)
        replica.__dict__.update(template.__dict__)
        replica.there = tmp_path / str(number) / "spool"
        shutil.copytree(template.there, replica.there)
        if how == "killed":
            again = killed_before(number, getattr(replica, what), CALLS, makes_a_file)
        else:  # what it says then is none of this
            again = full_before(number, getattr(replica, what), CALLS, makes_a_file, OSError, AssertionError)
        replica.assert_whole()
        getattr(replica, what)()
        assert before in replica.assert_whole()
        number += 1
    assert number > 15  # or nothing was reached
