"""`cyrsync promote` on made-up replicas; what becomes of real ones tests/cyrus tells."""

from __future__ import annotations

import grp
import json
import os
import pwd
import shutil
import subprocess
import time
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cyrsync.cyrus.server import config
from cyrsync.cyrus.server.settings import layout_settings
from cyrsync.far import owner_file
from cyrsync.far.hold import Holds
from cyrsync.far.owner_file import OwnerFile
from support.deep import dig
from support.servers import SampleServer
from support.tools import requires_root
from support.tree import cyrsync_argv, plain_env, run_cyrsync, snapshot

#: Cyrus runs as whoever runs the tests.
ME = {"CYRUS_USER": pwd.getpwuid(os.getuid()).pw_name, "CYRUS_GROUP": grp.getgrgid(os.getgid()).gr_name}
HOUR = 3600.0


@pytest.fixture
def replica(tmp_path: Path) -> SampleServer:
    """Two partitions, and an owner file at each root of an hour ago."""
    server = SampleServer(tmp_path / "standby", partitions="default other")
    settings = layout_settings(config.read(str(server.conf)))
    begun = time.time() - HOUR
    for root in roots(server):
        made = OwnerFile("abc", "mail1:/etc/imapd.conf", 7, begun, begun + 5, begun, settings=settings)
        owner_file.write(os.fsencode(root), made)
    return server


def roots(server: SampleServer) -> list[Path]:
    return [*server.spools.values(), server.root / "conf"]


def promoted(root: Path) -> str:
    """Since when a root says that it is promoted."""
    found = owner_file.read(os.fsencode(root))
    assert found
    return found.promoted


def run(*words: str | Path, code: int) -> subprocess.CompletedProcess[str]:
    done = run_cyrsync("promote", *words, env=ME)
    assert done.returncode == code, done
    return done


def promote(server: SampleServer, *words: str | Path, code: int = 0) -> dict[str, Any]:
    done = run("-C", server.conf, "--json", *words, code=code)
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["exit"] == code
    return found


def refused(server: SampleServer, code: int, *words: str) -> str:
    """Promote in vain: nothing is changed. Return what was said."""
    before = snapshot(server.root)
    done = run("-C", server.conf, *words, code=code)
    assert snapshot(server.root) == before
    assert done.stdout == ""
    return done.stderr


def commands(found: dict[str, Any]) -> list[str]:
    return [step["command"] for step in found["steps"]]


def test_every_root_is_marked_once(replica: SampleServer) -> None:
    found = promote(replica)
    assert (found["problems"], found["warnings"], found["errors"], found["again"]) == ([], [], [], False)
    assert found["source"] == "mail1:/etc/imapd.conf"
    assert sorted(found["roots"]) == sorted(map(str, roots(replica)))
    marked = [owner_file.read(os.fsencode(root)) for root in roots(replica)]
    assert {one and (one.promoted, one.run, one.replica) for one in marked} == {(found["promoted"], 7, "abc")}
    for root in roots(replica):
        one = owner_file.read(os.fsencode(root))
        assert one
        owner_file.write(os.fsencode(root), one._replace(promoted="2001-01-01T00:00:00+00:00"))
    again = promote(replica)
    assert (again["again"], again["promoted"]) == (True, "2001-01-01T00:00:00+00:00")


def test_the_directories_that_cyrus_works_in_are_to_be_made(replica: SampleServer) -> None:
    home = replica.root / "conf"
    (home / "socket").mkdir()
    (line,) = [line for line in commands(promote(replica)) if line.startswith("install")]
    assert f"{home}/socket" not in line
    subprocess.run(["sh", "-ec", line], check=True)
    assert all((home / name).is_dir() for name in ("db", "log", "msg", "proc", "sync"))
    assert (home / "proc").stat().st_uid == os.getuid()
    assert not [line for line in commands(promote(replica)) if line.startswith("install")]


