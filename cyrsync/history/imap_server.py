"""A connection to a running IMAP server as its administrator: connect, TLS, login, one command and its answer.

imaplib connects and logs in. What follows is our own: it bounds neither lines nor literals as is needed here, where an
answer of Cyrus's can be one line of 100 MB, and a server in other hands could send one without an end.
"""

from __future__ import annotations

import imaplib
import ipaddress
import re
import socket
import ssl
from collections.abc import Collection, Iterable
from contextlib import suppress
from typing import BinaryIO

from cyrsync.errors import ConnectionFailed, Exit, RefusedError, UnusableError, error_text
from cyrsync.history.imap_address import ImapAddress
from cyrsync.text import path_text, printable

#: Bytes of one command's whole answer: what Cyrus says of two million messages.
LARGEST_ANSWER = 1 << 29
#: Seconds without a byte: a server under load syncs every message to its disk.
SILENCE = 300.0
_CONNECTING = 30.0
#: Bytes that are sent at once: the record of a message is some 200.
_BLOCK = 1 << 16
_LITERAL = re.compile(rb"\{([0-9]{1,10})\+?\}\r\n\Z")
_SHOWN = 300


class CommandRefused(Exception):
    """The server answered NO or BAD, or what a command says is not there."""

    def __init__(self, status: str, text: str) -> None:
        super().__init__(text)
        self.status = status


class Connection:
    """A login. `owner` is the user whose rights and names apply: the administrator, or another user."""

    def __init__(self, imap: imaplib.IMAP4, address: ImapAddress, owner: str, silence: float) -> None:
        self.address = address
        self.owner = owner
        self.capabilities = frozenset(word.upper() for word in imap.capabilities)
        self._socket: socket.socket = imap.sock
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self._input: BinaryIO = self._socket.makefile("rb")
        self._imap = imap
        self._silence = silence
        self._number = 0
        self._in_step = True

    def command(self, *pieces: bytes, parts: Iterable[bytes] = (), work: float = 0) -> list[bytes]:
        """Send one command, `parts` after the pieces, and return what comes before its status, literals included.

        `work` is how many seconds longer than usual the server may take. Raise CommandRefused, and ConnectionFailed
        where there is no answer, or none that could be right.
        """
        if not self._in_step:
            raise ConnectionFailed(f"{self.address}: the last command was broken off")
        self._number += 1
        tag = b"c%d" % self._number
        # Until there is an answer, the server would take another command for the rest of this one.
        self._in_step = False
        try:
            self._socket.settimeout(self._silence + work)
            # A server that hangs up has said why.
            with suppress(ConnectionError):
                self._send(tag, pieces, parts)
            answer = self._answer(tag)
        except OSError as error:
            raise _failed(self.address, error) from None
        self._in_step = True
        if isinstance(answer, CommandRefused):
            raise answer
        return answer

    def close(self) -> None:
        """Log out, whatever the server says to it."""
        self._silence = min(self._silence, 5)
        with suppress(ConnectionFailed, CommandRefused):
            self.command(b"LOGOUT")
        with suppress(OSError):
            self._input.close()
        _hang_up(self._imap)

    def __enter__(self) -> Connection:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.close()

    def _send(self, tag: bytes, pieces: Iterable[bytes], parts: Iterable[bytes]) -> None:
        block = bytearray(b"%s %s" % (tag, b" ".join(pieces)))
        for part in parts:
            if len(block) > _BLOCK:
                self._socket.sendall(block)
                block.clear()
            block += part
        self._socket.sendall(block + b"\r\n")

    def _answer(self, tag: bytes) -> list[bytes] | CommandRefused:
        found: list[bytes] = []
        left = LARGEST_ANSWER
        while True:
            line = self._line(left)
            left -= len(line)
            if line.startswith(b"* BYE"):
                raise ConnectionFailed(f"{self.address}: the server hung up: {_text(line[6:])}")
            if line.startswith(b"* "):
                found.append(line[2:-2])
            elif line.startswith(tag + b" "):
                status, _, text = line[len(tag) + 1 :].partition(b" ")
                if status.upper() == b"OK":
                    return found
                return CommandRefused(_text(status), _text(text))
            else:
                raise ConnectionFailed(f"{self.address}: what the server answers is not IMAP: {_text(line)}")

    def _line(self, limit: int) -> bytes:
        """Return a line with the literals in it."""
        pieces: list[bytes] = []
        while True:
            piece = self._read(limit, line=True)
            pieces.append(piece)
            limit -= len(piece)
            opening = _LITERAL.search(piece[-16:])
            if not opening:
                return b"".join(pieces)
            size = int(opening.group(1))
            if size > limit:
                raise self._too_long()
            pieces.append(self._read(size, line=False))
            limit -= size

    def _read(self, limit: int, *, line: bool) -> bytes:
        data = self._input.readline(limit + 1) if line else self._input.read(limit)
        if line and len(data) > limit:
            raise self._too_long()
        if not data.endswith(b"\n") if line else len(data) < limit:
            raise ConnectionFailed(f"{self.address}: the server hung up")
        return data

    def _too_long(self) -> ConnectionFailed:
        return ConnectionFailed(f"{self.address}: the server's answer is longer than {LARGEST_ANSWER} bytes")


