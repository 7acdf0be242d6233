"""A watcher beside a real Cyrus: what is delivered, renamed, deleted is on the replica, whoever is killed meanwhile."""

from __future__ import annotations

import os
import random
import shutil
import signal
import time
from pathlib import Path
from typing import NamedTuple

import pytest

from support.campaign import amount
from support.imapd import ok
from support.load import under_load
from support.sshd import Sshd
from support.tree import messages, run_cyrsync
from support.watched import NAME, UNIQUEID, Box, mail, user
from support.watcher import Watcher, watching

#: So often the watcher is killed.
KILLS = amount(5, long=50)
#: So often something happens to the far end; and so many seconds it stands still, or is gone, at the most.
MISFORTUNES, STILL = amount(3, long=60), amount(2.0, long=15.0)
#: So often it is told to end while it sends.
ENDED = 20

#: A lost connection is tried again after some seconds at the most: not a minute, which is as long as a test waits.
_SOON = "from cyrsync.rolling import backoff; backoff._CONNECTION = 8.0"


class Load(NamedTuple):
    """What clients do in a test, at random: the same again with the same seed, for users of this test alone."""

    seed: int
    rng: random.Random
    users: list[str]


@pytest.fixture
def load() -> Load:
    seed = int.from_bytes(os.urandom(4), "big")
    print(f"seed {seed}")
    rng = random.Random(seed)
    return Load(seed, rng, [f"load{number}x{rng.randrange(10**6)}" for number in range(4)])


@pytest.fixture
def far(tmp_path: Path) -> Path:
    """Where the replica lies at a far end."""
    path = tmp_path / "far"
    path.mkdir()
    return path


in_each_layout = pytest.mark.parametrize(
    "box", [NAME, UNIQUEID], ids=["name directories", "uniqueid directories"], indirect=True
)


# --- What changes


@in_each_layout
def test_what_is_delivered_is_there_in_the_order_of_uids(box: Box, watcher: Watcher, state_dir: Path) -> None:
    joe = user(box, "joe")
    for number in range(20):
        box.server.deliver(mail(f"{joe}-{number}"), joe)
        if number % 5 == 0:
            watcher.wait(lambda: box.is_there(f"{joe}-{number}"), name=f"message {number}")  # noqa: B023
    watcher.wait(lambda: box.is_there(f"{joe}-19"), name="the last message")
    watcher.wait(lambda: not watcher.status(state_dir)["pending"], name="nothing to wait")
    assert box.has_all()
    status = watcher.status(state_dir)
    assert (status["connected"], status["lag_seconds"], status["failed"], status["blind"]) == (True, 0, 0, "")
    assert status["counts"]["sent"]
    assert watcher.stop() == 0
    assert list(state_dir.glob("*.watch")) == []
    box.assert_equal()


def test_flags_and_expunged_messages_follow(box: Box, watcher: Watcher) -> None:
    joe = user(box, "joe")
    for number in range(4):
        box.server.deliver(mail(f"{joe}-{number}"), joe)
    with box.server.login(joe) as imap:
        ok(imap.select("INBOX"))
        ok(imap.uid("STORE", "1:2", "+FLAGS", "(\\Deleted)"))
        ok(imap.expunge())
        ok(imap.unselect())

    def indexes(root: Path) -> set[bytes]:
        return {path.read_bytes() for path in root.rglob("cyrus.index")}

    watcher.wait(lambda: indexes(box.server.spool) <= indexes(box.spool), name="the same indexes")
    assert watcher.stop() == 0
    box.assert_equal()


@in_each_layout
def test_renames_swaps_and_deleted_mailboxes(box: Box, watcher: Watcher) -> None:
    joe = user(box, "joe")
    with box.server.login(joe) as imap:
        for folder in ("A", "B", "Gone"):
            ok(imap.create(f"INBOX.{folder}"))
            for number in range(3):
                ok(imap.append(f"INBOX.{folder}", "", None, mail(f"{joe}-{folder}-{number}")))
        ok(imap.rename("INBOX.A", "INBOX.C"))
        ok(imap.rename("INBOX.B", "INBOX.A"))
        ok(imap.rename("INBOX.C", "INBOX.B"))
        ok(imap.append("INBOX.A", "", None, mail(f"{joe}-last")))
        ok(imap.delete("INBOX.Gone"))
    watcher.wait(lambda: messages(box.server.spool) == messages(box.spool), name="the same messages")
    assert "cannot" not in watcher.said()
    assert watcher.stop() == 0
    box.assert_equal()


