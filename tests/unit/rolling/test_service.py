"""What a service manager is told, and how long to wait before another try."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrsync.rolling.backoff import connection_pause, mailbox_pause
from cyrsync.rolling.service import Service


@pytest.fixture
def manager(open_dir: Path) -> Iterator[socket.socket]:
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(open_dir / "notify"))
        listening.settimeout(10)
        yield listening


def test_what_is_told(manager: socket.socket) -> None:
    service = Service({"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "60000000"})
    service.ready()
    service.status("0.0 s behind")
    service.status("0.0 s behind")
    service.feed()
    service.feed()
    service.reloading()
    service.stopping()
    told = [manager.recv(1000).decode() for _ in range(5)]
    assert told[:3] == ["READY=1", "STATUS=0.0 s behind", "WATCHDOG=1"]
    assert told[3].startswith("RELOADING=1\nMONOTONIC_USEC=")
    assert told[4] == "STOPPING=1"


def test_an_abstract_socket() -> None:
    name = f"cyrsync-{os.getpid()}"
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind("\0" + name)
        Service({"NOTIFY_SOCKET": "@" + name}).ready()
        assert listening.recv(100) == b"READY=1"


@pytest.mark.parametrize(
    "environment",
    [{}, {"NOTIFY_SOCKET": ""}, {"NOTIFY_SOCKET": "no/path"}, {"NOTIFY_SOCKET": "/nobody/listens"}],
)
def test_nobody_is_told(environment: dict[str, str]) -> None:
    service = Service({"WATCHDOG_USEC": "x", **environment})
    service.ready()
    service.feed()


def test_the_watchdog_of_another_process(manager: socket.socket) -> None:
    service = Service({"NOTIFY_SOCKET": manager.getsockname(), "WATCHDOG_USEC": "1", "WATCHDOG_PID": "1"})
    service.feed()
    service.ready()
    assert manager.recv(100) == b"READY=1"


def test_pauses_grow_up_to_a_bound() -> None:
    assert [mailbox_pause(tries) for tries in range(1, 11)] == [1, 2, 4, 8, 16, 32, 64, 128, 256, 300]
    assert [connection_pause(tries, 1) for tries in range(1, 9)] == [1, 2, 4, 8, 16, 32, 60, 60]
    assert connection_pause(7, 0) == 30


@given(st.integers(1, 10**6), st.floats(0, 1))
def test_pauses_are_never_outside_their_bounds(tries: int, luck: float) -> None:
    assert 1 <= mailbox_pause(tries) <= 300
    assert 1 <= connection_pause(tries, luck) <= 60
