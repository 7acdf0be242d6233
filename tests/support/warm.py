"""An interpreter that has loaded cyrsync, and forks for each run: in most tests nothing takes as long as a start.

What it forks is a process like any other: its own id, environment, working directory, output and exit code. The tests
start this file as a program; what is left of it in a run is only that modules are there already.
"""

from __future__ import annotations

import atexit
import gc
import importlib
import json
import os
import pkgutil
import runpy
import signal
import socket
import subprocess
import sys
import tempfile
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from functools import cache
from pathlib import Path
from typing import IO, TYPE_CHECKING, Any, NoReturn

if TYPE_CHECKING:
    from coverage import Coverage

_LARGEST = 1 << 20  # bytes of a request
_LONG = 8  # bytes of a number in an answer
_COVERAGE, _COVERAGE_LATER = "COVERAGE_PROCESS_CONFIG", "CYRSYNC_WARM_COVERAGE"


class WarmPython:
    """Runs modules of cyrsync's checkout."""

    def __init__(self, env: Mapping[str, str]) -> None:
        self._requests, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        for end in (self._requests, theirs):
            end.settimeout(None)  # whatever a test has made the default
        # Coverage begins in each run, not when this interpreter starts.
        env = {_COVERAGE_LATER if name == _COVERAGE else name: value for name, value in env.items()}
        self._process = subprocess.Popen(
            [sys.executable, __file__, str(theirs.fileno())],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            pass_fds=[theirs.fileno()],
        )
        theirs.close()
        atexit.register(self.close)
        assert self._requests.recv(1), "it did not start"

    def close(self) -> None:
        """End it; runs that go on do not end with it."""
        self._requests.close()
        self._process.wait()

    def start(
        self,
        module: str,
        args: Sequence[str],
        *,
        env: Mapping[str, str],
        cwd: Path | None = None,
        own_group: bool = False,
        first: str = "",
    ) -> Running:
        """Do what `Popen([python, "-m", module, *args])` does without input; with `own_group`, as the first of one.

        What is to be done `first` in the process is Python.
        """
        request = {
            "module": module,
            "args": list(args),
            "env": dict(env),
            "cwd": os.fspath(cwd or Path.cwd()),
            "own_group": own_group,
            "first": first,
        }
        ours, theirs = socket.socketpair()
        out, err = (tempfile.TemporaryFile() for _ in range(2))  # noqa: SIM115 - they live as long as the run
        with open(os.devnull, "rb") as nothing, theirs:
            files = [nothing.fileno(), out.fileno(), err.fileno(), theirs.fileno()]
            socket.send_fds(self._requests, [json.dumps(request).encode()], files)
        return Running([module, *args], ours, out, err)


class Running:
    """A run. `with` sees it end."""

    def __init__(self, words: list[str], answers: socket.socket, out: IO[bytes], err: IO[bytes]) -> None:
        self._words = words
        self._answers = answers
        self._files = (out, err)
        self.pid = self._number()
        self.returncode: int | None = None

    def __enter__(self) -> Running:
        return self

    def __exit__(self, *_exc: object) -> None:
        self.wait()
        for file in (self._answers, *self._files):
            file.close()

    def wait(self, timeout: float | None = None) -> int:
        """Return the exit code, that of a signal negative. Raise subprocess.TimeoutExpired."""
        if self.returncode is None:
            self._answers.settimeout(timeout)
            try:
                self.returncode = self._number()
            except (TimeoutError, BlockingIOError):
                raise subprocess.TimeoutExpired(self._words, timeout or 0) from None
        return self.returncode

    def poll(self) -> int | None:
        """Return the exit code if it has ended."""
        try:
            return self.wait(0)
        except subprocess.TimeoutExpired:
            return None

    def kill(self) -> None:
        """End it with SIGKILL, if it has not ended."""
        self._end_by(os.kill)

    def kill_group(self) -> None:
        """End it and what it has started, if it has not ended."""
        self._end_by(os.killpg)

    def _end_by(self, kill: Callable[[int, int], None]) -> None:
        if self.poll() is None:
            with suppress(ProcessLookupError):  # it has just ended
                kill(self.pid, signal.SIGKILL)

    def complete(self, timeout: float) -> subprocess.CompletedProcess[str]:
        """Wait for the end, and return what it said; kill it when that takes too long."""
        try:
            code = self.wait(timeout)
        except subprocess.TimeoutExpired:
            self.kill()
            raise
        said = []
        for file in self._files:
            file.seek(0)
            text = file.read().decode("utf-8", "surrogateescape")
            said.append(text.replace("\r\n", "\n").replace("\r", "\n"))  # as subprocess has it
        return subprocess.CompletedProcess(self._words, code, *said)

    def _number(self) -> int:
        data = b""
        while len(data) < _LONG:
            part = self._answers.recv(_LONG - len(data))
            assert part, "the run was lost"
            data += part
        return int.from_bytes(data, "big", signed=True)


