"""A private ssh server."""

from __future__ import annotations

import contextlib
import os
import socket
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

from benchlib.bench import HOST, Link


@contextlib.contextmanager
def ssh_server(work: Path) -> Iterator[Link]:
    """Run a private sshd on loopback, with keys of its own, and no configuration of the user's."""
    for name in ("host_key", "user_key"):
        subprocess.run(["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-f", str(work / name)], check=True)
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    (work / "sshd_config").write_text(
        f"ListenAddress 127.0.0.1:{port}\nHostKey {work}/host_key\nAuthorizedKeysFile {work}/user_key.pub\n"
        "PidFile none\nStrictModes no\nUsePAM no\nPasswordAuthentication no\nPermitRootLogin prohibit-password\n"
    )
    host_key = (work / "host_key.pub").read_text()
    (work / "known_hosts").write_text(f"[127.0.0.1]:{port} {host_key}")
    (work / "ssh_config").write_text(
        f"Host {HOST}\nHostName 127.0.0.1\nPort {port}\nIdentityFile {work}/user_key\nIdentitiesOnly yes\n"
        f"UserKnownHostsFile {work}/known_hosts\nBatchMode yes\n"
    )
    if os.geteuid() == 0:
        Path("/run/sshd").mkdir(mode=0o755, exist_ok=True)
    with subprocess.Popen(["/usr/sbin/sshd", "-D", "-f", str(work / "sshd_config")]) as server:
        try:
            rsh = ["ssh", "-F", str(work / "ssh_config")]
            for _ in range(50):
                if subprocess.run([*rsh, HOST, "true"], stderr=subprocess.DEVNULL).returncode == 0:
                    break
                time.sleep(0.1)
            yield Link("ssh", rsh, server.pid)
        finally:
            server.terminate()
