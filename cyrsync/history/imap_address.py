"""`imaps://ADMIN@HOST[:PORT]`: a running server, and who logs in there."""

from __future__ import annotations

from dataclasses import dataclass
from urllib.parse import unquote, urlsplit

from cyrsync.errors import UsageError
from cyrsync.text import printable

_PORTS = {"imap": 143, "imaps": 993}


@dataclass(frozen=True, slots=True)
class ImapAddress:
    """Where an IMAP server is, and the administrator who logs in."""

    host: str
    port: int
    admin: str
    #: TLS from the first byte on; else STARTTLS.
    implicit_tls: bool

    def __str__(self) -> str:
        host = f"[{self.host}]" if ":" in self.host else self.host
        return printable(f"{'imaps' if self.implicit_tls else 'imap'}://{self.admin}@{host}:{self.port}")


def parse(text: str) -> ImapAddress:
    """Return what the address says, or raise UsageError. `%40` in the administrator's name is an @."""
    shown = printable(text)
    try:
        parts = urlsplit(text)
        port = parts.port
    except ValueError as error:
        raise UsageError(f"{shown}: {error}") from None
    if parts.password is not None:
        # Not shown: it would be in logs, too.
        raise UsageError(
            "--into: no password belongs in the address, where everybody sees it: "
            "set CYRSYNC_PASSWORD, or give --password-file"
        )
    if parts.scheme not in _PORTS or not parts.hostname or not parts.username:
        raise UsageError(
            f"{shown}: no address of a server: write imaps://ADMIN@HOST[:PORT] or imap://ADMIN@HOST[:PORT]"
        )
    if parts.path.strip("/") or parts.query or parts.fragment:
        raise UsageError(f"{shown}: nothing may follow the port: mailboxes are restored under their own names")
    admin = unquote(parts.username)
    if "\0" in admin:
        raise UsageError(f"{shown}: no name of an administrator")
    return ImapAddress(parts.hostname, port or _PORTS[parts.scheme], admin, parts.scheme == "imaps")
