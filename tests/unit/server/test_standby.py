"""What the imapd.conf of a standby has otherwise than the source's."""

from __future__ import annotations

import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest

from cyrsync.cyrus.server import config as imapd_conf
from cyrsync.server import mapping, standby

OURS = "configdirectory: /var/lib/cyrus\npartition-default: /var/spool/cyrus\n"


def warned(tmp_path: Path, theirs: str, *maps: str, prefix: bytes = b"/", same: bool = False) -> list[str]:
    """The warnings for a standby with this imapd.conf; `same`: all directories there are one, by links."""
    conf = tmp_path / "imapd.conf"
    conf.write_text(OURS)
    found = mapping.parse(maps)

    def path(source: bytes) -> bytes:
        return mapping.mapped(found, source) or prefix.rstrip(b"/") + source

    agent = SimpleNamespace(
        read=lambda name: theirs.encode(), resolve=lambda name: SimpleNamespace(root=b"/one" if same else name)
    )
    replica: Any = SimpleNamespace(address=SimpleNamespace(path=prefix), path=path, agent=agent)
    return standby.warnings(replica, os.fsencode(conf), imapd_conf.read(str(conf)))


@pytest.mark.parametrize(
    ("theirs", "maps"),
    [
        (OURS, ()),
        (OURS.replace("/spool/", "/mail/"), ("/var/spool/cyrus=/var/mail/cyrus",)),
        (OURS.replace("/lib/", "/mail/"), ("/var/lib/cyrus=/var/mail/cyrus",)),
    ],
)
def test_a_standby_that_looks_where_the_mail_is_sent_to(tmp_path: Path, theirs: str, maps: tuple[str, ...]) -> None:
    assert warned(tmp_path, theirs, *maps) == []


def test_one_that_looks_elsewhere(tmp_path: Path) -> None:
    theirs = OURS.replace("/spool/", "/mail/")
    (said,) = warned(tmp_path, theirs)
    assert "partition-default: /var/mail/cyrus there, and sent to /var/spool/cyrus: give" in said
    assert "give --map /var/spool/cyrus=/var/mail/cyrus: Cyrus could not find the mail there" in said
    assert warned(tmp_path, theirs, same=True) == []
    assert warned(tmp_path, theirs, prefix=b"/srv/replica") == []
