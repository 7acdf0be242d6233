"""The driver: one command line for a list."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from threading import Timer

import pytest

from cyrsync.errors import RsyncFailed, hint
from cyrsync.rsync.driver import Ends, Rsync, await_orphans
from cyrsync.rsync.features import Features
from cyrsync.rsync.outcome import Outcome
from support.fake_rsync import ALL, ENDS, FakeProcess


def test_no_word_of_the_users_keeps_from_us_what_rsync_says(fake: FakeProcess, tmp_path: Path) -> None:
    words = ("--archive", "--quiet", "--stderr=all", "--msgs2stderr", "--info=none", "--human-readable")
    for verbatim in (False, True):
        rsync = Rsync(ENDS, ALL, words, tmp_path, verbatim=verbatim)
        rsync.transfer([b"joe/1."])
        assert set(words[1:] if verbatim else ()) == set(words[1:]) & set(fake.command)
        fake.out = b">f.st...... 26 a -> b/1.\n.d..t...... 0 a -> b/\n\nTotal bytes sent: 1,234\n"
        assert rsync.differing([b"a -> b/"], ()) == {b"a -> b/1."}
        assert not set(words[1:]) & set(fake.command)
        fake.out = b""
        with pytest.raises(RsyncFailed, match="did not say"):  # nothing said is not: nothing differs
            rsync.differing([b"a -> b/"], ())


def test_command(fake: FakeProcess, tmp_path: Path) -> None:
    rsync = Rsync(ENDS, ALL, ("-a", "--bwlimit=10"), tmp_path, verbatim=False)
    rsync.transfer([b"joe/1.", b"#x"], ("--force",))
    assert fake.command[:3] == ["rsync", "-a", "--bwlimit=10"]
    assert fake.command[-2:] == ["/src/", "/dst/"]
    assert {"-0", "--force", "--modify-window=-1", "--stats", "-8"} <= set(fake.command)
    assert "--trust-sender" not in fake.command
    assert fake.listed == b"./joe/1.\0./#x\0"
    assert rsync.runs == 1


def test_nothing_listed_starts_nothing(fake: FakeProcess, tmp_path: Path) -> None:
    rsync = Rsync(ENDS, ALL, ("-a",), tmp_path, verbatim=False)
    assert rsync.transfer([]) == Outcome()
    assert fake.command == []
    assert rsync.runs == 0


def test_options_only_where_both_have_them(fake: FakeProcess, tmp_path: Path) -> None:
    ends = Ends("h:/src/", "/dst/", (b"/src", b"/dst"), rsh="ssh -p 22", pull=True)
    Rsync(ends, ALL, (), tmp_path, verbatim=False).transfer([b"x"])
    assert {"-s", "--rsh=ssh -p 22", "--modify-window=-1"} <= set(fake.command)
    assert "--trust-sender" not in fake.command
    Rsync(ends, Features(frozenset()), (), tmp_path, verbatim=False).transfer([b"x"])
    assert "--modify-window=-1" not in fake.command


def test_verbatim(fake: FakeProcess, tmp_path: Path) -> None:
    fake.err, fake.code = b'file has vanished: "/src/joe/1."\n', 24
    outcome = Rsync(ENDS, ALL, ("-av",), tmp_path, verbatim=True).transfer([b"x"])
    assert not [word for word in fake.command if word.startswith(("--out-format", "--stats", "-8"))]
    assert outcome.vanished == {b"joe/1."}


def test_below_the_operand_and_instead_of_it(fake: FakeProcess, tmp_path: Path) -> None:
    ends = Ends("rsync://h/mod/", "/dst/", (b"/a", b"/dst"), below=b"a")
    rsync = Rsync(ends, ALL, (), tmp_path, verbatim=False)
    rsync.transfer([b"joe/1."])
    assert (fake.listed, fake.command[-2]) == (b"a/././joe/1.\0", "rsync://h/mod/")
    rsync.transfer([b"joe/1."], instead=tmp_path / "blank")
    assert (fake.listed, fake.command[-2]) == (b"./joe/1.\0", f"{tmp_path}/blank/")
    rsync.ends.pull = True
    rsync.transfer([b"joe/1."])
    assert fake.listed == b"a/./joe/1.\0"
    rsync.transfer([b"joe/1."], instead=tmp_path / "blank")
    assert fake.listed == b"./joe/1.\0"


def test_waits_for_what_a_killed_run_has_started(tmp_path: Path) -> None:
    words = [sys.executable, "-c", "input()", f"--files-from={tmp_path}/job0/entries"]
    with subprocess.Popen(words, stdin=subprocess.PIPE) as orphan:
        Timer(0.3, orphan.communicate).start()
        await_orphans(tmp_path / "job")  # another run's
        assert orphan.poll() is None
        await_orphans(tmp_path)
        assert orphan.wait() == 1  # with nothing to read


def test_progress(fake: FakeProcess, tmp_path: Path) -> None:
    fake.out = b">f+++++++++ 100 joe/1.\ncd+++++++++ 4096 joe/\n<f.st...... 20 joe/2.\n<f.st...... 99 joe/cut"
    ticks: list[tuple[int, int]] = []
    rsync = Rsync(ENDS, ALL, (), tmp_path, verbatim=False)
    rsync.transfer([b"x"], tick=lambda done, size: ticks.append((done, size)))
    assert ticks == [(2, 120)]


def test_hints() -> None:
    assert hint("odd") == "odd"
    assert "3.2.6" in hint("ERROR: rejecting unrequested file-list name: j")
    assert hint("x: Permission denied").endswith(": run cyrsync as the owner of the spool, or as root")
