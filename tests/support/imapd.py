"""A private Cyrus IMAPd on loopback, and what an IMAP client sees of it."""

from __future__ import annotations

import grp
import hashlib
import imaplib
import os
import pwd
import re
import shutil
import smtplib
import socket
import subprocess
from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from cyrsync.cyrus.server.db import reader
from support.tools import SERVER_PATH, free_port, stop_process, wait_for, which

CYRUS_CONF = """\
START {{
  recover cmd="ctl_cyrusdb -C {conf} -r"
}}
SERVICES {{
  imap cmd="imapd -C {conf} -U 30" listen="127.0.0.1:{port}" prefork=1
  lmtp cmd="lmtpd -C {conf} -a" listen="{root}/run/lmtp"
}}
EVENTS {{
}}
"""

#: Directories of a server beside its spool. `conf` is what a replica needs as well.
CONF_DIRECTORIES = ("conf/db", "conf/log", "conf/msg", "conf/socket", "conf/sync")
RUN_DIRECTORIES = ("run/proc", "run/lock", "sieve")

Dump = dict[str, Any]


class Client(imaplib.IMAP4):
    """An IMAP connection whose ends do not wait for each other to acknowledge: that takes 40 ms, at almost each answer.

    What is in two parts is sent at once, here; and the server's parts are acknowledged at once.
    """

    def open(self, *where: Any, **options: Any) -> None:
        super().open(*where, **options)
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)

    def read(self, size: int) -> bytes:
        self._acknowledge()
        return super().read(size)

    def readline(self) -> bytes:
        self._acknowledge()
        return super().readline()

    def _acknowledge(self) -> None:
        """Do so for what comes next: the kernel forgets that."""
        self.sock.setsockopt(socket.IPPROTO_TCP, socket.TCP_QUICKACK, 1)


