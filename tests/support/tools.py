"""What the tests need from the machine: programs, free ports, fewer rights, patience."""

from __future__ import annotations

import os
import pwd
import shlex
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import pytest

#: Where Debian keeps the servers that the tests start themselves.
SERVER_PATH = os.pathsep.join([os.environ.get("PATH", ""), "/usr/sbin", "/usr/lib/cyrus/bin", "/usr/cyrus/bin"])


def which(program: str) -> str | None:
    """Path of a program, servers included."""
    return shutil.which(program, path=SERVER_PATH)


def unavailable(reason: str) -> None:
    """Skip the test, but fail it under CI, where everything must be there."""
    if os.environ.get("CI") == "true":
        pytest.fail(f"{reason}: scripts/test installs what the tests need")
    pytest.skip(reason)


def requires(*programs: str) -> None:
    """The test needs these programs."""
    missing = [program for program in programs if which(program) is None]
    if missing:
        unavailable(f"not installed: {', '.join(missing)}")


def requires_root() -> None:
    """The test does what only root may: for anybody else nothing is missing that could be installed."""
    if os.geteuid() != 0:
        pytest.skip("only root can do this")


def oldest_python() -> str:
    """The oldest Python on this machine, from 3.6 on, that a far end might have; else the one that runs the tests."""
    for version in ("3.6", "3.7", "3.8", "3.9", "3.10"):
        built = sorted(Path(pwd.getpwuid(os.geteuid()).pw_dir).glob(f".pyenv/versions/{version}.*/bin/python{version}"))
        for python in (*map(str, built), f"/usr/bin/python{version}"):
            if shutil.which(python):
                return python
    return sys.executable


def python_words(*args: str | Path, python: str = sys.executable) -> str:
    """What a shell reads as this Python with these arguments, whatever the path of the checkout has in it."""
    return shlex.join([python, *map(str, args)])


def write_program(path: Path, script: str) -> None:
    """Make a program of a script for the shell."""
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


def executable(path: Path, text: str) -> None:
    """Make a program of a script for this Python, whose path may have blanks in it."""
    script = path.with_name(f".{path.name}.py")
    script.write_text(text)
    write_program(path, f'exec {python_words(script)} "$@"')


def free_port() -> int:
    """A TCP port on loopback that nobody listens on at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


def wait_for(what: Callable[[], bool], *, seconds: float = 10.0, interval: float = 0.02, name: str = "") -> None:
    """Return as soon as `what()` holds; fail the test when it does not in time."""
    deadline = time.monotonic() + seconds
    while not what():
        if time.monotonic() > deadline:
            pytest.fail(f"waited {seconds} s in vain for {name or what}")
        time.sleep(interval)


def stop_process(process: subprocess.Popen[bytes], *, seconds: float = 5.0) -> None:
    """End a server that a test started: TERM, then KILL."""
    if process.poll() is None:
        process.terminate()
    try:
        process.wait(seconds)
    except subprocess.TimeoutExpired:
        process.kill()
        process.wait()


def children(pid: int) -> list[int]:
    """Process ids below `pid`, nearest first."""
    listing = subprocess.run(["ps", "-eo", "pid=,ppid="], capture_output=True, text=True, check=True).stdout
    parents = {int(child): int(parent) for child, parent in (line.split() for line in listing.splitlines())}
    found = [pid]
    for ancestor in found:
        found += [child for child, parent in parents.items() if parent == ancestor and child not in found]
    return found[1:]


def unprivileged(argv: Sequence[str]) -> list[str]:
    """The command line that runs `argv` under the rules for ordinary users.

    Root keeps its uid but loses every capability, so that the mode bits of its files count: nothing need
    change hands, and an interpreter below /root stays within reach.
    """
    if os.geteuid() != 0:
        return list(argv)
    requires("setpriv")
    return ["setpriv", "--bounding-set=-all", "--inh-caps=-all", "--", *argv]