def connect(
    address: ImapAddress, password: str, *, owner: str = "", cafile: str | None = None, silence: float = SILENCE
) -> Connection:
    """Log in; with `owner`, as the administrator standing in for this user (SASL PLAIN's authorisation identity).

    Raise ConnectionFailed; RefusedError where the login is refused; UnusableError where the password would be readable
    on the way.
    """
    try:
        context = ssl.create_default_context(cafile=cafile)
    except (OSError, ssl.SSLError) as error:
        raise UnusableError(f"--cafile {printable(cafile or '')}: {error_text(error)}") from None
    try:
        imap = _connected(address, context)
        try:
            _protect(imap, address, context)
            _log_in(imap, address, password, owner)
            return Connection(imap, address, owner or address.admin, silence)
        except BaseException:
            _hang_up(imap)
            raise
    except (OSError, imaplib.IMAP4.error, ValueError) as error:
        raise _failed(address, error) from None


def _connected(address: ImapAddress, context: ssl.SSLContext) -> imaplib.IMAP4:
    if address.implicit_tls:
        return imaplib.IMAP4_SSL(address.host, address.port, ssl_context=context, timeout=_CONNECTING)
    return imaplib.IMAP4(address.host, address.port, timeout=_CONNECTING)


def _protect(imap: imaplib.IMAP4, address: ImapAddress, context: ssl.SSLContext) -> None:
    """Encrypt, unless nothing leaves this machine and the server takes the password as it is."""
    if address.implicit_tls:
        return
    if may_be_plain(imap.sock.getpeername()[0], imap.capabilities):
        return
    if "STARTTLS" not in imap.capabilities:
        raise UnusableError(
            f"{address}: the server offers no TLS, so that others could read the password: use imaps://, or run "
            "cyrsync on the server itself with imap://ADMIN@localhost"
        )
    imap.starttls(context)


def may_be_plain(peer: str, capabilities: Collection[str]) -> bool:
    """Tell whether a password may be sent as it is: nothing leaves this machine, and the server takes it so."""
    return ipaddress.ip_address(peer.partition("%")[0]).is_loopback and "LOGINDISABLED" not in capabilities


def _log_in(imap: imaplib.IMAP4, address: ImapAddress, password: str, owner: str) -> None:
    who = f"{owner}\0{address.admin}\0{password}".encode("utf-8", "surrogateescape")
    try:
        if "AUTH=PLAIN" in imap.capabilities or owner:
            imap.authenticate("PLAIN", lambda _challenge: who)
        else:
            imap.login(address.admin, password)
    except imaplib.IMAP4.abort:
        raise
    except imaplib.IMAP4.error as error:
        meant = f"{address.admin} in place of {owner}" if owner else address.admin
        raise RefusedError(f"{address}: the server refused to log in {printable(meant)}: {_said(error)}") from None
    # What a user may do is listed after the login (X-REPLICATION).
    _, answer = imap.capability()
    imap.capabilities = tuple(answer[-1].decode("ascii", "replace").upper().split())


def _hang_up(imap: imaplib.IMAP4) -> None:
    with suppress(OSError):
        imap.shutdown()


def _said(error: Exception) -> str:
    """Return what a server said, which imaplib gives as bytes."""
    said = error.args[0] if error.args else ""
    return _text(said) if isinstance(said, bytes) else printable(str(said)[:_SHOWN])


def _text(data: bytes) -> str:
    return path_text(data[:_SHOWN].rstrip())


def _failed(address: ImapAddress, error: Exception) -> ConnectionFailed:
    if isinstance(error, TimeoutError):
        return ConnectionFailed(f"{address}: no answer in time", Exit.TIMEOUT)
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConnectionFailed(
            f"{address}: the server's certificate cannot be trusted: {printable(error.verify_message)}: "
            "for a private CA give --cafile",
            Exit.SOCKET,
        )
    if isinstance(error, (imaplib.IMAP4.error, ValueError)):
        return ConnectionFailed(f"{address}: what the server answers is not IMAP: {_said(error)}")
    return ConnectionFailed(f"{address}: the connection failed: {printable(error_text(error))}", Exit.SOCKET)
