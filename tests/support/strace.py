"""System calls of a command and of all that it starts, counted by strace."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

from support.tools import requires, unavailable

#: A leading `?` lets strace pass over calls that this architecture lacks.
STAT_CALLS = ("stat", "lstat", "newfstatat", "statx", "fstat", "access", "faccessat", "faccessat2")
OPEN_CALLS = ("open", "openat", "openat2")
TRACED = (
    *STAT_CALLS,
    *OPEN_CALLS,
    "getdents64",
    "execve",
    "unlink",
    "unlinkat",
    "rename",
    "renameat",
    "renameat2",
)

_UNFINISHED = b" <unfinished ...>"
_RESUMED = re.compile(rb"(?P<pid>\d+) +<\.\.\. \w+ resumed>(?P<rest>.*)")
_LINE = re.compile(rb"(?P<pid>\d+) +(?P<name>\w+)\((?P<rest>.*)")
_FIRST_FD = re.compile(rb"(?:AT_FDCWD|\d+)<(?P<path>[^>]*)>")
_STRING = re.compile(rb'"(?P<text>(?:[^"\\]|\\.)*)"')
_ESCAPE = re.compile(rb"\\(?P<octal>[0-7]{1,3})|\\(?P<char>.)")
_CHARS = {b"n": b"\n", b"t": b"\t", b"r": b"\r", b"v": b"\v", b"f": b"\f"}


class Call(NamedTuple):
    """One system call: its absolute path where it names one, and the whole line."""

    pid: int
    name: str
    path: bytes
    line: bytes


def strace_calls(
    argv: Sequence[str],
    *,
    env: Mapping[str, str],
    output: Path,
    expect: int = 0,
    calls: Sequence[str] = TRACED,
) -> list[Call]:
    """Run `argv` under strace, check its exit code, and return what it and its children asked the kernel."""
    requires("strace")
    trace = ",".join(f"?{name}" for name in calls)
    command = ["strace", "-f", "-qq", "-y", "-s", "4096", "-o", str(output), "-e", f"trace={trace}", *argv]
    done = subprocess.run(command, env=dict(env), stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert done.returncode == expect, f"exit {done.returncode}\n{done.stdout!r}\n{done.stderr!r}"
    return [call for line in whole_lines(output.read_bytes().splitlines()) if (call := parse(line))]


class Attached(NamedTuple):
    """What strace is writing of processes that run already."""

    output: Path

    def calls(self) -> list[Call]:
        return [call for line in whole_lines(self.output.read_bytes().splitlines()) if (call := parse(line))]


@contextmanager
def attached(pid: int, *, output: Path, calls: Sequence[str] = TRACED) -> Iterator[Attached]:
    """Have strace look at a process and its children meanwhile; at those of today, and at all of tomorrow."""
    requires("strace")
    pids = [pid, *_children(pid)]
    trace = ",".join(f"?{name}" for name in calls)
    words = [word for one in pids for word in ("-p", str(one))]
    command = ["strace", "-f", "-y", "-s", "4096", "-o", str(output), "-e", f"trace={trace}", *words]
    with subprocess.Popen(command, stdin=subprocess.DEVNULL, stderr=subprocess.PIPE) as process:
        assert process.stderr
        try:
            for _ in pids:
                line = process.stderr.readline()
                if b"attached" not in line:
                    unavailable(f"not allowed to trace: {line!r}")
            yield Attached(output)
        finally:
            process.terminate()
            process.stderr.read()


def _children(pid: int) -> list[int]:
    found = [
        int(one) for task in Path(f"/proc/{pid}/task").iterdir() for one in (task / "children").read_text().split()
    ]
    return [*found, *(one for child in found for one in _children(child))]


def whole_lines(lines: Iterable[bytes]) -> list[bytes]:
    """Put the two halves of a call together that strace wrote apart, as another process's came in between."""
    whole: list[bytes] = []
    begun: dict[bytes, int] = {}  # where the first half is, by process
    for line in lines:
        if half := _RESUMED.match(line):
            if half["pid"] in begun:
                whole[begun.pop(half["pid"])] += half["rest"]
            continue
        if line.endswith(_UNFINISHED):
            begun[line.split(b" ", 1)[0]] = len(whole)
            line = line.removesuffix(_UNFINISHED)
        whole.append(line)
    return whole


def parse(line: bytes) -> Call | None:
    """One line of strace's; None for signals and exits."""
    if not (match := _LINE.match(line)):
        return None
    rest, base, text = match["rest"], b"", b""
    if fd := _FIRST_FD.match(rest):
        base, rest = fd["path"], rest[fd.end() :]
    if string := _STRING.search(rest):
        text = string["text"]
    path = os.path.join(_unescape(base), _unescape(text)) if text else _unescape(base)
    return Call(int(match["pid"]), match["name"].decode(), path, line)


def _unescape(text: bytes) -> bytes:
    return _ESCAPE.sub(_unescaped, text)


def _unescaped(match: re.Match[bytes]) -> bytes:
    if match["octal"]:
        return bytes([int(match["octal"], 8)])
    return _CHARS.get(match["char"], match["char"])
