"""Servers with all that a hot spare has to have, the spares on their replicas, and what clients see of either."""

from __future__ import annotations

import base64
import imaplib
import os
import random
import re
import signal
import socket
import subprocess
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from support.imapd import CyrusServer, dump, folders, ok
from support.tools import children, free_port, wait_for
from support.tree import cyrsync_argv, plain_env, run_cyrsync

#: Annotations of the server, and of a mailbox.
_SERVER_ENTRIES = ("/shared/comment", "/shared/admin")
_ENTRIES = ("/private/comment", "/shared/comment", "/shared/vendor/cmu/cyrus-imapd/expire")
_DIRECTORIES = {"configdirectory": "{root}/conf", "partition-default": "{root}/spool", "sievedir": "{root}/sieve"}

for _command in ("GETMETADATA", "SETMETADATA"):
    imaplib.Commands[_command] = ("AUTH", "SELECTED")


class FullServer(CyrusServer):
    """Clients keep their scripts here, too. `{root}` in an option is where the server lives."""

    def __init__(self, root: Path, **options: str) -> None:
        self.sieve_port = free_port()
        self.paths = {}
        options = {name: value.format(root=root) for name, value in {**_DIRECTORIES, **options}.items()}
        for name, value in options.items():
            if value.startswith("/"):
                self.paths[name] = Path(value)
            if value.startswith(f"{root}/"):
                Path(value).mkdir(parents=True)
        super().__init__(root, **options)

    @classmethod
    def spare(cls, root: Path, primary: FullServer, prefix: Path) -> FullServer:
        """One with an imapd.conf of its own that leads to the replica below `prefix`; not yet started."""
        paths = {name: f"{prefix}{path}" for name, path in primary.paths.items()}
        return cls(root, **{**primary.options, **paths})

    @property
    def imapd_conf(self) -> Path:
        return self.root / "imapd.conf"

    def _write_config(self) -> None:
        super()._write_config()
        file = self.root / "cyrus.conf"
        service = f'  sieve cmd="timsieved -C {self.imapd_conf}" listen="127.0.0.1:{self.sieve_port}"\n'
        file.write_text(file.read_text().replace("SERVICES {\n", f"SERVICES {{\n{service}"))


def promote(server: CyrusServer, expect: tuple[int, ...] = (0,)) -> None:
    """Make a server of a replica, for good."""
    done = run_cyrsync("promote", "-C", server.root / "imapd.conf", "--run")
    assert done.returncode in expect, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"


def killed_sync(after: float, *words: str | Path, rng: random.Random) -> int:
    """Run `cyrsync sync`, kill it after so many seconds, and return how it ended; nothing it started is left."""
    argv = cyrsync_argv("sync", *words)
    pipes: dict[str, Any] = dict.fromkeys(("stdin", "stdout", "stderr"), subprocess.DEVNULL)
    with subprocess.Popen(argv, env=plain_env(), start_new_session=True, **pipes) as process:
        with suppress(subprocess.TimeoutExpired):
            return process.wait(timeout=after)
        below = children(process.pid)
        rng.choice([os.kill, os.killpg])(process.pid, signal.SIGKILL)
        process.wait()
        wait_for(lambda: not any(map(is_alive, below)), seconds=30, name="what a killed run had started")
        return process.returncode


def is_alive(pid: int) -> bool:
    """Whether a process is there, and no zombie."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


# --- What clients see


def seen_by_clients(server: FullServer, users: Sequence[str]) -> dict[str, Any]:
    """All of `dump`, and annotations of the server, of mailboxes and messages, conversations, and scripts.

    What is seen by what it is of, for comparing: `user0: "INBOX": MESSAGES: 1`.
    """
    seen: dict[str, Any] = {}
    for user in users:
        with sieve(server, user) as scripts:  # the first look makes a mailbox for them
            listed = scripts.command("LISTSCRIPTS")
            names = re.findall(r'^"(\w+)"', listed, re.MULTILINE)
            seen[f"{user}'s scripts"] = [listed, *(scripts.command(f'GETSCRIPT "{name}"') for name in names)]
    seen.update(dump(server, users))
    with server.admin() as imap:
        seen["annotations"] = get_metadata(imap, '""', _SERVER_ENTRIES)
        seen["annotations of"] = {name: get_metadata(imap, name, _ENTRIES) for name in folders(imap)}
    for user in users:
        with server.login(user) as imap:
            seen[f"{user} as well"] = {name: _more(imap, name, server.options) for name in folders(imap)}
    return dict(_flat(seen))


def _flat(seen: dict[Any, Any]) -> Iterator[tuple[str, Any]]:
    for key, value in seen.items():
        if isinstance(value, dict):
            yield from ((f"{key}: {below}", inner) for below, inner in _flat(value))
        else:
            yield str(key), value


def _more(imap: imaplib.IMAP4, folder: str, options: dict[str, str]) -> list[Any]:
    counts = "XCONVEXISTS XCONVUNSEEN XCONVMODSEQ" if "conversations" in options else "MESSAGES"
    found = [get_metadata(imap, folder, _ENTRIES), ok(imap.status(folder, f"({counts})"))]
    ok(imap.select(folder, readonly=True))
    found.append(ok(imap.uid("FETCH", "1:*", '(ANNOTATION (/comment ("value.priv" "value.shared")))')))
    ok(imap.unselect())
    return found


def get_metadata(imap: imaplib.IMAP4, mailbox: str, entries: Sequence[str]) -> list[Any]:
    """What the server answers to GETMETADATA."""
    ok(imap.xatom("GETMETADATA", mailbox, f"({' '.join(entries)})"))
    return sorted(imap.response("METADATA")[1], key=repr)


def set_metadata(imap: imaplib.IMAP4, mailbox: str, entry: str, value: str) -> None:
    ok(imap.xatom("SETMETADATA", mailbox, f'({entry} "{value}")'))


def opened(imap: imaplib.IMAP4, folder: str) -> list[bytes]:
    """The messages in a mailbox, of which every one must be there."""
    count = int(ok(imap.select(folder, readonly=True))[0])
    response = ok(imap.uid("FETCH", "1:*", "(UID BODY.PEEK[])")) if count else []
    ok(imap.unselect())
    found = [part[1] for part in response if isinstance(part, tuple)]
    assert len(found) == count, (folder, response)
    return found


class _Sieve:
    """A ManageSieve connection."""

    def __init__(self, connection: socket.socket) -> None:
        self._connection = connection
        self._file = connection.makefile("rb")
        self._answer()

    def command(self, line: str, text: str | None = None) -> str:
        """Send a command, with a script perhaps, and return the answer, which must be OK."""
        literal = f" {{{len(text)}+}}\r\n{text}" if text is not None else ""
        self._connection.sendall(f"{line}{literal}\r\n".encode())
        return self._answer()

    def _answer(self) -> str:
        lines: list[str] = []
        while not lines or not re.match(r"OK|NO|BYE", lines[-1]):
            lines.append(self._file.readline().decode())
            assert lines[-1], lines
        assert lines[-1].startswith("OK"), lines
        return "".join(lines[:-1])

    def close(self) -> None:
        self._file.close()


@contextmanager
def sieve(server: FullServer, user: str) -> Iterator[_Sieve]:
    """The scripts of `user`."""
    with socket.create_connection(("127.0.0.1", server.sieve_port), timeout=10) as connection:
        scripts = _Sieve(connection)
        secret = base64.b64encode(f"\0{user}\0any".encode()).decode()
        scripts.command(f'AUTHENTICATE "PLAIN" "{secret}"')
        yield scripts
        scripts.close()