class CyrusServer:
    """A Cyrus that lives wholly below `root`: any password is good, the administrator is `cyrus`.

    Keyword arguments are lines of imapd.conf: `mailbox_legacy_dirs="yes"`. Where root starts it, it runs
    as Debian's user `cyrus`, else as the user of the tests.
    """

    def __init__(self, root: Path, **options: str) -> None:
        self.root = root
        self.options = options
        self.port = free_port()
        self.spool = root / "spool"
        self.conf = root / "conf"
        self.lmtp_socket = root / "run" / "lmtp"
        self.user, self.group = _identity()
        self._process: subprocess.Popen[bytes] | None = None
        for directory in (root, self.spool, *(root / name for name in CONF_DIRECTORIES + RUN_DIRECTORIES)):
            directory.mkdir(parents=True, exist_ok=True)
        self._write_config()
        self._own(root)

    def __enter__(self) -> CyrusServer:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    @classmethod
    def on_replica(cls, root: Path, primary: CyrusServer) -> CyrusServer:
        """A spare, not yet started: `primary`'s databases as they are now, and the spool that lies in `root`."""
        shutil.rmtree(root / "conf", ignore_errors=True)
        shutil.copytree(primary.conf, root / "conf", ignore=shutil.ignore_patterns("proc", "socket", "lock"))
        return cls(root, **primary.options)

    def start(self) -> None:
        """Run the master process; ready when IMAP greets."""
        program = which("master")
        assert program is not None
        self._process = subprocess.Popen(
            [
                program,
                "-C",
                self._config,
                "-M",
                f"{self.root}/cyrus.conf",
                "-p",
                f"{self.root}/run/pid",
                "-D",
            ],
            env=self.environment,
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_for(self.answers, seconds=30, name=f"Cyrus in {self.root}, see syslog")

    def stop(self) -> None:
        """Stop cleanly: everything is on disk afterwards."""
        if self._process is not None:
            stop_process(self._process, seconds=20)
            self._process = None

    def assert_converts(self, data: bytes) -> None:
        """Cyrus makes a database of its own of what is flat, with the same records."""
        source, made = self.conf / "converted.flat", self.conf / "converted.db"
        made.unlink(missing_ok=True)
        source.write_bytes(data)
        shutil.chown(source, self.user, self.group)
        self.tool("cvt_cyrusdb", str(source), "flat", str(made), "twoskip")
        assert reader.read(bytes(made)) == reader.records(data, b"")

    def tool(self, name: str, *args: str) -> str:
        """Run one of Cyrus's own tools (`reconstruct`, `cyr_expire`, …) and return what it prints."""
        program = which(name)
        assert program is not None
        argv = [program, "-C", self._config, *args]
        who: dict[str, Any] = {"user": self.user, "group": self.group} if os.geteuid() == 0 else {}
        done = subprocess.run(argv, env=self.environment, capture_output=True, text=True, check=False, **who)
        assert done.returncode == 0, f"{name}: {done.stdout}{done.stderr}"
        output: str = done.stdout
        return output

    @contextmanager
    def login(self, user: str) -> Iterator[imaplib.IMAP4]:
        """An IMAP connection of `user`, logged out at the end."""
        with Client("127.0.0.1", self.port) as imap:
            imap.login(user, "any")
            yield imap

    @contextmanager
    def admin(self) -> Iterator[imaplib.IMAP4]:
        """An IMAP connection of the administrator."""
        with self.login("cyrus") as imap:
            yield imap

    def create_user(self, user: str, *, separator: str = ".", quota: int | None = None) -> None:
        """Create the INBOX of `user`, with a quota in KiB where given."""
        with self.admin() as imap:
            inbox = f"user{separator}{user}"
            ok(imap.create(inbox))
            if quota is not None:
                ok(imap.setquota(inbox, f"(STORAGE {quota})"))

    def deliver(self, message: bytes, *users: str) -> None:
        """Deliver by LMTP; more users than one get hard links to one file."""
        with smtplib.LMTP(str(self.lmtp_socket)) as lmtp:
            lmtp.ehlo()
            replies = [lmtp.mail("sender@example.com"), *(lmtp.rcpt(user) for user in users), lmtp.data(message)]
            # LMTP answers once for every recipient; smtplib reads the first answer only.
            replies += [lmtp.getreply() for _ in users[1:]]
        assert all(code == 250 for code, _text in replies), replies

    @property
    def _config(self) -> str:
        return f"{self.root}/imapd.conf"

    @property
    def environment(self) -> dict[str, str]:
        return {"PATH": SERVER_PATH, "CYRUS_USER": self.user, "CYRUS_GROUP": self.group}

    def _write_config(self) -> None:
        options = {
            "configdirectory": f"{self.root}/conf",
            "defaultpartition": "default",
            "partition-default": f"{self.root}/spool",
            "proc_path": f"{self.root}/run/proc",
            "mboxname_lockpath": f"{self.root}/run/lock",
            "lmtpsocket": f"{self.root}/run/lmtp",
            "idlesocket": f"{self.root}/run/idle",
            "notifysocket": f"{self.root}/run/notify",
            "sievedir": f"{self.root}/sieve",
            "servername": "imap.example.com",
            "admins": "cyrus",
            "allowplaintext": "yes",
            "sasl_mech_list": "PLAIN LOGIN",
            "sasl_pwcheck_method": "alwaystrue",
            "duplicatesuppression": "no",
            "altnamespace": "no",
            "unixhierarchysep": "no",
            **self.options,
        }
        lines = [f"{name}: {value}\n" for name, value in options.items()]
        (self.root / "imapd.conf").write_text("".join(lines))
        cyrus_conf = CYRUS_CONF.format(conf=self._config, root=self.root, port=self.port)
        (self.root / "cyrus.conf").write_text(cyrus_conf)

    def _own(self, directory: Path) -> None:
        """Give everything below to the user that Cyrus runs as."""
        if os.geteuid() != 0:
            return
        for path in (directory, *directory.rglob("*")):
            shutil.chown(path, self.user, self.group)

    def answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
                return connection.recv(4) == b"* OK"
        except OSError:
            return False


def ok(response: tuple[str, list[Any]]) -> list[Any]:
    """The data of an IMAP response that must be OK."""
    status, data = response
    assert status == "OK", (status, data)
    return data


def dump(server: CyrusServer, users: Iterable[str]) -> dict[str, Dump]:
    """All that IMAP clients see: the administrator's view of the tree, and each user's of every message."""
    with server.admin() as imap:
        seen: dict[str, Dump] = {"cyrus": _dump_tree(imap)}
    for user in users:
        with server.login(user) as imap:
            seen[user] = _dump_user(imap)
    return seen


def _dump_tree(imap: imaplib.IMAP4) -> Dump:
    """Every mailbox with its rights and quota, also those of users and those that were deleted."""
    return {folder: {"ACL": imap.getacl(folder), "QUOTA": imap.getquotaroot(folder)} for folder in folders(imap)}


def _dump_user(imap: imaplib.IMAP4) -> Dump:
    seen: Dump = {folder: _dump_folder(imap, folder) for folder in folders(imap)}
    seen["subscriptions"] = sorted(ok(imap.lsub()), key=repr)
    return seen


def folders(imap: imaplib.IMAP4) -> list[str]:
    """Names of all mailboxes this client may list, quoted as IMAP wants them back."""
    names = [re.sub(rb'^\([^)]*\) (?:"[^"]*"|NIL) ', b"", line).decode() for line in ok(imap.list()) if line]
    return sorted(name if name.startswith('"') else f'"{name}"' for name in names)


def _dump_folder(imap: imaplib.IMAP4, folder: str) -> Dump:
    ok(imap.select(folder, readonly=True))
    status = ok(imap.status(folder, "(UIDVALIDITY UIDNEXT HIGHESTMODSEQ MESSAGES UNSEEN)"))
    response = ok(imap.uid("FETCH", "1:*", "(UID FLAGS INTERNALDATE RFC822.SIZE BODY.PEEK[])"))
    ok(imap.unselect())
    return {
        "STATUS": status,
        "ACL": imap.getacl(folder),
        "QUOTA": imap.getquotaroot(folder),
        "MESSAGES": dict(_message(part) for part in response if isinstance(part, tuple)),
    }


def _message(part: tuple[bytes, bytes]) -> tuple[int, Mapping[str, str]]:
    """One FETCH response: imaplib gives the words before the literal, and the literal."""
    words, body = part[0].decode(), part[1]
    flags = set(_find(r"FLAGS \(([^)]*)\)", words).split()) - {"\\Recent"}
    return int(_find(r"UID (\d+)", words)), {
        "FLAGS": " ".join(sorted(flags)),
        "INTERNALDATE": _find(r'INTERNALDATE "([^"]*)"', words),
        "SIZE": _find(r"RFC822\.SIZE (\d+)", words),
        "SHA-1": hashlib.sha1(body).hexdigest(),
    }


def _find(pattern: str, text: str) -> str:
    match = re.search(pattern, text)
    assert match, (pattern, text)
    return match[1]


def _identity() -> tuple[str, str]:
    """User and group that Cyrus runs as."""
    if os.geteuid() == 0:
        return "cyrus", "mail"
    return pwd.getpwuid(os.getuid()).pw_name, grp.getgrgid(os.getgid()).gr_name
