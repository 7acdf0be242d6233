"""What an agent is asked about stores: what they have, to prune them, to hold a user in them, and to forget one.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import os
import re
from typing import TYPE_CHECKING

from cyrsync.far import held, rewrite, stored, wire
from cyrsync.far.named import named, read_hashed
from cyrsync.far.prune import Pruner, Swept
from cyrsync.far.store import FILES, MAILBOXES, STORE
from cyrsync.far.stored import Damaged, StoreReader
from cyrsync.far.unnamed import Removal

if TYPE_CHECKING:
    from typing import Any, Callable, Dict, List, Sequence

    from cyrsync.far.request import Request

_REMOVABLE = re.compile(
    rb"(?:mailboxes/[A-Za-z0-9_-]+/[0-9]{8}T[0-9]{6}\.[0-9]{9}Z(?:\.gone)?"
    rb"|files/[^\0]+\.versions/[0-9]{8}T[0-9]{6}\.[0-9]{9}Z(?:\.gz|\.pieces)?)\Z"
)
_VERSION = FILES + b"/"
_OF_STATE = re.compile(
    rb"mailboxes/[A-Za-z0-9_-]+/[0-9]{8}T[0-9]{6}\.[0-9]{9}Z(?:\.gone)?/(?:%b)\Z"
    % b"|".join(map(re.escape, rewrite.NAMING))
)
_LONGEST_GRACE = 1 << 40  # seconds
_TELL_EACH = 500  # states and versions


def serve(request: "Request") -> None:
    """Serve a request about stores."""
    _service(request)(request)


@wire.one_error
def _service(request: "Request") -> "Callable[[Request], None]":
    return _SERVICES[request.fields["what"]]


def _list(request: "Request") -> None:
    """Tell what the store below a root has; `read`: whether each state can be read, too; `brief`: no states."""
    store, output, there, is_known = StoreReader(request.root), request.output, False, False
    try:
        there = store.is_there()
        for user, text in held.read(store).items():
            output.line(["held", user.decode("latin-1"), text.decode("latin-1")])
        is_known = True
        for mailbox in () if request.flag("brief") else store.mailboxes():
            for name in mailbox.others:
                path = os.path.join(request.root, STORE, MAILBOXES, mailbox.name, name)
                output.line(["problem", _path(path), stored.UNKNOWN])
            if not mailbox.is_known:
                continue
            states = [_state(store, mailbox.name, state) for state in mailbox.states + mailbox.gone]
            newest = (mailbox.states or mailbox.gone)[-1:]
            ended = store.ended(MAILBOXES, mailbox.name, *newest) if newest else 0
            output.line(["mailbox", mailbox.name.decode("latin-1"), states, ended])
            if request.flag("read"):
                _check(request, store, mailbox)
        for file in () if request.flag("brief") else store.files():
            versions = [name.decode("latin-1") for name in file.versions]
            ended = store.ended(FILES, file.path, file.versions[-1]) if versions else 0
            output.line(["file", file.path.decode("latin-1"), versions, ended])
    except OSError as error:
        output.line(["problem", _path(request.root), error.strerror or str(error)])
    finally:
        store.close()
    output.end(there=there, is_known=is_known)


def _state(store: StoreReader, mailbox: bytes, state: bytes) -> "List[str]":
    """Return a state's name, where the mailbox lay, and how it was called, each "" where that is not to be told."""
    try:
        folder = store.folder(mailbox, state)
    except OSError:
        folder = b""
    return [one.decode("latin-1") for one in (state, folder, store.name(mailbox, state))]


def _check(request: "Request", store: StoreReader, mailbox: stored.Mailbox) -> None:
    try:
        hashed = read_hashed(store, mailbox.name)
    except Damaged:
        hashed = {}
    for state in mailbox.states + mailbox.gone:
        try:
            named(store, mailbox.name, state, hashed)
        except Damaged:
            path = b"/".join((MAILBOXES, mailbox.name, state))
            request.output.line(["damaged", path.decode("latin-1")])


def _prune(request: "Request") -> None:
    pruner, removals = _begun(request)
    grace = wire.number(request.fields["grace"], _LONGEST_GRACE)
    dry_run, swept = request.flag("dry_run"), Swept()
    try:
        if not dry_run:
            pruner.clear()
            pruner.delete(pruner.remove(removals))
            pruner.pack()
            pruner.settle()
        if request.flag("sweep"):
            swept = pruner.sweep(grace, dry_run, frozenset(removals if dry_run else ()))
        if not dry_run:
            pruner.tidy()
    finally:
        pruner.close()
    _end(request, pruner, swept)


