"""docs/monitoring.md against the program: what makes pages and mails is run where there are replicas."""

from __future__ import annotations

import re
import shlex
from pathlib import Path

import samplespool
from support.tree import run_cyrsync, sync

PAGE = Path(__file__).resolve().parents[2] / "docs" / "monitoring.md"
SECTIONS = re.findall(r"^## (.*)\n((?:(?!## ).*\n)*)", PAGE.read_text("utf-8"), re.MULTILINE)
COMMANDS = [
    command
    for name, text in SECTIONS
    if name in ("A page", "A mail", "Many machines")
    for command in re.findall(r"^    (?:# |[*/\d ]+ root )(cyrsync .*)$", text, re.MULTILINE)
]


def test_every_command_does_what_it_says(tmp_path: Path) -> None:
    samplespool.make(tmp_path / "spool", messages=20, folder_count=2)
    for name in ("standby", "nas"):
        sync(tmp_path / "spool", tmp_path / name)
    places = {"/var/www/html": "www", "/srv/reports": "reports", "/var/lib/cyrsync": "reports"}
    for name in set(places.values()):
        (tmp_path / name).mkdir()
    for command in COMMANDS:
        for place, name in places.items():
            command = command.replace(place, str(tmp_path / name))
        line, _, to = command.partition(" >")
        done = run_cyrsync(*shlex.split(line)[1:])
        assert (done.returncode, done.stderr) == (0, "")
        if to:
            Path(to).write_text(done.stdout)
        if "--html" in line:
            page = tmp_path / "www" / "cyrsync.html"
            assert "2 replicas, no problem" in page.read_text("utf-8")
            page.unlink()
        else:
            assert str(tmp_path / "standby") in done.stdout
    assert [" ".join(command.split()[2:3]) for command in COMMANDS] == [
        *("--html", "--html", "--mail-report", "--mail-report", "--json", "--from")
    ]
