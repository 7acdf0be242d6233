"""What the benchmark runs, and the table that it prints."""

from __future__ import annotations

import importlib.machinery
import importlib.util
import os
import shutil
import sys
from pathlib import Path
from typing import Any

import pytest

import samplespool
from benchlib import cyrus, history, mailboxes, native, readme, restore, rolling, spools
from benchlib.bench import Link, Row, table
from benchlib.running import Calls, Sample
from cyrsync.cyrus.server import config
from cyrsync.cyrus.server.conf_files import ConfFiles
from cyrsync.cyrus.server.server import located
from support.tree import run_cyrsync

BENCH = Path(__file__).resolve().parents[3] / "scripts" / "bench"
SPOOL = Path("/var/spool/imap")


@pytest.fixture(scope="module")
def bench() -> Any:
    """The script as a module, though its name does not end in .py."""
    loader = importlib.machinery.SourceFileLoader("bench", str(BENCH))
    spec = importlib.util.spec_from_loader("bench", loader)
    assert spec
    module = sys.modules["bench"] = importlib.util.module_from_spec(spec)
    loader.exec_module(module)
    return module


def test_sync_tools_have_replicas_of_their_own() -> None:
    old, new = spools.sync_tools(["cyrsync"], Path("/bench"))
    link = Link("ssh", ["ssh", "-p", "22"])
    assert link.arguments(old, SPOOL) == [
        *("rsync", "-a", "--delete", "-e", "ssh -p 22", "/var/spool/imap/", "bench:/bench/old/")
    ]
    assert Link("disk").arguments(new, SPOOL) == ["cyrsync", "sync", "--delete", "/var/spool/imap", "/bench/new"]


def test_index_tools_know_every_folder(tmp_path: Path) -> None:
    """What the tool remembers lies in its replica: a first copy begins with neither."""
    spool = tmp_path / "spool"
    samplespool.make(spool, 200, 10)
    _, new = spools.index_tools(["cyrsync"], tmp_path, spool)
    conf = tmp_path / "conf" / "imapd.conf"
    assert Link("ssh", ["ssh"]).arguments(new, spool) == [
        *("cyrsync", "sync", "-C", str(conf), "--state", f"{tmp_path}/standby/.state", "--delete"),
        *("-e", "ssh", f"bench:{tmp_path}/standby"),
    ]
    lying = {Path(os.fsdecode(place.data)) for place in located(config.read(str(conf)))}
    assert lying == set(samplespool.folders(spool))


def test_verify_tools_look_at_the_spool_alone() -> None:
    counting, verify = (
        Link("disk").arguments(tool, SPOOL) for tool in spools.verify_tools(["python", "-m", "cyrsync"], SPOOL)
    )
    assert counting == ["sh", "-c", 'find "$1" -type f | wc -l', "sh", "/var/spool/imap"]
    assert verify == ["python", "-m", "cyrsync", "verify", "/var/spool/imap"]


def _row() -> Row:
    row = Row("none", "disk", "warm")
    row.samples["find"] = [Sample(seconds, 2048, 0) for seconds in (9.0, 3.0, 2.0)]
    row.samples["cyrsync verify"] = [Sample(seconds, 20480, 0) for seconds in (1.5, 1.0, 2.5)]
    return row


def test_the_table_has_medians() -> None:
    row = _row()
    row.calls = {"find": Calls(1000, 0), "cyrsync verify": Calls(200, 0)}
    head, _, line = table([row], ["find", "cyrsync verify"])
    assert "| find | cyrsync verify |" in head
    assert line == "| none | disk | warm | 3.00 s | 1.50 s | **2.0** | 2 / 20 MiB | 1,000 / 200 | 0 / 0 |"
    assert line.count("|") == head.count("|")


def test_the_table_has_no_columns_of_what_was_not_counted() -> None:
    head, rule, line = table([_row()], ["find", "cyrsync verify"])
    assert line == "| none | disk | warm | 3.00 s | 1.50 s | **2.0** | 2 / 20 MiB |"
    assert head.count("|") == rule.count("|") == line.count("|")


