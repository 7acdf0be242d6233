"""docs/history.md against the program: each of its commands is run on a replica, and does what the page says.

Those that need a running Cyrus are run in tests/cyrus/test_restore_into.py, `prune`, `hold` and `forget` in
tests/integration/test_prune.py.
"""

from __future__ import annotations

import re
import shlex
import shutil
import struct
import subprocess
import time
from pathlib import Path

import samplespool
from cyrsync.cyrus.server.db import reader
from cyrsync.history import moment
from support.boxes import Box
from support.tree import run_cyrsync

PROJECT = Path(__file__).resolve().parents[2]
PAGE = (PROJECT / "docs" / "history.md").read_text("utf-8")
#: What a replica can do that keeps its history.
HISTORY = re.search(r"^## As of a time\n(.*?)(?=^## )", PAGE, re.MULTILINE | re.DOTALL)
TIME = re.compile(r"[0-9]{4}-[0-9]{2}-[0-9]{2} [0-9:]{5,8}")


def commands(page: str) -> list[tuple[list[str], str]]:
    """The words of each command, and what the page says that it prints; "" for what it does not say."""
    found: list[tuple[list[str], str]] = []
    for line in re.findall(r"^ {4}(.*)$", page, re.MULTILINE):
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
    assert HISTORY
    for words, said in commands(PAGE.replace(HISTORY[0], "")):
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


def test_every_command_about_the_history(tmp_path: Path) -> None:
    replica, root = tmp_path / "replica", tmp_path / "root"
    replica.mkdir()
    root.mkdir()
    box = Box("3.4.9-plain", tmp_path)
    assert HISTORY
    sync, *others = commands(HISTORY[0])
    places = {"/etc/imapd.conf": str(box.conf), "standby:/srv/replica": str(replica), "/srv/replica": str(replica)}

    def run(words: list[str]) -> subprocess.CompletedProcess[str]:
        here = [places.get(word, re.sub("^/root/", f"{root}/", word)) for word in words]
        if words[0] != "sync":
            here += ["-C", str(box.conf)]
        return run_cyrsync(*here)

    assert run(sync[0]).returncode == 0
    time.sleep(0.03)
    places["2026-11-20 10:00"] = moment.iso(time.time_ns()) or ""
    sent, q1 = (box.root / box.mailbox(f"user.joe.{name}")["datadir"] for name in ("Sent", "Archive.2023.Q1"))
    samplespool.expunge(sent, 99)
    # As cyr_expire leaves it: without the record.
    index = (sent / "cyrus.index").read_bytes()
    head = bytearray(index[:160])
    struct.pack_into(">I", head, 20, 0)
    (sent / "cyrus.index").write_bytes(head)
    samplespool._write_index(sent, head, samplespool._get_long(head, 68))
    samplespool.delete_folder(q1)
    database = box.root / "conf" / "mailboxes.db"
    pairs = [pair for pair in reader.read(bytes(database)) if pair[0] != b"user.joe.Archive.2023.Q1"]
    database.write_bytes(b"".join(b"%s\t%s\n" % pair for pair in pairs))
    time.sleep(0.03)
    assert run(sync[0]).returncode == 0
    for words, said in others:
        done = run(words)
        assert (done.returncode, TIME.sub("TIME", done.stderr)) == (3 if said else 0, TIME.sub("TIME", said)), words
        if words[-1] == "--deleted":
            assert "275eff072ccb9ebbbee1bbcb3dbadadedff57f3d" in done.stdout
        if words[-1] == "user/joe/Sent":
            assert " (now)" in done.stdout
    assert [words[0] for words, _ in others].count("restore") == 6
    (message,) = (root / "joe-kept").glob("*.eml")
    assert message.read_bytes().startswith(b"From: ")
    assert len(list((root / "sent-then" / "cur").iterdir())) == box.mailbox("user.joe.Sent")["n_visible"]
    assert (root / "joe-then" / ".Archive.2023.Q1" / "cur").is_dir() and len(list((root / "q1" / "cur").iterdir()))
