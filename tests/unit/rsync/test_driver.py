"""The driver: one command line for a list, and what became of every entry."""

from __future__ import annotations

import errno
import subprocess
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from threading import Timer
from typing import IO

import pytest

from cyrsync import process
from cyrsync.errors import ConnectionFailed, InterruptedRun, RsyncFailed
from cyrsync.rsync.driver import Ends, Outcome, Rsync, await_orphans, hint
from cyrsync.rsync.features import Features

ENDS = Ends("/src/", "/dst/", (b"/src", b"/dst"))
ALL = Features(frozenset({"--files-from", "--trust-sender", "-@"}))


class FakeProcess:
    """Stands in for `process.run`: keeps the command and its list, prints what a test says."""

    def __init__(self) -> None:
        self.code = 0
        self.out = self.err = b""
        self.command: list[str] = []
        self.listed = b""

    def run(
        self,
        words: Sequence[str],
        out: IO[bytes] | None,
        err: IO[bytes],
        tick: Callable[[], None] | None = None,
        **_: object,
    ) -> int:
        self.command = list(words)
        (option,) = [word for word in words if word.startswith("--files-from=")]
        self.listed = Path(option.partition("=")[2]).read_bytes()
        if out:
            out.write(self.out)
            out.flush()
        err.write(self.err)
        if tick:
            tick()
        return self.code


@pytest.fixture
def fake(monkeypatch: pytest.MonkeyPatch) -> FakeProcess:
    found = FakeProcess()
    monkeypatch.setattr(process, "run", found.run)
    return found


@pytest.fixture
def run(fake: FakeProcess, tmp_path: Path) -> Callable[..., Outcome]:
    """Run over one entry; what rsync says and ends with is given."""

    def transfer(said: bytes = b"", code: int = 0, out: bytes = b"", ends: Ends = ENDS) -> Outcome:
        fake.err, fake.code, fake.out = said, code, out
        return Rsync(ends, ALL, ("-a",), tmp_path, verbatim=False).transfer([b"joe/1."])

    return transfer


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


def test_waits_for_what_a_killed_run_has_started(tmp_path: Path) -> None:
    words = [sys.executable, "-c", "input()", f"--files-from={tmp_path}/job0/entries"]
    with subprocess.Popen(words, stdin=subprocess.PIPE) as orphan:
        Timer(0.3, orphan.communicate).start()
        await_orphans(tmp_path / "job")  # another run's
        assert orphan.poll() is None
        await_orphans(tmp_path)
        assert orphan.wait() == 1  # with nothing to read


def test_outcome(run: Callable[..., Outcome]) -> None:
    said = b"""\
file has vanished: "/src/joe/1."
rsync: [sender] link_stat "/src/joe/2." failed: No such file or directory (2)
rsync: [sender] send_files failed to open "/src/joe/3.": Permission denied (13)
rsync: [receiver] mkstemp "/dst/joe/.4..AbCdEf" failed: No space left on device (28)
rsync: [receiver] chown "/dst/joe/.5..AbCdEf" failed: Operation not permitted (1)
could not make way for new regular file: joe/6.
ERROR: joe/7. failed verification -- update discarded.
some banner
rsync error: some files/attrs were not transferred (code 23) at main.c(1) [sender]
"""
    out = b"<f+++++++++ 10 joe/9.\n*deleting   0 joe/10.\n*deleting   0 joe/a\\#012b/\nTotal bytes sent: 1,234\n"
    outcome = run(said, 23, out)
    assert outcome.vanished == {b"joe/1.", b"joe/2."}
    assert {path: message.number for path, message in outcome.failed.items()} == {
        b"joe/3.": errno.EACCES, b"joe/4.": errno.ENOSPC, b"joe/6.": errno.ENOTEMPTY, b"joe/7.": 0,
    }  # fmt: skip
    assert outcome.attributes.keys() == {b"joe/5."}
    assert (outcome.bytes_sent, outcome.deleted, outcome.code) == (1234, [b"joe/10.", b"joe/a\nb/"], 23)


def test_code_24_may_hide_a_failure(run: Callable[..., Outcome]) -> None:
    said = b'file has vanished: "/src/1."\nrsync: link_stat "/src/2." failed: Permission denied (13)\n'
    outcome = run(said, 24)
    assert (outcome.vanished, outcome.failed.keys()) == ({b"1."}, {b"2."})


