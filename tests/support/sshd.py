"""A private OpenSSH server on loopback, whose far end is this very machine."""

from __future__ import annotations

import getpass
import os
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from support.tools import children, free_port, python_words, stop_process, wait_for, which, write_program

#: What a far end without Python has: POSIX utilities, what shells like to find, and rsync.
POSIX_PROGRAMS = (
    "[ awk basename cat chmod chown cksum cmp comm cp cut date dd df dirname du echo env expr false file find fold",
    "gawk getconf grep head id join kill ln ls mawk mkdir mkfifo mv nice od paste pathchk printf ps pwd rm rmdir",
    "rsync sed sh sleep sort split stty sync tail tee test touch tr true tty uname uniq wc who xargs",
)

SSHD_CONFIG = """\
ListenAddress 127.0.0.1
Port {port}
HostKey {root}/host_key
PidFile none
AuthorizedKeysFile {root}/client_key.pub
PubkeyAuthentication yes
PasswordAuthentication no
KbdInteractiveAuthentication no
PermitRootLogin yes
StrictModes no
UsePAM no
MaxStartups 200
MaxSessions 100
LogLevel VERBOSE
# A quick key exchange, and nothing of what the login of the tests has its shell do at each start.
KexAlgorithms curve25519-sha256
SetEnv HOME={home}
ForceCommand {root}/session
"""

#: What every session runs: the command, in a home of its own, whatever the login of the tests has set up.
SESSION = """\
HOME={home} PATH={path}
export HOME PATH
cd
exec {shell} -c "$SSH_ORIGINAL_COMMAND"
"""


class Sshd:
    """An sshd with its own keys, log and home. `with Sshd(root) as sshd:` starts and stops it.

    The far end finds the interpreter of the tests as `python3`; with `python=False` it finds none, and
    nothing else beyond POSIX but rsync.
    """

    host = "127.0.0.1"

    def __init__(self, root: Path, *, python: bool = True) -> None:
        self.root = root
        self.port = free_port()
        self.log = root / "sshd.log"
        self.config = root / "sshd_config"
        self._process: subprocess.Popen[bytes] | None = None
        self._make_keys()
        self.home = root / "home"
        self.home.mkdir()
        self.config.write_text(SSHD_CONFIG.format(port=self.port, root=root, home=self.home))
        self._make_session(python)

    def __enter__(self) -> Sshd:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    @property
    def rsh(self) -> str:
        """The words for rsync's and cyrsync's `-e`."""
        options = {
            "BatchMode": "yes",
            "IdentitiesOnly": "yes",
            "StrictHostKeyChecking": "no",
            "UserKnownHostsFile": f"{self.root}/known_hosts",
            "LogLevel": "ERROR",
        }
        words = ["ssh", "-F", "/dev/null", "-p", str(self.port), "-i", f"{self.root}/client_key"]
        return " ".join(words + [f"-o {name}={value}" for name, value in options.items()])

    def at(self, path: Path | str) -> str:
        """`HOST:PATH`, as rsync writes it."""
        return f"{self.host}:{path}"

    def connections(self) -> int:
        """How many connections were let in so far."""
        return self.log.read_bytes().count(b"Accepted publickey") if self.log.exists() else 0

    def sessions(self) -> list[int]:
        """Processes of the connections that live, and of what they run."""
        return children(self._process.pid) if self._process else []

    def start(self) -> None:
        """Listen, on the same port every time."""
        if os.geteuid() == 0:
            Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
        program = which("sshd")
        assert program is not None
        self._process = subprocess.Popen(
            [program, "-D", "-f", str(self.config), "-E", str(self.log)],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_for(self._answers, name=f"sshd, see {self.log}")

    def stop(self) -> None:
        """No more connections: those that live are cut, new ones refused."""
        if self._process is not None:
            self._process.send_signal(signal.SIGSTOP)
            self.hang_up()
            self._process.send_signal(signal.SIGCONT)
            stop_process(self._process)
            self._process = None

    @contextmanager
    def stopped(self) -> Iterator[None]:
        """Stand still, with all that every session runs, as a machine does that hangs."""
        assert self._process is not None
        pids = [self._process.pid, *self.sessions()]
        for pid in pids:
            _send(pid, signal.SIGSTOP)
        try:
            yield
        finally:
            for pid in pids:
                _send(pid, signal.SIGCONT)

    def hang_up(self) -> int:
        """Kill what every session runs, as when the far machine dies; how many processes that were."""
        assert self._process is not None
        doomed = children(self._process.pid)
        for pid in doomed:
            _send(pid, signal.SIGKILL)
        return len(doomed)

    def _answers(self) -> bool:
        try:
            with socket.create_connection((self.host, self.port), timeout=1) as connection:
                return connection.recv(4) == b"SSH-"
        except OSError:
            return False

    def _make_keys(self) -> None:
        for name in "host_key", "client_key":
            command = ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", getpass.getuser(), "-f", name]
            subprocess.run(command, cwd=self.root, check=True, stdin=subprocess.DEVNULL)

    def _make_session(self, python: bool) -> None:
        programs = self.root / "bin"
        programs.mkdir()
        if python:
            write_program(programs / "python3", f'exec {python_words()} "$@"')
            path, shell = f"{programs}:/usr/local/bin:/usr/bin:/bin", '"${SHELL:-/bin/sh}"'
        else:
            _link_programs(programs)
            path, shell = str(programs), "/bin/sh"
        write_program(self.root / "session", SESSION.format(home=self.home, path=path, shell=shell))


def _send(pid: int, number: signal.Signals) -> None:
    """Send a signal to a process that may have ended."""
    with suppress(ProcessLookupError):
        os.kill(pid, number)


def _link_programs(directory: Path) -> None:
    for name in " ".join(POSIX_PROGRAMS).split():
        if path := which(name):
            (directory / name).symlink_to(path)
