"""Whether imapd.conf has a channel, and the lines that would add it."""

from __future__ import annotations

from pathlib import Path

import pytest

from cyrsync.cyrus.server import config as imapd_conf
from cyrsync.cyrus.server.config import Config
from cyrsync.errors import UsageError
from cyrsync.rolling import channel
from cyrsync.rolling.readers import reading


def config(tmp_path: Path, *lines: str) -> Config:
    conf = tmp_path / "imapd.conf"
    conf.write_text("\n".join([f"configdirectory: {tmp_path}", *lines, ""]))
    return imapd_conf.read(bytes(conf))


@pytest.mark.parametrize(
    ("lines", "added"),
    [
        ([], "`sync_log: yes` and `sync_log_channels: cyrsync`"),
        (["sync_log: no", "sync_log_channels: cyrsync"], "`sync_log: yes` and `sync_log_channels: cyrsync`"),
        (["sync_log: yes"], '`sync_log_channels: "" cyrsync`'),
        (["sync_log: yes", "sync_log_channels: squatter"], "`sync_log_channels: squatter cyrsync`"),
        (["sync_log: yes", 'sync_log_channels: "" squatter cyrsync'], ""),
    ],
)
def test_lines_that_add_a_channel(tmp_path: Path, lines: list[str], added: str) -> None:
    assert channel.lines_to_add(config(tmp_path, *lines), "cyrsync") == added


@pytest.mark.parametrize(
    ("lines", "added"),
    [
        ([], "`sync_log_unsuppressable_channels: squatter cyrsync`"),
        (["sync_log_unsuppressable_channels: other"], "`sync_log_unsuppressable_channels: other cyrsync`"),
        (["sync_log_unsuppressable_channels: cyrsync"], ""),
        (["sync_log_chain: yes"], ""),
    ],
)
def test_lines_for_users_who_arrive_by_replication(tmp_path: Path, lines: list[str], added: str) -> None:
    assert channel.lines_for_arriving_users(config(tmp_path, *lines), "cyrsync") == added


def test_where_a_channel_lies(tmp_path: Path) -> None:
    assert channel.channel(config(tmp_path), "cyrsync").log == bytes(tmp_path / "sync/cyrsync/log")
    assert channel.channel(config(tmp_path), "").taken == bytes(tmp_path / "sync/log-run")


@pytest.mark.parametrize("name", ["", "a b", "../x", '""', "-n", "a/b", "x" * 65])
def test_no_name_of_a_channel(name: str) -> None:
    with pytest.raises(UsageError):
        channel.checked(name)


@pytest.mark.parametrize(
    ("words", "found"),
    [
        (["/usr/sbin/sync_client", "-r"], ("", b"/etc/imapd.conf")),
        (["sync_client", "-C", "/a.conf", "-n", "one", "-r"], ("one", b"/a.conf")),
        (["sync_client", "-rnone", "-C/a.conf"], ("one", b"/a.conf")),
        (["sync_client", "-R"], ("", b"/etc/imapd.conf")),
        (["sync_client", "-u", "joe"], None),
        (["sync_client", "-C", "/r.conf", "-A"], None),
        (["squatter", "-R", "-d"], ("squatter", b"/etc/imapd.conf")),
        (["squatter", "-r", "user"], None),
        (["squatter", "-R", "-n"], ("", b"/etc/imapd.conf")),
        (["imapd", "-r"], None),
        ([""], None),
    ],
)
def test_command_lines_that_read_a_channel(words: list[str], found: tuple[str, bytes] | None) -> None:
    assert reading([word.encode() for word in words]) == found
