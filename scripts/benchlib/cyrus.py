"""Private Cyrus IMAPds on loopback, a master and a replica, and the mail that is brought to the former."""

from __future__ import annotations

import contextlib
import grp
import imaplib
import os
import pwd
import shutil
import signal
import socket
import subprocess
import time
from collections.abc import Iterable, Iterator, Mapping, Sequence
from itertools import groupby
from pathlib import Path

import samplespool
from benchlib.running import say

#: What Debian calls them, and where it puts what they hold.
PACKAGES = ("cyrus-imapd", "cyrus-replication", "libsasl2-modules")
PROGRAMS = "/usr/lib/cyrus/bin"
_NEEDED = ("master", "imapd", "sync_server", "sync_client")
_DIRECTORIES = "conf/db conf/log conf/msg conf/socket conf/sync run/proc run/lock sieve spool".split()
#: Messages that are appended by one command.
_AT_ONCE = 500


def install() -> None:
    """See to Cyrus's programs, as root on Debian; SystemExit where they are missing and stay so."""
    if not _missing():
        return
    setup = Path(__file__).resolve().parents[1] / "setup.bash"
    script = 'setup=$1; shift; . "$setup"; install_packages "$@"'
    subprocess.run(["bash", "-euc", script, "bash", str(setup), *PACKAGES], check=True)
    if _missing():
        raise SystemExit(f"bench: there is no {', no '.join(_missing())} in {PROGRAMS}")


def _missing() -> list[str]:
    return [name for name in _NEEDED if not os.access(f"{PROGRAMS}/{name}", os.X_OK)]


def version() -> str:
    """Return which Cyrus it is."""
    asked = subprocess.run([f"{PROGRAMS}/master", "-V"], capture_output=True, text=True, check=False)
    return " ".join((asked.stdout + asked.stderr).split()[:3])


class Server:
    """A Cyrus that lives wholly below `root`, with one service: any password is good, the administrator is `cyrus`."""

    def __init__(
        self, root: Path, service: str, settings: Mapping[str, str] | None = None, *, own: bool = os.geteuid() == 0
    ) -> None:
        """`service` is its program; `settings` go to imapd.conf; with `own`, all is given to Cyrus's user."""
        self.root = root
        self.conf = root / "imapd.conf"
        self.spool = root / "spool"
        self.port = _free_port()
        self._service = service
        self._own = own
        self._settings = settings or {}
        self._master: subprocess.Popen[bytes] | None = None
        self.make_empty()

    def make_empty(self) -> None:
        """Begin anew: no mailbox, no user, no mail. A server that runs is started again."""
        running = self._master is not None
        self.stop()
        shutil.rmtree(self.root, ignore_errors=True)
        for name in _DIRECTORIES:
            (self.root / name).mkdir(parents=True)
        self.conf.write_text(imapd_conf(self.root, self._settings))
        (self.root / "cyrus.conf").write_text(
            f'START {{\n  recover cmd="ctl_cyrusdb -C {self.conf} -r"\n}}\nSERVICES {{\n'
            f'  one cmd="{self._service} -C {self.conf}" listen="127.0.0.1:{self.port}" prefork=1\n}}\nEVENTS {{\n}}\n'
        )
        if self._own:
            for path in (self.root, *self.root.rglob("*")):
                shutil.chown(path, "cyrus", "mail")
        if running:
            self.start()

    def start(self) -> None:
        """Start, and return when it answers."""
        files = ["-C", f"{self.conf}", "-M", f"{self.root}/cyrus.conf", "-p", f"{self.root}/run/pid"]
        path = os.pathsep.join([PROGRAMS, "/usr/sbin", os.environ.get("PATH", os.defpath)])
        environment = {**os.environ, **identity(), "PATH": path}
        self._master = subprocess.Popen(
            [f"{PROGRAMS}/master", *files, "-D"], env=environment, stdin=subprocess.DEVNULL, start_new_session=True
        )
        for _ in range(300):
            if self._greets():
                return
            time.sleep(0.1)
        raise SystemExit(f"bench: Cyrus in {self.root} does not answer: syslog may say why")

    def stop(self) -> None:
        """Stop it, and all that it has started."""
        if self._master is None:
            return
        self._master.terminate()
        try:
            self._master.wait(20)
        except subprocess.TimeoutExpired:
            os.killpg(self._master.pid, signal.SIGKILL)
            self._master.wait()
        self._master = None

    def _greets(self) -> bool:
        with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", self.port), timeout=5) as connection:
            return connection.recv(2) == b"* "
        return False

    @contextlib.contextmanager
    def login(self, user: str) -> Iterator[imaplib.IMAP4]:
        """Log in by IMAP."""
        imap = imaplib.IMAP4("127.0.0.1", self.port)
        try:
            imap.login(user, "any")
            yield imap
        finally:
            imap.shutdown()  # not logged out: a command may have been interrupted


