"""Reports the status of a service to systemd: the protocol of sd_notify, one datagram for each message."""

from __future__ import annotations

import os
import socket
import time
from collections.abc import Mapping
from contextlib import suppress


class Service:
    """The service manager that started us; without one, nothing is reported."""

    def __init__(self, environment: Mapping[str, str]) -> None:
        """Find it by NOTIFY_SOCKET, and how often it wants to hear of us by WATCHDOG_USEC and WATCHDOG_PID."""
        self._address = environment.get("NOTIFY_SOCKET", "")
        self._every = _watchdog(environment) / 2
        self._fed = float("-inf")
        self._status = ""

    def ready(self) -> None:
        """Report that work has begun."""
        self._send("READY=1")

    def status(self, text: str) -> None:
        """Report the status in one line, if that has changed."""
        if text != self._status:
            self._status = text
            self._send(f"STATUS={text}")

    def feed(self) -> None:
        """Feed the watchdog: from the loop that does the work, as often as needed."""
        if self._every and time.monotonic() - self._fed >= self._every:
            self._fed = time.monotonic()
            self._send("WATCHDOG=1")

    def reloading(self) -> None:
        """Tell that the settings are read again; `ready` has to follow."""
        self._send(f"RELOADING=1\nMONOTONIC_USEC={time.monotonic_ns() // 1000}")

    def stopping(self) -> None:
        """Tell that we are about to end."""
        self._send("STOPPING=1")

    def _send(self, message: str) -> None:
        if self._address[:1] not in ("/", "@"):
            return
        address = "\0" + self._address[1:] if self._address.startswith("@") else self._address
        with suppress(OSError), socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as channel:
            channel.setblocking(False)
            channel.sendto(message.encode("utf-8", "replace"), address)


def _watchdog(environment: Mapping[str, str]) -> float:
    """Return the seconds after which the watchdog gives us up, 0 for never."""
    with suppress(ValueError):
        if int(environment.get("WATCHDOG_PID") or os.getpid()) == os.getpid():
            return max(int(environment.get("WATCHDOG_USEC") or 0), 0) / 1e6
    return 0.0