@in_each_layout
def test_a_deleted_user(box: Box, watcher: Watcher) -> None:
    joe, jane = user(box, "joe"), user(box, "jane")
    box.server.deliver(mail(f"{joe}-1"), joe)
    with box.server.admin() as imap:
        ok(imap.setacl(f"user.{jane}", "cyrus", "lrswipkxtecda"))
        ok(imap.delete(f"user.{jane}"))
    watcher.wait(lambda: messages(box.server.spool) == messages(box.spool), name="the same messages")
    assert watcher.stop() == 0
    box.assert_equal()


# --- What is not logged


def test_a_user_who_arrives_unlogged_comes_with_a_pass_and_is_counted(
    box: Box, tmp_path: Path, state_dir: Path
) -> None:
    with watching(box.conf, "--pass-every", "1", box.replica, said=tmp_path / "said") as watcher:
        name = f"moved{random.randrange(10**6)}"
        with box.quiet("cyrus") as imap:
            ok(imap.create(f"user.{name}"))
        with box.quiet(name) as imap:
            ok(imap.append("INBOX", "", None, mail(f"{name}-1")))
        watcher.wait(lambda: box.is_there(f"{name}-1"), name="the message")
        watcher.wait(lambda: watcher.status(state_dir)["counts"]["log_missed"] > 0, name="it is counted")
        assert "did users arrive by replication?" in watcher.said()


@pytest.mark.parametrize("line", [b"APPE", b"NEWWORD x\n", b'MAILBOX ""\r\n\r\nMAILBOX {3}\r\na b\r\nX y\n'])
def test_a_line_that_cannot_be_believed_has_everything_looked_at(box: Box, watcher: Watcher, line: bytes) -> None:
    joe = user(box, "joe")
    watcher.wait(lambda: Path(f"{box.replica}{box.server.conf}/mailboxes.db").exists(), name="mailboxes.db")
    watcher.stop()
    with box.quiet(joe) as imap:
        ok(imap.append("INBOX", "", None, mail(f"{joe}-quiet")))
    watcher.start()
    with box.quiet(joe) as imap:
        ok(imap.append("INBOX", "", None, mail(f"{joe}-quiet-again")))
    box.log.parent.mkdir(parents=True, exist_ok=True)
    half = box.log.with_name("half")
    half.write_bytes(line)
    shutil.chown(half, box.server.user, box.server.group)
    half.rename(box.log)
    box.server.deliver(mail(f"{joe}-glued"), joe)
    watcher.wait(lambda: box.is_there(f"{joe}-quiet-again"), name="what was not logged")
    watcher.wait(lambda: box.is_there(f"{joe}-glued"), name="what was logged in half a line")
    assert "the log cannot be believed" in watcher.said()


def test_the_directory_of_the_channel_is_removed(box: Box, watcher: Watcher) -> None:
    joe = user(box, "joe")
    box.server.deliver(mail(f"{joe}-before"), joe)
    watcher.wait(lambda: box.is_there(f"{joe}-before"), name="the message before")
    shutil.rmtree(box.log.parent)
    box.server.deliver(mail(f"{joe}-after"), joe)
    watcher.wait(lambda: box.is_there(f"{joe}-after"), name="the message after")


def test_no_such_channel(box: Box, tmp_path: Path, state_dir: Path) -> None:
    joe = user(box, "joe")
    words = ("--channel", "other", "--pass-every", "1", box.replica)
    with watching(box.conf, *words, said=tmp_path / "said") as watcher:
        box.server.deliver(mail(f"{joe}-1"), joe)
        watcher.wait(lambda: box.is_there(f"{joe}-1"), name="the message")
        assert watcher.said().count("put `sync_log_channels: cyrsync other` into it") == 1
        assert "no channel other" in watcher.status(state_dir)["blind"]


# --- Who is killed, and who is away


@in_each_layout
def test_killed_watchers_lose_nothing_under_load(box: Box, tmp_path: Path, load: Load) -> None:
    with (
        watching(box.conf, "--delete", "--max-delete", "100%", box.replica, said=tmp_path / "said") as watcher,
        under_load(box.server, load.seed, expire=False, users=load.users),
    ):
        for _ in range(KILLS):
            moment = load.rng.uniform(0.1, 1.5)
            time.sleep(moment)
            watcher.kill()
            watcher.start_only()
    watcher.close()
    box.assert_equal()


