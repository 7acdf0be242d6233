"""Runs that die at one of their steps: a change of the replica, a word to its agent, a statement of the state.

The steps of the process that reads the source are counted, or those of its agents; the one that has its last step dies
alone, and the others see its pipes close, or all die at once.
"""

from __future__ import annotations

import os
import signal
from pathlib import Path
from typing import NamedTuple

from support.tools import wait_for
from support.tree import start_cyrsync

#: What Python tells of each call that changes a disk, right before it is made.
_CHANGES = "chmod chown link mkdir remove rename rmdir symlink truncate utime".split()

#: Counts, and kills before the step of that number, from 0. Python's own files have names of text, ours of bytes.
_COUNTER = f"""\
import os, signal, sys
def step(left=[NUMBER]):
    if left[0] == 0:
        os.kill(0 if ALL else os.getpid(), signal.SIGKILL)
    left[0] -= 1
def hook(event, args, changes=frozenset({["os." + name for name in _CHANGES]!r})):
    if event == "open":
        if isinstance(args[0], bytes) and args[2] & (os.O_WRONLY | os.O_RDWR):
            step()
    elif event in changes:
        if not (isinstance(args[0], str) and args[0].count("__pycache__")):
            step()
sys.addaudithook(hook)
"""
#: In the process that reads the source: what it says to an agent is a step, too, and what it writes to its state.
_NEAR = """\
import sqlite3
kept_connect = sqlite3.connect
def connect(*words, **options):
    connection = kept_connect(*words, **options)
    connection.set_trace_callback(lambda statement: None if statement.startswith("SELECT") else step())
    return connection
sqlite3.connect = connect
from cyrsync.ends.link import Link
kept_send = Link.send_later
def send(self, data):
    step()
    kept_send(self, data)
Link.send_later = send
"""
#: Has the agents count: they begin with what is to be done there.
_AGENTS = """\
from cyrsync import process
open_pipes = process.open_pipes
process.open_pipes = lambda words, errors: open_pipes([*words[:-1], COUNTER + words[-1]], errors)
"""
#: Makes mailboxes large, so that each is sent while it is read, to an agent.
_LARGE = """\
from cyrsync.server import sender
sender._PORTION_BYTES = PORTION
"""


class Death(NamedTuple):
    """When a run dies, and who.

    `step` is counted from 0 in the agents or, `near`, in the process that reads the source; `alone`, only who has it
    dies. What is larger than `portion` (bytes) is sent by way of an agent.
    """

    step: int
    near: bool
    alone: bool
    portion: int


def run_and_die(death: Death, *words: str | Path) -> int:
    """Run `cyrsync sync` with these words, and return how it has ended, with all that it had started."""
    counter = _COUNTER.replace("NUMBER", str(death.step)).replace("ALL", str(not death.alone))
    first = counter + _NEAR if death.near else _AGENTS.replace("COUNTER", repr(counter))
    first += _LARGE.replace("PORTION", str(death.portion))
    with start_cyrsync("sync", *words, own_group=True, first=first) as run:
        done = run.complete(60)
        wait_for(lambda: not _group(run.pid), name="the end of the agents")
    assert "Traceback" not in done.stderr, done.stderr
    assert done.returncode in (0, -signal.SIGKILL) or not death.near, done.stderr
    return done.returncode


def _group(leader: int) -> list[int]:
    """The processes of a group that have not ended, whether anybody waits for them or not."""
    found = []
    for pid in filter(str.isdigit, os.listdir("/proc")):
        try:
            state, _, group = Path("/proc", pid, "stat").read_bytes().rpartition(b")")[2].split()[:3]
        except (FileNotFoundError, ProcessLookupError):
            continue
        if int(group) == leader and state != b"Z":
            found.append(int(pid))
    return found