def test_says_how_old_it_is(replica: SampleServer) -> None:
    done = run("-C", replica.conf, code=0)
    assert "The last run that sent anything began 1 h 00 min ago" in done.stdout
    assert "cut off" not in done.stdout
    spool = os.fsencode(replica.spool)
    before = owner_file.read(spool)
    assert before
    owner_file.write(spool, before._replace(ended=0.0, complete=before.begun - HOUR))
    found = promote(replica)
    assert found["cut_off"] is True
    assert found["last_complete_run"] < found["last_run"]
    done = run("-C", replica.conf, code=0)
    assert "cut off" in done.stdout
    assert "began 2 h 00 min ago" in done.stdout


def test_says_that_a_power_cut_ended_the_last_run(replica: SampleServer) -> None:
    """Messages of that run may be empty, which only reading them shows. It is said until they are read."""
    root = os.fsencode(replica.spool)
    before = owner_file.read(root)
    assert before
    owner_file.write(root, before._replace(writing="another boot"))
    for _ in range(2):
        (warning,) = promote(replica)["warnings"]
        assert "ended a run that was writing there: what it sent may be empty: give --content" in warning
        after = owner_file.read(root)
        assert after and after.promoted and after.doubtful and not after.writing
    assert promote(replica, "--content")["warnings"] == []
    after = owner_file.read(root)
    assert after and not after.doubtful


def test_prints_the_commands_without_a_terminal_and_nothing_with_quiet(replica: SampleServer) -> None:
    done = run("-C", replica.conf, code=0)
    _, _, remaining = done.stdout.partition("What remains to be done\n")
    lines = remaining.splitlines()
    assert lines[0].startswith("install -d ")
    assert f"ctl_cyrusdb -C {replica.conf} -r  # " in lines[1]
    assert f"quota -C {replica.conf} -f  # " in lines[2]
    # The host's service would start Cyrus with another imapd.conf.
    assert "systemctl" not in remaining
    home = replica.root / "conf"
    start = f"master -C {replica.conf} -M {replica.conf.parent}/cyrus.conf -p {home}/master.pid -d  # "
    assert any(start in line for line in lines)
    assert "mail1" in remaining
    assert run("-C", replica.conf, "-q", code=0).stdout == ""


def test_a_replica_without_owner_files_is_promoted_with_a_warning(replica: SampleServer) -> None:
    for root in roots(replica):
        (root / ".cyrsync-replica").unlink()
    found = promote(replica)
    (warning,) = found["warnings"]
    assert "there is no owner file" in warning
    assert (found["source"], found["last_run"]) == ("unknown", None)
    assert {promoted(root) for root in roots(replica)} == {found["promoted"]}


def test_a_run_that_writes_is_not_cut_off(replica: SampleServer) -> None:
    with closing(Holds()) as holds:
        assert holds.hold([os.fsencode(replica.spools["other"])]) is None
        said = refused(replica, 75)
    assert f"{replica.spools['other']}: process {os.getpid()} has been working on it since " in said
    assert "on the master, or give --wait SECONDS" in said


def test_waits_for_a_run_to_end(replica: SampleServer) -> None:
    argv = cyrsync_argv("promote", "-C", replica.conf, "-q", "--wait", "100")
    with closing(Holds()) as holds:
        assert holds.hold([os.fsencode(replica.spool)]) is None
        waiting = subprocess.Popen(argv, env=plain_env(ME))
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(2)
        assert promoted(replica.root / "conf") == ""
    assert waiting.wait(100) == 0
    assert promoted(replica.root / "conf")


def test_settings_that_hide_the_mail_are_named_a_line_each(replica: SampleServer) -> None:
    text = replica.conf.read_text().replace("hashimapspool: yes", "hashimapspool: no\nvirtdomains: on")
    replica.conf.write_text(text)
    database = replica.database.read_bytes()
    lines = refused(replica, 3).splitlines()
    assert f"cyrsync: {replica.conf}: hashimapspool: on on the source, off here" in lines
    assert f"cyrsync: {replica.conf}: virtdomains: off on the source, on here" in lines
    assert lines[-1].endswith("nothing was changed")
    assert replica.database.read_bytes() == database


