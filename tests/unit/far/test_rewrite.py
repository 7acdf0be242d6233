"""A header of a state is replaced, and its index made to fit it, whatever moment the process dies at."""

from __future__ import annotations

import os
import zlib
from pathlib import Path

import pytest

import samplespool
from cyrsync.cyrus.mailbox import records
from cyrsync.far import rewrite, whole_file
from cyrsync.far.named import _index, named
from cyrsync.far.stored import StoreReader
from support.made_store import MadeStore, ago


@pytest.mark.parametrize("packed", ["", "gz", "pieces"])
def test_a_killed_call_is_repeated(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: str) -> None:
    samplespool.make(tmp_path, 30, 1, size=100)
    folder = samplespool.folders(tmp_path)[0]
    kept = MadeStore(tmp_path).keep(folder, ago(1), packed=packed)
    state = os.fsencode(kept.relative_to(tmp_path / ".cyrsync-history"))
    mailbox, name = state.split(b"/")[1:]
    store = StoreReader(os.fsencode(tmp_path))
    before, data = named(store, mailbox, name, {}), (kept / "cyrus.header").read_bytes()
    new = data.replace(b"\tlrs", b"\tlr").replace(b"\n", b" \n", 4)
    assert new != data
    done = whole_file.replace

    def dies(name: bytes, *rest: object) -> None:
        if name == b"cyrus.header":
            raise KeyboardInterrupt
        done(name, *rest)  # type: ignore[arg-type]

    monkeypatch.setattr(whole_file, "replace", dies)
    with pytest.raises(KeyboardInterrupt):
        rewrite.replace(store, state + b"/cyrus.header", new)
    assert (kept / "cyrus.header").read_bytes() == data
    monkeypatch.undo()
    rewrite.replace(store, state + b"/cyrus.header", new)
    assert (kept / "cyrus.header").read_bytes() == new
    assert records.read_header(_index(store, mailbox, name)[0]).header_file_crc == zlib.crc32(new)
    assert named(store, mailbox, name, {}) == before != []
