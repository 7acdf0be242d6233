"""Which mailboxes of mailboxes.db are on this server."""

from __future__ import annotations

from pathlib import Path

from cyrsync.cyrus.server import config, server


def test_a_mailbox_under_the_servers_own_name_is_here(tmp_path: Path) -> None:
    conf = tmp_path / "imapd.conf"
    conf.write_text(f"configdirectory: {tmp_path}\npartition-default: {tmp_path}/spool\nservername: imap1\n")
    records = {"ann": "%(A %() P default)", "joe": "%(A %() P default S imap1)", "zoe": "%(A %() P default S imap2)"}
    lines = [f"user.{name}\t{value}\n" for name, value in records.items()]
    (tmp_path / "mailboxes.db").write_text("".join(lines))
    assert [place.mailbox.name for place in server.located(config.read(str(conf)))] == [b"user.ann", b"user.joe"]
