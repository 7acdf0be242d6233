"""Over a real sshd on loopback."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

import samplespool
from support.spool import everything_happens
from support.sshd import Sshd
from support.tools import wait_for
from support.tree import assert_same_tree, cyrsync_argv, messages, plain_env, run_cyrsync, sync
from support.whole import History

CONNECTION_FAILURES = (10, 12, 30, 255)

#: Names that a shell, rsync or ssh would make something else of; `{ran}` is the path of a file that must not appear.
AWKWARD = {
    "quotes": "it's \"so\"  'quoted\" '; touch {ran}; ' ",
    "substitution": '$(touch {ran}) `touch {ran}` "$(touch {ran})" ${HOME}',
    "separators": "a; touch {ran}; b && touch {ran} | c > d & e # *?[a]{b,c}~!\\ \\n%s",
    "newlines": "one\ntouch {ran}\ntwo\r\nthree\n",
    "bytes": "caf\udce9 \udcff\t\x1b[31m",
    "dashes": "-x/--delete/-e touch {ran}",
}


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A small spool."""
    samplespool.make(tmp_path / "source", messages=300, folder_count=8)
    return tmp_path / "source"


@pytest.fixture(params=["sshd", "sshd_without_python"])
def far(request: pytest.FixtureRequest) -> Sshd:
    """A far end, with and without python3."""
    server: Sshd = request.getfixturevalue(request.param)
    return server


def test_push(far: Sshd, source: Path, tmp_path: Path) -> None:
    replica = tmp_path / "replica"
    arguments = ("--delete", "-e", far.rsh, f"{source}/", far.at(f"{replica}/"))
    assert sync(*arguments)["messages"]["send"] == 300
    assert_same_tree(source, replica)

    everything_happens(source)
    sync(*arguments)
    assert_same_tree(source, replica)

    delivered, *_ = samplespool.change(source, new=0.02)
    assert sync(*arguments)["messages"]["send"] == delivered
    assert_same_tree(source, replica)


def test_pull(far: Sshd, source: Path, tmp_path: Path) -> None:
    replica = tmp_path / "replica"
    arguments = ("--delete", "-e", far.rsh, far.at(f"{source}/"), f"{replica}/")
    assert sync(*arguments)["messages"]["send"] == 300
    assert_same_tree(source, replica)

    everything_happens(source)
    sync(*arguments)
    assert_same_tree(source, replica)
    assert sync(*arguments)["rsync_runs"] == 0

    before = source.stat().st_mtime_ns
    (source / "#note").write_text("of the root, whose time stays as it was")
    (source / "new").mkdir()
    os.utime(source, ns=(before, before))
    sync(*arguments)
    assert_same_tree(source, replica)
    assert replica.stat().st_mtime_ns == before


@pytest.mark.parametrize("direction", ["push", "pull"])
def test_a_run_makes_one_connection(sshd: Sshd, source: Path, tmp_path: Path, direction: str) -> None:
    near, other = f"{source}/", f"{tmp_path}/replica/"
    ends = (near, sshd.at(other)) if direction == "push" else (sshd.at(near), other)
    sync("--delete", "-e", sshd.rsh, *ends)
    everything_happens(source)
    before = sshd.connections()
    assert sync("--delete", "-e", sshd.rsh, *ends)["rsync_runs"] >= 2
    assert sshd.connections() - before == 1


def test_a_relative_path_begins_at_home(far: Sshd, source: Path) -> None:
    name = f"-in {time.monotonic_ns()}"
    sync("-e", far.rsh, f"{source}/", far.at(f"{name}/"))
    assert_same_tree(source, far.home / name)


