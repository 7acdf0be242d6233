"""An old mailboxes.db, put back on the source: what it does not name has not gone, and nothing counts that."""

from __future__ import annotations

import json
import os
import struct
import time
import zlib
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

import samplespool
from cyrsync.cyrus.mailbox import records
from support.replicas import Pair
from support.servers import SampleServer, below, sync_server
from support.spool import leaves
from support.tree import assert_same_tree, run_cyrsync, snapshot


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """Up to date."""
    pair = Pair(tmp_path)
    pair.sync()
    return pair


def put_back(pair: Pair, *left_out: Path) -> None:
    """Put a mailboxes.db back that is so old that some mailboxes are not in it."""
    pair.server.record(*left_out)


def assert_nothing_counted(report: dict[str, Any]) -> None:
    counts = (report["folders"]["gone"], report["messages"]["delete"], report["files"]["deleted"], report["withheld"])
    assert (*counts, report["errors"]) == (0, 0, 0, 0, []), report


def delete(folder: Path) -> int:
    """Delete a mailbox whose record has gone already; return how many messages it had."""
    count = len(list(folder.glob("[0-9]*.")))
    samplespool.delete_folder(folder)
    return count


def in_the_pause(monkeypatch: pytest.MonkeyPatch, happens: Callable[[], object]) -> list[float]:
    """Have something happen between two looks at mailboxes.db; return the pauses that were made."""
    pauses: list[float] = []
    sleep = time.sleep

    def pause(seconds: float) -> None:
        sleep(seconds)
        if seconds >= 0.1:  # a shorter one is the tests' own
            pauses.append(seconds)
            happens()

    monkeypatch.setattr(time, "sleep", pause)
    return pauses


# --- It is said, and nothing is counted


@pytest.mark.parametrize("words", [("--delete",), (), ("--delete", "-n"), ("--delete", "--full"), ("--no-config",)])
def test_it_is_said_in_one_line(pair: Pair, words: tuple[str, ...]) -> None:
    lost = leaves(pair.server.spool)[:2]
    before = [snapshot(pair.there(folder)) for folder in lost]
    put_back(pair, *lost)
    for _ in range(2):
        report = pair.sync_only(*words)
        assert_nothing_counted(report)
        (warning,) = report["warnings"]
        assert warning.startswith("mailboxes.db does not name 2 mailboxes whose directories are there (first ")
        assert any(str(folder.relative_to(pair.server.spool)) in warning for folder in lost)
        assert report["messages"]["seen"] == report["messages"]["present"]
        assert [snapshot(pair.there(folder)) for folder in lost] == before
    put_back(pair)
    assert pair.sync()["warnings"] == []
    pair.assert_same()


def test_the_replica_is_not_asked_when_nothing_else_is_to_be_done(pair: Pair) -> None:
    lost = leaves(pair.server.spool)[0]
    put_back(pair, lost)
    pair.sync()
    report = pair.sync()
    assert (report["rsync_runs"], report["files"]["planned"], len(report["warnings"])) == (0, 0, 1)


def test_other_mailboxes_that_are_gone_are_counted_and_deleted(pair: Pair) -> None:
    lost, gone = leaves(pair.server.spool)[:2]
    count = delete(gone)
    put_back(pair, lost)
    for words in (("-n",), ()):
        report = pair.sync(*words)
        counted = (report["folders"]["gone"], report["messages"]["delete"], len(report["warnings"]))
        assert counted == (1, count, 1), report
    assert not pair.there(gone).exists()
    assert snapshot(pair.there(lost)) == snapshot(lost)


def test_what_is_printed_and_recorded(pair: Pair, tmp_path: Path) -> None:
    put_back(pair, leaves(pair.server.spool)[0])
    metrics = tmp_path / "cyrsync.prom"
    done = run_cyrsync("sync", "-C", pair.conf, "--delete", "--metrics", metrics, pair.replica)
    assert (done.returncode, len(done.stderr.splitlines())) == (0, 1), done
    assert "does not name a mailbox whose directory is there (" in done.stderr
    lines = dict(line.rsplit(" ", 1) for line in metrics.read_text().splitlines() if line[:1] != "#")
    assert {value for name, value in lines.items() if "withheld" in name} == {"0"}
    status = json.loads(run_cyrsync("status", "--json").stdout)
    assert (status["exit"], status["withheld"]) == (0, 0)


