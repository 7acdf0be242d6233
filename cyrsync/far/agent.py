"""The agent: reads and deletes in a tree for a cyrsync that is elsewhere, told what to do on standard input.

A request is a line of JSON; an answer is lines of JSON, folders as `folder.encode` frames them, up to
one that has `end`. It is sent over the connection it serves, so nothing has to be installed there;
beside a local replica it is a process of its own, which reads one tree while its parent reads the other.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import errno
import gc
import grp
import json
import os
import pwd
import select
import signal
import stat
import sys
import threading
import time
import zlib
from typing import TYPE_CHECKING, NamedTuple

from cyrsync.cyrus.mailbox import index, regular_file
from cyrsync.far import descent, frames, hold, receive, token, wire
from cyrsync.far import folder as folders
from cyrsync.far import uids as uid_sets
from cyrsync.far.at_work import at_work
from cyrsync.far.remove import Remover, clear, decode
from cyrsync.far.to_disk import to_disk
from cyrsync.far.walk import Reader, start_of, walk

if TYPE_CHECKING:
    from typing import Any, BinaryIO, Callable, Optional, Tuple

#: The line before which a login shell may have printed anything at all.
GREETING = b"cyrsync-agent 1\n"
_BLOCK = 1 << 16
_ABSENT = (errno.ENOENT, errno.ENOTDIR)
#: Bytes of a file that is read as a whole.
LARGEST = 1 << 20
_MOST_UIDS = 2_000_000  # that one line tells of
_MOST_PROGRAM = 64 << 20  # bytes of what an agent is taught
#: Seconds after which a silent agent lets hear of itself, and of computing time without which it does not work.
_BEAT, _WORK = 3.0, 0.001
#: An empty block, which stands behind all that was flushed, and means nothing.
_NOTHING = b"\0\0\0\xff\xff"


class _Output:
    """Standard output in large blocks, compressed if the connection is worth it."""

    def __init__(self, stream: "BinaryIO", compressed: bool) -> None:
        self.stream = stream
        self.deflate = zlib.compressobj(6) if compressed else None
        self.parts = []  # type: list[bytes]
        self.size = 0
        self._lock = threading.Lock()
        self._sent = 0  # blocks

    def is_heard(self) -> bool:
        """Tell whether somebody still reads: who was killed wants nothing deleted any more."""
        poll = select.poll()
        poll.register(self.stream, 0)
        return not poll.poll(0)

    def write(self, data: bytes) -> None:
        with self._lock:
            self.parts.append(data)
            self.size += len(data)
            if self.size >= _BLOCK:
                self._send(last=False)

    def line(self, record: "Any") -> None:
        """Write a line that is not the last."""
        self.write(json.dumps(record).encode("ascii") + b"\n")

    def end(self, **record: "Any") -> None:
        """Write the last line of an answer and see that all of it leaves."""
        record["end"] = True
        with self._lock:
            self.parts.append(json.dumps(record).encode("ascii") + b"\n")
            self._send(last=True)

    def beat(self) -> None:
        """Let hear of this process as long as it works: one that a disk keeps waiting for ever falls silent."""
        used, sent = time.process_time(), 0
        while True:
            time.sleep(_BEAT)
            before, used = used, time.process_time()
            with self._lock:
                if used - before >= _WORK and self._sent == sent:
                    try:
                        self._send(last=True)
                    except OSError:
                        return  # the one who works finds out by itself
                sent = self._sent

    def _send(self, last: bool) -> None:
        data = b"".join(self.parts)
        self.parts, self.size = [], 0
        self._sent += 1
        if self.deflate:
            data = self.deflate.compress(data)
            if last:
                data = data + self.deflate.flush(zlib.Z_SYNC_FLUSH) or _NOTHING
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
    if compressed:
        threading.Thread(target=output.beat, daemon=True).start()
    try:
        while True:
            request = _Request(wire.read_record(source), source, output)
            request.service(request)
    except (BrokenPipeError, EOFError, KeyboardInterrupt):
        os._exit(1)  # nobody listens any more; a flush at exit would only complain
    except wire.WireError as error:
        os.write(2, "the agent was asked for what cannot be: {}\n".format(error).encode("ascii", "replace"))
        os._exit(1)
    except OSError as error:  # the one who asks shows the last line
        text = "{}: {}\n".format(_name(error.filename), error.strerror or error)
        os.write(2, text.encode("utf-8", "surrogateescape"))
        os._exit(1)


def _name(path: "Any") -> str:
    """Return what to call a file in one line: an error has its name as bytes, or its number."""
    return os.fsdecode(path).replace("\n", "?") if isinstance(path, (bytes, str)) else "the agent"


def resolve(path: bytes) -> "tuple[bytes, bool, bool, bool, str, bool]":
    """Return what stands at `path`: the fields of `side.Status`. Raise OSError where that is not to be seen."""
    real = os.path.realpath(path)
    exists, directory = _kind(real)
    text, bare = "", False
    if directory:
        text = owner_text(real)
        try:
            bare = not text and token.is_bare(real)
        except OSError:
            pass  # whoever reads on will say why
    return real, exists, directory, exists or _kind(os.path.dirname(real))[1], text, bare


def owner_text(root: bytes) -> str:
    """Return a token as JSON, "" where there is none; one that cannot be read may say anything."""
    try:
        return token.read_text(root)
    except OSError:
        return "{}" if os.path.lexists(os.path.join(root, token.NAME)) else ""


def _kind(path: bytes) -> "tuple[bool, bool]":
    """Tell whether something is at `path`, and whether that is a directory. Raise OSError where neither can be seen."""
    try:
        return True, stat.S_ISDIR(os.lstat(path).st_mode)
    except OSError as error:
        if error.errno not in _ABSENT:
            raise
    return False, False


def put_token(root: bytes, text: str) -> "Tuple[int, str]":
    """Write a root's token; return what is wrong, 0 and "" for nothing."""
    try:
        token.write(root, token.from_json(text))
    except OSError as error:
        return error.errno or -1, error.strerror or str(error)
    return 0, ""


