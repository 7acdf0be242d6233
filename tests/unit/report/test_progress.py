"""Progress on the terminal: cheap, without a thread, and gone at the end."""

from __future__ import annotations

import io
import re
import sys
import threading
from contextlib import suppress

import pytest
from rich.console import Console

from cyrsync.report.progress import Progress, progress_for
from cyrsync.sync.progress import NoProgress, Reporter


class Clock:
    """A clock that stands still until it is told."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


class Screen:
    """A terminal of 80 columns, and what was newly written to it."""

    def __init__(self, *, terminal: bool = True) -> None:
        self.file = io.StringIO()
        self.console = Console(file=self.file, force_terminal=terminal, width=80, color_system=None)

    def news(self) -> str:
        text = self.file.getvalue()
        self.file.seek(0)
        self.file.truncate()
        return text


def test_scan_is_shown_ten_times_a_second_at_most() -> None:
    screen, clock = Screen(), Clock()
    with Progress(screen.console, clock) as progress:
        screen.news()
        progress.scan(1, 1000)
        assert "1 folders, 1,000 messages" in screen.news()
        for number in range(2, 100):
            progress.scan(number, 1000)
            clock.now += 0.001
        assert screen.news() == ""
        clock.now += 0.1
        progress.scan(100, 200_000)
        assert re.search(r"100 folders, 200,000 messages, 1,\d{3},\d{3}/s", screen.news())


def test_transfer_shows_files_bytes_rate_and_time_left() -> None:
    screen, clock = Screen(), Clock()
    with Progress(screen.console, clock) as progress:
        for number in range(1, 11):
            clock.now += 1
            progress.transfer("messages", number * 100_000, 12_000_000, number * 2**27)
        last = screen.news().splitlines()[-1]
    assert "messages" in last
    assert "1,000,000/12,000,000, 1.2 GiB, 142.2 MiB/s 01:50" in last


def test_new_step_is_shown_at_once_and_its_rate_is_its_own() -> None:
    screen, clock = Screen(), Clock()
    with Progress(screen.console, clock) as progress:
        progress.scan(1, 1)
        progress.transfer("messages", 0, 10, 0)
        assert "messages" in screen.news()
        clock.now += 10
        progress.transfer("metadata", 0, 10, 0)
        clock.now += 1
        progress.transfer("metadata", 5, 10, 1024)
        assert "5/10, 1.0 KiB, 1.0 KiB/s" in screen.news()
        progress.transfer("metadata", 6, 10, 2048)
        assert screen.news() == ""


def test_no_thread_is_started() -> None:
    before = threading.active_count()
    with Progress(Screen().console) as progress:
        progress.scan(1, 1)
        assert threading.active_count() == before


def test_line_is_gone_at_the_end_also_after_an_error() -> None:
    screen = Screen()
    with suppress(ZeroDivisionError), Progress(screen.console) as progress:
        progress.transfer("[red]messages[/]", 1, 10, 0)
        assert "[red]messages[/]" in screen.news()
        raise ZeroDivisionError
    # The last thing written is the order to clear the line.
    assert screen.news().endswith("\x1b[2K")


def test_stdout_is_left_alone(capsys: pytest.CaptureFixture[str]) -> None:
    stdout = sys.stdout
    with Progress(Screen().console):
        assert sys.stdout is stdout
        print("the report")
    assert capsys.readouterr().out == "the report\n"


def test_a_file_gets_nothing() -> None:
    screen = Screen(terminal=False)
    with Progress(screen.console) as progress:
        progress.scan(1, 1)
    assert screen.news().strip() == ""


def test_no_progress(capsys: pytest.CaptureFixture[str]) -> None:
    progress: Reporter = progress_for(enabled=False)
    assert isinstance(progress, NoProgress)
    with progress:
        progress.scan(1, 1)
        progress.transfer("messages", 1, 2, 3)
    assert capsys.readouterr() == ("", "")


def test_a_scan_goes_on_after_a_step() -> None:
    """A large mailbox is sent in the middle of it; the speed is that of the whole scan."""
    screen, clock = Screen(), Clock()
    with Progress(screen.console, clock) as progress:
        clock.now += 10
        progress.transfer("user/joe", 5, 10, 1024)
        assert "user/joe" in screen.news()
        clock.now += 10
        progress.scan(2, 1000)
        assert re.search(r"scanning .*2 folders, 1,000 messages, 50/s", screen.news())


def test_progress_goes_to_stderr(capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    with progress_for(enabled=True) as progress:
        progress.scan(3, 4)
    out, err = capsys.readouterr()
    assert out == ""
    assert "3 folders, 4 messages" in err
