"""Which of the files beside the partitions change with a mailbox: its user's, and those of the quotas that count it."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import suppress

from cyrsync.cyrus.server import layout
from cyrsync.cyrus.server.config import Config

#: What a user's files are called by (imap/user.c, imap/mboxname.c); what else may come, a look at all files finds.
_SUFFIXES = (b"conversations", b"counters", b"dav", b"mboxkey", b"seen", b"sub")
#: Up to here, what is a dot to people is `^` in the names of users' files.
_CODED = (2, 5)


def may_change(config: Config, name: bytes, uniqueid: bytes) -> Iterator[bytes]:
    """Yield the whole paths of the files, be they there or not, but for those that are of no user.

    The `uniqueid` is that of the user's INBOX, if that has its directory by it, else b"". What is no name has none.
    """
    with suppress(ValueError):
        yield from _paths(config, name, uniqueid)


def _paths(config: Config, name: bytes, uniqueid: bytes) -> Iterator[bytes]:
    full = config.fulldirhash
    for suffix in _SUFFIXES:
        versions = dict.fromkeys([config.version, _CODED] if b"^" in name else [config.version])
        paths = [layout.user_file(name, suffix, full, version) for version in versions]
        paths += [layout.user_file(name, suffix, full, config.version, uniqueid)] if uniqueid else []
        yield from (os.path.join(config.userpath, path) for path in paths)
    kind, quotas = config.database("quota")
    if kind == "quotalegacy":
        for root in _roots(name):
            yield os.path.join(os.path.dirname(quotas), layout.quota_file(root, full))


def _roots(name: bytes) -> Iterator[bytes]:
    """Yield the mailboxes whose quota may count a mailbox: itself, and those that it is below."""
    domain, local = layout.cut(name)
    before = domain + b"!" if domain else b""
    while local:
        yield before + local
        local = local.rpartition(b".")[0]
    if domain:
        yield before
