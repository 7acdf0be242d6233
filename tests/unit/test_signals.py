"""Signals that arrive before a command knows whether it watches."""

from __future__ import annotations

import signal
import time
from collections.abc import Iterator

import pytest

from cyrsync.cli import signals
from cyrsync.cli.ending import ended
from cyrsync.errors import Exit, InterruptedRun, WatcherStopped

_NUMBERS = (signal.SIGINT, signal.SIGTERM, signal.SIGHUP, signal.SIGALRM)


@pytest.fixture(autouse=True)
def _as_it_was(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    before = {number: signal.getsignal(number) for number in _NUMBERS}
    for name, value in {"_interrupted": False, "_may_watch": False, "_watches": False, "_held": 0}.items():
        monkeypatch.setattr(signals, name, value)
    for number in _NUMBERS:
        signal.signal(number, signal.SIG_DFL)
    yield
    signal.setitimer(signal.ITIMER_REAL, 0)
    for number, handler in before.items():
        signal.signal(number, handler)


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM])
def test_it_waits_until_it_is_known_whether_this_is_a_watcher(number: signal.Signals) -> None:
    signals.install(may_watch=True)
    signal.raise_signal(number)
    signal.raise_signal(signal.SIGHUP)  # as from a service manager that sends both
    with pytest.raises(WatcherStopped, match=number.name):
        signals.know(watches=True)
    assert not signals.interrupted()
    assert signal.getitimer(signal.ITIMER_REAL) == (0, 0)


def test_it_ends_what_does_not_watch() -> None:
    signals.install(may_watch=True)
    signal.raise_signal(signal.SIGTERM)
    assert ended(lambda: signals.know(watches=False)) == Exit.INTERRUPTED
    assert signals.interrupted()


def test_it_ends_what_never_knows(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(signals, "_PATIENCE", 0.01)
    signals.install(may_watch=True)

    def never() -> None:
        signal.raise_signal(signal.SIGTERM)
        time.sleep(60)

    assert ended(never) == Exit.INTERRUPTED


def test_a_hang_up_does_not_wait() -> None:
    signals.install(may_watch=True)
    with pytest.raises(InterruptedRun, match="SIGHUP") as caught:
        signal.raise_signal(signal.SIGHUP)
    assert caught.value.code == Exit.INTERRUPTED


@pytest.mark.parametrize(
    ("number", "code"), [(signal.SIGTERM, 0), (signal.SIGINT, 0), (signal.SIGHUP, Exit.INTERRUPTED)]
)
def test_what_is_known_to_watch(number: signal.Signals, code: int) -> None:
    signals.install(may_watch=True)
    signals.know(watches=True)
    assert ended(lambda: signal.raise_signal(number)) == code


def test_nothing_waits_in_other_commands() -> None:
    signals.install()
    with pytest.raises(InterruptedRun, match="SIGTERM"):
        signal.raise_signal(signal.SIGTERM)


def test_what_arrives_while_something_is_imported_is_for_who_handles_it_then() -> None:
    """So a hang-up that arrives right before a watcher handles signals itself makes it read its settings again."""
    signals.install()
    lines = compile("import signal; signal.raise_signal(signal.SIGHUP)", "<frozen importlib._bootstrap>", "exec")
    got: list[int] = []
    exec(lines)
    signal.signal(signal.SIGHUP, lambda number, _: got.append(number))
    while not got:
        time.sleep(0.001)
    assert got == [signal.SIGHUP]
