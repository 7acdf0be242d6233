"""What a shell is told that a word may become."""

from __future__ import annotations

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
        env = {
            "CYRSYNC_CONFIG": str(self.config),
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


def test_a_large_mailboxes_db_is_not_read(shell: Shell, monkeypatch: pytest.MonkeyPatch) -> None:
    import typer

    from cyrsync.cli.commands import load

    context = typer.Context(load("inspect"))
    context.params["conf"] = str(shell.server.conf)
    assert complete.users(context, "") == ["joe"]
    monkeypatch.setattr(complete, "_LARGEST", 10)
    assert complete.users(context, "") == []
