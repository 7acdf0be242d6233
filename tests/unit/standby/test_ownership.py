"""Whom Cyrus runs as, and what it may write to."""

from __future__ import annotations

import grp
import os
import pwd
import stat
from pathlib import Path

import pytest

from cyrsync.cyrus.server import config
from cyrsync.errors import UnusableError
from cyrsync.standby.ownership import Identity, identity


def read(directory: Path, *lines: str) -> config.Config:
    conf = directory / "imapd.conf"
    conf.write_text("".join(f"{line}\n" for line in ("configdirectory: /c", "partition-default: /s", *lines)))
    return config.read(str(conf))


@pytest.fixture(autouse=True)
def nobody_says(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("CYRUS_USER", raising=False)
    monkeypatch.delenv("CYRUS_GROUP", raising=False)


def test_imapd_conf_names_the_user_and_the_environment_goes_before_it(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    me = pwd.getpwuid(os.getuid())
    conf = read(tmp_path, f"cyrus_user: {me.pw_name}")
    assert identity(conf) == Identity(me.pw_name, me.pw_uid, grp.getgrgid(me.pw_gid).gr_name, me.pw_gid)
    monkeypatch.setenv("CYRUS_USER", "nobody")
    assert identity(conf).user == "nobody"


def test_a_group_of_its_own(tmp_path: Path) -> None:
    conf = read(tmp_path, f"cyrus_user: {pwd.getpwuid(os.getuid()).pw_name}", "cyrus_group: daemon")
    assert identity(conf).gid == grp.getgrnam("daemon").gr_gid


def test_a_machine_without_cyrus(tmp_path: Path) -> None:
    with pytest.raises(UnusableError, match="no user nobody-of-that-name"):
        identity(read(tmp_path, "cyrus_user: nobody-of-that-name"))


@pytest.mark.parametrize(
    ("kind", "mode", "uid", "gid", "fine"),
    [
        (stat.S_IFREG, 0o600, 5, 6, True),
        (stat.S_IFREG, 0o400, 5, 6, False),
        (stat.S_IFREG, 0o644, 0, 6, False),
        (stat.S_IFREG, 0o644, 5, 0, False),
        (stat.S_IFDIR, 0o700, 5, 6, True),
        (stat.S_IFDIR, 0o600, 5, 6, False),
        (stat.S_IFLNK, 0o777, 0, 0, True),
        (stat.S_IFSOCK, 0o755, 0, 0, True),
    ],
)
def test_owns(kind: int, mode: int, uid: int, gid: int, fine: bool) -> None:
    status = os.stat_result((kind | mode, 1, 1, 1, uid, gid, 0, 0, 0, 0))
    assert Identity("five", 5, "six", 6).owns(status) is fine
