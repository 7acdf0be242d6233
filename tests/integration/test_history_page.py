"""docs/history.md against the program: each of its commands is run on a replica, and does what the page says.

Those that need a running Cyrus are run in tests/cyrus/test_restore_into.py, `prune`, `hold` and `forget` in
tests/integration/test_prune.py.
"""

from __future__ import annotations

import re
import shlex
import shutil
from pathlib import Path

from support.boxes import Box
from support.tree import run_cyrsync

PROJECT = Path(__file__).resolve().parents[2]
PAGE = (PROJECT / "docs" / "history.md").read_text("utf-8")


def commands() -> list[tuple[list[str], str]]:
    """The words of each command, and what the page says that it prints; "" for what it does not say."""
    found: list[tuple[list[str], str]] = []
    for line in re.findall(r"^ {4}(.*)$", PAGE, re.MULTILINE):
        if "--into" in line or re.match("# cyrsync (prune|hold|forget) ", line):
            continue
        if line.startswith("# cyrsync "):
            found.append((shlex.split(line)[2:], ""))
        elif line.startswith("cyrsync: "):
            found[-1] = (found[-1][0], f"{line}\n")
    return found


def test_every_command(tmp_path: Path) -> None:
    replica, root = tmp_path / "replica", tmp_path / "root"
    root.mkdir()
    box = Box("3.4.9-plain", tmp_path)
    (replica / "var").mkdir(parents=True)
    (replica / "etc").mkdir()
    shutil.move(box.root / "spool", replica / "var" / "spool")
    shutil.move(box.root / "conf", replica / "var" / "conf")
    conf = box.conf.read_text().replace(str(box.root), "/var")
    (replica / "etc" / "imapd.conf").write_text(conf)
    ran = []
    for words, said in commands():
        here = [re.sub("^/root/", f"{root}/", re.sub("^/srv/replica", str(replica), word)) for word in words]
        done = run_cyrsync(*here)
        assert (done.returncode, done.stderr) == (3 if said else 0, said), words
        assert words[0] == "restore" or "user/joe" in done.stdout or "a352965@example.com" in done.stdout
        ran.append(words[0])
    assert ran.count("history") == 4 and ran.count("restore") == 10
    (message,) = (root / "joe").glob("*.eml")
    assert re.fullmatch(r"2024-02-27_13-54-[0-9]{2}_5_275eff072ccb\.eml", message.name)
    assert message.read_bytes().startswith(b"From: ")
    assert len(list((root / "joe-expunged" / "cur").iterdir())) == 4
    assert (root / "archive" / ".2023.Q1").is_dir()
    assert len(list((root / "drop" / "cur").iterdir())) == 4
    assert (root / "joe-all" / ".Sent" / "cur").is_dir()
    assert (root / "all" / "user" / "ann" / ".Archive.2023").is_dir()
    assert (root / "sent" / "cyrus.index").is_file()
