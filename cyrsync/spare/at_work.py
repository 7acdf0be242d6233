"""Whether a Cyrus is at work on this machine, by its imapd.conf."""

from __future__ import annotations

import os

from cyrsync import process
from cyrsync.cyrus.config import Config

#: Where Cyrus looks without -C.
_CONF = b"/etc/imapd.conf"
_MASTERS = frozenset([b"master", b"cyrmaster", b"cyrus-master"])
_SERVICES = frozenset([b"imapd", b"pop3d", b"lmtpd", b"httpd", b"nntpd", b"timsieved", b"sync_server"])


def processes(config: Config, conf: bytes) -> list[int]:
    """Return the processes of a Cyrus that runs with this imapd.conf: masters, and what clients are connected to."""
    real = os.path.realpath(conf)
    registered = _registered(config)
    return [
        pid
        for pid in process.processes()
        if _is_master(_words(pid), real) or (pid in registered and _is_service(_words(pid)))
    ]


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


def _is_master(words: list[bytes], conf: bytes) -> bool:
    if os.path.basename(words[0]) not in _MASTERS:
        return False
    if b"-C" in words[:-1]:
        return os.path.realpath(words[words.index(b"-C") + 1]) == conf
    # Postfix's is called master, too.
    return b"cyr" in words[0] and conf == os.path.realpath(_CONF)


def _is_service(words: list[bytes]) -> bool:
    return os.path.basename(words[0].partition(b":")[0]) in _SERVICES


def _words(pid: int) -> list[bytes]:
    return process.command_line(pid).split(b"\0")