class Room(NamedTuple):
    """The file system that something is on, or would be made on. Sizes are bytes."""

    device: int
    free: int
    used: int
    free_inodes: int
    used_inodes: int
    inodes: int  # 0: it makes them as they are needed
    writable: bool  # the directory, or the nearest above it that is there


def room(path: bytes) -> Room:
    """Return what there is room for at `path`. Raise OSError."""
    while path and not os.path.isdir(path):
        path = os.path.dirname(path)
    path = path or b"."
    found = os.statvfs(path)
    return Room(
        os.stat(path).st_dev,
        found.f_bavail * found.f_frsize,
        (found.f_blocks - found.f_bfree) * found.f_frsize,
        found.f_favail,
        found.f_files - found.f_ffree,
        found.f_files,
        os.access(path, os.W_OK | os.X_OK),
    )


def user_name(uid: int) -> str:
    """Return what a user is called here, the number of one who has no name."""
    try:
        return pwd.getpwuid(uid).pw_name
    except KeyError:
        return str(uid)


class _Request:
    """One request: what it says, where more of it is read from, and where the answer goes."""

    @wire.one_error
    def __init__(self, fields: "dict[str, Any]", source: "BinaryIO", output: _Output) -> None:
        self.fields = fields
        self.service = _SERVICES[fields["do"]]
        self.root = wire.whole_path(fields["root"])
        self.source = source
        self.output = output

    @wire.one_error
    def paths(self) -> "list[bytes]":
        """Return paths below the root."""
        return [wire.path(path) for path in wire.list_of(self.fields["paths"])]

    @wire.one_error
    def whole_paths(self) -> "list[bytes]":
        return [wire.whole_path(path) for path in wire.list_of(self.fields["paths"])]

    @wire.one_error
    def texts(self, name: str) -> "list[str]":
        return [wire.text(text) for text in wire.list_of(self.fields[name])]

    @wire.one_error
    def flag(self, name: str) -> bool:
        return wire.flag(self.fields[name])

    @wire.one_error
    def program(self) -> bytes:
        return wire.read_data(self.source, self.fields["size"], _MOST_PROGRAM)

    @wire.one_error
    def token(self) -> str:
        return token.from_json(wire.text(self.fields["token"])).to_json()


