"""What is started is the server of the imapd.conf that was given, and nothing that reads another one."""

from __future__ import annotations

from pathlib import Path

import pytest

from cyrsync.standby import starting


@pytest.fixture
def units(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setattr(starting, "_UNITS", (str(tmp_path),))
    return tmp_path


def lines(conf: str, tools: str | None = "/usr/lib/cyrus/bin") -> list[str]:
    return [command for command, _ in starting.commands(conf, "/srv/r/conf", tools)]


def test_the_service(units: Path) -> None:
    assert lines("/etc/imapd.conf") == ["systemctl start cyrus-imapd"]
    (units / "cyrus-imapd.service").symlink_to("/lib/systemd/system/cyrus-imapd.service")
    assert lines("/etc/../etc/imapd.conf") == ["systemctl start cyrus-imapd"]


def test_a_service_that_is_masked(units: Path) -> None:
    (units / "cyrus-imapd.service").symlink_to("/dev/null")
    assert lines("/etc/imapd.conf") == ["systemctl unmask cyrus-imapd", "systemctl start cyrus-imapd"]


def test_a_server_by_itself(units: Path) -> None:
    words = "master -C /srv/r/imapd.conf -M /srv/r/cyrus.conf -p /srv/r/conf/master.pid -d"
    assert lines("/srv/r/imapd.conf") == [f"PATH=/usr/lib/cyrus/bin:$PATH {words}"]
    assert lines("/srv/r/imapd.conf", None) == [words]
    assert lines("/srv/a b/imapd.conf", "/opt/a b")[0].startswith(
        "PATH='/opt/a b':$PATH master -C '/srv/a b/imapd.conf'"
    )
