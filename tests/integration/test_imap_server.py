"""A login on an IMAP server: who is trusted with the password, and what no server's answer can do."""

from __future__ import annotations

import base64
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import BinaryIO

import pytest

from cyrsync.errors import ConnectionFailed, CyrsyncError, RefusedError, UnusableError
from cyrsync.history import imap_server
from cyrsync.history.imap_address import ImapAddress, parse
from cyrsync.history.imap_server import CommandRefused, Connection, connect, may_be_plain
from support.imap_script import answer, certificate, log_in, serving
from support.tools import free_port, requires

SECRET = "pässword"


def plain(port: int) -> ImapAddress:
    return parse(f"imap://cyrus@127.0.0.1:{port}")


@pytest.fixture(scope="module")
def key(tmp_path_factory: pytest.TempPathFactory) -> Path:
    requires("openssl")
    return certificate(tmp_path_factory.mktemp("key"), "localhost")


def told(script: Callable[[BinaryIO], object], silence: float = 20) -> list[bytes]:
    """What one command is answered by a server that lets anybody in, and then does something."""

    def whole(stream: BinaryIO) -> None:
        log_in(stream)
        script(stream)

    with serving(whole) as port, connect(plain(port), SECRET, silence=silence) as connection:
        return connection.command(b"NOOP")


def test_the_administrator_logs_in_for_himself_or_for_a_user() -> None:
    for owner in ("", "joe"):
        said: list[bytes] = []

        def script(stream: BinaryIO, said: list[bytes] = said) -> None:
            said.append(log_in(stream, b"X-REPLICATION"))

        with serving(script) as port, connect(plain(port), SECRET, owner=owner) as connection:
            assert connection.capabilities == {"X-REPLICATION"}
        assert base64.b64decode(said[0]) == f"{owner}\0cyrus\0{SECRET}".encode()


def test_answers_with_literals() -> None:
    def script(stream: BinaryIO) -> None:
        answer(stream, b"* ONE {4}\r\na\r\nb x {1+}\r\nc)\r\n* TWO\r\nTAG OK done\r\n")

    assert told(script) == [b"ONE {4}\r\na\r\nb x {1+}\r\nc)", b"TWO"]


def test_a_refused_command_tells_why() -> None:
    with pytest.raises(CommandRefused, match=r"not now\\x1b") as refused:
        told(lambda stream: answer(stream, b"TAG NO not now\x1b\r\n"))
    assert refused.value.status == "NO"


def test_a_refused_login() -> None:
    def script(stream: BinaryIO) -> None:
        log_in(stream, result=b"NO authentication failure")

    with serving(script) as port, pytest.raises(RefusedError, match="authentication failure") as error:
        connect(plain(port), SECRET)
    assert error.value.code == 4
    assert SECRET not in str(error.value)


def test_nobody_listens() -> None:
    with pytest.raises(ConnectionFailed, match="refused") as error:
        connect(plain(free_port()), SECRET)
    assert error.value.code == 10


WRONG = {
    "hangs up": (lambda stream: stream.readline(), "hung up"),
    "hangs up in a line": (lambda stream: answer(stream, b"* ON"), "hung up"),
    "hangs up in a literal": (lambda stream: answer(stream, b"* ONE {10}\r\nabc"), "hung up"),
    "says good-bye": (lambda stream: answer(stream, b"* BYE dying\r\n"), "dying"),
    "speaks no IMAP": (lambda stream: answer(stream, b"250 ok\r\n"), "not IMAP"),
    "another's tag": (lambda stream: answer(stream, b"xTAG OK done\r\n"), "not IMAP"),
    "an endless line": (lambda stream: answer(stream, b"* " + b"x" * 3000), "longer"),
    "endless lines": (lambda stream: answer(stream, b"* x\r\n" * 3000), "longer"),
    "a large literal": (lambda stream: answer(stream, b"* x {999999999}\r\n"), "longer"),
}


@pytest.mark.parametrize(("script", "reason"), WRONG.values(), ids=WRONG)
def test_wrong_answers(monkeypatch: pytest.MonkeyPatch, script: Callable[[BinaryIO], object], reason: str) -> None:
    monkeypatch.setattr(imap_server, "LARGEST_ANSWER", 2000)
    with pytest.raises(ConnectionFailed, match=reason) as error:
        told(script)
    assert error.value.code == 12
    assert "\n" not in str(error.value)


