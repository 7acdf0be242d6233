"""What commands load: each takes time at every start, and a run that finds nothing is hardly longer than its start."""

from __future__ import annotations

import signal
import subprocess
from pathlib import Path

import pytest

import samplespool
from support.servers import SampleServer, sync_server
from support.tree import cyrsync_argv, plain_env

ROOT = Path(__file__).parent.parent.parent
_PROGRAM = """
import atexit, sys
from cyrsync.cli.app import main
atexit.register(lambda: print("\\nloaded", *sys.modules))
main()
"""

#: Presses Ctrl-C while the command line is loaded.
_INTERRUPTED = """
import os, signal, sys
class Finder:
    def find_spec(name, path, target=None):
        if name == "cyrsync.cli.output":
            os.kill(os.getpid(), signal.SIGINT)
signal.signal(signal.SIGINT, signal.SIG_IGN if "ignored" in sys.argv else signal.default_int_handler)
sys.meta_path.insert(0, Finder)
sys.argv[1:] = ["--version"]
from cyrsync.__main__ import main
main()
"""


@pytest.mark.parametrize(("words", "code"), [((), -signal.SIGINT), (("ignored",), 0)])
def test_an_interrupt_while_it_loads_is_quiet(words: tuple[str, ...], code: int) -> None:
    argv = [cyrsync_argv()[0], "-c", _INTERRUPTED, *words]
    done = subprocess.run(argv, env=plain_env(), capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (code, "")


def test_every_way_to_start_it_is_quiet() -> None:
    for file in ("setup.cfg", "scripts/build", "scripts/debpackage"):
        assert "cyrsync.cli.app" not in (ROOT / file).read_text()


def loaded(*words: str | Path) -> set[str]:
    """The modules that a command has loaded at its end."""
    # Who measures coverage in this process loads modules of its own.
    env = {name: value for name, value in plain_env().items() if not name.startswith("COV")}
    argv = [cyrsync_argv()[0], "-c", _PROGRAM, *map(str, words)]
    done = subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, ""), done
    return set(done.stdout.rpartition("\nloaded ")[2].split())


def ours(modules: set[str]) -> set[str]:
    return {name for name in modules if name.startswith("cyrsync.cli.")}


def test_the_version_needs_no_command() -> None:
    found = loaded("--version")
    needed = ("app", "command_line", "commands", "ending", "exit_codes", "output", "signals", "streams")
    assert ours(found) == {f"cyrsync.cli.{name}" for name in needed}
    assert not found & {"cyrsync.ends", "cyrsync.report", "cyrsync.server", "cyrsync.spool", "cyrsync.sync"}
    assert not found & {"ctypes", "hashlib", "rich", "sh", "sqlite3", "tempfile", "typer.rich_utils"}


@pytest.mark.parametrize("command", ["config", "inspect", "status"])
def test_a_command_loads_no_other(command: str) -> None:
    others = {"check", "history", "list", "promote", "prune", "restore", "rsync", "run", "sync", "verify"}
    found = loaded(command, "--help")
    assert not ours(found) & {f"cyrsync.cli.{name}" for name in others}
    assert not found & {"cyrsync.ends.link", "cyrsync.rsync.options", "cyrsync.server", "cyrsync.spool", "cyrsync.sync"}


def test_rsync_s_own_lines_are_not_read_by_typer(tmp_path: Path) -> None:
    samplespool.make(tmp_path / "spool", messages=20, folder_count=3)
    found = loaded("rsync", "-a", f"{tmp_path}/spool/", f"{tmp_path}/replica/")
    assert len(list((tmp_path / "replica").rglob("*."))) == 20
    assert "cyrsync.spool.drop_in" in found
    assert not found & {"cyrsync.cli.options", "cyrsync.server", "rich", "typer"}


def test_a_server_with_nothing_new_needs_neither_rsync_nor_the_far_end(tmp_path: Path) -> None:
    server, replica = SampleServer(tmp_path / "server", messages=20, folder_count=3), tmp_path / "replica"
    replica.mkdir()
    assert sync_server(server.conf, replica)["messages"]["send"] == 20
    found = loaded("sync", "-C", server.conf, replica)
    assert {"cyrsync.server.run", "sqlite3"} <= found
    unused = {"ends.agent_side", "ends.connections", "far.agent", "rsync.driver", "spool.run", "spool.steps"}
    assert not found & {f"cyrsync.{name}" for name in unused}
    assert not found & {"ctypes", "rich", "sh", "typer.rich_utils"}


@pytest.mark.parametrize(("where", "code"), [("signals.let_go", 20), ("streams.flush", -signal.SIGINT)])
def test_an_interrupt_at_the_very_end_is_quiet(where: str, code: int) -> None:
    lines = f"""
import signal, sys
from cyrsync.cli import app
kept = app.{where}
def late():
    signal.raise_signal(signal.SIGINT)
    kept()
app.{where} = late
sys.argv[1:] = ["--version"]
app.main()
"""
    argv = [cyrsync_argv()[0], "-c", lines]
    done = subprocess.run(argv, env=plain_env(), capture_output=True, text=True, check=False, timeout=60)
    assert (done.returncode, done.stderr) == (code, "")


#: What Python does while it imports a module: what is raised in a callback of a weak reference is printed, and lost.
_IMPORTS = """
import signal, weakref
class Lock: pass
def told(_): signal.raise_signal(signal.SIGTERM)
lock = Lock()
kept = weakref.ref(lock, told)
del lock
"""


def test_a_signal_in_the_middle_of_an_import_is_not_lost() -> None:
    """Nor is each later one ignored then."""
    lines = "import time; from cyrsync.cli import signals; signals.install()"
    lines += f"\nexec(compile({_IMPORTS!r}, '<frozen importlib._bootstrap>', 'exec'))\ntime.sleep(30)"
    done = subprocess.run(
        [cyrsync_argv()[0], "-c", lines], env=plain_env(), capture_output=True, text=True, check=False, timeout=20
    )
    assert "InterruptedRun: interrupted by SIGTERM" in done.stderr
    assert "ignored" not in done.stderr
