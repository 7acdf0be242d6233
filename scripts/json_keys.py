"""The keys of what `--json` prints, with their types, read off objects: some have everything, others have little.

`scripts/manpage` writes them into cyrsync-json(5).
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from datetime import datetime, timezone
from functools import cache, partial
from types import SimpleNamespace
from typing import Any, cast

from cyrsync.cyrus.mailbox.mailbox import Message as IndexMessage
from cyrsync.far.finding import Audited, Problem
from cyrsync.history.envelopes import Envelope
from cyrsync.history.findings import FoundMailbox, FoundMessage
from cyrsync.history.outcome import Outcome
from cyrsync.history.prune import Held, Pruned
from cyrsync.history.selected import Message
from cyrsync.history.versions import FoundVersion
from cyrsync.inspect.inspected import Inspected
from cyrsync.report import known
from cyrsync.standby.checked import Checked, Finding, Verdict
from cyrsync.standby.commands import Step
from cyrsync.standby.promotion import Promotion
from cyrsync.state import history
from cyrsync.state.history import Pair, Record
from cyrsync.state.running import Holder
from cyrsync.sync.result import RunResult
from cyrsync.verify.result import AuditResult

#: How the pages call the types of JSON.
_TYPES = {bool: "boolean", int: "integer", float: "number", str: "string"}
#: Objects whose keys the page explains in one entry.
_OPAQUE = {"watcher"}
_NOW = datetime(2030, 1, 31, tzinfo=timezone.utc)


def _sync() -> list[dict[str, Any]]:
    result = RunResult("", "", engine="walk", dry_run=False, started="", part=[""], warnings=[""], errors=[""])
    return [result.to_json()]


def _inspect() -> list[dict[str, Any]]:
    messages = [
        IndexMessage(1, 1, guid, ("",), expunged=False, unlinked=False, archived=False) for guid in (b"1", None)
    ]
    opened = SimpleNamespace(
        index=SimpleNamespace(header=SimpleNamespace(uidvalidity=1, minor_version=17, last_uid=1)),
        header=SimpleNamespace(uniqueid="1"),
        exists=lambda: 1,
        number_expunged=lambda: 1,
        size=lambda: 1,
    )
    found = []
    for one in messages:
        opened.messages = lambda one=one: [one]
        whole = Inspected("", "default", b"/1", b"/1", b"/2", "1", deleted=False, opened=cast("Any", opened))
        found.append(whole.to_json(messages=True))
    damaged = Inspected("", None, b"/1", b"/1", b"/1", "", deleted=False, error="damaged")
    return [*found, damaged.to_json(messages=True)]


def _verify() -> list[dict[str, Any]]:
    found = []
    for replica, mailbox in ((None, b"user.joe"), ("", b"")):
        result = AuditResult(tree="", replica=replica, content=False, started="", warnings=[""])
        result.add(Audited(b"", problems=(Problem("missing", (1,)),), mailbox=mailbox))
        found.append(result.to_json())
    return found


def _check() -> list[dict[str, Any]]:
    return [Checked("", "", [Finding(Verdict.OK, "", "")]).to_json()]


def _promote() -> list[dict[str, Any]]:
    found = []
    for conf, tree, mailbox, code, began in (("", None, b"user.joe", 0, 1.0), (None, "", b"", None, 0.0)):
        audit = AuditResult(tree="", replica=None, content=False, started="")
        audit.add(Audited(b"", problems=(Problem("missing", (1,)),), mailbox=mailbox))
        result = Promotion(conf, tree, audit, roots=[b"/"], warnings=[""], errors=[""], begun=began, complete=began)
        result.steps, result.owner = [Step("", "", exit=code)], conf
        found.append(result.to_json())
    return found


def _status() -> list[dict[str, Any]]:
    def record(code: int) -> Record:
        run = RunResult("", "", engine="walk", dry_run=False, started=_NOW.isoformat(), exit=code, errors=[""] * code)
        kept = history.brief(run.to_json())
        return Record("", "", "", "", run.engine, "default", "joe", run.started, 1.0, code, kept)

    succeeded = record(0)._replace(users="")
    watcher = {"connected": True, "blind": "", "failed": []}
    holders = [Holder("", 1, since, watching=True, source="", destination="") for since in (1.0, 0.0)]
    found = [
        known.of_pair(Pair((record(12), succeeded)), _NOW, host="", watcher=watcher, holders=holders[:1]),
        known.of_pair(Pair((succeeded,)), _NOW, host=""),
        known.of_pair(Pair((record(75),)), _NOW, host="", holders=holders[1:]),
    ]
    return [one.to_json(_NOW) for one in found]


def _history_mailbox() -> list[dict[str, Any]]:
    whole = FoundMailbox(b"", "", 1, 1, 1, 1, deleted=False, removed=1, former_name=b"user.joe", versions=1, oldest=1)
    bare = FoundMailbox(b"", "", 1, 1, 1, 1, deleted=False, removed=None, former_name=None)
    return [whole.to_json(), bare.to_json()]


def _history_version() -> list[dict[str, Any]]:
    return [FoundVersion(b"", 1, now=False, messages=1, size=1, came=1, went=1).to_json()]


def _history_message() -> list[dict[str, Any]]:
    found = []
    for guid, when in ((b"1", 1), (None, 0)):
        message = Message(1, guid, 1, when, ("",), 1, 1, expunged=False, archived=False, cache_offset=0, places=())
        found.append(FoundMessage(b"", message, Envelope("", "", ""), when or None).to_json())
    return found


def _restore() -> list[dict[str, Any]]:
    outcome = Outcome("", "", errors=[""], warnings=[""])
    outcome.begin("", 1)
    outcome.begin("", 1, since=1)
    return [outcome.to_json()]


def _pruned(user: str | None) -> list[dict[str, Any]]:
    return [Pruned("", user=user, held=[""], warnings=[""], errors=[""]).to_json()]


def _hold() -> list[dict[str, Any]]:
    return [Held("joe", "", "").to_json(), Held("joe", "2030", "root").to_json()]


#: What prints an object, or one for each of something.
COMMANDS: dict[str, Callable[[], list[dict[str, Any]]]] = {
    "sync": _sync,
    "inspect": _inspect,
    "verify": _verify,
    "check": _check,
    "promote": _promote,
    "status": _status,
    "history:mailbox": _history_mailbox,
    "history:version": _history_version,
    "history:message": _history_message,
    "restore": _restore,
    "prune": partial(_pruned, None),
    "hold": _hold,
    "forget": partial(_pruned, "joe"),
}


@cache
def of(command: str) -> dict[str, str]:
    """Return the keys of what a command prints, in their order, with their types: `string or null`."""
    types: dict[str, list[str]] = {}
    for record in COMMANDS[command]():
        for key, type_ in keys(record):
            known = types.setdefault(key, [])
            if type_ not in known:
                known.append(type_)
    return {key: " or ".join(sorted(known, key=lambda type_: type_ == "null")) for key, known in types.items()}


def keys(record: Mapping[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    """Yield the keys of an object and of those within it, `folders.seen`, `problems[].kind`, with their types."""
    for key, value in record.items():
        if isinstance(value, dict) and key not in _OPAQUE:
            yield from keys(value, f"{above}{key}.")
        elif isinstance(value, list):
            if value:
                yield f"{above}{key}", f"array of {_type(value[0])}s"
            if value and isinstance(value[0], dict):
                yield from keys(value[0], f"{above}{key}[].")
        else:
            yield f"{above}{key}", _type(value)


def _type(value: object) -> str:
    if value is None:
        return "null"
    if isinstance(value, dict):
        return "object"
    return next(name for type_, name in _TYPES.items() if isinstance(value, type_))