@pytest.mark.parametrize(
    ("arguments", "messages", "folders"),
    [
        ([], 100_000, 400),
        (["--only", "index"], 100_000, 400),
        (["--only", "native"], 20_000, 200),
        (["--only", "mailboxes"], 60_000, 20_000),
        (["--only", "restore"], 1_000_000, 400),
        (["--only", "readme"], 1_000_000, 2000),
        (["--only", "history"], 200_000, 400),
        (["--only", "native", "--folders", "7"], 20_000, 7),
    ],
)
def test_each_measurement_has_its_usual_size(bench: Any, arguments: list[str], messages: int, folders: int) -> None:
    options = bench.parse(arguments)
    assert (options.messages, options.folders, options.size) == (messages, folders, 100)


def test_the_readme_has_rsync_beside_both(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(readme, "cases", lambda *what: spools.cases(*what)[:2])
    monkeypatch.setattr("benchlib.bench.drop_caches", lambda: None)
    spool = tmp_path / "spool"
    samplespool.make(spool, 60, 4, size=100)
    cyrsync = [sys.executable, "-m", "cyrsync"]
    lines = readme.measure(cyrsync, spool, 100, 1, tmp_path, [Link("disk")])
    assert lines[0] == "| change | rsync | SRC DEST | times as fast | -C | times as fast |"
    changes = [line.split("|")[1].strip() for line in lines[2:] if line.startswith("|")]
    assert changes[:2] == ["first copy", "none"]
    assert next(line.split()[0] for line in lines if line.startswith("    ")) == "rsync"
    assert len({line.count("|") for line in lines if line.startswith("|")}) == 1


def test_keeping_the_past_is_measured_beside_backup_programs(tmp_path: Path) -> None:
    lines = history.measure([sys.executable, "-m", "cyrsync"], 60, 4, 100, 1, tmp_path)
    assert lines[0].startswith("| change | -C | -C --history |")
    assert [line.split("|")[1].strip() for line in lines[2:]] == ["first", "none", "1 % new, 1 % expunged"]


def test_messages_of_no_given_size_are_real_ones(bench: Any) -> None:
    assert bench.parse(["--size", "0"]).size is None


def _servers(root: Path) -> tuple[cyrus.Server, cyrus.Server]:
    replica = cyrus.Server(root / "replica", "sync_server", own=False)
    return cyrus.Server(root / "master", "imapd", cyrus.replicating(replica.port), own=False), replica


def test_both_replicate_the_same_server(tmp_path: Path) -> None:
    master, replica = _servers(tmp_path)
    old, new = native.tools(["cyrsync"], tmp_path, master, replica)
    conf = f"{tmp_path}/master/imapd.conf"
    assert Link("disk").arguments(old, master.spool) == ["/usr/lib/cyrus/bin/sync_client", "-C", conf, "-A"]
    assert Link("disk").arguments(new, master.spool)[:4] == ["cyrsync", "sync", "-C", conf]


def test_a_master_knows_its_replica(tmp_path: Path) -> None:
    master, replica = _servers(tmp_path)
    read = config.read(str(master.conf))
    assert os.fsdecode(read.partitions["default"].data) == str(master.spool)
    assert f"sync_port: {replica.port}\n" in master.conf.read_text()
    service = f'cmd="sync_server -C {replica.conf}" listen="127.0.0.1:{replica.port}"'
    assert service in (replica.root / "cyrus.conf").read_text()


def test_a_first_copy_begins_with_an_empty_replica(tmp_path: Path) -> None:
    master, replica = _servers(tmp_path)
    old, _ = native.tools(["cyrsync"], tmp_path, master, replica)
    for name in ("spool/j/user/joe/1.", "conf/user/j/joe.seen"):
        (replica.root / name).parent.mkdir(parents=True)
        (replica.root / name).touch()
    old.make_empty(old.replica)
    assert not list(replica.spool.iterdir())
    assert not (replica.root / "conf" / "user").exists()
    assert (replica.root / "conf" / "socket").is_dir()


def test_messages_are_appended_by_one_command() -> None:
    """Literals need not be waited for, and follow each other."""
    command = cyrus.appending("INBOX.Sent Items", [b"A: 1\r\n\r\n", b"B: 2\r\n\r\nx"])
    assert command == b'bench APPEND "INBOX.Sent Items" {8+}\r\nA: 1\r\n\r\n {9+}\r\nB: 2\r\n\r\nx\r\n'


def test_mailboxes_are_called_as_their_user_does() -> None:
    names = [cyrus.mailbox_name(SPOOL, SPOOL / "j/user/joe" / below) for below in ("", "Archive/2023")]
    assert names == ["INBOX", "INBOX.Archive.2023"]


def test_replicas_are_compared_by_their_messages(tmp_path: Path) -> None:
    """Not by what Cyrus has in its staging areas, nor by metadata."""
    here, there = tmp_path / "here", tmp_path / "there"
    for tree in (here, there):
        (tree / "u").mkdir(parents=True)
        (tree / "u" / "1.").write_text("mail")
    (here / "stage.").mkdir()
    (here / "stage." / "7.").write_text("mail")
    (here / "u" / "cyrus.cache").touch()
    native.check(here, there)
    (there / "u" / "2.").touch()
    with pytest.raises(SystemExit, match=r"2\."):
        native.check(here, there)


def test_each_user_has_files_that_a_replica_needs(tmp_path: Path) -> None:
    spool = tmp_path / "spool"
    samplespool.make(spool, 20, 20)
    conf = spools.server_files(tmp_path / "conf", spool)
    users, files = mailboxes.add_user_files(conf.parent, spool)
    assert (users, files) == (3, 12)
    listed = list(ConfFiles(config.read(str(conf))).listed({}))
    assert len(listed) == files
    assert {b"user/j/joe.sub", b"quota/j/user.joe"} < {file.path for file in listed}


def test_the_table_of_mailboxes_has_the_goals() -> None:
    head, rule, line = mailboxes.table(
        [mailboxes.Row("all", [Sample(s, k, 0) for s, k in ((0.5, 1), (0.9, 50_000), (0.7, 2))])]
    )
    assert line == "| all | 0.70 s | 0.90 s | 1.2 s | 51 MB | 80 MB |"
    assert head.count("|") == rule.count("|") == line.count("|")


def test_what_is_restored_is_there(tmp_path: Path) -> None:
    """The cases run, and bring what they say."""
    spool, out = tmp_path / "spool", tmp_path / "out"
    samplespool.make(spool, 200, 10)
    conf = spools.server_files(tmp_path / "conf", spool)
    found = []
    for case in restore.cases(["cyrsync"], conf, spool, out):
        shutil.rmtree(out, ignore_errors=True)
        done = run_cyrsync(*case.command[1:])
        assert (done.returncode, done.stderr) == (0, ""), case
        found.append(len(list((out / "cur").iterdir())) if out.exists() else 0)
    largest = max(len(list(folder.glob("[0-9]*."))) for folder in samplespool.folders(spool))
    assert found == [1, 1, largest, 0]


def test_the_table_of_restoring_has_the_goals(tmp_path: Path) -> None:
    case = restore.Case("a folder", ["cp"], ["cyrsync"], 10)
    head, rule, line = restore.table(
        [restore.Row(case, Sample(0.2, 1, 0), [Sample(0.5, 1, 0.3), Sample(0.9, 50_000, 0.5)])]
    )
    assert line == "| a folder | 0.20 s | 0.70 s | 0.40 s | 0.90 s | 10 s | 51 MB |"
    assert head.count("|") == rule.count("|") == line.count("|")


def test_ways_to_keep_a_replica_seconds_behind(tmp_path: Path) -> None:
    master, replica = (cyrus.Server(tmp_path / name, "imapd", own=False) for name in ("master", "replica"))
    near, far, client, at_once = rolling.ways(["cyrsync"], tmp_path, master, replica, Link("ssh", ["ssh", "-F", "a b"]))
    sync = ["cyrsync", "sync", "-C", str(master.conf), "--watch"]
    assert near.command == [*sync, str(tmp_path / "near")]
    assert far.command == [*sync, "-e", "ssh -F 'a b'", f"bench:{tmp_path}/far"]
    assert near.spool == Path(f"{tmp_path}/near{master.spool}")
    assert at_once.command == [*client.command[:-1], f"{client.command[-1]}.0"]
    assert client.spool == replica.spool


def test_what_a_delay_table_says(tmp_path: Path) -> None:
    inbox = tmp_path / "j/user/joe"
    inbox.mkdir(parents=True)
    for name in ("1.", "20.", "cyrus.index", "x."):
        (inbox / name).touch()
    assert sorted(rolling.messages_in(tmp_path, ["joe", "nobody"])) == [("joe", 1), ("joe", 20)]
    delays = rolling.Delays(5, [0.01, 0.02, 0.03, 0.5], 1.25)
    assert delays.cells() == ["5", "25 ms", "500 ms", "500 ms", "1", "1.2 s"]
    assert rolling.Delays(5, [], 1.0).cells() == ["5", "-", "-", "-", "5", "1.0 s"]
