"""`sync --watch` without a Cyrus: what it is not for, and what a service manager hears of it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from support.servers import SampleServer
from support.tree import messages, run_cyrsync
from support.watcher import Watcher


@pytest.mark.parametrize(
    "words",
    [
        ["/spool", "/replica"],
        ["-C", "/imapd.conf", "--json", "/replica"],
        ["-C", "/imapd.conf", "--dry-run", "/replica"],
        ["-C", "/imapd.conf", "--user", "joe", "/replica"],
        ["-C", "/imapd.conf", "--on-failure", "true", "/replica"],
        ["-C", "/imapd.conf", "/replica", "--", "-v"],
    ],
)
def test_what_it_is_not_for(words: list[str]) -> None:
    done = run_cyrsync("sync", "--watch", *words)
    assert done.returncode == 2
    assert "--watch is for -C and DEST, without SRC, " in done.stderr


def test_a_name_that_is_no_channel(tmp_path: Path) -> None:
    server = SampleServer(tmp_path / "mail")
    done = run_cyrsync("sync", "--watch", "--channel", "a/b", "-C", server.conf, tmp_path)
    assert done.returncode == 2
    assert "--channel a/b" in done.stderr


def test_no_imapd_conf(tmp_path: Path) -> None:
    assert run_cyrsync("sync", "--watch", "-C", tmp_path / "none", tmp_path).returncode == 3


def test_a_replica_that_comes_later_and_what_the_service_manager_hears(
    open_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    server = SampleServer(tmp_path / "mail")
    replica = tmp_path / "replica"
    watcher = Watcher(server.conf, replica, said=tmp_path / "said")
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as manager:
        manager.bind(str(open_dir / "notify"))
        manager.settimeout(60)
        try:
            watcher.start_only(NOTIFY_SOCKET=str(open_dir / "notify"), WATCHDOG_USEC="1000000")
            assert manager.recv(1000) == b"READY=1"
            watcher.wait(lambda: "no such directory" in watcher.said(), name="it says that there is no replica")
            replica.mkdir()
            watcher.wait(lambda: messages(Path(f"{replica}{server.spool}")) == messages(server.spool), name="a copy")
            assert manager.recv(1000) == b"WATCHDOG=1"
            assert watcher.stop() == 0
        finally:
            watcher.close()
    # Cyrus does not log here, which is told once.
    assert watcher.said().count("`sync_log: yes` and `sync_log_channels: cyrsync`") == 1