def number(name: str) -> "int | None":
    """Return the number that `user:NAME` or `group:NAME` has here, None where it is unknown."""
    kind, _, name = name.partition(":")
    try:
        return grp.getgrnam(name).gr_gid if kind == "group" else pwd.getpwnam(name).pw_uid
    except (KeyError, ValueError):
        return None


def _identify(request: _Request) -> None:
    request.output.end(euid=os.geteuid(), groups=os.getgroups(), attributes=hasattr(os, "listxattr"))


def _numbers(request: _Request) -> None:
    request.output.end(numbers=[number(name) for name in request.texts("names")])


def _about(request: _Request) -> None:
    request.output.end(python=sys.version.split()[0], user=user_name(os.geteuid()), time=time.time())


def _room(request: _Request) -> None:
    try:
        request.output.end(error="", room=room(request.root))
    except OSError as error:
        request.output.end(error=error.strerror or str(error))


def _read(request: _Request) -> None:
    try:
        text = regular_file.read(request.root, LARGEST, follow=True)
        request.output.end(error=0, text=text.decode("latin-1"))
    except OSError as error:
        request.output.end(error=error.errno)


def _resolve(request: _Request) -> None:
    try:
        real, *status = resolve(request.root)
    except OSError as error:
        request.output.end(error=error.errno)
    else:
        request.output.end(error=0, root=real.decode("latin-1"), status=status)


def _at_work(request: _Request) -> None:
    found = at_work(request.whole_paths())
    request.output.end(found=[[one.pid, one.conf.decode("latin-1"), one.directory.decode("latin-1")] for one in found])


def _walk(request: _Request) -> None:
    output = request.output
    for found in walk(request.root, frozenset(request.texts("users")), leftovers=True):
        output.write(folders.encode(found, output.deflate is not None))
    output.end()


def _look(request: _Request) -> None:
    reader, output = Reader(request.root), request.output
    for path in request.paths():
        output.write(folders.encode(reader.look(path), output.deflate is not None))
    output.end()


def _stat(request: _Request) -> None:
    request.output.end(found=[status(path) for path in request.whole_paths()])


def status(path: bytes) -> "tuple[int, int] | int | None":
    """Return size and modification time (nanoseconds) of a file; None where there is none, an errno for no answer."""
    try:
        found = os.lstat(path)
    except OSError as error:
        return None if error.errno in _ABSENT else error.errno or errno.EIO
    return found.st_size, found.st_mtime_ns


def _heads(request: _Request) -> None:
    request.output.end(found=[head(path).decode("latin-1") for path in request.whole_paths()])


def head(path: bytes) -> bytes:
    """Return the first bytes of a cyrus.index, none where it cannot be read."""
    return start_of(path, index.READ_SIZE)


def _load(request: _Request) -> None:
    exec(request.program(), {})
    request.output.end()


def _audit(request: _Request) -> None:
    from cyrsync.far.audit_tree import audit_tree
    from cyrsync.far.finding import Problem, to_record  # what few runs need is sent only to those

    for found in audit_tree(request.root, request.flag("content")):
        if sum([len(problem.uids) for problem in found.problems]) > _MOST_UIDS:
            counts = ["{} {}".format(problem.number(), problem.kind) for problem in found.problems]
            found = found._replace(problems=(Problem("unreadable", detail="too much is wrong: " + ", ".join(counts)),))
        request.output.line(to_record(found))
    request.output.end()


def _take(request: _Request) -> None:
    from cyrsync.far.extended import Kinds
    from cyrsync.far.take import encode, take

    reader, output = Reader(request.root), request.output
    wanted = Kinds(request.flag("acls"), request.flag("xattrs"))
    for path in request.paths():
        output.write(encode(take(reader, path, wanted), output.deflate is not None))
    output.end()


def _links(request: _Request) -> None:
    from cyrsync.far.links import with_mailboxes

    found = with_mailboxes(request.root, request.paths())
    request.output.end(found=[path.decode("latin-1") for path in found])


