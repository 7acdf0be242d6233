"""The command that starts Cyrus with the imapd.conf that it is to have: the host's service, or a server by itself."""

from __future__ import annotations

import os
import shlex
from collections.abc import Iterator

from cyrsync.cyrus.server import CONF

SERVICE = "cyrus-imapd"
#: Where a service is masked (systemctl(1)): until the next start of the host, or for good.
_UNITS = ("/etc/systemd/system", "/run/systemd/system")


def commands(conf: str, directory: str, tools: str | None) -> Iterator[tuple[str, str]]:
    """Yield commands for a shell, each with a remark.

    `conf` is the whole path of the imapd.conf, `directory` its configdirectory; Cyrus's programs are in `tools`.
    """
    if os.path.realpath(conf) == os.path.realpath(CONF):
        if is_masked(SERVICE):
            yield f"systemctl unmask {SERVICE}", "it was masked, so that nobody starts it on a replica"
        yield f"systemctl start {SERVICE}", "by whatever name Cyrus has here"
        return
    # The service reads another imapd.conf, and may lead to the replica itself.
    path = f"PATH={shlex.quote(tools)}:$PATH " if tools else ""
    services = os.path.join(os.path.dirname(conf), "cyrus.conf")
    words = ["master", "-C", conf, "-M", services, "-p", os.path.join(directory, "master.pid"), "-d"]
    yield path + shlex.join(words), "with a cyrus.conf of its own, which names this imapd.conf in each line"


def is_masked(service: str) -> bool:
    """Tell whether systemd is kept from starting a service."""
    return any(os.path.realpath(os.path.join(units, f"{service}.service")) == os.devnull for units in _UNITS)
