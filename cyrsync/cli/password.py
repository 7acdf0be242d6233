"""The password of a server's administrator: never on the command line, where everybody on this host reads it."""

from __future__ import annotations

import getpass
import os
import stat
import sys

from cyrsync.cli.output import complain
from cyrsync.errors import UnusableError, UsageError
from cyrsync.history.imap_address import ImapAddress
from cyrsync.text import printable

VARIABLE = "CYRSYNC_PASSWORD"
_LONGEST = 1 << 16


def password_for(address: ImapAddress, file: str | None) -> str:
    """Return the password: a file's first line, else the environment's, else what is typed.

    Raise UnusableError for a file that has none, UsageError where nobody can be asked.
    """
    if file is not None:
        return _first_line(file)
    if VARIABLE in os.environ:
        return os.environ[VARIABLE]
    if not sys.stdin.isatty():
        raise UsageError(f"{address}: no password: set {VARIABLE}, or give --password-file FILE")
    return getpass.getpass(f"Password of {printable(address.admin)} on {address.host}: ", sys.stderr)


def _first_line(path: str) -> str:
    try:
        # It may be a pipe, as in --password-file <(pass show cyrus).
        with open(path, "rb") as file:
            mode = os.fstat(file.fileno()).st_mode
            line = file.readline(_LONGEST).rstrip(b"\r\n")
        password = line.decode()
    except OSError as error:
        raise UnusableError(f"--password-file {printable(path)}: {error.strerror}") from None
    except UnicodeDecodeError:
        raise UnusableError(f"--password-file {printable(path)}: its first line is not UTF-8") from None
    if not password or "\0" in password:
        raise UnusableError(f"--password-file {printable(path)}: no password in its first line")
    if stat.S_ISREG(mode) and mode & 0o077:
        complain(f"--password-file {printable(path)}: others than its owner may read it: chmod 600")
    return password