@contextlib.contextmanager
def started(server: Server) -> Iterator[Server]:
    """Run a server, and stop it however this ends."""
    try:
        server.start()
        yield server
    finally:
        server.stop()


def identity() -> dict[str, str]:
    """Return what tells Cyrus's programs as whom to run: as Debian's user, where root starts them."""
    user, group = "cyrus", "mail"
    if os.geteuid() != 0:
        user, group = pwd.getpwuid(os.geteuid()).pw_name, grp.getgrgid(os.getegid()).gr_name
    return {"CYRUS_USER": user, "CYRUS_GROUP": group}


def imapd_conf(root: Path, settings: Mapping[str, str]) -> str:
    """Return an imapd.conf of a server below `root`."""
    lines = {
        "configdirectory": f"{root}/conf",
        "defaultpartition": "default",
        "partition-default": f"{root}/spool",
        "proc_path": f"{root}/run/proc",
        "mboxname_lockpath": f"{root}/run/lock",
        "sievedir": f"{root}/sieve",
        "servername": "imap.example.org",
        "altnamespace": "no",
        "unixhierarchysep": "no",
        "hashimapspool": "yes",
        "admins": "cyrus",
        "allowplaintext": "yes",
        "sasl_mech_list": "PLAIN LOGIN",
        "sasl_pwcheck_method": "alwaystrue",
        **settings,
    }
    return "".join(f"{name}: {value}\n" for name, value in lines.items())


def replicating(port: int) -> dict[str, str]:
    """Return the settings of a master whose replica listens there."""
    return {
        "sync_host": "127.0.0.1",
        "sync_port": str(port),
        "sync_authname": "cyrus",
        "sync_password": "any",
        "sync_try_imap": "no",
    }


def fill(server: Server, spool: Path) -> None:
    """Bring the mailboxes and messages of a sample spool to a server, by IMAP and each as its user."""
    for user, folders in groupby(samplespool.folders(spool), key=lambda folder: folder.relative_to(spool).parts[2]):
        say(f"filling Cyrus: {user}")
        with server.login("cyrus") as imap:
            _ok(user, *imap.create(f"user.{user}"))
        with server.login(user) as imap:
            for folder in folders:
                name = mailbox_name(spool, folder)
                if name != "INBOX":
                    _ok(name, *imap.create(f'"{name}"'))
                _append(imap, name, folder)


def mailbox_name(spool: Path, folder: Path) -> str:
    """Return a folder's name as its user says it."""
    return ".".join(["INBOX", *folder.relative_to(spool).parts[3:]])


def _append(imap: imaplib.IMAP4, name: str, folder: Path) -> None:
    messages = sorted(folder.glob("*[0-9]."), key=lambda path: int(path.name[:-1]))
    for start in range(0, len(messages), _AT_ONCE):
        imap.send(appending(name, (path.read_bytes() for path in messages[start : start + _AT_ONCE])))
        while (line := imap.readline()).startswith(b"* "):
            pass
        if not line.startswith(b"bench OK "):
            raise SystemExit(f"bench: cannot append to {name}: {line!r}")


def appending(name: str, messages: Iterable[bytes]) -> bytes:
    """Return one command that appends messages (MULTIAPPEND), without waiting for the server in between (LITERAL+)."""
    literals = (b" {%d+}\r\n%s" % (len(message), message) for message in messages)
    return b'bench APPEND "%s"%s\r\n' % (name.encode(), b"".join(literals))


def _ok(name: str, status: str, answer: Sequence[object]) -> None:
    if status != "OK":
        raise SystemExit(f"bench: {name}: {answer}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
