"""Files that others read at any time: replaced as a whole."""

from __future__ import annotations

import os
import tempfile


def write(path: str, text: str) -> None:
    """Put the text in place of a file, for everybody to read; whoever reads it sees the old one or the new one.

    Raise OSError that names it.
    """
    try:
        _write(path, text)
    except OSError as error:  # its name would be that of the temporary file
        raise OSError(error.errno, error.strerror, path) from None


def _write(path: str, text: str) -> None:
    directory, name = os.path.split(os.path.abspath(path))
    # The collector of Prometheus's node exporter reads *.prom only.
    descriptor, temporary = tempfile.mkstemp(prefix=f".{name}.", suffix=".new", dir=directory)
    try:
        with open(descriptor, "w", encoding="utf-8") as file:
            file.write(text)
            file.flush()
            os.fchmod(descriptor, 0o644)
            os.fsync(descriptor)
        os.replace(temporary, path)
    except BaseException:
        os.unlink(temporary)
        raise
