"""A mailbox's owner, in whose place the administrator logs in, and the owner's names for the mailboxes."""

from __future__ import annotations

import os
import re
from collections.abc import Callable

from cyrsync.cyrus.server import layout
from cyrsync.errors import RefusedError
from cyrsync.history.imap_server import CommandRefused, Connection

#: `NAMESPACE (("INBOX." ".")) ...` (RFC 2342): prefix and separator of one's own mailboxes.
_OWN = re.compile(rb'NAMESPACE \(\("((?:[^"\\]|\\.)*)" "(.)"')


class OwnerLogins:
    """Logins in place of users, one at a time; for mailboxes that are nobody's the administrator's own."""

    def __init__(self, connect: Callable[[str], Connection]) -> None:
        """`connect` logs in for a user, or for the administrator himself where the name is empty."""
        self._connect = connect
        self._connection: Connection | None = None
        self._user: bytes | None = None
        self._prefix = b""
        self._separator = b"."

    def of(self, name: bytes) -> tuple[Connection, bytes]:
        """Return a login that has the rights on a mailbox, and the mailbox's name there, as it is sent in a command.

        Raise CommandRefused where the administrator may not stand in for the user.
        """
        user = layout.user_of_name(name) or b""
        if user != self._user:
            self._log_in(user)
        assert self._connection is not None
        return self._connection, quoted(self._own_name(name) if user else layout.external(name, self._separator))

    def close(self) -> None:
        """Log out."""
        if self._connection is not None:
            self._connection.close()
            self._connection = self._user = None

    def _log_in(self, user: bytes) -> None:
        self.close()
        try:
            self._connection = self._connect(os.fsdecode(user))
        except RefusedError as error:
            raise CommandRefused("NO", str(error)) from None
        answer = b"".join(self._connection.command(b"NAMESPACE"))
        own = _OWN.search(answer)
        if own:
            self._prefix, self._separator = re.sub(rb"\\(.)", rb"\1", own.group(1)), own.group(2)
        self._user = user  # not before: of one that was refused, no name is known

    def _own_name(self, name: bytes) -> bytes:
        local = name.rpartition(b"!")[2]
        words = local.split(b".")[2:]
        if not words:
            return b"INBOX"
        if self._separator != b".":
            words = [word.replace(b"^", b".") for word in words]
        return self._prefix + self._separator.join(words)


def quoted(text: bytes) -> bytes:
    """Return a string as a command has it."""
    if re.fullmatch(rb"[ -~]*", text):
        return b'"%s"' % text.replace(b"\\", rb"\\").replace(b'"', rb"\"")
    return b"{%d+}\r\n%s" % (len(text), text)
