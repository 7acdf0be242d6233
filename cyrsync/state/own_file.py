"""Small files of the state: for nobody else to read, whatever the umask, and in place as a whole."""

from __future__ import annotations

import os
from pathlib import Path

from cyrsync.far import whole_file


def write(path: Path, text: str) -> None:
    """Put a file in place, whatever stands there. Raise OSError."""
    name = os.fsencode(path.name)
    directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        whole_file.replace(name, text.encode("ascii"), directory, b".%b.new" % name)
    finally:
        os.close(directory)