def test_mail_of_which_nobody_knows_whose_it_is(pair: Pair) -> None:
    """A message beyond the index there, as a killed run leaves it: a comparison in full does not say whose."""
    lost = leaves(pair.server.spool)[0]
    (pair.there(lost) / "4000000000.").write_text("mail")
    put_back(pair, lost)
    before = snapshot(pair.there(lost))
    report = pair.sync("--full")
    assert (report["folders"]["gone"], len(report["warnings"])) == (0, 1)
    assert snapshot(pair.there(lost)) == before


# --- Mailboxes are made, renamed and deleted at any moment


def test_a_mailbox_that_is_named_at_the_second_look(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    put_back(pair, leaves(pair.server.spool)[0])
    pauses = in_the_pause(monkeypatch, pair.server.record)
    report = pair.sync()
    assert_nothing_counted(report)
    assert (report["warnings"], len(pauses) > 0) == ([], True)
    pair.assert_same()


def test_a_mailbox_that_has_gone_by_the_second_look(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    lost = leaves(pair.server.spool)[0]
    put_back(pair, lost)
    counts: list[int] = []
    in_the_pause(monkeypatch, lambda: counts or counts.append(delete(lost)))
    report = pair.sync()
    assert (report["folders"]["gone"], report["messages"]["delete"], report["warnings"]) == (1, counts[0], [])
    pair.assert_same()


def test_a_directory_that_is_just_being_emptied(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """That is a mailbox whose deletion is under way: the next run finds it gone."""
    lost = leaves(pair.server.spool)[0]
    put_back(pair, lost)
    in_the_pause(monkeypatch, lambda: next(lost.glob("[0-9]*.")).unlink())
    report = pair.sync()
    assert_nothing_counted(report)
    assert report["warnings"] == []
    assert pair.there(lost).exists()


def test_a_deleted_mailbox_that_somebody_has_open(pair: Pair) -> None:
    """Its index says that it is deleted; its directory stays until the last client leaves it."""
    lost = leaves(pair.server.spool)[0]
    index = lost / "cyrus.index"
    data = bytearray(index.read_bytes())
    options = 64 if struct.unpack_from(">I", data, 8)[0] >= 19 else 60
    assert records.read(data).header.options == struct.unpack_from(">I", data, options)[0]
    struct.pack_into(">I", data, options, 1 << 31)
    size = struct.unpack_from(">I", data, 12)[0]
    struct.pack_into(">I", data, size - 4, zlib.crc32(data[: size - 4]))
    index.write_bytes(data)
    put_back(pair, lost)
    before = snapshot(pair.there(lost))
    report = pair.sync()
    assert_nothing_counted(report)
    assert (report["warnings"], snapshot(pair.there(lost))) == ([], before)
    delete(lost)
    assert pair.sync()["folders"]["gone"] == 1
    pair.assert_same()


def test_a_mailbox_that_was_made_anew_since(pair: Pair) -> None:
    """What the replica has of the old one has gone; of the new one it has nothing."""
    lost = leaves(pair.server.spool)[0]
    delete(lost)
    samplespool.deliver(
        samplespool.create_folder(pair.server.spool, str(Path(*lost.relative_to(pair.server.spool).parts[1:]))), 2
    )
    put_back(pair, lost)
    assert pair.sync()["folders"]["gone"] == 1
    assert not list(pair.there(lost).glob("[0-9]*."))


# --- A very old one does not take the place of the replica's


def test_one_that_names_few_of_the_mailboxes_is_not_sent(tmp_path: Path) -> None:
    pair = Pair(tmp_path)
    for number in range(130):
        samplespool.create_folder(pair.server.spool, f"user/zoe/F{number}")
    pair.server.record()
    pair.sync()
    there = pair.there(pair.server.database)
    before, names = there.read_bytes(), pair.server.database.read_bytes().count(b"\n")
    kept, gone, *lost = pair.server.folders()
    delete(gone)
    put_back(pair, *lost)
    for words in ((), ("-n",), (f"--max-delete={len(lost)}",)):
        report = pair.sync(*words, expect=25)
        (error,) = report["errors"]
        assert f"{len(lost)} mailboxes whose directories are there" in "".join(report["warnings"])
        assert (report["folders"]["gone"], "an old" in error, report["withheld"] > len(lost)) == (1, True, True)
        assert there.read_bytes() == before
        assert pair.there(gone).exists()
    assert names == len(lost) + 2
    (limit,) = [word.removeprefix("--max-delete=") for word in error.split() if word.startswith("--max-delete=")]
    pair.sync(f"--max-delete={int(limit) - 1}", expect=25)
    assert there.read_bytes() == before
    assert pair.sync(f"--max-delete={limit}")["folders"]["gone"] == 1
    assert there.read_bytes() == pair.server.database.read_bytes()
    assert not pair.there(gone).exists()
    assert all(pair.there(folder).exists() for folder in (kept, *lost))


def test_one_that_is_put_back_while_a_run_is_under_way(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It is seen when mailboxes.db is read again, right before it would be sent."""
    pair = Pair(tmp_path)
    for number in range(130):
        samplespool.create_folder(pair.server.spool, f"user/zoe/F{number}")
    pair.server.record()
    pair.sync()
    before = pair.there(pair.server.database).read_bytes()
    kept, *lost = pair.server.folders()
    new = samplespool.create_folder(pair.server.spool, "user/ann/New")
    pair.server.record()
    (new / "cyrus.header").rename(tmp_path / "header")

    def happens() -> None:
        if (tmp_path / "header").exists():
            (tmp_path / "header").rename(new / "cyrus.header")
            put_back(pair, *lost)

    in_the_pause(monkeypatch, happens)
    report = pair.sync(expect=25)
    assert pair.there(pair.server.database).read_bytes() == before
    assert (report["folders"]["gone"], report["withheld"] > 0) == (0, True)
    assert all(pair.there(folder).exists() for folder in (kept, *lost))


# --- Partitions


def test_a_partition_that_imapd_conf_does_not_name_any_more(pair: Pair, tmp_path: Path) -> None:
    """What lay in it stays on the replica, and is an error: it is not counted as gone."""
    other = tmp_path / "other"
    folder = samplespool.create_folder(other, "user/zoe")
    samplespool.deliver(folder, 3)
    text = pair.conf.read_text()
    pair.conf.write_text(f"{text}partition-other: {other}\n")
    pair.server.spools["other"] = other
    pair.server.record()
    pair.sync()
    before = snapshot(pair.there(folder))
    pair.conf.write_text(text)
    del pair.server.spools["other"]
    pair.server.record()
    for words in (("--delete",), ("--delete", "-n")):
        report = pair.sync_only(*words, expect=23)
        (error,) = report["errors"]
        assert "imapd.conf has no partition other" in error
        assert (report["folders"]["gone"], report["messages"]["delete"], report["withheld"]) == (0, 0, 0)
    assert pair.sync_only()["errors"] == []
    assert snapshot(pair.there(folder)) == before


def test_the_time_that_it_costs(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """No second look is taken where all directories have their mailboxes."""
    pauses = in_the_pause(monkeypatch, lambda: None)
    delete(leaves(pair.server.spool)[0])
    pair.server.record()
    pair.sync()
    assert pauses == []


def test_a_record_that_cannot_be_read_costs_only_its_mailbox(tmp_path: Path) -> None:
    """Mail for others arrives, and nothing of that mailbox is deleted; all is well when the record is."""
    server, there = SampleServer(tmp_path / "server", messages=20, folder_count=3), tmp_path / "replica"
    there.mkdir()
    sync_server(server.conf, "--delete", there)
    whole = server.database.read_bytes()
    box, other = server.folders()[:2]
    name = b".".join(map(os.fsencode, box.relative_to(server.spool).parts[1:]))
    lines = whole.splitlines(keepends=True)
    spoilt = [name + b"\t%(A (\n" if line.startswith(name + b"\t") else line for line in lines]
    server.database.write_bytes(b"".join(spoilt))
    samplespool.deliver(other, 2)
    (error,) = sync_server(server.conf, "--delete", there, expect=(23,))["errors"][:1]
    assert error == f"{os.fsdecode(name)}: its record in mailboxes.db cannot be read: left out"
    assert_same_tree(server.spool, below(there, server.spool))
    done = run_cyrsync("check", "-C", server.conf, there)
    assert (done.returncode, "no directory can be told from 1 records" in done.stdout) == (1, True)
    server.database.write_bytes(whole)
    sync_server(server.conf, "--delete", there)
    assert_same_tree(server.spool, below(there, server.spool))
