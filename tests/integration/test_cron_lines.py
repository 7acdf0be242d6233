"""The lines for cron in the documents and examples, run as cron runs them."""

from __future__ import annotations

import re
import shlex
import subprocess
from pathlib import Path

import pytest

import samplespool
from support import pages
from support.inside import sync_server_here
from support.servers import SampleServer
from support.tools import python_words, requires, requires_root, write_program
from support.tree import plain_env

ROOT = Path(__file__).parent.parent.parent
PAGES = (
    *("README.md", "docs/drop-in.md", "docs/history.md", "docs/hot-spare.md", "docs/server.md"),
    *("man/cyrsync.1", "man/cyrsync-run.1", "man/cyrsync-sync.1", "scripts/cyrsync.cron"),
)
#: Pages with a test of their own, which runs their lines for cron.
OWN_TEST = {"docs/many-servers.md", "docs/monitoring.md"}
LINE = re.compile(r" *#?[*/0-9]+ [*/0-9]+ \* \* [*0-9]+ +root +(.+)")
SETTING = re.compile(r"PATH=(\S+)$", re.MULTILINE)
#: Runs the line where nothing but what the documents put there is in /usr/local/bin.
PLACE = 'mount --bind "$1" /usr/local/bin && shift && exec "$@"'


def lines() -> list[tuple[str, str, str]]:
    """Of each line: the page, the PATH that it sets for cron, and the command."""
    found = []
    for page in PAGES:
        text = (ROOT / page).read_text()
        if page.endswith(".1"):
            text = text.replace("\\e", "\\").replace("\\-", "-")
        # What the page for the set-up copies out of the example is used with the PATH of that.
        setting = SETTING.search(text) or (page.startswith("docs") and SETTING.search(example()))
        for match in map(LINE.fullmatch, text.splitlines()):
            if match:
                found.append((page, setting[1] if setting else "/usr/bin:/bin", match[1]))
    return found


def example() -> str:
    return (ROOT / "scripts/cyrsync.cron").read_text()


def test_lines_are_found() -> None:
    assert {page for page, _, _ in lines()} == set(PAGES)
    with_lines = {
        page for page in pages.PAGES if any(LINE.fullmatch(line) for line in pages.text_of(page).splitlines())
    }
    assert with_lines <= set(PAGES) | OWN_TEST
    assert len(lines()) >= 10


@pytest.mark.parametrize(("page", "path", "line"), lines())
def test_a_line_is_one_line(page: str, path: str, line: str) -> None:
    """cron knows no line that is continued: with one, it refuses the whole file."""
    assert not line.endswith("\\")
    assert "%" not in line.replace("\\%", "")


@pytest.mark.parametrize(("page", "path", "line"), lines())
def test_as_cron_runs_it(tmp_path: Path, page: str, path: str, line: str) -> None:
    requires_root()
    requires("unshare")
    server = SampleServer(tmp_path / "server", messages=20, folder_count=4)
    programs = tmp_path / "bin"
    programs.mkdir()
    jobs = tmp_path / "cyrsync.toml"
    jobs.write_text(f'[standby]\nsource = "{server.conf}"\ndestination = "{tmp_path}/replica"\ndelete = true\n')
    given = {"PATH": "/usr/bin:/bin", "CYRSYNC_CONFIG": str(jobs)}
    env = shlex.join(f"{name}={value}" for name, value in plain_env(given).items())
    write_program(
        programs / "cyrsync", f'env {env} {python_words("-m", "cyrsync")} "$@"; echo "exit $?" >{tmp_path}/ran'
    )
    # The servers of the documents are not here: what stands for them is.
    (tmp_path / "replica").mkdir()
    for name, here in {
        "/etc/imapd.conf": str(server.conf),
        "/var/spool/cyrus/mail/": f"{server.spool}/",
        "/var/spool/imap/": f"{server.spool}/",
        "standby:": f"{tmp_path}/replica",
        "/var/lib/prometheus/node-exporter": str(tmp_path),
    }.items():
        line = line.replace(name, here)
    if " prune " in line:  # there is something to prune: an index that was another one at the last run
        jobs.write_text(f"{jobs.read_text()}history = true\n")
        sync_server_here(server.conf, "--history", tmp_path / "replica")
        samplespool.expunge(server.folders()[0], 1)
    for directory in re.findall(rf"{tmp_path}/replica(\S*)", line):
        (tmp_path / f"replica{directory}").mkdir(parents=True, exist_ok=True)
    cron = ["env", "-i", f"HOME={tmp_path}", "LOGNAME=root", "SHELL=/bin/sh", f"PATH={path}", "/bin/sh", "-c", line]
    argv = ["unshare", "--mount", "sh", "-c", PLACE, "sh", str(programs), *cron]
    done = subprocess.run(argv, cwd="/", stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stdout + done.stderr) == (0, "")
    if "cyrsync" in line.split("|", 1)[0].partition(" -")[0]:
        assert (tmp_path / "ran").read_text() == "exit 0\n"
    assert list((tmp_path / "replica").rglob("cyrus.index"))