def test_settings_that_do_no_harm_are_told(replica: SampleServer) -> None:
    replica.conf.write_text(replica.conf.read_text() + "altnamespace: no\n")
    (warning,) = promote(replica)["warnings"]
    assert "altnamespace: on on the source, off here" in warning


@pytest.mark.parametrize("missing", [True, False])
def test_a_disk_that_is_not_mounted(replica: SampleServer, missing: bool) -> None:
    shutil.rmtree(replica.spools["other"])
    if not missing:
        (replica.spools["other"] / "lost+found").mkdir(parents=True)
    assert "nothing of partition other is there: is it mounted?" in refused(replica, 3)


def test_no_mailboxes_db(replica: SampleServer) -> None:
    replica.database.unlink()
    assert "mailboxes.db" in refused(replica, 3)


def test_leftovers_go_and_what_looks_like_them_stays(replica: SampleServer, tmp_path: Path) -> None:
    folder, conf = replica.folders()[0], replica.root / "conf"
    box = ".".join(folder.relative_to(replica.spool).parts[1:])
    replica.database.write_bytes(replica.database.read_bytes() + b"zz.NEW\t%(A %() P default)\n")
    (replica.spool / "z" / "zz" / "NEW").mkdir(parents=True)
    for name in ("cyrus.header", "cyrus.index"):
        shutil.copy(replica.folders()[-1] / name, replica.spool / "z" / "zz" / "NEW")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "cyrus.index.NEW").touch()
    (folder / "link").symlink_to(outside)
    gone = [folder / "cyrus.index.NEW", folder / ".1..AbCdEf", replica.spool / "stage." / "1-2-3"]
    gone += [folder / ".~tmp~" / "cyrus.index", conf / "mailboxes.db.NEW"]
    gone += [conf / "quota" / "j" / f"{box}.NEW", conf / "user" / "j" / ".joe.sub.AbCdEf"]
    gone += [conf / "statuscache.db", replica.spool / ".cyrsync-renamed" / "0" / "1."]
    kept = [conf / "quota" / "n" / "zz.NEW", conf / "user" / "j" / "joe.sub", folder / ".mine"]
    for path in (*gone, *kept):
        path.parent.mkdir(parents=True, exist_ok=True)
        path.touch()
    found = promote(replica, code=1)  # the messages of zz.NEW are missing
    assert [path for path in gone if path.exists()] == []
    assert [path for path in (*kept, outside / "cyrus.index.NEW") if not path.exists()] == []
    assert (replica.spool / "stage.").is_dir()
    assert not (replica.spool / ".cyrsync-renamed").exists()
    assert found["leftovers"] == len(gone) + 3  # with three directories


def test_directories_of_any_depth(replica: SampleServer) -> None:
    """Whoever had the source may have made them, and the standby is needed now."""
    for root in roots(replica):
        deepest = dig(root, 1200)
        os.close(os.open("cyrus.index.NEW", os.O_CREAT, dir_fd=deepest))
        os.close(deepest)
    assert json.loads(run("-C", replica.conf, "--json", code=0).stdout)["leftovers"] == 3
    for root in roots(replica):
        subprocess.run(["rm", "-r", root / "d"], check=True)


def test_a_directory_that_is_no_mailboxs_is_told_and_does_no_harm(replica: SampleServer) -> None:
    replica.record(replica.folders()[-1])
    found = promote(replica)
    assert [one["kind"] for one in found["problems"]] == ["no mailbox"]


def test_names_are_quoted_for_the_shell(replica: SampleServer) -> None:
    strange = replica.folder("user/joe") / "it's; $(rm) [bold]"
    strange.mkdir()
    for name in ("cyrus.header", "cyrus.cache"):
        shutil.copy(replica.folders()[0] / name, strange)
    (strange / "cyrus.index").touch()
    replica.record()
    found = promote(replica, code=1)
    (line,) = [line for line in commands(found) if "reconstruct" in line]
    echoed = subprocess.run(["sh", "-c", f"printf '%s\\n' {line}"], capture_output=True, text=True, check=True)
    assert echoed.stdout.splitlines()[-1] == "user/joe/it's; $(rm) [bold]"
    assert line in run("-C", replica.conf, code=1).stdout


