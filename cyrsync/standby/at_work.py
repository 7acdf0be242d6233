"""Whether a Cyrus is at work on this machine, by its imapd.conf."""

from __future__ import annotations

import os

from cyrsync.cyrus.server.config import Config
from cyrsync.far import at_work

_SERVICES = frozenset([b"imapd", b"pop3d", b"lmtpd", b"httpd", b"nntpd", b"timsieved", b"sync_server"])


def processes(config: Config, conf: bytes) -> list[int]:
    """Return the processes of a Cyrus that runs with this imapd.conf: masters, and what clients are connected to."""
    real = os.path.realpath(conf)
    registered = _registered(config)
    return [pid for pid in at_work.processes() if _runs_with(pid, real) or (pid in registered and _is_service(pid))]


def _registered(config: Config) -> set[int]:
    """Return the numbers that services have left: after a crash, other processes may have them now."""
    try:
        return {
            int(name)
            for name in os.listdir(config.raw("proc_path") or config.configdirectory + b"/proc")
            if name.isdigit()
        }
    except OSError:
        return set()


def _runs_with(pid: int, conf: bytes) -> bool:
    theirs = at_work.conf_of(pid)
    return theirs is not None and os.path.realpath(theirs) == conf


def _is_service(pid: int) -> bool:
    return os.path.basename(at_work.command_line(pid)[0].partition(b":")[0]) in _SERVICES
