"""A server's directories whose replicas lie elsewhere than below the prefix: `--map SOURCE_DIR=DEST_DIR`."""

from __future__ import annotations

import grp
import json
import os
import pwd
import shutil
from pathlib import Path

import pytest

import samplespool
from cyrsync.far import owner_file
from support.replicas import Pair
from support.spool import leaves
from support.sshd import Sshd
from support.tools import requires_root
from support.tree import assert_same_tree, messages, rsync, run_cyrsync
from support.watcher import SETTINGS, watching

#: Cyrus runs as whoever runs the tests.
ME = {"CYRUS_USER": pwd.getpwuid(os.getuid()).pw_name, "CYRUS_GROUP": grp.getgrgid(os.getgid()).gr_name}


@pytest.fixture
def mail(tmp_path: Path) -> Path:
    """Where the replica has the mail."""
    return tmp_path / "srv" / "mail"


def words(pair: Pair, place: Path | str, source: Path | None = None) -> tuple[str, str]:
    return "--map", f"{source or pair.server.spool}={place}"


def conf(pair: Pair, mail: Path) -> Path:
    """The imapd.conf of a Cyrus on the replica."""
    path = pair.replica.with_name("replica.conf")
    text = pair.conf.read_text().replace(str(pair.server.spool), str(mail))
    path.write_text(text.replace(str(pair.home), str(pair.there(pair.home))))
    return path


def test_a_directory_that_lies_elsewhere(pair: Pair, mail: Path) -> None:
    pair.sync(*words(pair, mail))
    assert_same_tree(pair.server.spool, mail, dir_mtimes=False)
    assert owner_file.read(os.fsencode(mail)) and not pair.there(pair.server.spool).exists()
    assert pair.there(pair.home / "mailboxes.db").exists()
    assert pair.sync("--full", *words(pair, mail))["messages"]["send"] == 0
    pair.change()
    pair.server.delete(leaves(pair.server.spool)[-1])
    found = pair.sync("--max-delete=100%", *words(pair, mail))
    assert found["messages"]["send"] == 1
    assert_same_tree(pair.server.spool, mail, dir_mtimes=False)


def test_a_copy_that_is_there_is_adopted(pair: Pair, mail: Path) -> None:
    mail.parent.mkdir()
    rsync("-a", f"{pair.server.spool}/", mail)
    pair.change()
    found = pair.sync(*words(pair, mail))
    assert (found["messages"]["send"], found["messages"]["present"] > 20) == (1, True)
    assert_same_tree(pair.server.spool, mail, dir_mtimes=False)


def test_the_replica_can_be_verified_and_promoted(pair: Pair, mail: Path) -> None:
    requires_root()
    pair.sync(*words(pair, mail))
    done = run_cyrsync("verify", "-C", conf(pair, mail), "--content")
    assert done.returncode == 0, done
    done = run_cyrsync("history", "/", "-C", conf(pair, mail), "--json")
    assert done.returncode == 0 and len(done.stdout.splitlines()) == len(pair.server.folders()), done
    done = run_cyrsync("promote", "-C", conf(pair, mail), "--json", env=ME)
    assert done.returncode == 0, done
    assert set(json.loads(done.stdout)["roots"]) == {str(mail), str(pair.there(pair.home))}
    pair.change()
    refused = pair.sync(*words(pair, mail), expect=4)
    assert str(mail) in refused["errors"][0]


def test_promote_with_paths_of_the_source_changes_nothing(pair: Pair, mail: Path) -> None:
    """An imapd.conf that does not say where the mail lies leads to nothing, or to an older copy that is told of."""
    requires_root()
    pair.sync()
    stale = pair.there(pair.server.spool)
    shutil.copytree(stale, mail)
    pair.change()
    pair.sync(*words(pair, mail))
    done = run_cyrsync("promote", "-C", conf(pair, stale), env=ME)
    assert "these are not of one replica and one run" in done.stdout + done.stderr
    shutil.rmtree(stale)
    done = run_cyrsync("promote", "-C", conf(pair, stale), env=ME)
    assert done.returncode == 3
    assert "nothing of partition default is there: is it mounted?" in done.stderr


# --- Mapped otherwise than before


def test_another_map_is_noticed_at_once(pair: Pair, mail: Path) -> None:
    """Nothing has changed, and still the run looks at the replica."""
    pair.sync()
    for map_, place in ((words(pair, mail), mail), (words(pair, mail, pair.home), mail)):
        errors = pair.sync(*map_, expect=3)["errors"]
        assert errors == [
            f"{place}: nothing of the replica is there any more: is its disk mounted? --full makes it anew"
        ]
        assert not mail.exists()
    pair.sync("--full", *words(pair, mail))
    assert_same_tree(pair.server.spool, mail, dir_mtimes=False)
    shutil.rmtree(pair.there(pair.server.spool))
    assert "nothing of the replica is there any more" in pair.sync(expect=3)["errors"][0]


def test_a_replica_that_was_moved_is_gone_on_with(pair: Pair, mail: Path) -> None:
    pair.sync()
    mail.parent.mkdir()
    pair.there(pair.server.spool).rename(mail)
    pair.change()
    assert pair.sync(*words(pair, mail))["messages"]["send"] == 1
    assert_same_tree(pair.server.spool, mail, dir_mtimes=False)
    assert not pair.there(pair.server.spool).exists()


