"""A real Cyrus that cannot log what it takes, or does not: a watcher says why, and finds it all the same."""

from __future__ import annotations

import os
import shutil
import signal
from pathlib import Path

import pytest

from cyrsync.rolling.readers import older_than
from support.imapd import ok
from support.tools import requires_root, wait_for
from support.tree import messages
from support.watched import Box, mail, user
from support.watcher import Watcher, watching

#: All is looked at often while the log does not tell, and so is why it does not.
_OFTEN = """
from cyrsync.rolling import plain, server
paces = dict(zip(plain.Pace.__slots__, plain.Pace.__init__.__defaults__), blind=0.5, status=0.2)
plain.Pace.__init__.__defaults__ = tuple(paces.values())
server._LOOK = server._LOOK_AT_LOG = 0.2
"""


def log_lines(watcher: Watcher) -> list[str]:
    return [line for line in watcher.said().splitlines() if line.startswith("log: ")]


def arrives_by_the_log(box: Box, watcher: Watcher, joe: str, state_dir: Path, replica: Path) -> None:
    """A message is delivered, and sent because the log names its mailbox."""
    watcher.wait(lambda: any(state_dir.glob("*.watch")), name="its status")
    before = watcher.status(state_dir)["counts"]["sent"]
    box.server.deliver(mail(f"{joe}-logged"), joe)
    watcher.wait(lambda: is_in(replica, f"{joe}-logged"), name="the message that was logged")
    watcher.wait(lambda: watcher.status(state_dir)["counts"]["sent"] > before, name="it is counted")


def is_in(replica: Path, subject: str) -> bool:
    return any(f"Subject: {subject}\r\n".encode() in content for content in messages(replica).values())


@pytest.mark.parametrize("how", ["another's", "read-only"])
def test_a_log_that_cyrus_cannot_write(box: Box, how: str, tmp_path: Path, state_dir: Path) -> None:
    """Its client is told OK; who restored the directory as root has taken its rights."""
    requires_root()
    joe, channel = user(box, "joe"), box.log.parent
    channel.mkdir(parents=True, exist_ok=True)
    shutil.chown(channel, box.server.user, box.server.group)
    with watching(box.conf, "--delete", box.replica, said=tmp_path / "said", before=_OFTEN) as watcher:
        arrives_by_the_log(box, watcher, joe, state_dir, box.spool)
        watcher.wait(lambda: not list(channel.iterdir()), name="the log is taken")
        if how == "read-only":
            channel.chmod(0o500)
        else:
            shutil.chown(channel, "root", "root")
        try:
            box.server.deliver(mail(f"{joe}-lost"), joe)
            assert not list(channel.iterdir())
            watcher.wait(lambda: box.is_there(f"{joe}-lost"), name="what was not logged")
            watcher.wait(lambda: str(channel) in watcher.status(state_dir)["blind"], name="it is told")
        finally:
            channel.chmod(0o700)
            shutil.chown(channel, box.server.user, box.server.group)
        watcher.wait(lambda: not watcher.status(state_dir)["blind"], name="it is told that Cyrus can write")
        arrives_by_the_log(box, watcher, joe, state_dir, box.spool)
        *told, over = log_lines(watcher)
        assert told
        assert all(f"{channel}: " in line and "all mailboxes are looked at every" in line for line in told)
        assert over.startswith("log: no longer: ")
        assert watcher.stop() == 0


def test_a_session_that_is_older_than_the_setting(box: Box, tmp_path: Path, state_dir: Path) -> None:
    """It logs nothing, however long it lives; nor does its process for the client after that."""
    joe, replica = user(box, "joe"), tmp_path / "replica"
    replica.mkdir()
    conf = box.conf.with_name("quiet.conf")
    quiet = conf.read_text()
    try:
        with box.quiet(joe) as imap:
            # The start of a process is known to the second.
            conf.write_text(quiet.replace("sync_log: no", "sync_log: yes"))
            later = conf.stat().st_mtime + 2
            os.utime(conf, (later, later))
            with watching(conf, replica, said=tmp_path / "said", before=_OFTEN) as watcher:
                ok(imap.append("INBOX", "", None, mail(f"{joe}-unlogged")))
                assert not box.log.exists()
                watcher.wait(lambda: is_in(replica, f"{joe}-unlogged"), name="what was not logged")
                (told,) = log_lines(watcher)
                old = older_than(str(conf))[1]
                said = f"log: {len(old)} processes are older than {conf} (first {min(old)})"
                assert told == f"{said}: all mailboxes are looked at every 0.5 s"
                imap.logout()
                for pid in old:
                    os.kill(pid, signal.SIGTERM)
                wait_for(lambda: not older_than(str(conf))[1], name="the end of the old ones")
                watcher.wait(lambda: len(log_lines(watcher)) > 1, name="it is told that they have ended")
                assert log_lines(watcher)[1] == said.replace("log: ", "log: no longer: ")
                arrives_by_the_log(box, watcher, joe, state_dir, replica)
                assert watcher.stop() == 0
    finally:
        conf.write_text(quiet)
