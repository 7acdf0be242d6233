"""`cyrsync check`: each thing that can be wrong, made wrong for real."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import pytest

import samplespool
from cyrsync.far import owner_file
from cyrsync.far.owner_file import OwnerFile
from cyrsync.server.ownership import source_name
from support.locked import locked
from support.servers import SampleServer, below
from support.spool import leaves
from support.sshd import Sshd
from support.tools import free_port, oldest_python, python_words, requires, requires_root, unavailable, which
from support.tree import cyrsync_argv, plain_env, rsync, run_cyrsync, snapshot

NAMES = (
    "imapd.conf source mailboxes.db spool locks configdirectory state sync_log rsync connection destination "
    "space space clock rights Cyrus run"
)
#: What rsync 3.0.9 says of itself.
OLD_RSYNC = """#!/bin/sh
echo 'rsync  version 3.0.9  protocol version 30'
echo '     --files-from=FILE       read list of source-file names from FILE'
echo ' -s, --protect-args          no space-splitting; only wildcard special-chars'
"""
ANCIENT_RSYNC = OLD_RSYNC.rpartition("echo")[0]
BERKELEY = bytes(12) + (0x053162).to_bytes(4, sys.byteorder) + bytes(4000)


class Report(NamedTuple):
    """What a check came to, as its JSON has it."""

    exit: int
    checks: list[dict[str, str]]

    def of(self, name: str) -> list[tuple[str, str]]:
        """Verdict and text of the findings of one check."""
        found = [one for one in self.checks if one["check"] == name]
        return [(one["verdict"], f"{one['found']}: {one['advice']}") for one in found]

    def not_well(self) -> list[str]:
        return [one["check"] for one in self.checks if one["verdict"] == "fail"]

    def failure(self, name: str) -> str:
        """The text of the one failure there is, which is this check's."""
        assert (self.not_well(), self.exit) == ([name], 1), self.checks
        assert "ok" not in [verdict for verdict, _ in self.of(name)]
        return next(text for verdict, text in self.of(name) if verdict == "fail")

    def note(self, name: str) -> str:
        assert (self.not_well(), self.exit) == ([], 0), self.checks
        return next(text for verdict, text in self.of(name) if verdict == "note")


@pytest.fixture
def server(tmp_path: Path) -> SampleServer:
    server = SampleServer(tmp_path / "mail")
    (server.root / "conf/user/j").mkdir(parents=True)
    (server.root / "conf/user/j/joe.sub").write_text("user.joe\t\n")
    return server