def _forget(request: "Request") -> None:
    pruner, removals = _begun(request)
    swept = Swept()
    try:
        pruner.remove(removals, stored.FORGOTTEN)
        pruner.settle()
        hidden = pruner.hidden(stored.FORGOTTEN)
        if request.flag("sweep"):
            swept = pruner.delete_messages(pruner.named_by(hidden))
        pruner.delete(hidden)
        pruner.clear()
        pruner.forget_notes()
        pruner.tidy()
        pruner.settle()
    finally:
        pruner.close()
    _end(request, pruner, swept)


def _begun(request: "Request") -> "tuple[Pruner, List[Removal]]":
    roots, output = request.whole_paths(), request.output
    removals = _removals(request, roots)
    return Pruner(roots, lambda count: output.line(["at", count]), output.is_heard), removals


def _removals(request: "Request", roots: "Sequence[bytes]") -> "List[Removal]":
    """Read what follows the request."""
    removals = []
    record = wire.read_record(request.source)
    while record is not None:
        removals.append(_removal(record, roots))
        record = wire.read_record(request.source)
    return removals


@wire.one_error
def _removal(record: "Any", roots: "Sequence[bytes]") -> Removal:
    number, path = record
    found = wire.path(path)
    if not _REMOVABLE.match(found):
        raise wire.WireError("no state: " + wire.shown(found))
    return Removal(roots[wire.number(number, len(roots) - 1)], found)


def _end(request: "Request", pruner: Pruner, swept: Swept) -> None:
    for path, reason in pruner.problems:
        request.output.line(["problem", _path(path), reason])
    request.output.end(swept=list(swept))


def _mentioning(request: "Request") -> None:
    """Tell which versions, and files of states, may have any of some words, of those whose paths follow."""
    words = [word.encode("latin-1") for word in request.texts("words")]
    removals = _removals(request, [request.root])
    store = StoreReader(request.root)
    try:
        for number, (root, path) in enumerate(removals, 1):
            if number % _TELL_EACH == 0:
                request.output.line(["at", number])
            try:
                for found in rewrite.mentioning(store, path, words):
                    request.output.line(["mentions", found.decode("latin-1")])
            except (OSError, ValueError) as error:
                request.output.line(["problem", _path(os.path.join(root, STORE, path)), _reason(error)])
    finally:
        store.close()
    request.output.end()


def _kept(request: "Request") -> None:
    """Return what a version, or a file of a state, has."""
    store, path = StoreReader(request.root), _kept_path(request)
    try:
        data = rewrite.read(store, path)
    except (OSError, ValueError) as error:
        request.output.end(error=_reason(error))
    else:
        request.output.line(len(data))
        request.output.write(data)
        request.output.end()
    finally:
        store.close()


def _rewrite(request: "Request") -> None:
    """Replace a version, or a file of a state."""
    store, path = StoreReader(request.root), _kept_path(request)
    data = wire.read_data(request.source, request.count("size"), wire.MAX_FILE)
    try:
        rewrite.replace(store, path, data)
    except (OSError, ValueError) as error:
        request.output.end(error=_reason(error))
    else:
        request.output.end(error="")
    finally:
        store.close()


@wire.one_error
def _kept_path(request: "Request") -> bytes:
    path = wire.path(request.fields["path"])
    if not (_OF_STATE.match(path) or (path.startswith(_VERSION) and _REMOVABLE.match(path))):
        raise wire.WireError("nothing kept that can be replaced: " + wire.shown(path))
    return path


def _reason(error: Exception) -> str:
    return (error.strerror if isinstance(error, OSError) else None) or str(error)


def _hold(request: "Request") -> None:
    user, text = request.texts("words")
    wrong = _each(request, lambda root: held.hold(root, user.encode("latin-1"), text.encode("latin-1")))
    request.output.end(error=wrong, number=0)


def _release(request: "Request") -> None:
    [user] = request.texts("words")
    found = []  # type: List[bool]
    wrong = _each(request, lambda root: found.append(held.release(root, user.encode("latin-1"))))
    request.output.end(error=wrong, number=sum(found))


def _record(request: "Request") -> None:
    [line] = request.texts("words")
    request.output.end(error=_each(request, lambda root: held.record(root, line.encode("ascii"))), number=0)


def _each(request: "Request", work: "Callable[[bytes], object]") -> str:
    """Do something in each store, and return what went wrong."""
    wrong = []
    for root in request.whole_paths():
        try:
            work(root)
        except OSError as error:
            wrong.append("{}: {}".format(os.fsdecode(root), error.strerror or error))
    return "; ".join(wrong)


def _path(path: bytes) -> str:
    return path.decode("latin-1")


_SERVICES: "Dict[str, Callable[[Request], None]]" = {
    "list": _list,
    "prune": _prune,
    "forget": _forget,
    "mentioning": _mentioning,
    "kept": _kept,
    "rewrite": _rewrite,
    "hold": _hold,
    "release": _release,
    "record": _record,
}
