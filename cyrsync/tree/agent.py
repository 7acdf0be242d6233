"""The agent: reads and deletes in a tree for a cyrsync that is elsewhere, told what to do on standard input.

A request is a line of JSON; an answer is lines of JSON, folders as `folder.encode` frames them, up to
one that has `end`. It is sent over the connection it serves, so nothing has to be installed there;
beside a local replica it is a process of its own, which reads one tree while its parent reads the other.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import gc
import json
import os
import select
import shutil
import signal
import sys
import zlib
from typing import TYPE_CHECKING

from cyrsync.tree import folder as folders
from cyrsync.tree import uids as uid_sets
from cyrsync.tree.remove import RENAMED, Remover, decode
from cyrsync.tree.walk import Reader, walk

if TYPE_CHECKING:
    from typing import Any, BinaryIO

#: The line before which a login shell may have printed anything at all.
GREETING = b"cyrsync-agent 1\n"
_BLOCK = 1 << 16


class _Output:
    """Standard output in large blocks, compressed if the connection is worth it."""

    def __init__(self, stream: "BinaryIO", compressed: bool) -> None:
        self.stream = stream
        self.deflate = zlib.compressobj(6) if compressed else None
        self.parts = []  # type: list[bytes]
        self.size = 0

    def is_heard(self) -> bool:
        """Tell whether somebody still reads: who was killed wants nothing deleted any more."""
        poll = select.poll()
        poll.register(self.stream, 0)
        return not poll.poll(0)

    def write(self, data: bytes) -> None:
        self.parts.append(data)
        self.size += len(data)
        if self.size >= _BLOCK:
            self._send(b"".join(self.parts), last=False)

    def end(self, **record: "Any") -> None:
        """Write the last line of an answer and see that all of it leaves."""
        record["end"] = True
        self.parts.append(json.dumps(record).encode("ascii") + b"\n")
        self._send(b"".join(self.parts), last=True)

    def _send(self, data: bytes, last: bool) -> None:
        self.parts, self.size = [], 0
        if self.deflate:
            data = self.deflate.compress(data)
            if last:
                data += self.deflate.flush(zlib.Z_SYNC_FLUSH)
        self.stream.write(data)
        self.stream.flush()


def main(compressed: bool = False) -> None:
    """Serve requests until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who asks decides when it is over
    gc.disable()  # nothing here makes cycles, and there are a million small objects
    source, stream = sys.stdin.buffer, sys.stdout.buffer
    stream.write(GREETING)
    stream.flush()
    output = _Output(stream, compressed)
    try:
        for line in source:
            _serve(json.loads(line.decode("ascii")), source, output)
    except (BrokenPipeError, KeyboardInterrupt):
        os._exit(1)  # nobody listens any more; a flush at exit would only complain


def _audit(root: bytes, content: bool, output: _Output) -> None:
    from cyrsync.audit.finding import to_record  # what few runs need is sent only to those
    from cyrsync.audit.tree import audit_tree

    for found in audit_tree(root, content):
        output.write(json.dumps(to_record(found)).encode("ascii") + b"\n")
    output.end()


def _relink(source: "BinaryIO", output: _Output) -> None:
    from cyrsync.tree.relink import decode, relink

    for uids in relink(decode(source)):
        size, steps = uid_sets.pack(uids)
        output.write(json.dumps([size, len(steps)]).encode("ascii") + b"\n" + steps)
    output.end()


def _make(root: bytes, output: _Output) -> None:
    try:
        os.makedirs(root, exist_ok=True)
        shutil.rmtree(os.path.join(root, RENAMED), ignore_errors=True)  # what a killed run left
    except OSError as error:
        output.end(error=error.strerror)
    else:
        output.end(error="")


def _take(root: bytes, paths: "list[str]", output: _Output) -> None:
    from cyrsync.tree.take import encode, take

    reader = Reader(root)
    for path in paths:
        output.write(encode(take(reader, path.encode("latin-1")), output.deflate is not None))
    output.end()


def _serve(request: "dict[str, Any]", source: "BinaryIO", output: _Output) -> None:
    root = request["root"].encode("latin-1")
    if request["do"] == "identify":
        output.end(euid=os.geteuid(), groups=os.getgroups())
    elif request["do"] == "resolve":
        real = os.path.realpath(root)
        output.end(
            root=real.decode("latin-1"),
            exists=os.path.lexists(real),
            directory=os.path.isdir(real),
            parent=os.path.isdir(os.path.dirname(real)),
        )
    elif request["do"] == "walk":
        for found in walk(root, frozenset(request["users"]), request["leftovers"]):
            output.write(folders.encode(found, output.deflate is not None))
        output.end()
    elif request["do"] == "look":
        reader = Reader(root)
        for path in request["paths"]:
            output.write(folders.encode(reader.read(path.encode("latin-1")), output.deflate is not None))
        output.end()
    elif request["do"] == "load":
        exec(source.read(request["size"]), {})
        output.end()
    elif request["do"] == "audit":
        _audit(root, request["content"], output)
    elif request["do"] == "take":
        _take(root, request["paths"], output)
    else:
        _write(request["do"], root, request, source, output)


def _write(what: str, root: bytes, request: "dict[str, Any]", source: "BinaryIO", output: _Output) -> None:
    """Do what changes the replica."""
    if what == "make":
        _make(root, output)
    elif what == "relink":
        _relink(source, output)
    elif what == "remove":
        remover = Remover(root, request["keep_times"], output.is_heard)
        remover.remove(decode(source))
        failed = [[path.decode("latin-1"), number] for path, number in remover.failed]
        output.end(files=remover.files, folders=remover.folders, failed=failed)
