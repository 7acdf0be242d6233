"""How much memory cyrsync takes, and mailboxes that are large by their index alone."""

from __future__ import annotations

import hashlib
import os
import struct
import subprocess
import sys
import zlib
from array import array
from contextlib import closing
from dataclasses import replace
from pathlib import Path

from cyrsync.state.mailbox_row import Key
from cyrsync.state.store import Store
from support.tree import cyrsync_argv, plain_env

#: Runs a command, and writes to a file how many kilobytes the largest process of all that it was had in memory. What
#: runs the tests is larger than these, and its children count its memory for their own.
_MEASURE = """\
import resource, subprocess, sys
code = subprocess.call(sys.argv[2:])
with open(sys.argv[1], "w") as file:
    file.write(str(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss))
sys.exit(code)
"""
_RECORD_SIZE, _HEADER_SIZE = 112, 160


def peak_of(directory: Path, *words: str | Path, expect: int = 0) -> int:
    """Run cyrsync to its end; return the bytes of memory of the largest process, be it here or at a far end here."""
    told = directory / "peak"
    argv = [sys.executable, "-I", "-S", "-c", _MEASURE, str(told), *cyrsync_argv(*words)]
    done = subprocess.run(argv, env=plain_env(), capture_output=True, text=True, timeout=300, check=False)
    assert done.returncode == expect, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    return int(told.read_text()) << 10


def far_here(directory: Path) -> Path:
    """A remote shell that leads to this machine."""
    rsh = directory / "rsh"
    rsh.write_text('#!/bin/sh\nshift\nexec sh -c "$*"\n')
    rsh.chmod(0o755)
    return rsh


def fill_index(folder: Path, count: int, content: bytes) -> None:
    """Let a mailbox's index name so many messages, all of this content, as Cyrus writes them; there are no files."""
    index = bytearray((folder / "cyrus.index").read_bytes()[:_HEADER_SIZE])
    record = bytearray(_RECORD_SIZE)
    struct.pack_into(">I", record, 12, len(content))
    record[60:80] = hashlib.sha1(content).digest()
    put_uid, put_modseq = struct.Struct(">I").pack_into, struct.Struct(">Q").pack_into
    records = bytearray()
    for uid in range(1, count + 1):
        put_uid(record, 0, uid)
        put_modseq(record, 80, uid)
        put_uid(record, _RECORD_SIZE - 4, zlib.crc32(record[: _RECORD_SIZE - 4]))
        records += record
    struct.pack_into(">I", index, 20, count)
    struct.pack_into(">I", index, 28, count)
    struct.pack_into(">3I", index, 48, 0, 0, 0)
    struct.pack_into(">Q", index, 68, count)
    struct.pack_into(">I", index, 84, count)
    struct.pack_into(">I", index, _HEADER_SIZE - 4, zlib.crc32(index[: _HEADER_SIZE - 4]))
    (folder / "cyrus.index").write_bytes(index + records)


def let_it_be_sent(state: Path, path: bytes, count: int) -> None:
    """Let the state say that the replica has the first messages of a mailbox, so many."""
    pair = state.stem
    with closing(Store(state, pair)) as store:
        row = store.row(Key("default", path))
        assert row
        store.put([replace(row, uids=array("I", range(1, count + 1)))])


def state_file() -> Path:
    """The one state there is."""
    (found,) = (path for path in Path(os.environ["CYRSYNC_STATE"]).glob("*.sqlite") if path.name != "runs.sqlite")
    return found
