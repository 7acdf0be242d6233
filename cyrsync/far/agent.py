"""The agent: reads and deletes in a tree for a cyrsync that is elsewhere, told what to do on standard input.

A request is a line of JSON; an answer is lines of JSON, folders as `folder.encode` frames them, up to
one that has `end`. It is sent over the connection it serves, so nothing has to be installed there;
beside a local replica it is a process of its own, which reads one tree while its parent reads the other.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import gc
import json
import os
import signal
import sys
import threading
import time
from typing import TYPE_CHECKING

from cyrsync.cyrus.mailbox import regular_file
from cyrsync.far import descent, frames, hold, host, owner, receive, wire
from cyrsync.far import folder as folders
from cyrsync.far import uids as uid_sets
from cyrsync.far.at_work import at_work
from cyrsync.far.output import Output
from cyrsync.far.remove import Remover, clear, decode
from cyrsync.far.request import Request
from cyrsync.far.walk import Reader, walk
from cyrsync.far.write_back import WriteBack

if TYPE_CHECKING:
    from typing import Any, Callable, Optional

    from cyrsync.far.keeping import Keeping


#: The line before which a login shell may have printed anything at all.
GREETING = b"cyrsync-agent 1\n"
#: Bytes of a file that is read as a whole.
LARGEST = 1 << 20
_MOST_UIDS = 2_000_000  # that one line tells of


def main(compressed: bool = False) -> None:
    """Serve requests until standard input ends."""
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the one who asks decides when it is over
    gc.disable()  # nothing here makes cycles, and there are a million small objects
    source, stream = sys.stdin.buffer, sys.stdout.buffer
    stream.write(GREETING)
    stream.flush()
    output = Output(stream, compressed)
    if compressed:
        threading.Thread(target=output.beat, daemon=True).start()
    try:
        while True:
            request = Request(wire.read_record(source), source, output)
            _service(request)(request)
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


@wire.one_error
def _service(request: Request) -> "Callable[[Request], None]":
    return _SERVICES[request.fields["do"]]


def _identify(request: Request) -> None:
    request.output.end(euid=os.geteuid(), groups=os.getgroups(), attributes=hasattr(os, "listxattr"))


def _numbers(request: Request) -> None:
    request.output.end(numbers=[owner.number(name) for name in request.texts("names")])


def _about(request: Request) -> None:
    request.output.end(python=sys.version.split()[0], user=host.user_name(os.geteuid()), time=time.time())


def _room(request: Request) -> None:
    try:
        request.output.end(error="", room=host.room(request.root))
    except OSError as error:
        request.output.end(error=error.strerror or str(error))


def _read(request: Request) -> None:
    try:
        text = regular_file.read(request.root, LARGEST, follow=True)
        request.output.end(error=0, text=text.decode("latin-1"))
    except OSError as error:
        request.output.end(error=error.errno)


def _resolve(request: Request) -> None:
    try:
        real, *status, link = host.resolve(request.root)
    except OSError as error:
        request.output.end(error=error.errno)
    else:
        request.output.end(error=0, root=real.decode("latin-1"), status=status, link=link.decode("latin-1"))


def _at_work(request: Request) -> None:
    found = at_work(request.whole_paths())
    request.output.end(found=[[one.pid, one.conf.decode("latin-1"), one.directory.decode("latin-1")] for one in found])


def _walk(request: Request) -> None:
    output = request.output
    for found in walk(request.root, frozenset(request.texts("users")), leftovers=True):
        output.write(folders.encode(found, output.deflate is not None))
    output.end()


def _look(request: Request) -> None:
    reader, output = Reader(request.root), request.output
    for path in request.paths():
        output.write(folders.encode(reader.look(path), output.deflate is not None))
    output.end()


def _stat(request: Request) -> None:
    request.output.end(found=[host.status(path) for path in request.whole_paths()])


def _heads(request: Request) -> None:
    request.output.end(found=[host.head(path).decode("latin-1") for path in request.whole_paths()])


def _load(request: Request) -> None:
    exec(request.program(), {})
    request.output.end()


def _audit(request: Request) -> None:
    from cyrsync.far.audit_tree import audit_tree
    from cyrsync.far.finding import Problem, to_record  # what few runs need is sent only to those

    for found in audit_tree(request.root, request.flag("content")):
        if sum([len(problem.uids) for problem in found.problems]) > _MOST_UIDS:
            counts = ["{} {}".format(problem.number(), problem.kind) for problem in found.problems]
            found = found._replace(problems=(Problem("unreadable", detail="too much is wrong: " + ", ".join(counts)),))
        request.output.line(to_record(found))
    request.output.end()


def _read_under_locks(request: Request) -> None:
    from cyrsync.far.extended import Kinds
    from cyrsync.far.locked_folder import encode, read_under_locks

    reader, output = Reader(request.root), request.output
    wanted = Kinds(request.flag("acls"), request.flag("xattrs"))
    for path in request.paths():
        output.write(encode(read_under_locks(reader, path, wanted), output.deflate is not None))
    output.end()


def _links(request: Request) -> None:
    from cyrsync.far.links import with_mailboxes

    found = with_mailboxes(request.root, request.paths())
    request.output.end(found=[path.decode("latin-1") for path in found])


def _digest(request: Request) -> None:
    from cyrsync.far.digests import answers

    request.output.end(digests=answers(decode(request.source), request.root, request.output.is_heard))


def _guids(request: Request) -> None:
    from cyrsync.far.guids import answers

    request.output.end(guids=answers(decode(request.source), request.root, request.output.is_heard))


def _make(request: Request) -> None:
    try:
        descent.make(request.root)
    except OSError as error:
        request.output.end(error=error.strerror or str(error))
    else:
        request.output.end(error="")


def _clear(request: Request) -> None:
    clear(request.root)
    request.output.end()


def _relink(request: Request) -> None:
    from cyrsync.far.relink import decode, relink

    for uids in relink(decode(request.source), lambda root: _keeping[0].guard(root) if _keeping else None):
        size, steps = uid_sets.pack(uids)
        request.output.write(json.dumps([size, len(steps)]).encode("ascii") + b"\n" + steps)
    request.output.end()


def _hold(request: Request) -> None:
    alone = True
    try:
        if request.flag("among"):
            busy, alone = _holds.hold_among(request.whole_paths())
        else:
            busy = _holds.hold(request.whole_paths())
    except OSError as error:
        request.output.end(busy=None, error=error.strerror or str(error))
    else:
        request.output.end(busy=_holder(busy), error="", alone=alone)


def _share(request: Request) -> None:
    request.output.end(busy=_holder(_holds.share()), error="", alone=False)


def _holder(busy: "Optional[hold.Busy]") -> "Any":
    return [busy.root.decode("latin-1"), busy.pid, busy.since] if busy else None


def _let_go(request: Request) -> None:
    _holds.close()
    request.output.end()


def _put_owner_file(request: Request) -> None:
    number, error = host.put_owner_file(request.root, request.owner_file())
    request.output.end(number=number, error=error)


def _write_back(request: Request) -> None:
    _written_back.begin(request.whole_paths())  # nobody waits for an answer


def _to_disk(request: Request) -> None:
    try:
        _written_back.end(request.whole_paths())
    except OSError as error:
        request.output.end(number=error.errno)
    else:
        request.output.end(number=0)


def _keep(request: Request) -> None:
    from cyrsync.far.keeping import Keeping

    _keeping[:] = [Keeping(dict(zip(request.whole_paths(), request.homes())), request.count("spacing"))]
    request.output.end()


def _pack(request: Request) -> None:
    try:
        for keeping in _keeping:
            keeping.pack()
    except OSError as error:
        request.output.end(error=error.strerror or str(error))
    else:
        request.output.end(error="")


def _receive(request: Request) -> None:
    receiver = receive.Receiver(request.flag("numeric_ids"), request.flag("aside"), _keeping[0] if _keeping else None)
    if request.flag("compressed"):
        inflated = frames.Inflated(request.source)
        frames.decode(inflated, receiver, request.output.is_heard)
        inflated.end()
    else:
        frames.decode(request.source, receiver, request.output.is_heard)
    for failure in receiver.end():
        request.output.line([failure.mailbox, failure.number, failure.path.decode("latin-1"), failure.arrived])
    request.output.end()


def _compare(request: Request) -> None:
    from cyrsync.far.quick_check import decode, same

    size, steps = uid_sets.pack(same(decode(request.source), request.flag("numeric_ids")))
    request.output.write(json.dumps([size, len(steps)]).encode("ascii") + b"\n" + steps)
    request.output.end()


def _remove(request: Request) -> None:
    remover = Remover(request.root, request.flag("keep_times"), request.output.is_heard)
    if request.flag("temporary"):
        remover.remove_temporary(decode(request.source))
    else:
        remover.guard = _keeping[0].guard(request.root) if _keeping else None
        remover.remove(decode(request.source))
    for path, number in remover.failed:
        request.output.line([path.decode("latin-1"), number])
    request.output.end(files=remover.files, folders=remover.folders)


def _store(request: Request) -> None:
    from cyrsync.far.store_service import serve

    serve(request)


#: Until this process ends.
_holds = hold.Holds()
_written_back = WriteBack()
#: What is kept of the replica, if anything is.
_keeping: "list[Keeping]" = []
_SERVICES: "dict[str, Callable[[Request], None]]" = {
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
    "read_under_locks": _read_under_locks,
    "digest": _digest,
    "guids": _guids,
    "links": _links,
    "make": _make,
    "clear": _clear,
    "relink": _relink,
    "hold": _hold,
    "let_go": _let_go,
    "share": _share,
    "put_owner_file": _put_owner_file,
    "write_back": _write_back,
    "to_disk": _to_disk,
    "receive": _receive,
    "compare": _compare,
    "remove": _remove,
    "keep": _keep,
    "pack": _pack,
    "store": _store,
}
