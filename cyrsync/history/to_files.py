"""Mail restored as plain files: a directory for each folder, `2026-11-20_10-00-00_UID_GUID.eml` for each message.

A message has its INTERNALDATE as its mtime. Its flags are in `messages.jsonl` beside it, a line for each file.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from datetime import datetime, timezone
from typing import Any

from cyrsync.history.destinations import Place, nested
from cyrsync.history.outcome import MailboxRestore
from cyrsync.history.selected import Message, Selection
from cyrsync.history.target import Target, is_whole, names_in
from cyrsync.text import iso

_LIST = b"messages.jsonl"


def write(target: Target, selection: Selection, place: Place, restore: MailboxRestore) -> None:
    """Write a mailbox's messages. Raise NotWritten."""
    folder = target.directory([*place.above, *nested(place.parts)])
    try:
        there = set(names_in(folder))
        lines = dict(_listed(target, folder))
        for message in selection.messages():
            name = file_name(message, selection.mailbox.uidvalidity)
            if name.encode() in there and is_whole(folder, name.encode(), message):
                restore.present()
            elif not target.write_message(folder, name.encode(), message, restore):
                continue
            lines[name] = json.dumps(_facts(name, message, selection))
        if lines:
            target.write(folder, _LIST, [f"{line}\n".encode() for _, line in sorted(lines.items())])
    finally:
        os.close(folder)


def file_name(message: Message, uidvalidity: int) -> str:
    """Return the name of a message's file, which sorts by its date."""
    date = datetime.fromtimestamp(message.internaldate, timezone.utc).strftime("%Y-%m-%d_%H-%M-%S")
    rest = message.guid.hex()[:12] if message.guid else f"V{uidvalidity}"
    return f"{date}_{message.uid}_{rest}.eml"


def _listed(target: Target, folder: int) -> Iterator[tuple[str, str]]:
    """Yield name and line of what was restored there before."""
    try:
        data = target.read(folder, _LIST)
    except OSError:
        return
    for line in data.decode("utf-8", "replace").splitlines():
        try:
            yield str(json.loads(line)["file"]), line
        except (ValueError, KeyError, TypeError):
            continue


def _facts(name: str, message: Message, selection: Selection) -> dict[str, Any]:
    return {
        "file": name,
        "mailbox": os.fsdecode(selection.mailbox.name),
        "uid": message.uid,
        "guid": message.guid.hex() if message.guid else None,
        "internaldate": iso(message.internaldate),
        "flags": list(message.flags),
    }
