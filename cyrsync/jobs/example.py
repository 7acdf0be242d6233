"""The example of a configuration file, made from the keys."""

from __future__ import annotations

import textwrap
from collections.abc import Iterable

from cyrsync.jobs.keys import Key, quoted

_HEAD = """\
# What `cyrsync run` does: /etc/cyrsync.toml, or for users other than root ~/.config/cyrsync.toml.
# A table is a job, [defaults] is for all jobs; keys are named like the options of `cyrsync sync`. man 5 cyrsync.toml
# Nobody but root, or the user who runs it, may be able to write to this file. `cyrsync config` checks it.

[defaults]
"""
_JOB = """\

[standby]
# The server's imapd.conf stands for all of its mailboxes; a directory, or HOST:PATH, for the spool in it.
source = "/etc/imapd.conf"
# Where the replica is. Below it each partition has the path that it has on the server.
destination = "standby:/"
"""
#: Every job has its own.
_IN_JOB = ("source", "destination")


def render(keys: Iterable[Key]) -> str:
    """Return the text of a file with each key, what it does, and its default or what it takes, commented out."""
    return _HEAD + "\n".join(_entry(key) for key in keys if key.name not in _IN_JOB) + _JOB


def _entry(key: Key) -> str:
    return f"{textwrap.fill(key.help, 110, initial_indent='# ', subsequent_indent='# ')}\n#{key.name} = {sample(key)}\n"


def sample(key: Key) -> str:
    """Return the default as TOML has it, or where there is none, what stands for a value."""
    if key.kind == "flag":
        return quoted(bool(key.default))
    if key.default is not None:
        return quoted(key.default)
    if key.kind == "texts":
        return f"[{quoted(key.metavar)}]"
    if key.metavar == "SECONDS":
        return "600"
    return quoted(f"/{key.metavar}" if key.metavar in ("FILE", "DIR") else key.metavar)
