"""SRC and DEST swapped: a running Cyrus does not get its replica's state of yesterday back, whatever the command."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path

import pytest

from support.failover import FullServer
from support.imapd import dump
from support.sshd import Sshd
from support.tools import requires, write_program
from support.tree import run_cyrsync, snapshot

REFUSED = 4


def mail(subject: str) -> bytes:
    return f"From: sender@example.com\r\nSubject: {subject}\r\nMessage-ID: <{subject}@x>\r\n\r\nText.\r\n".encode()


class Pair:
    """A server at work, its replica, made by `sync -C`, and a spare on that; since then mail has come and gone."""

    def __init__(self, directory: Path) -> None:
        self.main = FullServer(directory / "main", mailbox_legacy_dirs="yes", hashimapspool="yes")
        self.prefix = directory / "replica"
        self.prefix.mkdir()
        self.replica = Path(f"{self.prefix}{self.main.spool}")

    def begin(self) -> None:
        self.main.start()
        self.main.create_user("joe")
        for number in range(30):
            self.main.deliver(mail(str(number)), "joe")
        assert run_cyrsync(*self.sync).returncode == 0
        for number in range(3):
            self.main.deliver(mail(f"new{number}"), "joe")
        self.spare = FullServer.spare(self.prefix.with_name("spare"), self.main, self.prefix)

    @property
    def sync(self) -> tuple[str | Path, ...]:
        return ("sync", "-C", self.main.imapd_conf, "--delete", self.prefix)


@pytest.fixture
def pair(open_dir: Path) -> Iterator[Pair]:
    requires("rsync", "master", "imapd", "lmtpd", "ctl_cyrusdb")
    pair = Pair(open_dir)
    try:
        pair.begin()
        yield pair
    finally:
        pair.main.stop()


def refused(*words: str | Path, reason: str) -> None:
    done = run_cyrsync(*words)
    assert done.returncode == REFUSED, (words, done.stdout, done.stderr)
    line, *others = done.stderr.splitlines()
    assert reason in line, done.stderr
    assert not others, done.stderr


def test_a_replica_is_not_sent_to_its_server(pair: Pair, sshd: Sshd, tmp_path: Path) -> None:
    main, replica = f"{pair.main.spool}/", f"{pair.replica}/"
    there = ("-e", sshd.rsh, sshd.at(main))
    forced = tmp_path / "forced"
    write_program(forced, 'case "$*" in *"rsync --server"*) shift && exec sh -c "$*";; esac; echo refused >&2; exit 1')
    before, seen = snapshot(pair.main.spool), dump(pair.main, ["joe"])
    for line in (
        ("sync", "--delete", replica, main),
        ("sync", "--delete", replica, *there),
        ("sync", "--dry-run", replica, main),
        ("rsync", "-a", "--delete", replica, main),
        ("rsync", "-a", "--delete", "-e", sshd.rsh, replica, sshd.at(main)),
        ("rsync", "-a", "-e", sshd.rsh, sshd.at(replica), main),
        ("sync", "-C", pair.spare.imapd_conf, pair.prefix.with_name("spare")),
    ):
        refused(*line, reason="it is the replica of")
    # Nor where it is said that the source is a replica, or is not known to be one.
    for line in (
        ("sync", "--from-replica", "--delete", replica, main),
        ("sync", "--from-replica", "--delete", replica, *there),
    ):
        refused(*line, reason="a Cyrus is using it")
    (pair.replica / ".cyrsync-replica").unlink()
    for line in (
        ("sync", "--delete", replica, main),
        ("rsync", "-a", "--delete", replica, main),
        ("rsync", "-a", "--delete", "-e", sshd.rsh, replica, sshd.at(main)),
        ("rsync", "-ac", "--delete", replica, main),
        ("rsync", "-ac", "-e", sshd.rsh, sshd.at(replica), main),
        ("rsync", "-ac", f"{replica}user", f"{main}user"),
        ("rsync", "-a", "-e", forced, f"there:{replica}", main),  # it runs nothing but rsync
    ):
        refused(*line, reason="a Cyrus is using it")
    (tmp_path / "file").write_text("anything")  # a directory in which Cyrus's lie is nobody's replica
    assert run_cyrsync("rsync", "-ac", tmp_path / "file", f"{pair.main.root}/").returncode == 0
    assert (snapshot(pair.main.spool), dump(pair.main, ["joe"])) == (before, seen)
    done = run_cyrsync("verify", replica, main)
    assert f"{pair.main.spool}: a Cyrus is using it" in done.stderr

    pair.main.stop()  # and where it is meant
    assert run_cyrsync("sync", "--delete", replica, main).returncode == 0
    assert snapshot(pair.replica) == snapshot(pair.main.spool)


def test_a_cyrus_on_the_replica(pair: Pair, sshd: Sshd, sshd_without_python: Sshd) -> None:
    """Started, though nobody has promoted it: every run that is connected to it notices."""
    server = ("-C", pair.main.imapd_conf)
    walk = (f"{pair.main.spool}/", f"{pair.replica}/")
    over_ssh = (walk[0], "-e", sshd.rsh, sshd.at(walk[1]))
    by_shell = (walk[0], "-e", sshd_without_python.rsh, sshd_without_python.at(walk[1]))
    # While it runs elsewhere (the server itself does), it is nothing.
    assert run_cyrsync(*pair.sync).returncode == run_cyrsync("sync", *over_ssh).returncode == 0
    assert run_cyrsync("sync", *by_shell).returncode == 0
    assert run_cyrsync("check", *server, pair.prefix).returncode == 0
    with pair.spare:
        before = snapshot(pair.replica)
        refused("sync", *walk, reason="a Cyrus is using it")
        refused("sync", *by_shell, reason="a Cyrus is using it")
        refused("sync", *over_ssh, reason="a Cyrus is using it")
        refused("rsync", "-a", "--delete", *walk, reason="a Cyrus is using it")
        pair.main.deliver(mail("newest"), "joe")
        refused(*pair.sync, reason="a Cyrus is using it")
        refused("sync", *server, "-e", sshd.rsh, sshd.at(pair.prefix), reason="a Cyrus is using it")
        assert snapshot(pair.replica) == before
        done = run_cyrsync("check", *server, "--json", pair.prefix)
        found = {one["check"]: one for one in json.loads(done.stdout)["checks"] if one["verdict"] == "fail"}
        assert "a Cyrus is using it" in found["Cyrus"]["found"]
        assert run_cyrsync("promote", pair.replica).returncode == 3
        assert run_cyrsync(*pair.sync, "--overwrite-replica").returncode == 0
    done = run_cyrsync("check", "-C", pair.spare.imapd_conf, "--json", pair.prefix.with_name("spare"))
    found = {one["check"]: one for one in json.loads(done.stdout)["checks"] if one["verdict"] == "fail"}
    assert "it is the replica of" in found["source"]["found"]
