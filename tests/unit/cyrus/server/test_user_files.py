"""The files that change with a mailbox, in what real servers have, and in what they may have."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cyrsync.cyrus.server import config, mailboxes
from cyrsync.cyrus.server.conf_files import ConfFiles
from cyrsync.cyrus.server.db import reader
from cyrsync.cyrus.server.layout import owner_of_name
from cyrsync.cyrus.server.user_files import may_change
from support.boxes import NAMES, Box


@pytest.mark.parametrize("name", NAMES)
def test_real_servers(name: str, tmp_path: Path) -> None:
    """All files of users, and of quotas, are found with some mailbox; and what is found is listed."""
    conf = config.read(str(Box(name, tmp_path).conf))
    files = ConfFiles(conf)
    path = files.mailbox_list
    all_of_them = list(mailboxes.read(reader.records(reader.stable(path)[0], path)))
    uniqueids = {one.name: one.uniqueid.encode() for one in all_of_them if not one.legacy}
    unreadable: dict[bytes, OSError] = {}
    found = {
        file
        for one in all_of_them
        for file in files.of(
            may_change(conf, one.name, uniqueids.get(owner_of_name(one.name, b"DELETED"), b"")), unreadable
        )
    }
    listed = set(files.listed(unreadable))
    assert not unreadable
    assert found <= listed
    assert [file.path for file in listed - found if files.owner(file.whole_path)] == []


@pytest.mark.parametrize(
    ("name", "path"),
    [
        ("user.joe.Sent", "conf/user/j/joe.sub"),
        ("user.joe.Sent", "conf/quota/j/user.joe"),
        ("user.joe.Sent", "conf/quota/j/user.joe.Sent"),
        ("user.john^doe", "conf/user/j/john.doe.seen"),
        ("user.john^doe", "conf/user/j/john^doe.seen"),
        ("user.john^doe", "conf/quota/j/user.john^doe"),
        ("example.com!user.jane", "conf/domain/e/example.com/user/j/jane.counters"),
        ("example.com!user.jane", "conf/domain/e/example.com/quota/root"),
        ("shared.x", "conf/quota/s/shared"),
        ("shared.x", "conf/shared.counters"),
    ],
)
def test_where_they_are(name: str, path: str, tmp_path: Path) -> None:
    conf = tmp_path / "imapd.conf"
    conf.write_text(f"configdirectory: {tmp_path}/conf\nvirtdomains: on\n")
    file = tmp_path / path
    file.parent.mkdir(parents=True)
    file.write_text("0")
    read, unreadable = config.read(str(conf)), dict[bytes, OSError]()
    found = [one.whole_path for one in ConfFiles(read).of(may_change(read, name.encode(), b""), unreadable)]
    assert (found, unreadable) == ([os.fsencode(file)], {})


def test_what_a_link_leads_to_is_not_listed(tmp_path: Path) -> None:
    conf = tmp_path / "imapd.conf"
    conf.write_text(f"configdirectory: {tmp_path}/conf\n")
    elsewhere = tmp_path / "elsewhere"
    elsewhere.mkdir()
    (elsewhere / "joe.sub").write_text("0")
    (tmp_path / "conf/user").mkdir(parents=True)
    (tmp_path / "conf/user/j").symlink_to(elsewhere)
    read, unreadable = config.read(str(conf)), dict[bytes, OSError]()
    assert list(ConfFiles(read).of(may_change(read, b"user.joe", b""), unreadable)) == []


def test_what_is_no_name_has_none(tmp_path: Path) -> None:
    conf = tmp_path / "imapd.conf"
    conf.write_text(f"configdirectory: {tmp_path}/conf\n")
    assert list(may_change(config.read(str(conf)), b"user.a/b", b"")) == []
