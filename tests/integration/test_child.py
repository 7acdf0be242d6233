"""What a child does between fork and exec: there it is a copy of this program, and not yet the other one."""

from __future__ import annotations

import ctypes
import os
import signal
import subprocess
import sys
import threading
from pathlib import Path
from types import FrameType
from typing import Any

import pytest

from cyrsync import process
from cyrsync.errors import InterruptedRun
from support.tools import wait_for


def test_no_library_is_loaded_after_the_fork(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    where = tmp_path / "loaded"

    def load(*args: Any, load: Any = ctypes.CDLL) -> Any:
        with where.open("a") as file:
            file.write(f"{os.getpid()}\n")
        return load(*args)

    monkeypatch.setattr(ctypes, "CDLL", load)
    assert process.run(["true"], None, None) == 0
    assert set(where.read_text().split()) == {str(os.getpid())}


#: Starts a child that is slow between fork and exec, and would then sleep for long; says how that ended, and whether
#: the child is there still.
_PROGRAM = """
import os, sys, time
from cyrsync import process
from cyrsync.cli import signals
from cyrsync.errors import InterruptedRun

how, forked, go_on = sys.argv[1:]
signals.install()

def slow(first):
    def wait(*args):
        with open(forked + ".new", "w") as file:
            file.write(str(os.getpid()))
        os.rename(forked + ".new", forked)
        while not os.path.exists(go_on):
            time.sleep(0.01)
        first(*args)
    return wait

process._heed_signals = slow(process._heed_signals)
process._die_with_parent = process._die_with_parent if how == "hook" else slow(process._die_with_parent)
starts = {
    "run": lambda: process.run(["sleep", "60"], None, None),
    "attached": lambda: process.attached(["sleep", "60"], dict(os.environ)),
    "hook": lambda: process.hook("exec sleep 60", "", {}),
}
try:
    ended = starts[how]()
except InterruptedRun:
    ended = "interrupted"
try:
    os.kill(int(open(forked).read()), 0)
    left = "left"
except ProcessLookupError:
    left = "gone"
print(ended, left)
"""


@pytest.mark.parametrize(
    ("whom", "number"), [("parent", signal.SIGTERM), ("child", signal.SIGHUP), ("both", signal.SIGINT)]
)
@pytest.mark.parametrize("how", ["run", "attached", "hook"])
def test_a_signal_between_fork_and_exec_is_heeded(how: str, whom: str, number: signal.Signals, tmp_path: Path) -> None:
    forked, go_on = tmp_path / "forked", tmp_path / "go_on"
    words = [sys.executable, "-c", _PROGRAM, how, forked, go_on]
    with subprocess.Popen(words, stdout=subprocess.PIPE, text=True, start_new_session=True) as parent:
        assert parent.stdout
        try:
            wait_for(lambda: forked.exists() or parent.poll() is not None, seconds=30)
            child = int(forked.read_text())
            for one in {"parent": [parent.pid], "child": [child], "both": [child, parent.pid]}[whom]:
                os.kill(one, number)
            go_on.touch()
            ended, left = parent.stdout.read().split()
        finally:
            parent.kill()
    assert left == "gone"
    if whom == "child":
        assert int(ended) in (-number, 128 + number)
    else:
        assert ended == "interrupted"


def test_a_signal_at_any_line_ends_a_command_that_is_waited_for() -> None:
    """Its exception may come between any two lines, also of a library that has just taken a lock."""
    ended: list[int] = []

    def work(number: int) -> None:
        left = [number]

        def trace(_frame: FrameType, event: str, _arg: object) -> Any:
            if event == "line":
                if not left[0]:
                    sys.settrace(None)
                    raise InterruptedRun("a signal")
                left[0] -= 1
            return trace

        try:
            process.run(["sleep", "60"], None, None, lambda: sys.settrace(trace))
        except InterruptedRun:
            ended.append(number)
        finally:
            sys.settrace(None)

    for number in range(15):
        worker = threading.Thread(target=work, args=[number], daemon=True)
        worker.start()
        worker.join(20)
        assert ended == [*range(number + 1)]
