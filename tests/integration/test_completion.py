"""What a shell is told that a word may become."""

from __future__ import annotations

import os
import subprocess
from pathlib import Path

import pytest

import samplespool
from cyrsync.cli import complete
from support.servers import SampleServer
from support.tree import cyrsync_argv, plain_env, run_cyrsync

_PROGRAM = "import sys; sys.argv[0] = 'cyrsync'; from cyrsync.cli.app import main; main()"


class Shell:
    """A shell in which words are completed; there are two jobs, both of one server with a replica."""

    def __init__(self, root: Path) -> None:
        self.server = SampleServer(root / "server", messages=5, folder_count=2)
        samplespool.create_folder(self.server.spool, "user/joe/Sent Items")
        self.server.record()
        self.replica, self.config = root / "replica", root / "c.toml"
        self.replica.mkdir()
        job = f'source = "{self.server.conf}"\ndestination = "{self.replica}"\n'
        self.config.write_text(f"[standby]\n{job}[store]\n{job}")
        assert run_cyrsync("sync", "-C", self.server.conf, self.replica).returncode == 0

    def complete(self, *words: str | Path, of: str = "bash") -> list[str]:
        """Return what the last of the words may become; bash has parted them."""
        return complete_words(*words, of=of, config=self.config)


def complete_words(*words: str | Path, of: str, config: Path | None = None) -> list[str]:
    env = {
        "CYRSYNC_CONFIG": str(config or ""),
        "_CYRSYNC_COMPLETE": f"complete_{of}",
        "COMP_WORDS": "\n".join(["cyrsync", *map(str, words)]),
        "COMP_CWORD": str(len(words)),
        "_TYPER_COMPLETE_ARGS": " ".join(["cyrsync", *map(str, words)]),
        "_TYPER_COMPLETE_FISH_ACTION": "get-args",
    }
    argv = [cyrsync_argv()[0], "-c", _PROGRAM]
    done = subprocess.run(argv, env=plain_env(env), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout.split("\n")[:-1] if done.stdout.strip() else []


@pytest.fixture(scope="module")
def shell(tmp_path_factory: pytest.TempPathFactory) -> Shell:
    return Shell(tmp_path_factory.mktemp("completion"))


def test_jobs(shell: Shell) -> None:
    assert shell.complete("run", "st") == ["standby", "store"]
    assert shell.complete("run", "x") == []
    assert shell.complete("check", "@") == ["@standby", "@store"]
    assert shell.complete("check", "@", "sto") == ["@store"]
    assert shell.complete("check", "@sto", of="fish") == ["@store"]


def test_mailboxes(shell: Shell) -> None:
    conf = shell.server.conf
    assert shell.complete("inspect", "-C", conf, r"user.joe.Sent\ I") == [r"user.joe.Sent\ Items"]
    assert shell.complete("history", shell.replica, "-C", conf, "user/joe/Sent") == [
        "user/joe/Sent",
        r"user/joe/Sent\ Items",
    ]
    assert shell.complete("restore", "@", "standby", "user/joe/Sent\\ ") == [r"user/joe/Sent\ Items"]
    assert shell.complete("history", "@nobody", "user/j", of="fish") == []
    assert shell.complete("inspect", "-C", "/nowhere", "user") == []


def test_users(shell: Shell) -> None:
    conf = shell.server.conf
    assert shell.complete("sync", "-C", conf, "--user", "j") == ["joe"]
    assert shell.complete("hold", "-C", conf, "") == ["joe"]
    assert shell.complete("forget", "-C", conf, "x") == []
    assert shell.complete("restore", "@standby", "--user", "j", of="fish") == ["joe"]


@pytest.mark.parametrize(
    "name", ["joe.a\\\\$(reboot)", "joe.b\\\\`reboot`", 'joe.c"', "joe.d'e", "joe.f\x1b[2J", "joe.g\udcfe"]
)
@pytest.mark.parametrize("of", ["bash", "fish", "zsh"])
def test_names_by_which_a_shell_could_be_commanded_are_not_offered(tmp_path: Path, name: str, of: str) -> None:
    """What typer prints for zsh is evaluated there, and a name may be of a server in other hands."""
    server = SampleServer(tmp_path / "server", messages=5, folder_count=2)
    server.record()
    database = server.root / "conf/mailboxes.db"
    lines = database.read_bytes().splitlines(keepends=True)
    made = [b"user.%b\t%b" % (os.fsencode(one), lines[0].partition(b"\t")[2]) for one in (name, "joe.zzz")]
    database.write_bytes(b"".join(sorted(lines + made)))
    for words in (("inspect", "-C", server.conf, "user"), ("restore", "/", "-C", server.conf, "user")):
        printed = "\n".join(complete_words(*words, of=of))
        assert "zzz" in printed
        assert not any(one in printed for one in ("reboot", "joe.c", "joe/c", "joe.d", "joe/d", "x1b", "joe.g"))


def test_a_large_mailboxes_db_is_not_read(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    import typer

    from cyrsync.cli.commands import load

    context = typer.Context(load("inspect"))
    context.params["conf"] = str(shell.server.conf)
    assert complete.users(context, "") == ["joe"]
    monkeypatch.setattr(complete, "_LARGEST", 10)
    assert complete.users(context, "") == []