def test_the_far_end_dies_and_is_away_for_a_while(
    box: Box, tmp_path: Path, far: Path, mortal_sshd: Sshd, state_dir: Path
) -> None:
    joe = user(box, "joe")
    words = ("--delete", "-e", mortal_sshd.rsh, mortal_sshd.at(far))
    with watching(box.conf, *words, said=tmp_path / "said") as watcher:

        def is_there(subject: str) -> bool:
            return any(subject.encode() in content for content in messages(far).values())

        box.server.deliver(mail(f"{joe}-1"), joe)
        watcher.wait(lambda: is_there(f"{joe}-1"), name="a message over ssh")
        mortal_sshd.hang_up()
        box.server.deliver(mail(f"{joe}-2"), joe)
        watcher.wait(lambda: is_there(f"{joe}-2"), name="a message after the far end has died")
        mortal_sshd.stop()
        box.server.deliver(mail(f"{joe}-3"), joe)
        watcher.wait(lambda: not watcher.status(state_dir)["connected"], name="it is told")
        watcher.wait(lambda: watcher.status(state_dir)["lag_seconds"] > 0, name="the lag is told")
        box.server.deliver(mail(f"{joe}-4"), joe)
        mortal_sshd.start()
        watcher.wait(lambda: is_there(f"{joe}-4"), name="the last message")
        assert is_there(f"{joe}-3")
        assert watcher.stop() == 0


def test_a_far_end_that_dies_stands_still_and_goes_away_under_load(
    box: Box, tmp_path: Path, far: Path, mortal_sshd: Sshd, load: Load, state_dir: Path
) -> None:
    def kill_the_receiver() -> None:
        mortal_sshd.hang_up()

    def stand_still() -> None:
        with mortal_sshd.stopped():
            time.sleep(load.rng.uniform(0, STILL))

    def go_away() -> None:
        mortal_sshd.stop()
        time.sleep(load.rng.uniform(0, STILL))
        mortal_sshd.start()

    misfortunes = [kill_the_receiver, stand_still, go_away]
    words = ("--delete", "--max-delete", "100%", "--timeout", "10", "-e", mortal_sshd.rsh, mortal_sshd.at(far))
    with watching(box.conf, *words, said=tmp_path / "said", before=_SOON) as watcher:
        with under_load(box.server, load.seed, expire=False, users=load.users):
            for number in range(MISFORTUNES):
                time.sleep(load.rng.uniform(0.1, 1.5))
                misfortunes[number % len(misfortunes)]()
        there = Path(f"{far}{box.server.spool}")
        watcher.wait(lambda: messages(box.server.spool) == messages(there), name="the same messages")
        # How it goes is written some time after it has gone so.
        watcher.wait(lambda: watcher.status(state_dir)["counts"]["connections_lost"] > 0, name="a loss is told")
        watcher.wait(lambda: watcher.status(state_dir)["connected"], name="it is connected again")
        assert watcher.stop() == 0


# --- Beside others


def test_cron_runs_of_the_same_pair_leave_it_to_the_watcher(box: Box, watcher: Watcher, state_dir: Path) -> None:
    done = run_cyrsync("sync", "-C", box.conf, box.replica)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")
    done = run_cyrsync("sync", "-v", "--full", "-C", box.conf, box.replica)
    assert done.returncode == 0
    assert f"process {watcher.pid} has been watching" in done.stdout
    watcher.wait(lambda: not list(state_dir.glob("*.full")), name="everything is compared")
    assert run_cyrsync("sync", "-C", box.conf, "--watch", box.replica).returncode == 75
    status = run_cyrsync("status", box.replica)
    assert f"process {watcher.pid}, channel cyrsync" in status.stdout


def test_a_promoted_replica_ends_it(box: Box, tmp_path: Path) -> None:
    replica = tmp_path / "replica"
    replica.mkdir()
    with watching(box.conf, replica, said=tmp_path / "said") as watcher:
        joe = user(box, "joe")
        standby = tmp_path / "standby.conf"
        standby.write_text(box.conf.read_text().replace(f": {box.server.root}/", f": {replica}{box.server.root}/"))
        watcher.wait(lambda: run_cyrsync("promote", "-C", standby).returncode in (0, 1), name="promoting")
        box.server.deliver(mail(f"{joe}-1"), joe)
        assert watcher.end() == 4


def test_settings_are_read_again_and_wrong_ones_end_it(box: Box, tmp_path: Path) -> None:
    conf = box.conf.with_name("copy.conf")
    shutil.copy(box.conf, conf)
    replica = tmp_path / "replica"
    replica.mkdir()
    with watching(conf, replica, said=tmp_path / "said") as watcher:
        before = watcher.said().count("connected")
        watcher.signal(signal.SIGHUP)
        watcher.wait(lambda: watcher.said().count("connected") > before, name="another first pass")
        conf.write_text("nothing of use\n")
        watcher.signal(signal.SIGHUP)
        assert watcher.end() == 3


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_signals_end_it_well(box: Box, watcher: Watcher, number: signal.Signals) -> None:
    watcher.signal(number)
    assert watcher.end() == 0