def test_shutdown_would_keep_everybody_out(replica: SampleServer) -> None:
    shutdown = replica.root / "conf" / "msg" / "shutdown"
    shutdown.parent.mkdir()
    shutdown.write_text("gone for lunch")
    assert f"rm -- {shutdown}" in commands(promote(replica))
    assert shutdown.exists()


def test_what_cyrus_does_not_own(replica: SampleServer) -> None:
    requires_root()
    message = min(replica.folders()[0].glob("[0-9]*."))
    index = replica.folders()[1] / "cyrus.index"
    os.chown(message, 1, -1)
    index.chmod(0o400)
    (replica.root / "conf" / "mailboxes.db").chmod(0o000)
    found = promote(replica, code=1)
    assert found["foreign"] == 3
    (line,) = [line for line in commands(found) if line.startswith("chown")]
    assert line == f"chown -R {ME['CYRUS_USER']}:{ME['CYRUS_GROUP']} -- {replica.spool} {replica.root}/conf"
    subprocess.run(["sh", "-ec", "\n".join(line for line in commands(found) if line.startswith("ch"))], check=True)
    assert promote(replica)["foreign"] == 0


def test_what_cannot_be_removed_is_an_error(replica: SampleServer) -> None:
    keeper = replica.spool / ".cyrsync-renamed" / "0" / ".mine"
    keeper.parent.mkdir(parents=True)
    keeper.touch()
    found = promote(replica, code=23)
    assert any(str(keeper) in error for error in found["errors"])
    assert promoted(replica.spool)


def test_a_tree_alone(replica: SampleServer) -> None:
    folder = replica.folders()[0]
    (folder / "cyrus.index.NEW").touch()
    done = run(replica.spool, "--json", code=0)
    found = json.loads(done.stdout)
    assert (found["conf"], found["steps"], found["problems"], found["leftovers"]) == (None, [], [], 1)
    assert promoted(replica.spool) == found["promoted"]
    assert promoted(replica.root / "conf") == ""
    (folder / "cyrus.index").unlink()
    assert [one["kind"] for one in json.loads(run(replica.spool, "--json", code=1).stdout)["problems"]] == ["index"]


def test_a_directory_with_a_replica_in_it_is_none(replica: SampleServer) -> None:
    """DEST of a whole server: its partitions would not be marked, and all would seem to be well."""
    done = run(replica.root, code=3)
    assert f"{replica.root}: the replica lies further down, in {replica.root}/" in done.stderr
    assert "-C" in done.stderr
    assert not (replica.root / ".cyrsync-replica").exists()
    assert {promoted(root) for root in roots(replica)} == {""}


def test_the_history_is_not_cyruss(replica: SampleServer) -> None:
    requires_root()
    state = replica.spool / ".cyrsync-history/mailboxes/abc"
    state.mkdir(parents=True)
    (state / "cyrus.index.NEW").touch()
    for path in (replica.spool / ".cyrsync-history", *(replica.spool / ".cyrsync-history").rglob("*")):
        os.chown(path, 1, 1)
    found = promote(replica)
    assert (found["foreign"], found["leftovers"]) == (0, 0)
    assert (state / "cyrus.index.NEW").exists()


def test_what_a_tree_cannot_have(replica: SampleServer) -> None:
    run(replica.spool, "--run", code=2)
    run(replica.spool, "-C", replica.conf, code=2)
    run(replica.root / "nothing", code=3)
    assert promoted(replica.spool) == ""


def test_a_machine_without_cyrus_runs_nothing(replica: SampleServer) -> None:
    replica.conf.write_text(replica.conf.read_text() + "cyrus_user: nobody-of-that-name\n")
    done = run_cyrsync("promote", "-C", replica.conf)
    assert done.returncode == 3
    assert "nobody-of-that-name" in done.stderr
    assert promoted(replica.spool) == ""