# --- What cannot be


@pytest.mark.parametrize("with_link", [False, True])
def test_two_in_one(pair: Pair, mail: Path, with_link: bool) -> None:
    other = mail / "conf"
    if with_link:
        mail.mkdir(parents=True)
        (mail.parent / "link").symlink_to(mail)
        other = mail.parent / "link" / "conf"
    found = pair.sync(*words(pair, mail), *words(pair, other, pair.home), expect=2)
    assert found["errors"][0].endswith(": give each a directory of its own")
    assert not mail.exists() or not list(mail.iterdir())


def test_what_is_refused(pair: Pair, mail: Path) -> None:
    spool = pair.server.spool
    for place, said in (
        (f"{spool}/j", "that is the server itself"),
        (f"{spool.parent}", "that is the server itself"),
        (str(pair.there(pair.home) / "mail"), "give each a directory of its own"),
        (str(pair.replica.parent), "give each a directory of its own"),
    ):
        assert said in pair.sync(*words(pair, place), expect=2)["errors"][0]
    found = pair.sync(*words(pair, mail, spool.parent), expect=2)["errors"]
    assert found[0].startswith(f"--map {spool.parent}={mail}: the server has no such directory; it has ")
    for text in ("srv=/x", "/srv", "/srv=x"):
        done = run_cyrsync("sync", "-C", pair.conf, "--map", text, pair.replica)
        assert (done.returncode, done.stdout) == (2, "")
        assert done.stderr == f"cyrsync: --map {text}: give SOURCE_DIR=DEST_DIR, both from / on\n"
    done = run_cyrsync("sync", *words(pair, mail), spool, pair.replica)
    assert (done.returncode, "--map is for -C" in done.stderr) == (2, True)
    assert list(pair.replica.iterdir()) == []


# --- Watched, and elsewhere


def test_a_watcher_sends_there(pair: Pair, mail: Path, tmp_path: Path) -> None:
    with pair.conf.open("a") as settings:
        settings.writelines(f"{name}: {value}\n" for name, value in SETTINGS.items())
    how = (*words(pair, mail), "--pass-every", "1", pair.replica)
    with watching(pair.conf, *how, said=tmp_path / "said") as watcher:
        pair.change()
        watcher.wait(lambda: messages(mail) == messages(pair.server.spool), name="the new message")
        (found,) = map(json.loads, run_cyrsync("status", "--json").stdout.splitlines())
        assert [(one["pid"], one["watching"]) for one in found["running"]] == [(watcher.pid, True)]
        assert found["watcher"]["pid"] == watcher.pid
        assert watcher.stop() == 0
    wrong = run_cyrsync("sync", "--watch", "-C", pair.conf, *words(pair, pair.there(pair.home) / "x"), pair.replica)
    assert wrong.returncode == 2
    assert "give each a directory of its own" in wrong.stderr


def test_over_ssh_by_a_job(pair: Pair, mail: Path, sshd: Sshd, tmp_path: Path) -> None:
    jobs = tmp_path / "cyrsync.toml"
    job = {"source": str(pair.conf), "destination": sshd.at(pair.replica), "rsh": sshd.rsh}
    lines = "".join(f"{name} = {json.dumps(value)}\n" for name, value in job.items())
    jobs.write_text(f'[one]\n{lines}no-config = true\nmap = ["{pair.server.spool}={mail}"]\n')
    checked = run_cyrsync("check", "--config", jobs, "@one", "--json")
    assert [one for one in json.loads(checked.stdout)["checks"] if one["verdict"] == "fail"] == []
    done = run_cyrsync("run", "--config", jobs)
    assert done.returncode == 0, done
    assert_same_tree(pair.server.spool, mail, dir_mtimes=False)
    done = run_cyrsync("verify", "--config", jobs, "@one")
    assert done.returncode == 0, done
    samplespool.change(pair.server.spool, new=1)
    done = run_cyrsync("verify", "--config", jobs, "@one")
    assert done.returncode == 1, done
    jobs.write_text(jobs.read_text().replace(sshd.at(pair.replica), str(pair.replica)))
    done = run_cyrsync("history", "--config", jobs, "@one")
    assert (done.returncode, done.stdout) == (2, "")
    assert "the job has map" in done.stderr
    jobs.write_text(jobs.read_text().replace(f"={mail}", "=mail"))
    done = run_cyrsync("config", "--config", jobs)
    assert done.returncode == 3
    assert "give SOURCE_DIR=DEST_DIR, both from / on" in done.stderr


def test_check_tells_of_a_map_that_cannot_be(pair: Pair) -> None:
    done = run_cyrsync("check", "-C", pair.conf, *words(pair, pair.there(pair.home) / "x"), pair.replica, "--json")
    failed = [one for one in json.loads(done.stdout)["checks"] if one["verdict"] == "fail"]
    assert [one["check"] for one in failed] == ["destination"]
    assert "give each a directory of its own" in failed[0]["found"]