@pytest.fixture
def replica(tmp_path: Path) -> Path:
    path = tmp_path / "replica"
    path.mkdir()
    return path


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 256 kB and 40 inodes."""
    requires("mount", "umount")
    requires_root()
    path = tmp_path / "small"
    path.mkdir()
    mount = ["mount", "-t", "tmpfs", "-o", "size=256k,nr_inodes=40", "none", str(path)]
    if subprocess.run(mount, check=False).returncode:
        unavailable("not allowed to mount")
    yield path
    subprocess.run(["umount", str(path)], check=True)


def check(server: SampleServer, *words: str | Path, **options: Any) -> Report:
    done = run_cyrsync("check", "-C", server.conf, "--json", *words, **options)
    assert done.stderr == ""
    found = json.loads(done.stdout)
    assert found["exit"] == done.returncode
    assert all(one["found"] for one in found["checks"])
    return Report(found["exit"], found["checks"])


def program(path: Path, text: str) -> Path:
    path.parent.mkdir(exist_ok=True)
    path.write_text(text)
    path.chmod(0o755)
    return path


def put_owner_file(server: SampleServer, replica: Path, **fields: Any) -> None:
    """Make each root of the replica say something of itself."""
    ours = OwnerFile("abc", source_name(bytes(server.conf)), 7, 1e9, 1e9 + 5, 1e9)
    for root in (server.spool, server.root / "conf"):
        below(replica, root).mkdir(parents=True, exist_ok=True)
        owner_file.write(bytes(below(replica, root)), ours._replace(**fields))


# --- All is well


@pytest.mark.parametrize("far", [False, True])
def test_all_is_well_and_nothing_is_written(
    sshd: Sshd, server: SampleServer, replica: Path, state_dir: Path, tmp_path: Path, far: bool
) -> None:
    (tmp_path / "tmp").mkdir()
    before = snapshot(tmp_path, skip_hidden=False, dir_mtimes=False)
    words = ("-e", sshd.rsh, sshd.at(replica)) if far else (replica,)
    report = check(server, *words, env={"TMPDIR": str(tmp_path / "tmp")})
    assert report.exit == 0
    names = [*NAMES.split(), "owner file", "standby", *["far rsync"] * far]
    well = [one["check"] for one in report.checks if one["verdict"] == "ok"]
    assert sorted([*well, "standby"]) == sorted(names)
    # Nobody has locked made-up mailboxes by their names, and nobody has set up a standby.
    assert [one["check"] for one in report.checks if one["verdict"] == "note"] == ["locks", "standby"]
    assert snapshot(tmp_path, skip_hidden=False, dir_mtimes=False) == before
    assert list(state_dir.iterdir()) == []


def test_a_line_for_each_and_nothing_with_quiet(server: SampleServer, replica: Path) -> None:
    done = run_cyrsync("check", "-C", server.conf, replica)
    assert (done.returncode, done.stderr) == (0, "")
    assert [line[:5] for line in done.stdout.splitlines()].count("ok   ") == len(NAMES.split()) + 1
    assert f"\nok   mailboxes.db: flat, {len(server.folders())} mailboxes\n" in done.stdout
    failing = run_cyrsync("check", "-C", server.conf, replica / "none")
    assert failing.returncode == 1
    assert "\nFAIL destination: " in failing.stdout
    quiet = run_cyrsync("check", "-q", "-C", server.conf, replica / "none")
    assert (quiet.returncode, quiet.stdout, quiet.stderr) == (1, "", "")


def test_what_it_says_of_the_source(server: SampleServer, replica: Path) -> None:
    report = check(server, replica)
    ((_, spool),) = report.of("spool")
    assert f"can read {len(server.folders())} mailboxes" in spool
    (size, inodes) = (text for _, text in report.of("space"))
    (number,) = (int(word) for word in inodes.replace(":", "").split() if word.isdigit())
    assert 300 < number < 300 + 10 * len(server.folders())
    assert "iB free, for at least " in size


def test_the_oldest_python_there(mortal_sshd: Sshd, server: SampleServer, replica: Path) -> None:
    program(mortal_sshd.root / "bin/python3", f'#!/bin/sh\nexec {python_words(python=oldest_python())} "$@"\n')
    report = check(server, "-e", mortal_sshd.rsh, mortal_sshd.at(replica))
    assert report.exit == 0
    version = Path(oldest_python()).name.removeprefix("python")
    assert f"Python {version}" in report.of("connection")[0][1]


# --- The source


def test_no_imapd_conf_leaves_what_needs_none(server: SampleServer, replica: Path) -> None:
    server.conf.unlink()
    report = check(server, replica)
    assert "No such file" in report.failure("imapd.conf")
    names = [one["check"] for one in report.checks]
    assert names == ["imapd.conf", "state", "rsync", "connection", "destination", "clock"]


def test_an_imapd_conf_of_no_spool(server: SampleServer, replica: Path) -> None:
    server.conf.write_text(f"configdirectory: {server.root}/conf\n")
    report = check(server, replica)
    assert report.of("imapd.conf") == [("fail", report.of("imapd.conf")[0][1])]
    assert "no partition" in report.of("imapd.conf")[0][1]


def test_mail_in_an_object_store(server: SampleServer, replica: Path) -> None:
    server.conf.write_text(server.conf.read_text() + "object_storage_enabled: yes\n")
    assert "object_storage_enabled" in check(server, replica).failure("imapd.conf")


def test_a_berkeley_mailboxes_db(server: SampleServer, replica: Path) -> None:
    server.database.write_bytes(BERKELEY)
    assert f"cvt_cyrusdb {server.database} berkeley" in check(server, replica).failure("mailboxes.db")


def test_mailboxes_db_of_another_server(server: SampleServer, replica: Path) -> None:
    server.database.write_text("")
    assert "empty" in check(server, replica).failure("mailboxes.db")


def test_a_partition_that_imapd_conf_lacks(server: SampleServer, replica: Path) -> None:
    server.database.write_text(server.database.read_text().replace("P default", "P other", 2))
    assert "2 mailboxes in other" in check(server, replica).failure("mailboxes.db")


def test_mailboxes_that_cannot_be_read(server: SampleServer, replica: Path) -> None:
    folder = server.folders()[0]
    number = sum(folder in (one, *one.parents) for one in server.folders())
    folder.chmod(0)
    report = check(server, replica, user=True)
    folder.chmod(0o755)
    texts = [text for verdict, text in report.of("spool") if verdict == "fail"]
    assert report.exit == 1
    assert any(f"{folder}: Permission denied: run cyrsync as root" in text for text in texts)
    assert any(text.startswith(f"{number} mailboxes of partition default: Permission denied") for text in texts)
    assert "Permission denied" in report.of("locks")[0][1]


def test_a_partition_that_is_not_mounted(server: SampleServer, replica: Path) -> None:
    server.spool.rename(server.root / "elsewhere")
    server.spool.mkdir()
    count = len(server.database.read_text().splitlines())
    assert f"{count} mailboxes of partition default: No such file" in check(server, replica).failure("spool")
    server.spool.rmdir()
    report = check(server, replica)
    assert f"{server.spool}: No such file or directory: is its disk mounted?" in [
        text for _, text in report.of("spool")
    ]


def test_a_mailbox_without_an_index_is_a_note(server: SampleServer, replica: Path) -> None:
    (server.folders()[0] / "cyrus.index").unlink()
    assert "1 mailboxes of partition default" in check(server, replica).note("spool")


def test_a_writer_that_keeps_a_mailbox(server: SampleServer, replica: Path) -> None:
    index = server.folders()[0] / "cyrus.index"
    with locked(index):
        assert f"{index}: locked by a writer" in check(server, replica).failure("locks")


def test_a_writer_that_keeps_mailboxes_db(server: SampleServer, replica: Path) -> None:
    with locked(server.database):
        assert "locked by a writer" in check(server, replica).failure("mailboxes.db")


def test_databases_that_cannot_be_copied(server: SampleServer, replica: Path) -> None:
    annotations = server.root / "conf/annotations.db"
    annotations.write_bytes(BERKELEY)
    assert f"{annotations}: Berkeley" in check(server, replica).failure("configdirectory")
    assert check(server, "--no-config", replica).exit == 0


def test_many_mailboxes_that_cannot_be_read_are_few_lines(server: SampleServer, replica: Path) -> None:
    """A wrong user: directories that can be passed, and not listed."""
    folders = server.folders()
    for folder in folders:
        folder.chmod(0o311)
    report = check(server, replica, user=True)
    done = run_cyrsync("check", "-C", server.conf, replica, user=True)
    for folder in folders:
        folder.chmod(0o755)
    named = [text for verdict, text in report.of("spool") if verdict == "fail"]
    assert len(named) == len(folders) > 6
    lines = [line for line in done.stdout.splitlines() if line.startswith("FAIL spool: ")]
    advice = "Permission denied: run cyrsync as root, or as Cyrus's own user"
    assert len(lines) == 6
    assert lines[5] == f"FAIL spool: ... and {len(folders) - 5} more: {advice}"


def test_messages_that_cannot_be_read(server: SampleServer, replica: Path) -> None:
    """As sync would find: who may open indexes need not be allowed to open messages."""
    names = list(server.folders()[0].glob("*."))
    for path in names:
        path.chmod(0)
    text = check(server, replica, user=True).failure("spool")
    for path in names:
        path.chmod(0o600)
    assert ".: Permission denied: run cyrsync as root" in text
    assert check(server, replica, user=True).exit == 0


def test_users_files_that_cannot_be_read(server: SampleServer, replica: Path) -> None:
    directory = server.root / "conf/user/j"
    directory.chmod(0)
    report = check(server, replica, user=True)
    directory.chmod(0o755)
    assert f"{directory}: Permission denied" in report.failure("configdirectory")


def test_a_state_directory_to_which_nothing_can_be_written(
    server: SampleServer, replica: Path, state_dir: Path
) -> None:
    state_dir.chmod(0o500)
    for state in (state_dir, state_dir / "deep/below"):
        assert "no right to write" in check(server, "--state", state, replica, user=True).failure("state")
    assert check(server, "--state", replica.parent / "state/below", replica, user=True).exit == 0
    assert not (replica.parent / "state").exists()


def test_a_state_directory_without_room(server: SampleServer, replica: Path, small_disk: Path) -> None:
    assert "others than root may write" in check(server, "--state", small_disk, replica).failure("state")
    small_disk.chmod(0o700)
    assert check(server, "--state", small_disk, replica).exit == 0
    (small_disk / "fill").write_bytes(bytes(240_000))
    assert " free, of " in check(server, "--state", small_disk, replica).failure("state")


# --- The two rsyncs


def test_an_old_rsync_here(server: SampleServer, replica: Path, tmp_path: Path) -> None:
    fake = program(tmp_path / "bin/rsync", OLD_RSYNC)
    path = {"PATH": f"{fake.parent}:{os.environ['PATH']}"}
    assert "3.0.9: metadata that changes twice in a second" in check(server, replica, env=path).note("rsync")
    program(fake, ANCIENT_RSYNC)
    assert "no -s" in check(server, replica, env=path).failure("rsync")
    program(fake, "#!/bin/sh\nexit 1\n")
    assert "cannot be used" in check(server, replica, env=path).failure("rsync")


def test_an_old_rsync_there(sshd: Sshd, server: SampleServer, replica: Path, tmp_path: Path) -> None:
    fake = program(tmp_path / "old-rsync", OLD_RSYNC)
    words = ("-e", sshd.rsh, sshd.at(replica), "--rsync-path")
    assert "3.0.9: metadata that changes twice" in check(server, *words, fake).note("far rsync")
    assert "--rsync-path" in check(server, *words, tmp_path / "none").failure("far rsync")


# --- The connection


def test_a_host_that_cannot_be_reached(sshd: Sshd, server: SampleServer, replica: Path) -> None:
    rsh = sshd.rsh.replace(f"-p {sshd.port}", f"-p {free_port()}")
    report = check(server, "-e", rsh, sshd.at(replica))
    assert "refused" in report.failure("connection")
    assert [one["check"] for one in report.checks][-2:] == ["rsync", "connection"]


def test_a_host_that_is_not_known_is_not_asked_about(sshd: Sshd, server: SampleServer, replica: Path) -> None:
    """Anybody would be asked who is at a terminal; cron is not."""
    words = sshd.rsh.replace("-o BatchMode=yes ", "").replace("StrictHostKeyChecking=no", "StrictHostKeyChecking=ask")
    rsh = words.replace(f"{sshd.root}/known_hosts", "/dev/null")
    requires("script", "timeout")
    line = shlex.join(cyrsync_argv("check", "-C", server.conf, "-e", rsh, sshd.at(replica)))
    terminal = ["timeout", "60", "script", "-qec", line, "/dev/null"]
    done = subprocess.run(terminal, env=plain_env(), stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert done.returncode == 1, done.stdout
    assert b"connection: 127.0.0.1: the connection failed: Host key verification failed" in done.stdout
    assert b"known_hosts" in done.stdout


def test_no_python_there(sshd_without_python: Sshd, server: SampleServer, replica: Path) -> None:
    report = check(server, "-e", sshd_without_python.rsh, sshd_without_python.at(replica))
    assert "python3" in report.failure("connection")
    assert report.of("far rsync")[0][0] == "ok"


def test_an_rsync_daemon(server: SampleServer) -> None:
    assert "daemon" in check(server, "rsync://127.0.0.1/module/").failure("connection")


def test_who_may_not_set_owners(mortal_sshd: Sshd, server: SampleServer, open_dir: Path) -> None:
    requires_root()
    requires("setpriv")
    python = which("python3")
    if not python or not Path(python).resolve().is_relative_to("/usr"):
        python = "/usr/bin/python3"
    nobody = f'#!/bin/sh\nexec setpriv --reuid=65534 --regid=65534 --clear-groups {python} "$@"\n'
    program(mortal_sshd.root / "bin/python3", nobody)
    report = check(server, "-e", mortal_sshd.rsh, mortal_sshd.at(open_dir))
    assert "all files there will be nobody's" in report.of("rights")[0][1]
    assert report.of("rights")[0][0] == "note"
    assert all("no right to write there" in text for _, text in report.of("destination"))
    os.chown(open_dir, 65534, 65534)
    assert check(server, "-e", mortal_sshd.rsh, mortal_sshd.at(open_dir)).exit == 0
    for path in [server.root, *server.root.rglob("*")]:
        os.chown(path, 65534, 65534)
    assert check(server, "-e", mortal_sshd.rsh, mortal_sshd.at(open_dir)).of("rights")[0][0] == "ok"


@pytest.mark.parametrize(("ahead", "verdict"), [(1, "ok"), (-20, "note"), (3600, "fail")])
def test_the_clock_there(
    mortal_sshd: Sshd, server: SampleServer, replica: Path, tmp_path: Path, ahead: int, verdict: str
) -> None:
    wrong = f"import time\nright = time.time\ntime.time = lambda: right() + {ahead}\n"
    (tmp_path / "sitecustomize.py").write_text(wrong)
    # -I keeps Python from heeding PYTHONPATH.
    python = f'#!/bin/sh\n[ "$1" != -I ] || shift\nPYTHONPATH={tmp_path} exec {python_words()} "$@"\n'
    program(mortal_sshd.root / "bin/python3", python)
    report = check(server, "-e", mortal_sshd.rsh, mortal_sshd.at(replica))
    ((found, text),) = report.of("clock")
    assert (found, report.exit) == (verdict, int(verdict == "fail"))
    assert {1: "within", -20: "s behind", 3600: "min"}[ahead] in text


# --- What is there


def test_a_destination_that_is_not_there(server: SampleServer, replica: Path) -> None:
    assert "no such directory" in check(server, replica / "none").failure("destination")
    (replica / "file").write_text("")
    assert "no such directory" in check(server, replica / "file").failure("destination")


def test_the_source_itself(server: SampleServer) -> None:
    assert "that is the server itself" in check(server, "/").of("destination")[0][1]


def test_a_file_where_a_partition_goes(server: SampleServer, replica: Path) -> None:
    below(replica, server.root).mkdir(parents=True)
    below(replica, server.spool).write_text("")
    assert f"{below(replica, server.spool)}: not a directory" in check(server, replica).failure("destination")


def test_no_right_to_write_there(server: SampleServer, replica: Path) -> None:
    below(replica, server.spool).mkdir(parents=True)
    below(replica, server.spool).chmod(0o500)
    text = check(server, replica, user=True).failure("destination")
    assert f"{below(replica, server.spool)}: no right to write there" in text


def test_whose_replica_it_is(server: SampleServer, replica: Path) -> None:
    assert "nobody's" in check(server, replica).of("owner file")[0][1]
    put_owner_file(server, replica)
    assert "this server's, last complete run: 2001-09-09" in check(server, replica).of("owner file")[0][1]
    put_owner_file(server, replica, source="other:/etc/imapd.conf")
    text = check(server, replica).failure("owner file")
    assert "replica of other:/etc/imapd.conf" in text
    assert "exit 4" in text
    put_owner_file(server, replica, promoted="2026-01-01T00:00:00+00:00")
    assert "promoted at 2026-01-01" in check(server, replica).failure("owner file")
    (below(replica, server.spool) / ".cyrsync-replica").write_text("{")
    assert "damaged" in check(server, replica).failure("owner file")


def test_a_disk_that_is_too_small(server: SampleServer, small_disk: Path) -> None:
    replica = small_disk / "replica"
    replica.mkdir()
    report = check(server, replica)
    assert report.exit == 1
    assert [verdict for verdict, _ in report.of("space")] == ["fail", "fail"]
    assert all("make room" in text for _, text in report.of("space"))
    subprocess.run(["mount", "-o", "remount,size=64m,nr_inodes=500", str(small_disk)], check=True)
    assert [verdict for verdict, _ in check(server, replica).of("space")] == ["ok", "ok"]
    for number in range(300):
        (small_disk / str(number)).touch()
    assert "inodes free" in check(server, replica).of("space")[1][1]
    assert [verdict for verdict, _ in check(server, replica).of("space")] == ["ok", "fail"]


def test_a_disk_on_which_something_is(tmp_path: Path, small_disk: Path) -> None:
    server = SampleServer(tmp_path / "mail", messages=4, folder_count=3)
    samplespool.deliver(server.folders()[0], 40, size=9000)
    subprocess.run(["mount", "-o", "remount,size=700k,nr_inodes=1000", str(small_disk)], check=True)
    spool = below(small_disk, server.spool)
    spool.mkdir(parents=True)
    assert check(server, small_disk).of("space")[0][0] == "ok"
    shutil.copytree(server.spool, spool, dirs_exist_ok=True)
    assert "most of a copy" in check(server, small_disk).note("space")
    put_owner_file(server, small_disk)
    assert "most of which is there" in check(server, small_disk).of("space")[0][1]
    (spool / ".cyrsync-replica").unlink()
    assert "most of a copy" in check(server, small_disk).note("space")
    put_owner_file(server, small_disk, complete=0.0)
    assert "most of a copy" in check(server, small_disk).note("space")


# --- The standby's imapd.conf


def test_the_standbys_imapd_conf(server: SampleServer, replica: Path) -> None:
    conf = below(replica, server.conf)
    assert "not there" in check(server, replica).note("standby")
    conf.parent.mkdir(parents=True)
    shutil.copy(server.conf, conf)
    assert check(server, replica).of("standby")[0][0] == "ok"
    conf.write_text(server.conf.read_text().replace("hashimapspool: yes", "hashimapspool: no"))
    assert "hashimapspool: on on the source, off there" in check(server, replica).failure("standby")
    conf.write_text(server.conf.read_text() + "altnamespace: no\n")
    assert "altnamespace" in check(server, replica).note("standby")
    conf.write_text("nonsense\n")
    assert "a colon" in check(server, replica).failure("standby")


def test_what_it_includes_is_read_there(sshd: Sshd, server: SampleServer, replica: Path) -> None:
    include = server.root / "more.conf"
    include.write_text("fulldirhash: no\n")
    server.conf.write_text(server.conf.read_text() + f"@include: {include}\n")
    below(replica, server.root).mkdir(parents=True)
    for path in (server.conf, include):
        shutil.copy(path, below(replica, path))
    words = ("-e", sshd.rsh, sshd.at(replica))
    assert check(server, *words).of("standby")[0][0] == "ok"
    below(replica, include).write_text("fulldirhash: yes\n")
    assert "fulldirhash" in check(server, *words).failure("standby")


def test_what_a_run_would_refuse(server: SampleServer, replica: Path) -> None:
    """A copy that rsync has made, on which Cyrus was then started: no owner file tells of it, but its indexes do."""
    copy = below(replica, server.spool)
    copy.mkdir(parents=True)
    rsync("-a", f"{server.spool}/", f"{copy}/")
    folder = leaves(below(replica, server.spool))[0]
    samplespool.deliver(folder, 1)
    report = check(server, replica)
    refused = run_cyrsync("sync", "-C", server.conf, replica)
    assert refused.returncode == 4
    assert (report.exit, report.of("run")[0][0]) == (1, "fail")
    assert report.failure("run").partition(": sync would")[0] in refused.stderr


def test_a_run_that_would_not_be_refused(server: SampleServer, replica: Path) -> None:
    copy = below(replica, server.spool)
    copy.mkdir(parents=True)
    rsync("-a", f"{server.spool}/", f"{copy}/")
    before = snapshot(replica, skip_hidden=False)
    report = check(server, replica)
    assert report.of("run")[0][0] == "ok"
    assert snapshot(replica, skip_hidden=False) == before
