"""A line for each run, wherever the log is: whoever chose a name in it cannot forge another."""

from __future__ import annotations

import errno
import os
import shlex
import socket
import struct
import syslog
from collections.abc import Iterator
from pathlib import Path

import pytest

from cyrsync.report import log
from cyrsync.sync.result import FileCounts, FolderCounts, MessageCounts, RunResult
from support.runs import result


def failed() -> RunResult:
    return result(
        code=23,
        source="/spool of mine",
        folders=FolderCounts(seen=100, unreadable=1, failed=2),
        messages=MessageCounts(send=40),
        files=FileCounts(sent=38, failed=2, deleted=3),
        bytes_sent=999,
        withheld=4,
        warnings=["the state was made anew"],
        errors=['a "b"\nrun exit=0: failed', "j/user/joe: cannot be read"],
    )


def test_what_a_run_says() -> None:
    said = list(log.lines(failed()))
    assert [(line.kind, line.priority) for line in said] == [
        ("warning", log.WARNING),
        ("error", log.ERROR),
        ("error", log.ERROR),
        ("run", log.ERROR),
    ]
    assert all("\n" not in line.text for line in said)
    kind, *words = shlex.split(said[-1].text)
    assert kind == "run"
    assert dict(word.split("=", 1) for word in words) == {
        "source": "/spool of mine",
        "destination": "host:/one",
        "engine": "walk",
        "exit": "23",
        "seconds": "1.5",
        "folders": "100",
        "behind": "3",
        "messages": "40",
        "sent": "38",
        "failed": "2",
        "bytes": "999",
        "deleted": "3",
        "withheld": "4",
    }
    _, _, _, text = shlex.split(said[1].text)
    assert text == 'text=a "b"\\x0arun exit=0: failed'


def test_a_run_for_a_part_says_so_in_each_line() -> None:
    part = result(code=23, part=["--user=joe", "--partition=fast"], errors=["x"])
    assert [line.facts["part"] for line in log.lines(part)] == ["--user=joe --partition=fast"] * 2


@pytest.mark.parametrize(("code", "priority"), [(0, log.INFO), (75, log.NOTICE), (25, log.ERROR), (3, log.ERROR)])
def test_how_urgent_it_is(code: int, priority: int) -> None:
    assert [line.priority for line in log.lines(result(code=code))] == [priority]


# --- A file


def test_lines_are_appended_each_by_one_write(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "log"
    path.write_text("before\n")
    written = []
    write = os.write
    monkeypatch.setattr(os, "write", lambda to, data: written.append(data) or write(to, data))
    log.send(str(path), failed())
    assert len(written) == 4
    before, *lines = path.read_text().splitlines()
    assert before == "before"
    assert [f"{line}\n".encode() for line in lines] == written
    assert lines[-1].partition(": ")[2] == list(log.lines(failed()))[-1].text
    assert f" cyrsync[{os.getpid()}]: error " in lines[1]


def test_a_disk_that_takes_half_a_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "write", lambda to, data: len(data) // 2)
    with pytest.raises(OSError, match="No space left") as caught:
        log.send(str(tmp_path / "log"), failed())
    assert caught.value.filename == str(tmp_path / "log")


# --- syslog


def test_syslog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    opened: list[object] = []
    said: list[tuple[int, str]] = []
    monkeypatch.setattr(log, "SYSLOG_SOCKET", str(tmp_path))
    monkeypatch.setattr(syslog, "openlog", lambda *how: opened.append(how))
    monkeypatch.setattr(syslog, "syslog", lambda priority, text: said.append((priority, text)))
    log.send("syslog", failed())
    assert opened == [("cyrsync", syslog.LOG_PID, syslog.LOG_MAIL)]
    assert said == [(line.priority, line.text) for line in log.lines(failed())]
    assert said[-1][0] == syslog.LOG_ERR


def test_nobody_listens_to_syslog(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "SYSLOG_SOCKET", str(tmp_path / "none"))
    with pytest.raises(FileNotFoundError):
        log.send("syslog", failed())


# --- The journal


@pytest.fixture
def journal(open_dir: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[socket.socket]:
    """What journald would listen at."""
    path = open_dir / "journal"
    monkeypatch.setattr(log, "JOURNAL_SOCKET", str(path))
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as listening:
        listening.bind(str(path))
        listening.setblocking(False)
        yield listening


def fields(datagram: bytes) -> dict[str, bytes]:
    """As journald reads them: a name, then either `=` and a line, or a line break, the length and the value."""
    found = {}
    while datagram:
        name, _, datagram = datagram.partition(b"\n")
        assert b"=" not in name
        (size,) = struct.unpack("<Q", datagram[:8])
        found[name.decode("ascii")] = datagram[8 : 8 + size]
        assert datagram[8 + size : 9 + size] == b"\n"
        datagram = datagram[9 + size :]
    return found


def test_journal(journal: socket.socket) -> None:
    name = "spool\nMESSAGE=forged" + os.fsdecode(b"\xff")
    log.send("journal", result(code=23, source=name, errors=["two\nlines"]))
    error, run = fields(journal.recv(65536)), fields(journal.recv(65536))
    with pytest.raises(BlockingIOError):
        journal.recv(1)
    assert error["CYRSYNC_TEXT"] == b"two\nlines"
    assert error["PRIORITY"] == run["PRIORITY"] == b"3"
    assert run["MESSAGE"].startswith(b'run source="spool\\\\x0aMESSAGE=forged\\\\udcff" destination=host:/one ')
    assert run["CYRSYNC_SOURCE"] == os.fsencode(name)
    assert (run["CYRSYNC_KIND"], run["CYRSYNC_EXIT"], run["SYSLOG_IDENTIFIER"]) == (b"run", b"23", b"cyrsync")
    assert all(key.replace("_", "").isalpha() and key.isupper() for key in run)


def test_no_journal(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(log, "JOURNAL_SOCKET", str(tmp_path / "none"))
    with pytest.raises(OSError, match="No such file") as caught:
        log.send("journal", failed())
    assert (caught.value.errno, caught.value.filename) == (errno.ENOENT, str(tmp_path / "none"))


def test_a_journal_that_does_not_read_is_not_waited_for(
    journal: socket.socket, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(log, "_PATIENCE", 0.01)
    with pytest.raises(OSError, match=r"timed out|unavailable"):
        log.send("journal", result(errors=["x"] * 5000))
