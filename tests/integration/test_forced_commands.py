"""Far ends that do not run what they are sent: keys with a forced command in authorized_keys."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

import samplespool
from support.sshd import Sshd
from support.tools import requires, which
from support.tree import messages, run_cyrsync, start_cyrsync

UNUSABLE = 3
PLAIN = "cyrsync: plain rsync runs: "
#: A wrapper that looks at what it is asked for, as many a web page has it.
VALIDATING = (
    'case "$SSH_ORIGINAL_COMMAND" in "rsync --server"*) exec $SSH_ORIGINAL_COMMAND ;; *) echo Rejected; exit 1 ;; esac'
)
#: What takes a few seconds by itself is not waited for so long here.
HURRIED = "from cyrsync.cli import rsync; rsync.HURRIED = 1.0; from cyrsync.ends import link; link._LOGIN = 1.0"


@pytest.fixture
def source(tmp_path: Path) -> Path:
    samplespool.make(tmp_path / "source", messages=60, folder_count=6)
    return tmp_path / "source"


class ForcedSshd(Sshd):
    """An sshd that runs one command whatever it is asked for; that has the request in SSH_ORIGINAL_COMMAND."""

    def force(self, command: str) -> None:
        key = (self.root / "client_key.pub").read_text()
        words = command.replace('"', '\\"')
        (self.root / "authorized_keys").write_text(f'command="{words}",restrict {key}')

    def _make_session(self, python: bool) -> None:
        super()._make_session(python)
        lines = [
            line for line in self.config.read_text().splitlines() if not line.startswith(("ForceC", "AuthorizedK"))
        ]
        path = f"SetEnv HOME={self.home} PATH={self.root}/bin:/usr/bin:/bin"
        lines = [path if line.startswith("SetEnv") else line for line in lines]
        self.config.write_text("\n".join([*lines, f"AuthorizedKeysFile {self.root}/authorized_keys", ""]))


@pytest.fixture(scope="module")
def forced(tmp_path_factory: pytest.TempPathFactory) -> Iterator[ForcedSshd]:
    requires("sshd", "ssh", "ssh-keygen", "rsync")
    with ForcedSshd(tmp_path_factory.mktemp("forced")) as server:
        yield server


@pytest.fixture
def force(forced: ForcedSshd) -> Callable[[str], ForcedSshd]:
    def force(command: str) -> ForcedSshd:
        forced.force(command)
        return forced

    return force


def commands(replica: Path) -> dict[str, tuple[str, str]]:
    """Forced commands by name, with the path that rsync is to be given, and what is said of each."""
    server = f"rsync --server -logDtpre.iLsfxCIvu . {replica}"
    only_rsync = f'case "$SSH_ORIGINAL_COMMAND" in "rsync "*) exec {server};; esac; '
    return {
        "rrsync": (f"{which('rrsync')} {replica}", "SSH_ORIGINAL_COMMAND"),
        "rsync --server": (server, "rsync answers"),
        "a wrapper that validates": (VALIDATING, "Rejected"),
        "a wrapper that sleeps": (
            f'case "$SSH_ORIGINAL_COMMAND" in "rsync "*) {server} ;; *) sleep 60 ;; esac',
            "no answer",
        ),
        "one that answers and sleeps": (f"{only_rsync}echo Hello; sleep 60", "no answer"),
    }


@pytest.mark.parametrize("name", commands(Path()))
def test_the_drop_in_leaves_the_line_to_rsync(
    force: Callable[[str], ForcedSshd], source: Path, tmp_path: Path, state_dir: Path, name: str
) -> None:
    requires("rrsync")
    replica = tmp_path / "replica"
    replica.mkdir()
    command, reason = commands(replica)[name]
    sshd = force(command)
    path = "/" if name == "rrsync" else f"{replica}/"
    line = ("rsync", "-av", "--no-whole-file", "-e", sshd.rsh, f"{source}/", sshd.at(path))
    if name == "rsync --server":
        line = ("rsync", "-rlptgoDv", "-e", sshd.rsh, f"{source}/", sshd.at(path))
    before = sshd.connections()
    with start_cyrsync(*line, first=HURRIED) as run:
        done = run.complete(timeout=60)
    assert done.returncode == 0, done.stderr
    assert done.stderr.startswith(PLAIN) and reason in done.stderr, done.stderr
    assert messages(source) == messages(replica)
    assert sshd.connections() - before == 2

    samplespool.change(source, new=0.2)
    done = run_cyrsync(*line)
    assert (done.returncode, sshd.connections() - before) == (0, 3), done.stderr
    assert "remove" in done.stderr
    assert {path.suffix for path in state_dir.iterdir()} >= {".plain"}
    assert messages(source) == messages(replica)

    for note in state_dir.glob("*.plain"):  # it counts for a day, and for this remote shell
        os.utime(note, (time.time() - 90_000,) * 2)
    with start_cyrsync(*line, first=HURRIED) as run:
        assert run.complete(timeout=60).returncode == 0
    assert sshd.connections() - before == 5


@pytest.mark.parametrize("name", ["rrsync", "rsync --server", "a wrapper that validates"])
def test_sync_says_what_is_wrong(force: Callable[[str], ForcedSshd], source: Path, tmp_path: Path, name: str) -> None:
    requires("rrsync")
    replica = tmp_path / "replica"
    replica.mkdir()
    command, reason = commands(replica)[name]
    sshd = force(command)
    before = sshd.connections()
    done = run_cyrsync("sync", "-e", sshd.rsh, f"{source}/", sshd.at(f"{replica}/"))
    assert (done.returncode, sshd.connections() - before) == (UNUSABLE, 1)
    line, *others = done.stderr.splitlines()
    assert "a forced command" in line and reason in line, line
    assert not others
    assert not list(replica.iterdir())


def test_sync_does_not_wait_for_ever_for_an_answer(
    force: Callable[[str], ForcedSshd], source: Path, tmp_path: Path
) -> None:
    sshd = force("sleep 60")
    first = "from cyrsync.ends import link; link.Patience.__new__.__defaults__ = (600.0, 1.0)"
    with start_cyrsync("sync", "-e", sshd.rsh, f"{source}/", sshd.at(tmp_path / "replica"), first=first) as run:
        done = run.complete(timeout=50)
    assert done.returncode == UNUSABLE
    assert "a forced command? no answer within 1 seconds" in done.stderr


def test_what_a_login_prints_is_no_answer(force: Callable[[str], ForcedSshd], source: Path, tmp_path: Path) -> None:
    """A banner, and a second of silence: then what was asked for is run."""
    sshd = force('echo Welcome; echo; sleep 1; exec sh -c "$SSH_ORIGINAL_COMMAND"')
    replica = tmp_path / "replica"
    done = run_cyrsync("sync", "--dry-run", "-e", sshd.rsh, f"{source}/", sshd.at(f"{replica}/"))
    assert (done.returncode, done.stderr) == (0, "")