@cache
def python() -> WarmPython:
    """The one of this process of tests."""
    from support.tree import plain_env

    return WarmPython(plain_env())


# --- In the interpreter that forks


def _serve(requests: socket.socket) -> dict[str, Any]:
    """Fork for each request, and return it in the process that is to become the run."""
    requests.send(b"!")
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits for those that wait
    while True:
        data, files, *_ = socket.recv_fds(requests, _LARGEST, 4)
        if not data:
            sys.exit()
        if os.fork() == 0:
            signal.signal(signal.SIGCHLD, signal.SIG_DFL)
            request: dict[str, Any] = json.loads(data)
            pid = os.fork()
            if request["own_group"]:
                os.setpgid(pid, pid)  # in both: neither may go on before
            if pid:
                _wait(pid, socket.socket(fileno=files[3]))
            for number, file in enumerate(files[:3]):
                os.dup2(file, number)
            requests.close()
            os.closerange(3, max(files) + 1)
            return request
        for file in files:
            os.close(file)


def _wait(pid: int, answers: socket.socket) -> NoReturn:
    answers.sendall(pid.to_bytes(_LONG, "big"))
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    answers.sendall(code.to_bytes(_LONG, "big", signed=True))
    os._exit(0)


def _load() -> None:
    """Load what runs load, and make what they would make of it each for itself."""
    import cyrsync

    for module in pkgutil.walk_packages(cyrsync.__path__, "cyrsync."):
        if not module.name.endswith("__main__"):
            importlib.import_module(module.name)
    for name in ("rich.console", "rich.progress", "rich.table", "sh", "sqlite3"):
        importlib.import_module(name)
    import typer.main

    from cyrsync.cli.commands import app

    typer.main.get_command = cache(typer.main.get_command)  # each run would make all commands anew, as any start does
    typer.main.get_command(app)
    gc.collect()
    gc.freeze()  # or the first collection of each run would copy it all


def _coverage() -> Coverage | None:
    """Measure coverage, where the tests do: to find out what counts takes longer than most runs, and stays known."""
    if _COVERAGE_LATER not in os.environ:
        return None
    import coverage

    os.environ[_COVERAGE] = os.environ.pop(_COVERAGE_LATER)
    return coverage.process_startup()


def _main() -> None:
    sys.path.pop(0)  # where this file is
    coverage = _coverage()
    _load()
    if coverage is not None:
        coverage.stop()
        coverage.save()
    request = _serve(socket.socket(fileno=int(sys.argv[1])))
    os.environ.clear()
    os.environ.update(request["env"])
    os.chdir(request["cwd"])
    if coverage is not None:
        coverage.start()
    exec(request["first"], {})
    sys.argv[1:] = request["args"]
    try:
        runpy.run_module(request["module"], run_name="__main__", alter_sys=True)
    except SystemExit as error:
        if isinstance(error.code, str):
            raise
        _end(error.code or 0)
    _end(0)


def _end(code: int) -> NoReturn:
    """End as Python does, but for taking apart all that was loaded: that would copy every page of it."""
    threading._shutdown()  # type: ignore[attr-defined]
    atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        try:
            stream.flush()
        except (OSError, ValueError):
            code = 120
    os._exit(code & 0xFF)


if __name__ == "__main__":
    _main()
