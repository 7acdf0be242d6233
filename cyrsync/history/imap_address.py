"""`imaps://ADMIN@HOST[:PORT]`: a running server, and who logs in there."""

from __future__ import annotations

import re
from dataclasses import dataclass
from urllib.parse import unquote

from cyrsync.errors import UsageError
from cyrsync.text import printable

_PORTS = {"imap": 143, "imaps": 993}
#: Nothing that could be a password: one `@`, and no `:` but those of an IPv6 address and before the port.
_ADDRESS = re.compile(
    r"(?P<scheme>(?i:imaps?))://(?P<admin>[^\s:@/?#\[\]]+)@"
    r"(?P<host>\[[0-9A-Fa-f:.]+(?:%[\w.-]+)?\]|[^\s:@/?#\[\]]+)(?::(?P<port>[0-9]{1,5}))?/?(?P<rest>[^\s:@]*)"
)


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
    """Return what the address says, or raise UsageError. `%40` in the administrator's name is an @.

    No error shows the address, which would be in logs, too: somebody may have put a password anywhere in it.
    """
    found = _ADDRESS.fullmatch(text)
    scheme = found["scheme"].lower() if found else ""
    admin = unquote(found["admin"]) if found else ""
    port = int(found["port"] or _PORTS[scheme]) if found else 0
    if not found or not 0 < port < 65536 or "\0" in admin or ":" in admin:
        raise UsageError(
            "--into: no address of a server: write imaps://ADMIN@HOST[:PORT] or imap://ADMIN@HOST[:PORT], without a "
            "password, which everybody would see: set CYRSYNC_PASSWORD, or give --password-file"
        )
    if found["rest"]:
        raise UsageError("--into: nothing may follow the port: mailboxes are restored under their own names")
    return ImapAddress(found["host"].strip("[]").lower(), port, admin, scheme == "imaps")