def test_failures_count_whatever_the_code(run: Callable[..., Outcome]) -> None:
    assert run(b"could not make way for new regular file: joe/6.\n", 0).failed.keys() == {b"joe/6."}


def test_received_bytes_count_on_a_pull(run: Callable[..., Outcome]) -> None:
    out = b"Total bytes sent: 7\nTotal bytes received: 1,000,000\n"
    assert run(out=out).bytes_sent == 7
    assert run(out=out, ends=Ends("h:/src/", "/dst/", (b"/src", b"/dst"), pull=True)).bytes_sent == 10**6


def test_progress(fake: FakeProcess, tmp_path: Path) -> None:
    fake.out = b">f+++++++++ 100 joe/1.\ncd+++++++++ 4096 joe/\n<f.st...... 20 joe/2.\n<f.st...... 99 joe/cut"
    ticks: list[tuple[int, int]] = []
    rsync = Rsync(ENDS, ALL, (), tmp_path, verbatim=False)
    rsync.transfer([b"x"], tick=lambda done, size: ticks.append((done, size)))
    assert ticks == [(2, 120)]


@pytest.mark.parametrize("code", [10, 12, 30, 35, 255])
def test_lost_connections(run: Callable[..., Outcome], code: int) -> None:
    with pytest.raises(ConnectionFailed, match="Connection refused") as caught:
        run(b"ssh: Connection refused\nrsync error: x (code 12)\n", code)
    assert caught.value.code == code


@pytest.mark.parametrize("code", [10, 12])
def test_a_refusal_is_no_lost_connection(run: Callable[..., Outcome], code: int) -> None:
    with pytest.raises(RsyncFailed, match="module is read only") as caught:
        run(b"ERROR: module is read only\nrsync: connection unexpectedly closed\n", code)
    assert caught.value.code == code


def test_a_full_disk_that_an_old_rsync_takes_for_a_lost_connection(run: Callable[..., Outcome]) -> None:
    said = b"""\
rsync: write failed on "/dst/joe/1.": No space left on device (28)
rsync error: error in file IO (code 11) at receiver.c(302) [receiver=3.0.9]
rsync: connection unexpectedly closed (28 bytes received so far) [sender]
rsync error: error in rsync protocol data stream (code 12) at io.c(605) [sender=3.0.9]
"""
    with pytest.raises(RsyncFailed, match="make room on the replica") as caught:
        run(said, 12)
    assert caught.value.code == 11


@pytest.mark.parametrize("code", [20, -2, -15])
def test_interrupted(run: Callable[..., Outcome], code: int) -> None:
    with pytest.raises(InterruptedRun):
        run(b"", code)


@pytest.mark.parametrize(("code", "seen"), [(1, 1), (2, 2), (11, 11), (14, 14), (127, 127), (-9, 137), (-11, 139)])
def test_rsync_gave_up(run: Callable[..., Outcome], code: int, seen: int) -> None:
    with pytest.raises(RsyncFailed, match="make room on the replica") as caught:
        run(b'rsync: write failed on "/dst/1.": No space left on device (28)\n', code)
    assert caught.value.code == seen


def test_partial_without_a_name(run: Callable[..., Outcome]) -> None:
    """What failed is not known: so nothing may be taken for sent."""
    with pytest.raises(RsyncFailed, match="something odd") as caught:
        run(b"something odd\n", 23)
    assert caught.value.code == 23


@pytest.mark.parametrize(
    "said",
    [
        b'rsync: [receiver] mkstemp "/elsewhere/.8..AbCdEf" failed: Permission denied (13)\n',
        b"temporary filename too long: joe/8.\n",
    ],
)
def test_a_failure_without_a_place_holds_everything(run: Callable[..., Outcome], said: bytes) -> None:
    """Beside one that is named: or an index would be sent without one of its messages."""
    named = b'rsync: [sender] send_files failed to open "/src/joe/3.": Permission denied (13)\n'
    try:
        outcome = run(named + said, 23)
    except RsyncFailed:
        return
    assert not {b"", b"joe/8."}.isdisjoint(outcome.failed)


def test_hints() -> None:
    assert hint("odd") == "odd"
    assert "3.2.5 or 3.2.6" in hint("ERROR: rejecting unrequested file-list name: j")
    assert hint("x: Permission denied").endswith(": run cyrsync as the owner of the spool, or as root")