def _digest(request: _Request) -> None:
    from cyrsync.far.digests import answers

    request.output.end(digests=answers(decode(request.source), request.root, request.output.is_heard))


def _make(request: _Request) -> None:
    try:
        descent.make(request.root)
    except OSError as error:
        request.output.end(error=error.strerror or str(error))
    else:
        request.output.end(error="")


def _clear(request: _Request) -> None:
    clear(request.root)
    request.output.end()


def _relink(request: _Request) -> None:
    from cyrsync.far.relink import decode, relink

    for uids in relink(decode(request.source)):
        size, steps = uid_sets.pack(uids)
        request.output.write(json.dumps([size, len(steps)]).encode("ascii") + b"\n" + steps)
    request.output.end()


def _hold(request: _Request) -> None:
    alone = True
    try:
        if request.flag("among"):
            busy, alone = _holds.hold_among(request.whole_paths())
        else:
            busy = _holds.hold(request.whole_paths())
    except OSError as error:
        request.output.end(busy=None, error=error.strerror or str(error))
    else:
        request.output.end(busy=_holder(busy), error="", boot=token.boot_id(), alone=alone)


def _share(request: _Request) -> None:
    request.output.end(busy=_holder(_holds.share()), error="", boot=token.boot_id(), alone=False)


def _holder(busy: "Optional[hold.Busy]") -> "Any":
    return [busy.root.decode("latin-1"), busy.pid, busy.since] if busy else None


def _let_go(request: _Request) -> None:
    _holds.close()
    request.output.end()


def _put_token(request: _Request) -> None:
    number, error = put_token(request.root, request.token())
    request.output.end(number=number, error=error)


def _to_disk(request: _Request) -> None:
    try:
        to_disk(request.whole_paths())
    except OSError as error:
        request.output.end(number=error.errno)
    else:
        request.output.end(number=0)


def _receive(request: _Request) -> None:
    receiver = receive.Receiver(request.flag("numeric_ids"), request.flag("aside"))
    if request.flag("compressed"):
        inflated = frames.Inflated(request.source)
        frames.decode(inflated, receiver, request.output.is_heard)
        inflated.end()
    else:
        frames.decode(request.source, receiver, request.output.is_heard)
    for failure in receiver.end():
        request.output.line([failure.mailbox, failure.number, failure.path.decode("latin-1")])
    request.output.end()


def _compare(request: _Request) -> None:
    from cyrsync.far.quick_check import decode, same

    size, steps = uid_sets.pack(same(decode(request.source), request.flag("numeric_ids")))
    request.output.write(json.dumps([size, len(steps)]).encode("ascii") + b"\n" + steps)
    request.output.end()


def _beginnings(request: _Request) -> None:
    from cyrsync.far.beginning import whole

    request.output.end(found=[whole(path) for path in request.whole_paths()])


def _remove(request: _Request) -> None:
    remover = Remover(request.root, request.flag("keep_times"), request.output.is_heard)
    remove = remover.remove_temporary if request.flag("temporary") else remover.remove
    remove(decode(request.source))
    for path, number in remover.failed:
        request.output.line([path.decode("latin-1"), number])
    request.output.end(files=remover.files, folders=remover.folders)


#: Until this process ends.
_holds = hold.Holds()
_SERVICES: "dict[str, Callable[[_Request], None]]" = {
    "identify": _identify,
    "numbers": _numbers,
    "about": _about,
    "room": _room,
    "read": _read,
    "resolve": _resolve,
    "at_work": _at_work,
    "walk": _walk,
    "look": _look,
    "stat": _stat,
    "heads": _heads,
    "load": _load,
    "audit": _audit,
    "take": _take,
    "digest": _digest,
    "links": _links,
    "make": _make,
    "clear": _clear,
    "relink": _relink,
    "hold": _hold,
    "let_go": _let_go,
    "share": _share,
    "put_token": _put_token,
    "to_disk": _to_disk,
    "receive": _receive,
    "compare": _compare,
    "beginnings": _beginnings,
    "remove": _remove,
}
