"""Whether Cyrus is running: real processes that bear its names."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cyrsync.cyrus.server import config
from cyrsync.standby.at_work import processes

WAIT = "print(flush=True); import sys; sys.stdin.read()"


@contextmanager
def process(name: str, *words: str) -> Iterator[int]:
    """A process that is called so."""
    pipe = subprocess.PIPE
    with subprocess.Popen([name, "-c", WAIT, *words], executable=sys.executable, stdin=pipe, stdout=pipe) as running:
        assert running.stdout
        running.stdout.readline()
        yield running.pid
        running.communicate()


@pytest.fixture
def conf(tmp_path: Path) -> Path:
    path = tmp_path / "imapd.conf"
    path.write_text(f"configdirectory: {tmp_path}/conf\npartition-default: {tmp_path}/spool\n")
    return path


def found(conf: Path) -> list[int]:
    return processes(config.read(str(conf)), bytes(conf))


def test_a_master_of_this_imapd_conf(conf: Path, tmp_path: Path) -> None:
    link = tmp_path / "link"
    link.symlink_to(conf)
    with process("/usr/lib/cyrus/bin/master", "-C", str(link), "-d") as pid:
        assert found(conf) == [pid]
    assert found(conf) == []


@pytest.mark.parametrize(
    "words",
    [("cyrmaster", "-C", "/another/imapd.conf"), ("/usr/lib/postfix/sbin/master", "-w"), ("sleeper", "-C", "{conf}")],
)
def test_other_processes(conf: Path, words: tuple[str, ...]) -> None:
    with process(*(word.format(conf=conf) for word in words)):
        assert found(conf) == []


def test_a_service_that_outlived_its_master(conf: Path, tmp_path: Path) -> None:
    (tmp_path / "conf" / "proc").mkdir(parents=True)
    with process("imapd") as pid, process("sleeper") as other:
        assert found(conf) == []
        for number in (pid, other):
            (tmp_path / "conf" / "proc" / str(number)).touch()
        assert found(conf) == [pid]
