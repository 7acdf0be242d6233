"""Another process that keeps files locked, as a writer of Cyrus's does."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

_PROGRAM = """
import fcntl, sys
files = [open(path, "r+b") for path in sys.argv[1:]]
for file in files:
    fcntl.lockf(file, fcntl.LOCK_EX)
print(flush=True)
input()
"""


@contextmanager
def locked(*paths: Path) -> Iterator[None]:
    """Another process is a writer that does not come to an end."""
    pipe = subprocess.PIPE
    with subprocess.Popen([sys.executable, "-c", _PROGRAM, *map(str, paths)], stdin=pipe, stdout=pipe) as writer:
        assert writer.stdout
        writer.stdout.readline()
        try:
            yield
        finally:
            writer.communicate(b"\n")
