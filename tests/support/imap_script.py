"""An IMAP server that says what a test wants it to say, right or wrong, with TLS or without."""

from __future__ import annotations

import socket
import ssl
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO

GREETING = b"* OK [CAPABILITY IMAP4rev1 AUTH=PLAIN SASL-IR LITERAL+] ready\r\n"

#: What the server does with one connection: it reads lines, and writes.
Script = Callable[[BinaryIO], None]


def certificate(directory: Path, name: str) -> Path:
    """Make a certificate for a host's name that no CA has signed, and its key, in one file."""
    path = directory / f"{name}.pem"
    words = ["openssl", "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2", "-subj", f"/CN={name}"]
    words += ["-addext", f"subjectAltName=DNS:{name}", "-keyout", str(path), "-out", f"{path}.crt"]
    subprocess.run(words, check=True, capture_output=True)
    path.write_bytes(path.read_bytes() + Path(f"{path}.crt").read_bytes())
    return path


def answer(stream: BinaryIO, said: bytes) -> bytes:
    """Read a command, and write an answer, `TAG` in it standing for the command's tag; return the command."""
    line = stream.readline()
    stream.write(said.replace(b"TAG", line.partition(b" ")[0]))
    stream.flush()
    return line


def log_in(stream: BinaryIO, capabilities: bytes = b"IMAP4rev1 AUTH=PLAIN", result: bytes = b"OK in") -> bytes:
    """Greet, and let anybody in, or nobody; return what was said for a login."""
    stream.write(GREETING)
    stream.flush()
    answer(stream, b"* CAPABILITY IMAP4rev1 AUTH=PLAIN\r\nTAG OK done\r\n")
    tag = answer(stream, b"+ \r\n").split()[0]
    said = stream.readline()
    stream.write(b"%s %s\r\n" % (tag, result))
    stream.flush()
    answer(stream, b"* CAPABILITY %s\r\nTAG OK done\r\n" % capabilities)
    return said


@contextmanager
def serving(script: Script, key: Path | None = None) -> Iterator[int]:
    """Serve one connection on loopback; `key` has certificate and key, for TLS from the start. Yield the port."""
    with socket.create_server(("127.0.0.1", 0)) as listening:

        def serve() -> None:
            # A client that hangs up leaves nothing to read.
            with suppress(OSError, IndexError):
                connection, _ = listening.accept()
                with connection:
                    if key is not None:
                        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                        context.load_cert_chain(key)
                        connection = context.wrap_socket(connection, server_side=True)
                    with connection, connection.makefile("rwb") as stream:
                        script(stream)

        thread = threading.Thread(target=serve)
        thread.start()
        try:
            yield listening.getsockname()[1]
        finally:
            with suppress(OSError):
                listening.shutdown(socket.SHUT_RDWR)
            thread.join()