@pytest.mark.long
def test_it_is_ended_while_the_far_end_stands_still(
    box: Box, tmp_path: Path, far: Path, mortal_sshd: Sshd, state_dir: Path
) -> None:
    """In the middle of a message, that is: it does not wait for it, and the next one sends it again."""
    joe = user(box, "joe")
    there = Path(f"{far}{box.server.spool}")
    hasty = "from cyrsync.cli import orders; orders._GRACE = 0.5"
    with watching(
        box.conf, "-e", mortal_sshd.rsh, mortal_sshd.at(far), said=tmp_path / "said", before=hasty
    ) as watcher:
        with mortal_sshd.stopped():
            box.server.deliver(mail(f"{joe}-1"), joe)
            watcher.wait(lambda: not list(box.log.parent.iterdir()), name="the log is taken")
            watcher.signal(signal.SIGTERM)
            assert watcher.end() == 0
        watcher.start()
        watcher.wait(lambda: messages(box.server.spool) == messages(there), name="the same messages")
        assert watcher.stop() == 0
    assert "Traceback" not in watcher.said()


@pytest.mark.long
def test_it_is_ended_again_and_again_while_it_sends_to_a_far_end(
    box: Box, tmp_path: Path, far: Path, sshd: Sshd, load: Load
) -> None:
    """What is under way is finished, or cleanly given up, whenever that is; what is there is whole."""
    words = ("--delete", "--max-delete", "100%", "-e", sshd.rsh, sshd.at(far))
    with watching(box.conf, *words, said=tmp_path / "said") as watcher:
        with under_load(box.server, load.seed, expire=False, users=load.users):
            for _ in range(ENDED):
                time.sleep(load.rng.uniform(0.0, 1.0))
                assert watcher.stop() == 0
                watcher.start()
        there = Path(f"{far}{box.server.spool}")
        watcher.wait(lambda: messages(box.server.spool) == messages(there), name="the same messages")
        assert watcher.stop() == 0
    assert "Traceback" not in watcher.said()
    done = run_cyrsync("sync", "-C", box.conf, "--full", *words)
    assert (done.returncode, done.stderr) == (0, "")


def test_metrics(box: Box, tmp_path: Path) -> None:
    metrics = tmp_path / "watch.prom"
    with watching(box.conf, "--metrics", metrics, box.replica, said=tmp_path / "said") as watcher:
        watcher.wait(lambda: metrics.exists() and "cyrsync_connected{" in metrics.read_text(), name="metrics")
        watcher.wait(lambda: metrics.read_text().count("\ncyrsync_connected") == 1, name="metrics")
        text = metrics.read_text()
    names = "lag_seconds pending connected failed last_pass_timestamp_seconds messages_total bytes_sent_total"
    for name in (*names.split(), "log_missed_total", "delay_seconds_bucket"):
        assert f"\ncyrsync_{name}{{" in text


def test_expire_and_reconstruct_meanwhile(box: Box, watcher: Watcher) -> None:
    joe = user(box, "joe")
    for number in range(4):
        box.server.deliver(mail(f"{joe}-{number}"), joe)
    with box.server.login(joe) as imap:
        ok(imap.create("INBOX.Gone"))
        ok(imap.append("INBOX.Gone", "", None, mail(f"{joe}-gone")))
        ok(imap.select("INBOX"))
        ok(imap.uid("STORE", "1:2", "+FLAGS", "(\\Deleted)"))
        ok(imap.expunge())
        ok(imap.unselect())
        ok(imap.delete("INBOX.Gone"))
    box.server.tool("cyr_expire", "-E", "0", "-X", "0", "-D", "0")
    box.server.tool("reconstruct", "-r", f"user.{joe}")
    box.server.deliver(mail(f"{joe}-last"), joe)
    watcher.wait(lambda: messages(box.server.spool) == messages(box.spool), name="the same messages")
    assert watcher.stop() == 0
    box.assert_equal()


def test_the_limit_is_for_an_hour(box: Box, tmp_path: Path) -> None:
    joe = user(box, "joe")
    for number in range(9):
        box.server.deliver(mail(f"{joe}-{number}"), joe)
    with watching(box.conf, "--delete", "--max-delete", "5", box.replica, said=tmp_path / "said") as watcher:
        for uids in ("1:4", "5:8"):
            with box.server.login(joe) as imap:
                ok(imap.select("INBOX"))
                ok(imap.uid("STORE", uids, "+FLAGS", "(\\Deleted)"))
                ok(imap.expunge())
                ok(imap.unselect())
            box.server.tool("cyr_expire", "-E", "0", "-X", "0")
            box.server.deliver(mail(f"{joe}-after-{uids}"), joe)
            watcher.wait(lambda: box.is_there(f"{joe}-after-{uids}"), name="what comes after it")  # noqa: B023
        there = [content for content in messages(box.spool).values() if f"Subject: {joe}-".encode() in content]
        # Of the first four none is left; the second four would be more than five within the hour.
        assert len(there) == 7
