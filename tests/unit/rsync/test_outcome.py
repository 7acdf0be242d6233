"""What became of every entry, as rsync's code and what it says tell it."""

from __future__ import annotations

import errno
from collections.abc import Callable
from pathlib import Path

import pytest

from cyrsync.errors import ConnectionFailed, InterruptedRun, RsyncFailed
from cyrsync.rsync.driver import Ends, Rsync
from cyrsync.rsync.outcome import Outcome
from support.fake_rsync import ALL, ENDS, FakeProcess


@pytest.fixture
def run(fake: FakeProcess, tmp_path: Path) -> Callable[..., Outcome]:
    """Run over one entry; what rsync says and ends with is given."""

    def transfer(said: bytes = b"", code: int = 0, out: bytes = b"", ends: Ends = ENDS) -> Outcome:
        fake.err, fake.code, fake.out = said, code, out
        return Rsync(ends, ALL, ("-a",), tmp_path, verbatim=False).transfer([b"joe/1."])

    return transfer


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
