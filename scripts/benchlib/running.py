"""Run a command, and measure it: seconds, memory, system calls."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import NamedTuple

#: Runs a command and prints its seconds, the KiB of its largest process, its CPU seconds, and its status. A small
#: process of its own, because a child's peak begins with what its parent had when it was started. When told to end, it
#: lets the child end.
_LAUNCHER = """
import os, signal, sys, time
signal.signal(signal.SIGTERM, signal.SIG_IGN)
settings = {"file_actions": [(os.POSIX_SPAWN_OPEN, 1, os.devnull, os.O_WRONLY, 0)], "setsigdef": [signal.SIGTERM]}
start = time.perf_counter()
_, status, usage = os.wait4(os.posix_spawnp(sys.argv[1], sys.argv[1:], os.environ, **settings), 0)
used = usage.ru_utime + usage.ru_stime
print(time.perf_counter() - start, usage.ru_maxrss, used, os.waitstatus_to_exitcode(status))
"""
_CALL = re.compile(rb"(?:\d+ +)?(\w+)\(")
_STAT = re.compile(rb'(?:\d+ +)?(?:stat|lstat|newfstatat|fstatat64|stat64|lstat64|statx)\([^"]*"(?:[^"]*/)?\d+\."')


class Sample(NamedTuple):
    """One run."""

    seconds: float
    kibibytes: int
    cpu: float  # seconds, of all processes


class Calls(NamedTuple):
    """System calls of one run, and of these the stats of message files."""

    total: int
    message_stats: int


def say(text: str) -> None:
    """Tell how far it is."""
    print(text, file=sys.stderr, flush=True)


def run(arguments: list[str]) -> Sample:
    """Run a command to its end and measure it."""
    launcher = [sys.executable, "-I", "-S", "-c", _LAUNCHER, *arguments]
    with subprocess.Popen(launcher, stdout=subprocess.PIPE, text=True, start_new_session=True) as process:
        try:
            output, _ = process.communicate()
        except BaseException:
            os.killpg(process.pid, signal.SIGTERM)
            process.wait()
            raise
    seconds, kibibytes, cpu, code = output.split() or ("0", "0", "0", "none")
    if code != "0":
        raise SystemExit(f"bench: exit code {code} from: {shlex.join(arguments)}")
    return Sample(float(seconds), int(kibibytes), float(cpu))


def count(arguments: list[str], server: int, work: Path) -> Calls:
    """Run a command under strace, and its far end too, and count what they asked the kernel."""
    traces = [work / "trace.near"]
    strace = ["strace", "-f", "-qq", "-s", "4096", "-e", "signal=none", "-o"]
    with contextlib.ExitStack() as stack:
        if server:
            traces.append(work / "trace.far")
            far = subprocess.Popen([*strace, str(traces[1]), "-p", str(server)])
            stack.callback(far.wait)
            stack.callback(far.terminate)
            time.sleep(0.5)
        run([*strace, str(traces[0]), *arguments])
    total = message_stats = 0
    for trace in traces:
        with trace.open("rb") as lines:
            for line in lines:
                total += _CALL.match(line) is not None
                message_stats += _STAT.match(line) is not None
        trace.unlink()
    return Calls(total, message_stats)


def drop_caches() -> None:
    """Make the kernel forget every file that it has seen."""
    os.sync()
    Path("/proc/sys/vm/drop_caches").write_text("3\n")