def test_nothing_is_said_after_half_a_command() -> None:
    """The server would take it for the rest of a message."""
    heard: list[bytes] = []

    def script(stream: BinaryIO) -> None:
        log_in(stream)
        heard.append(stream.read())

    def broken() -> Iterator[bytes]:
        yield b"half a mess" + bytes(100_000)
        yield b"age"
        raise KeyError

    with serving(script) as port, connect(plain(port), SECRET) as connection:
        with pytest.raises(KeyError):
            connection.command(b"APPEND x {20+}\r\n", parts=broken())
        with pytest.raises(ConnectionFailed, match="broken off"):
            connection.command(b"NOOP")
    assert heard == [b"c1 APPEND x {20+}\r\nhalf a mess" + bytes(100_000)]


def test_why_a_server_hung_up_while_it_was_sent_a_message() -> None:
    def script(stream: BinaryIO) -> None:
        log_in(stream)
        stream.readline()
        stream.write(b"* BYE disk on fire\r\n")
        stream.flush()
        stream.read()

    with serving(script) as port, connect(plain(port), SECRET) as connection:
        refused = pytest.raises(ConnectionFailed, match="disk on fire")
        with refused:
            connection.command(b"APPEND x {1000000+}\r\n", parts=[b"x" * 1000000])


def test_a_server_that_is_silent() -> None:
    def script(stream: BinaryIO) -> None:
        stream.readline()
        stream.readline()

    with pytest.raises(ConnectionFailed, match="no answer") as error:
        told(script, silence=0.2)
    assert error.value.code == 30


@pytest.mark.parametrize("greeting", [b"", b"* BYE busy\r\n", b"SSH-2.0-x\r\n", b"* OK\r\n", b"\xff\r\n"])
def test_wrong_greetings(greeting: bytes) -> None:
    def script(stream: BinaryIO) -> None:
        stream.write(greeting)
        stream.flush()

    with serving(script) as port, pytest.raises(ConnectionFailed) as error:
        connect(plain(port), SECRET)
    assert error.value.code in (10, 12)


def tls_login(key: Path, host: str, cafile: str | None) -> Connection:
    def script(stream: BinaryIO) -> None:
        log_in(stream)

    with serving(script, key) as port:
        address = parse(f"imaps://cyrus@{host}:{port}")
        with connect(address, SECRET, cafile=cafile) as connection:
            return connection


def test_only_a_trusted_certificate_gets_the_password(key: Path) -> None:
    with pytest.raises(ConnectionFailed, match="--cafile") as error:
        tls_login(key, "localhost", None)
    assert error.value.code == 10
    with pytest.raises(ConnectionFailed, match=r"not valid for '127\.0\.0\.1'"):
        tls_login(key, "127.0.0.1", str(key))
    assert tls_login(key, "localhost", str(key)).owner == "cyrus"


@pytest.mark.parametrize("text", [None, b"no certificate"])
def test_a_cafile_that_is_none(tmp_path: Path, text: bytes | None) -> None:
    cafile = tmp_path / "ca.pem"
    if text is not None:
        cafile.write_bytes(text)
    with pytest.raises(UnusableError, match=r"--cafile .*ca\.pem"):
        connect(plain(free_port()), SECRET, cafile=str(cafile))


@pytest.mark.parametrize(
    ("peer", "capabilities", "plain"),
    [
        ("127.0.0.1", {"AUTH=PLAIN"}, True),
        ("::1", {"STARTTLS", "AUTH=PLAIN"}, True),
        ("127.0.0.1", {"STARTTLS", "LOGINDISABLED"}, False),
        ("192.0.2.1", {"AUTH=PLAIN"}, False),
        ("fe80::1%eth0", {"AUTH=PLAIN"}, False),
    ],
)
def test_where_a_password_may_be_sent_as_it_is(peer: str, capabilities: set[str], plain: bool) -> None:
    assert may_be_plain(peer, capabilities) == plain


def test_a_server_without_tls_does_not_get_the_password(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(imap_server, "may_be_plain", lambda *_: False)

    def script(stream: BinaryIO) -> None:
        log_in(stream)

    with serving(script) as port, pytest.raises(CyrsyncError, match="no TLS") as error:
        connect(plain(port), SECRET)
    assert error.value.code == 3