@pytest.mark.parametrize("template", AWKWARD.values(), ids=AWKWARD)
def test_no_byte_of_a_path_reaches_a_shell(far: Sshd, source: Path, tmp_path: Path, template: str) -> None:
    ran = tmp_path / "ran"
    name = template.replace("{ran}", str(ran))
    there, back = tmp_path / "there" / name, tmp_path / "back" / name
    there.parent.mkdir(parents=True)
    back.parent.mkdir(parents=True)
    without_index = samplespool.create_folder(source, "user/sent") / name
    put_message(without_index)
    os.utime(without_index, (0, 0))  # or it might be a mailbox in the making
    put_message(there / "gone" / name)
    put_message(there / "j/user/joe" / name)

    sync("--delete", "-e", far.rsh, f"{source}/", far.at(f"{there}/"))
    assert_same_tree(source, there)
    sync("--delete", "--from-replica", "-e", far.rsh, far.at(f"{there}/"), f"{back}/")
    assert_same_tree(source, back)
    assert not ran.exists()


def put_message(folder: Path) -> None:
    folder.mkdir(parents=True)
    (folder / "1.").write_bytes(b"a message")


class SlowPush:
    """A push of 1500 messages that takes seconds."""

    def __init__(self, directory: Path, sshd: Sshd) -> None:
        self.source, self.replica = directory / "source", directory / "replica"
        self.ends = (f"{self.source}/", sshd.at(f"{self.replica}/"))
        self._rsh = sshd.rsh
        samplespool.make(self.source, messages=1500, folder_count=4, size=2000)

    def start(self, *, retries: int) -> subprocess.Popen[bytes]:
        """Return when the push is under way."""
        words = ("sync", "--retries", str(retries), "-e", self._rsh, *self.ends, "--", "--bwlimit=1000")
        process = subprocess.Popen(
            cyrsync_argv(*words), env=plain_env(), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE
        )
        wait_for(lambda: process.poll() is not None or self._sent() > 20, seconds=30, name="the first messages")
        return process

    def _sent(self) -> int:
        return len(messages(self.replica)) if self.replica.exists() else 0


@pytest.fixture
def slow_push(mortal_sshd: Sshd, tmp_path: Path) -> SlowPush:
    return SlowPush(tmp_path, mortal_sshd)


def test_a_host_that_hangs_up_once(mortal_sshd: Sshd, slow_push: SlowPush) -> None:
    with slow_push.start(retries=3) as process:
        assert mortal_sshd.hang_up()
        _, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert_same_tree(slow_push.source, slow_push.replica)


def test_a_host_that_goes_away(mortal_sshd: Sshd, slow_push: SlowPush) -> None:
    history = History()
    history.remember(slow_push.source)
    with slow_push.start(retries=1) as process:
        mortal_sshd.stop()
        _, errors = process.communicate(timeout=60)
    assert process.returncode in CONNECTION_FAILURES, errors
    assert errors.strip()
    history.assert_whole(slow_push.replica)
    assert len(messages(slow_push.replica)) < 1500

    mortal_sshd.start()
    sync("-e", mortal_sshd.rsh, *slow_push.ends)
    assert_same_tree(slow_push.source, slow_push.replica)


def test_a_host_that_cannot_be_reached(mortal_sshd: Sshd, source: Path, tmp_path: Path) -> None:
    mortal_sshd.stop()
    done = run_cyrsync(
        "sync", "--retries", "0", "-e", mortal_sshd.rsh, f"{source}/", mortal_sshd.at(f"{tmp_path}/replica/")
    )
    assert done.returncode in CONNECTION_FAILURES
    assert done.stderr.strip()
    assert not (tmp_path / "replica").exists()


def test_a_second_run_to_where_a_link_leads_without_python(sshd_without_python: Sshd, tmp_path: Path) -> None:
    """Before the first one the replica is not there, and its place is told by the directory that it is made in."""
    samplespool.make(tmp_path / "source", messages=20, folder_count=2)
    (tmp_path / "disk").mkdir()
    (tmp_path / "link").symlink_to("disk")
    for _ in range(2):
        replica = sshd_without_python.at(f"{tmp_path}/link/replica/")
        sync("-e", sshd_without_python.rsh, f"{tmp_path}/source/", replica)
    assert (tmp_path / "disk" / "replica" / "j").is_dir()
