"""The page of `cyrsync status --html` in a browser: what is drawn, and what becomes of hostile names."""

from __future__ import annotations

import json
import subprocess
from datetime import datetime, timedelta, timezone
from pathlib import Path
from typing import Any

import pytest

from cyrsync.text import printable
from support import png
from support.page import LOADS, Page
from support.tools import requires
from support.tree import plain_env, run_cyrsync

HOSTILE = "</title></style><script>document.title='caught'</script><img src=x onerror=alert(1)>\"'&amp;\u202e\x1b[31m"
#: The colours of the page, and of bars of runs that went well and that failed: by prefers-color-scheme.
COLOURS = {
    "light": ((255, 255, 255), (0x0D, 0x74, 0xCE), (0xCE, 0x2C, 0x31)),
    "dark": ((0x11, 0x11, 0x13), (0x70, 0xB8, 0xFF), (0xFF, 0x95, 0x92)),
}


@pytest.fixture
def page(tmp_path: Path) -> Path:
    """A page of a replica whose names are those of an attacker, with a run a day, of which some failed."""
    now = datetime.now(timezone.utc)
    days = [(now - timedelta(days=day)).isoformat(timespec="seconds") for day in range(28)]
    counts = {"messages": 5, "bytes_sent": 5000, "deleted": 0, "withheld": 0, "failed": 0}
    runs = [
        {"started": started, "seconds": 30 + number, "exit": 0 if number % 7 else 23, "part": [], **counts}
        for number, started in enumerate(days)
    ]
    report: dict[str, Any] = {
        "source": HOSTILE,
        "destination": HOSTILE,
        "host": HOSTILE,
        "engine": "index",
        "partitions": [HOSTILE],
        "reported": days[0],
        "last_success": days[1],
        "last_error": HOSTILE,
        "last_attempt": days[0],
        "last_error_at": days[0],
        "withheld": 0,
        "skipped": 0,
        "seconds": 30,
        "exit": 23,
        "watcher": None,
        "running": [],
        "runs": runs,
    }
    (tmp_path / "report.json").write_text(json.dumps(report))
    done = run_cyrsync("status", "--from", tmp_path / "report.json", "--html", tmp_path / "page.html")
    assert (done.returncode, done.stderr) == (0, "")
    return tmp_path / "page.html"


def browse(page: Path, *words: str) -> subprocess.CompletedProcess[str]:
    """Have Chromium look at it; whatever a page complains of is on standard error."""
    requires("chromium")
    own = f"--user-data-dir={page.parent}/chromium"
    command = ["chromium", "--headless", "--no-sandbox", "--disable-gpu", own, "--enable-logging=stderr", *words]
    done = subprocess.run(
        [*command, page.as_uri()],
        env=plain_env(),
        stdin=subprocess.DEVNULL,
        capture_output=True,
        text=True,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert [line for line in done.stderr.splitlines() if "CONSOLE" in line] == []
    return done


def test_a_browser_makes_of_it_what_was_written(page: Path) -> None:
    written, seen = Page(page.read_text("utf-8")), Page(browse(page, "--dump-dom").stdout)
    assert [tag for tag, _ in seen.tags] == [tag for tag, _ in written.tags]
    assert not {tag for tag, _ in seen.tags} & LOADS
    assert [text for text in seen.texts if text.strip()] == [text for text in written.texts if text.strip()]
    assert printable(HOSTILE) in seen.texts
    assert "caught" not in seen.texts


@pytest.mark.parametrize(("number", "scheme"), [(1, "light"), (0, "dark")])
def test_it_is_drawn_as_the_user_likes(page: Path, number: int, scheme: str) -> None:
    picture = page.parent / "page.png"
    browse(
        *(page, f"--blink-settings=preferredColorScheme={number}", "--hide-scrollbars"),
        *("--window-size=500,1200", f"--screenshot={picture}"),
    )
    dots = [dot for row in png.rows(picture.read_bytes()) for dot in row]
    back, bar, bad = COLOURS[scheme]
    assert dots[0] == back
    counted = {colour: dots.count(colour) for colour in (back, bar, bad)}
    assert counted[back] > len(dots) / 2
    assert counted[bar] > counted[bad] > 500, counted


def test_what_a_page_complains_of_would_be_seen(page: Path) -> None:
    page.write_text(page.read_text("utf-8").replace("<h1>", '<h1 onclick="x()"><img src="http://localhost/x">', 1))
    with pytest.raises(AssertionError, match="CONSOLE"):
        browse(page, "--dump-dom")
