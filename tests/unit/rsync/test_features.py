"""What an rsync can do is read from its --help, as 3.0 to 3.5 and others print it."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import pytest

from cyrsync import process
from cyrsync.ends.shell import RemoteShell
from cyrsync.errors import ConnectionFailed, UnusableError
from cyrsync.process import Finished
from cyrsync.rsync import features

#: Lines of rsync 3.0.9: on standard output, behind what the program is.
OLD = b"""\
rsync  version 3.0.9  protocol version 30
Copyright (C) 1996-2011 by Andrew Tridgell, Wayne Davison, and others.

Options
 -v, --verbose               increase verbosity
     --no-OPTION             turn off an implied OPTION (e.g. --no-D)
     --partial-dir=DIR       put a partially transferred file into DIR
     --modify-window=NUM     compare mod-times with reduced accuracy
     --files-from=FILE       read list of source-file names from FILE
 -0, --from0                 all *-from/filter files are delimited by 0s
 -s, --protect-args          no space-splitting; only wildcard special-chars
 -8, --8-bit-output          leave high-bit chars unescaped in output
(-h) --help                  show this help (-h is --help only if used alone)
"""
#: Lines of rsync 3.2.7.
NEW = b"""\
Options
--verbose, -v            increase verbosity
--files-from=FILE        read list of source-file names from FILE
--from0, -0              all *-from/filter files are delimited by 0s
--modify-window=NUM, -@  set the accuracy for mod-time comparisons
--secluded-args, -s      use the protocol to safely send the args
--trust-sender           trust the remote sender's file list
--help, -h (*)           show this help (* -h is help only on its own)
"""


@pytest.fixture
def answers(monkeypatch: pytest.MonkeyPatch) -> dict[str, Finished]:
    """What the last words of a command are answered with."""
    found: dict[str, Finished] = {}
    monkeypatch.setattr(process, "capture", lambda words, _=0.0: found[" ".join(words[-2:])])
    return found


@pytest.mark.parametrize(
    ("text", "nanoseconds", "has", "lacks"),
    [
        (OLD, False, {"--files-from", "--protect-args"}, {"--trust-sender", "-@"}),
        (NEW, True, {"--files-from", "--secluded-args", "--trust-sender", "-@"}, {"--protect-args", "--verbos"}),
    ],
)
@pytest.mark.parametrize("to_stderr", [False, True])
def test_near(
    answers: dict[str, Finished], text: bytes, nanoseconds: bool, has: set[str], lacks: set[str], to_stderr: bool
) -> None:
    answers["rsync --help"] = Finished(1, b"", text) if to_stderr else Finished(0, text, b"")
    found = features.near()
    assert found.nanoseconds is nanoseconds
    assert has <= found.options
    assert not lacks & found.options


def test_both_must_have_it(answers: dict[str, Finished], tmp_path: Path) -> None:
    shell = RemoteShell("host", "rsh", tmp_path)
    answers["rsync --help"] = Finished(0, NEW, b"")
    answers["host rsync --help"] = Finished(0, OLD, b"banner: --trust-sender is not --here\n")
    both = features.near() & features.far(shell.words, None)
    assert not both.nanoseconds
    assert "--files-from" in both.options


@pytest.mark.parametrize(
    ("finished", "says"),
    [
        (Finished(127, b"", b"sh: rsync: not found\n"), "sh: rsync: not found"),
        (Finished(0, b"openrsync: protocol version 29\nusage: openrsync [-aDgloprtvx]\n", b""), "openrsync: protocol"),
        (Finished(1, b"", b""), "it ended with code 1"),
    ],
)
def test_unusable(answers: dict[str, Finished], tmp_path: Path, finished: Finished, says: str) -> None:
    answers["rsync --help"] = answers["host rsync --help"] = finished
    with pytest.raises(UnusableError, match=f"^rsync cannot be used: {says}"):
        features.near()
    with pytest.raises(UnusableError, match=f"^rsync at the far end cannot be used: {says}"):
        features.far(RemoteShell("host", "rsh", tmp_path).words, None)


def test_a_lost_connection(answers: dict[str, Finished], tmp_path: Path) -> None:
    answers["host rsync --help"] = Finished(255, b"", b"banner\nConnection closed\n")
    with pytest.raises(ConnectionFailed, match="Connection closed") as caught:
        features.far(RemoteShell("host", "rsh", tmp_path).words, None)
    assert caught.value.code == 255


def test_the_far_rsync_may_be_elsewhere(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    asked: list[Sequence[str]] = []

    def capture(words: Sequence[str], _seconds: float = 0.0) -> Finished:
        asked.append(words)
        return Finished(0, NEW, b"")

    monkeypatch.setattr(process, "capture", capture)
    features.far(RemoteShell("host", "rsh", tmp_path).words, "sudo /opt/rsync")
    assert asked == [["rsh", "host", "sudo /opt/rsync --help"]]


@pytest.mark.parametrize(
    ("out", "version"),
    [
        (b"rsync  version 3.2.7  protocol version 31\n", "3.2.7"),
        (b"rsync  version v3.5.0  protocol version 32\n", "v3.5.0"),
        (b"openrsync: protocol version 29\n", "version"),
        (b"", "unknown"),
        (b"rsync version", "unknown"),
    ],
)
def test_version(answers: dict[str, Finished], out: bytes, version: str) -> None:
    answers["rsync --version"] = Finished(0, out, b"")
    assert features.version() == version


def test_no_rsync(monkeypatch: pytest.MonkeyPatch) -> None:
    def missing(words: Sequence[str], _seconds: float = 0.0) -> Finished:
        raise UnusableError("rsync is not installed, or not in PATH")

    monkeypatch.setattr(process, "capture", missing)
    assert features.version() == "not installed"
