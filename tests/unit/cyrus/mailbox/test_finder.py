"""Finding one record of an index by its UID."""

from __future__ import annotations

from pathlib import Path

import samplespool
from cyrsync.cyrus.mailbox import records
from cyrsync.cyrus.mailbox.finder import Finder, Record


def test_finds_what_the_whole_index_says(tmp_path: Path) -> None:
    folder = samplespool.create_folder(tmp_path, "user/joe")
    samplespool.deliver(folder, 20)
    samplespool.expunge(folder, 5)
    data = (folder / "cyrus.index").read_bytes()
    index, finder = records.read(data), Finder(lambda at, size: data[at : at + size])
    found = {uid: finder.find(uid) for uid in range(25)}
    for number, uid in enumerate(index.uids):
        assert found.pop(uid) == Record(index.sizes[number], index.guid(number))
    assert set(found.values()) == {None}
