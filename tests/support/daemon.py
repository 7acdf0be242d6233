"""A private rsync daemon on loopback."""

from __future__ import annotations

import os
import socket
import subprocess
from pathlib import Path

from support.tools import free_port, wait_for, which

CONFIG = """\
address = 127.0.0.1
use chroot = no
munge symlinks = no
log file = {root}/rsyncd.log
lock file = {root}/rsyncd.lock
{identity}
[rw]
path = {root}/rw
read only = no

[ro]
path = {root}/ro
read only = yes

[secret]
path = {root}/secret
read only = no
auth users = alice
secrets file = {root}/secrets
strict modes = no
"""


class RsyncDaemon:
    """Modules `rw`, `ro` and `secret` (user `alice`), each a directory of the same name below `root`."""

    password = "opensesame"

    def __init__(self, root: Path) -> None:
        self.root = root
        self.port = free_port()
        self.log = root / "rsyncd.log"
        self._process: subprocess.Popen[bytes] | None = None
        for module in "rw", "ro", "secret":
            self.directory(module).mkdir()
        (root / "secrets").write_text(f"alice:{self.password}\n")
        self.password_file = root / "password"
        self.password_file.write_text(f"{self.password}\n")
        self.password_file.chmod(0o600)
        # Started by root, a daemon would work as nobody.
        identity = f"uid = {os.getuid()}\ngid = {os.getgid()}\n" if os.getuid() == 0 else ""
        (root / "rsyncd.conf").write_text(CONFIG.format(root=root, identity=identity))

    def __enter__(self) -> RsyncDaemon:
        self.start()
        return self

    def __exit__(self, *_exc: object) -> None:
        self.stop()

    def directory(self, module: str) -> Path:
        """Where a module lies on this machine."""
        return self.root / module

    def url(self, module: str, path: str = "", *, user: str | None = None) -> str:
        """`rsync://[USER@]HOST:PORT/MODULE/PATH`."""
        login = f"{user}@" if user else ""
        return f"rsync://{login}127.0.0.1:{self.port}/{module}/{path}"

    def start(self) -> None:
        """Listen."""
        program = which("rsync")
        assert program is not None
        self._process = subprocess.Popen(
            [program, "--daemon", "--no-detach", f"--config={self.root}/rsyncd.conf", f"--port={self.port}"],
            stdin=subprocess.DEVNULL,
            start_new_session=True,
        )
        wait_for(self._answers, name=f"the rsync daemon, see {self.log}")

    def stop(self) -> None:
        """End the daemon; asked politely, rsync takes half a second."""
        if self._process is not None:
            self._process.kill()
            self._process.wait()
            self._process = None

    def _answers(self) -> bool:
        try:
            with socket.create_connection(("127.0.0.1", self.port), timeout=1) as connection:
                return connection.recv(8) == b"@RSYNCD:"
        except OSError:
            return False
