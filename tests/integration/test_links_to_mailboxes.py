"""Mailboxes on another disk, with links in their places: the walk copies the links, as `rsync -a`, and says so."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

import samplespool
from support.servers import SampleServer, below
from support.sshd import Sshd
from support.tree import assert_same_tree, messages, rsync, run_cyrsync


@pytest.fixture
def source(tmp_path: Path) -> Path:
    root = tmp_path / "source"
    for number in range(7):
        samplespool.deliver(samplespool.create_folder(root, f"user/joe/Box{number}"), 1)
    return root


def move_away(path: Path, disk: Path) -> None:
    disk.mkdir(exist_ok=True)
    path.rename(disk / path.name)
    path.symlink_to(disk / path.name)


def assert_said(source: Path, replica: Path, *words: str, at: str = "") -> str:
    done = run_cyrsync("sync", "--delete", *words, f"{at}{source}", replica)
    assert done.returncode == 0, done
    plain = replica.with_name("plain")
    rsync("-a", "-@-1", "--delete", f"{source}/", f"{plain}/")
    assert_same_tree(plain, replica)
    return done.stderr


def test_it_is_said_in_one_line(source: Path, tmp_path: Path) -> None:
    """Nothing is said of other links: to a file, to nowhere, to what is no mailbox, or into the spool."""
    for name, target in (("a", "/etc/passwd"), ("b", "/nonexistent"), ("c", "/etc/ssl"), ("d", "user/joe/Box1")):
        (source / "j" / name).symlink_to(target)
    assert assert_said(source, tmp_path / "replica") == ""
    move_away(source / "j/user/joe/Box0", tmp_path / "disk2")
    said = assert_said(source, tmp_path / "replica")
    assert (len(said.splitlines()), "j/user/joe/Box0" in said) == (1, True), said


def test_of_many_some_are_named(source: Path, tmp_path: Path) -> None:
    for number in range(1, 7):
        move_away(source / f"j/user/joe/Box{number}", tmp_path / "disk2")
    said = assert_said(source, tmp_path / "replica")
    assert (said.count("Box"), "and 1 more" in said, len(said.splitlines())) == (5, True, 1), said


def test_mailboxes_below_what_is_behind(source: Path, tmp_path: Path, sshd: Sshd) -> None:
    """Also of a source that is elsewhere."""
    samplespool.deliver(samplespool.create_folder(source, "user/ann"), 1)
    move_away(source / "j", tmp_path / "disk2")
    assert "are not copied" in assert_said(source, tmp_path / "replica", "-e", sshd.rsh, at=f"{sshd.host}:")


def test_the_drop_in_and_verify_say_it_too(source: Path, tmp_path: Path) -> None:
    move_away(source / "j/user/joe/Box0", tmp_path / "disk2")
    for words in (
        ["rsync", "-a", "--delete", f"{source}/", f"{tmp_path}/replica/"],
        ["verify", source, tmp_path / "replica"],
    ):
        done = run_cyrsync(*words)
        assert (done.returncode, "j/user/joe/Box0" in done.stderr) == (0, True), done
    assert os.path.islink(tmp_path / "replica/j/user/joe/Box0")


@pytest.mark.parametrize("far", [False, True], ids=["here", "over ssh"])
def test_the_audit_of_a_tree_says_what_it_does_not_check(
    source: Path, tmp_path: Path, request: pytest.FixtureRequest, far: bool
) -> None:
    sshd: Sshd | None = request.getfixturevalue("sshd") if far else None
    words = ("verify", "-e", sshd.rsh, f"{sshd.host}:{source}") if sshd else ("verify", source)
    assert run_cyrsync(*words).stderr == ""
    move_away(source / "j/user/joe/Box0", tmp_path / "disk2")
    done = run_cyrsync(*words)
    assert done.returncode == 0, done
    (line,) = done.stderr.splitlines()
    assert "are not checked: j/user/joe/Box0" in line
    found = json.loads(run_cyrsync(*words, "--json").stdout)
    assert (found["mailboxes"], len(found["warnings"])) == (6, 1)


def test_a_list_says_what_it_does_not_name(source: Path, tmp_path: Path) -> None:
    assert run_cyrsync("list", source).stderr == ""
    move_away(source / "j/user/joe/Box0", tmp_path / "disk2")
    for words in (["list", source], ["list", source, tmp_path / "replica"]):
        done = run_cyrsync(*words)
        assert (done.returncode, len(done.stderr.splitlines())) == (0, 1), done
        assert "are not copied, only the links are: j/user/joe/Box0" in done.stderr


def test_check_has_nothing_against_them(tmp_path: Path) -> None:
    """As `sync -C` sends them."""
    server = SampleServer(tmp_path / "server", messages=5, folder_count=2)
    folder = samplespool.folders(server.spool)[0]
    move_away(folder, tmp_path / "disk2")
    (tmp_path / "replica").mkdir()
    words = ("-C", server.conf, tmp_path / "replica")
    assert run_cyrsync("check", *words).returncode == 0
    done = run_cyrsync("sync", *words)
    assert (done.returncode, done.stderr) == (0, "")
    assert messages(below(tmp_path / "replica", folder)) == messages(tmp_path / "disk2" / folder.name)
