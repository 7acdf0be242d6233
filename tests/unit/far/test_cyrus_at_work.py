"""Whether a Cyrus is at work on a directory: real processes that bear its names."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from cyrsync.far.at_work import Cyrus, at_work
from support.tools import requires, requires_root

WAIT = "echo; read line"
MASTER = "/usr/lib/cyrus/bin/master"


@contextmanager
def process(name: str, *words: str | Path, before: tuple[str, ...] = ()) -> Iterator[int]:
    """A process that is called so; `before` are words of a program that becomes it."""
    pipe = subprocess.PIPE
    argv = [name, "-c", WAIT, *map(str, words)]
    if before:
        argv = [*before, "bash", "-c", 'exec -a "$0" "$@"', name, "bash", *argv[1:]]
    with subprocess.Popen(argv, executable=None if before else "/bin/bash", stdin=pipe, stdout=pipe) as running:
        assert running.stdout
        running.stdout.readline()
        yield running.pid
        running.communicate()


@pytest.fixture
def top(open_dir: Path) -> Path:
    """Where a Cyrus has its directories; what lies in them is not made."""
    (open_dir / "conf").mkdir()
    (open_dir / "spool").mkdir()
    (open_dir / "two").mkdir()
    text = "CONFIGDIRECTORY : {0}/conf\n@include: {0}/more.conf\n# partition-no: {0}/no\n"
    (open_dir / "imapd.conf").write_text(text.format(open_dir))
    (open_dir / "more.conf").write_text(f"partition-default: {open_dir}/spool\nimap_partition-two: {open_dir}/two\n")
    return open_dir


def found(*directories: Path) -> list[tuple[int, str, str]]:
    return [
        (one.pid, os.fsdecode(one.conf), os.fsdecode(one.directory))
        for one in at_work([*map(os.fsencode, directories)])
    ]


def test_a_directory_its_parts_and_what_it_is_part_of(top: Path) -> None:
    (top / "link").symlink_to(top / "spool")
    (top / "spool" / "a").mkdir()
    conf = str(top / "imapd.conf")
    touched = ["spool", "link", "spool/a", "spool/none", "conf", "conf/user", "two", "two/a", "."]
    with process(MASTER, "-C", conf, "-d") as pid:
        for name in touched:
            assert found(top / name) == [(pid, conf, str(top / name))], name
        assert found(top / "no") == found(top / "spoo") == found(top / "spool2") == []
        assert found(top / "no", top / "two", top / "spool") == [(pid, conf, str(top / "two"))]
    assert found(top / "spool") == []


@pytest.mark.parametrize("name", ["imapd", "lmtpd: idle", "sync_server", "cyrmaster", "reconstruct"])
def test_programs_of_cyrus(top: Path, name: str) -> None:
    with process(name, "-C", top / "imapd.conf") as pid:
        assert [one[0] for one in found(top / "spool")] == [pid]


@pytest.mark.parametrize(
    "words", [("master", "-w"), ("httpd", "-C", "Include x"), ("sleeper", "-C", "{conf}"), ("imapd",)]
)
def test_other_programs(top: Path, words: tuple[str, ...]) -> None:
    with process(*(word.format(conf=top / "imapd.conf") for word in words)):
        assert found(top / "spool") == []


def test_a_name_in_the_directory_of_the_process(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(top)
    with process("imapd", "-C", "imapd.conf") as pid:
        assert [one[0] for one in found(top / "spool")] == [pid]


def test_what_is_no_file_is_not_waited_for(top: Path) -> None:
    os.mkfifo(top / "fifo")
    with process(MASTER, "-C", top / "fifo"), process("imapd", "-C", "/dev/zero"):
        assert found(top / "spool") == []


def test_an_imapd_conf_that_cannot_be_read(top: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Then nobody knows."""

    def refuse(*_: object) -> int:
        raise PermissionError(13, "Permission denied")

    with process(MASTER, "-C", top / "imapd.conf") as pid, monkeypatch.context() as patch:
        patch.setattr("cyrsync.far.at_work._read", refuse)
        # Other tests may have a Cyrus at work, too.
        assert Cyrus(pid, os.fsencode(top / "imapd.conf"), b"") in at_work([os.fsencode(top / "spool")])


def test_a_program_of_somebody_else(top: Path) -> None:
    """Who could not work on the directory cannot say that he does, and keep runs from it."""
    requires_root()
    requires("setpriv")
    nobody = ("setpriv", "--reuid=65534", "--regid=65534", "--clear-groups")
    with process("imapd", "-C", top / "imapd.conf", before=nobody):
        assert found(top / "spool") == []
        os.chown(top / "spool", 65534, 65534)
        assert len(found(top / "spool")) == 1


def test_a_container(top: Path) -> None:
    """Its paths are other ones; that they lead to the same directories shows all the same."""
    requires_root()
    requires("unshare", "chroot")
    spool, box = top / "spool", top / "box"
    for directory in ("var/spool/imap", "etc", "usr", "lib", "lib64", "bin"):
        (box / directory).mkdir(parents=True)
    (box / "etc/imapd.conf").write_text("configdirectory: /var/lib/cyrus\npartition-default: /var/spool/imap\n")
    binds = [("/usr", "usr"), ("/lib", "lib"), ("/lib64", "lib64"), ("/bin", "bin"), (str(spool), "var/spool/imap")]
    script = "".join(f"mount --bind {what} {box}/{where} && " for what, where in binds)
    script += f"exec chroot {box} /bin/bash -c 'echo; exec -a /usr/lib/cyrus/bin/master cat'"
    pipe = subprocess.PIPE
    with subprocess.Popen(["unshare", "-m", "bash", "-c", script], stdin=pipe, stdout=pipe) as running:
        assert running.stdin and running.stdout
        running.stdout.readline()
        running.stdin.write(b"x")
        running.stdin.flush()
        running.stdout.read(1)
        try:
            assert found(spool / "j") == [(running.pid, "/etc/imapd.conf", str(spool / "j"))]
            assert found(box) == [] or found(box)[0][2] == str(box)
            assert found(top / "conf") == []
        finally:
            running.stdin.close()
