"""What happens on the source while `sync -C` works, in this process."""

from __future__ import annotations

import sys
import textwrap
from collections.abc import Callable
from pathlib import Path

import pytest

from cyrsync.far.folder import Entry
from cyrsync.server.reading import MailboxReader


def before_part(monkeypatch: pytest.MonkeyPatch, number: int, happens: Callable[[], object]) -> list[bytes]:
    """Let something happen before this part of a stream, counted from 0: after its mailbox was read.

    Return the paths of the folders whose parts were sent, as they are.
    """
    kept = MailboxReader.above
    paths: list[bytes] = []

    def above(self: MailboxReader, root: bytes, path: bytes) -> tuple[tuple[bytes, Entry], ...]:
        paths.append(path)
        if len(paths) == number + 1:
            happens()
        return kept(self, root, path)

    monkeypatch.setattr(MailboxReader, "above", above)
    return paths


#: Runs cyrsync in a process of its own, and Python before each call of a method: `number` counts them from 0.
_LAUNCHER = """\
from {module} import {name} as victim
kept, calls = victim.{method}, []
def method(self, *words, **options):
    number = len(calls)
    calls.append(words)
    happen(number)
    return kept(self, *words, **options)
victim.{method} = method
def happen(number):
{script}
from cyrsync.far import write_back
write_back.PAUSE = 3600.0  # what is on a disk at a moment does not depend on how long the run has taken
from cyrsync.cli.app import main
main()
"""
#: Before a part of a stream is read, and before a mailbox takes its place.
READS = ("cyrsync.server.reading", "MailboxReader", "above")
COMMITS = ("cyrsync.far.receive", "Receiver", "commit")


def launch(script: str, *words: str | Path, at: tuple[str, str, str] = READS) -> list[str]:
    """Return the command that is cyrsync with these words, and runs Python before each of these calls."""
    module, name, method = at
    text = _LAUNCHER.format(module=module, name=name, method=method, script=textwrap.indent(script, "    "))
    return [sys.executable, "-c", text, *map(str, words)]
