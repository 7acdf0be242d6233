"""SRC and DEST as rsync writes them: a path, a host and a path, or a daemon's module."""

from __future__ import annotations

import os
import re
from typing import NamedTuple

from cyrsync.errors import UsageError

_URL = re.compile(rb"rsync://(?:([^/@]*)@)?(\[[^\]/]*\]|[^/:]*)(?::([0-9]+))?(?:/(.*))?\Z", re.DOTALL | re.IGNORECASE)
#: `[USER@]HOST:PATH` or `HOST::MODULE`; a colon behind a slash belongs to a path (rsync's check_for_hostspec).
_HOST = re.compile(rb"((?:[^/:@]*@)?(?:\[[^\]/]*\]|[^/:\[]+)):(:?)(.*)\Z", re.DOTALL)


class Address(NamedTuple):
    """One side of a run.

    `host` is what ssh or rsync is to be given, user and all, None for a local path; `daemon` tells
    whether an rsync daemon is asked (then `path` begins with the module).
    """

    text: str
    path: bytes
    host: str | None = None
    port: str | None = None
    daemon: bool = False

    @property
    def local(self) -> bool:
        """Whether the tree is on this machine."""
        return self.host is None

    def split(self, path: bytes) -> tuple[bytes, bytes]:
        """Return the directory to give to rsync as the source of a list, and where the tree is below it.

        A daemon without chroot (rsync 3.5.0) finds nothing that is listed unless its module is the operand.
        """
        if not self.daemon:
            return path, b""
        module, _, below = path.partition(b"/")
        return module, b"/".join(part for part in below.split(b"/") if part not in (b"", b"."))

    def for_rsync(self, path: bytes) -> str:
        """Return the operand that makes rsync use the contents of `path` on this side."""
        slashed = path if path.endswith(b"/") else path + b"/"
        if self.local:
            return os.fsdecode(slashed)
        if not self.daemon:
            return f"{self.host}:{os.fsdecode(slashed)}"
        return f"rsync://{self.host}{':' + self.port if self.port else ''}/{os.fsdecode(slashed)}"


def parse(text: str) -> Address:
    """Return the address that `text` means to rsync. Raise UsageError for one without a path or a module."""
    raw = os.fsencode(text)
    url = _URL.match(raw)
    if url:
        user, host, port, path = url.groups()
        return _daemon(text, user + b"@" + host if user else host, path or b"", port)
    remote = _HOST.match(raw)
    if not remote:
        if not raw:
            raise UsageError("an empty path is neither a source nor a destination")
        return Address(text, raw)
    host, colon, path = remote.groups()
    if colon:
        return _daemon(text, host, path, None)
    if b"-" in (host[:1], host.rpartition(b"@")[2].lstrip(b"[")[:1]):
        raise UsageError(f"{text}: a host cannot begin with a dash")
    return Address(text, path or b".", os.fsdecode(host))


def _daemon(text: str, host: bytes, path: bytes, port: bytes | None) -> Address:
    if not path.strip(b"/") or not host:
        raise UsageError(f"{text}: name the daemon's host and module, as rsync://HOST/MODULE/PATH")
    return Address(text, path.lstrip(b"/"), os.fsdecode(host), port.decode() if port else None, daemon=True)


def identity(address: Address) -> str:
    """Return what names a side for the lock: two spellings of one directory here are one side."""
    path = os.path.realpath(address.path) if address.local else address.path.rstrip(b"/")
    host = (address.host or "").rpartition("@")[2]
    return f"{host}:{address.port}:{os.fsdecode(path)}"


def absolute(address: Address) -> str:
    """Return an address as it can be looked up from any directory."""
    if not address.local:
        return address.text
    return os.fsdecode(os.path.abspath(address.path) + b"/" * (address.path != b"/" and address.path.endswith(b"/")))
