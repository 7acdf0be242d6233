"""docs/history.md against the program: each of its commands is run on a replica, and does what the page says.

Those that need a running Cyrus are run in tests/cyrus/test_restore_into.py, `prune`, `hold` and `forget` in
tests/integration/test_prune.py, the line for cron in tests/integration/test_cron_lines.py. `syncoid` is not
run: it needs ZFS, which is part of no Debian kernel.
"""

from __future__ import annotations

import re
import shlex
import shutil
import struct
import subprocess
import time
from pathlib import Path

import sampleindex
import samplespool
from cyrsync.cyrus.server.db import reader
from cyrsync.history import moment
from support import pages
from support.boxes import Box
from support.inside import sync_server_here
from support.servers import SampleServer, below
from support.tools import python_words, requires, write_program
from support.tree import plain_env, run_cyrsync

PROJECT = Path(__file__).resolve().parents[2]
PAGE = (PROJECT / "docs" / "history.md").read_text("utf-8")
#: Sections about what a replica can do that keeps its history, with what is done first.
HISTORY = ("Keeping a history", "As of a time", "Proving the history")
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


def section(title: str) -> str:
    """A section of the page, with its heading."""
    found = re.search(rf"^## {title}\n.*?(?=^## |\Z)", PAGE, re.MULTILINE | re.DOTALL)
    assert found, title
    return found[0]


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
    page = PAGE
    for title in (*HISTORY, "Off-site copies"):
        page = page.replace(section(title), "")
    for words, said in commands(page):
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
    sync, *others = commands("".join(map(section, HISTORY)))
    places = {"/etc/imapd.conf": str(box.conf), "standby:/srv/replica": str(replica), "/srv/replica": str(replica)}
    [job] = [lines for lines in pages.blocks(section(HISTORY[0])) if lines[0] == "[standby]"]
    toml = tmp_path / "cyrsync.toml"
    toml.write_text("\n".join(re.sub(r'"([^"]+)"', lambda m: f'"{places.get(m[1], m[1])}"', line) for line in job))

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
    sampleindex.write_index(sent, head, sampleindex.get_long(head, 68))
    samplespool.delete_folder(q1)
    database = box.root / "conf" / "mailboxes.db"
    pairs = [pair for pair in reader.read(bytes(database)) if pair[0] != b"user.joe.Archive.2023.Q1"]
    database.write_bytes(b"".join(b"%s\t%s\n" % pair for pair in pairs))
    time.sleep(0.03)
    done = run_cyrsync("run", "--config", toml)
    assert (done.returncode, done.stderr) == (0, "")
    for words, said in others:
        done = run(words)
        assert (done.returncode, TIME.sub("TIME", done.stderr)) == (3 if said else 0, TIME.sub("TIME", said)), words
        if words[-1] == "--deleted":
            assert "275eff072ccb9ebbbee1bbcb3dbadadedff57f3d" in done.stdout
        if words[-1] == "user/joe/Sent":
            assert " (now)" in done.stdout
    assert [words[0] for words, _ in others].count("restore") == 8
    assert [name for name in ("joe-files", "server-then") if any((root / name / "server.files").rglob("joe.sub"))] != []
    assert any((root / "server-then" / "server.files").rglob("mailboxes.db"))
    (message,) = (root / "joe-kept").glob("*.eml")
    assert message.read_bytes().startswith(b"From: ")
    assert len(list((root / "sent-then" / "cur").iterdir())) == box.mailbox("user.joe.Sent")["n_visible"]
    assert (root / "joe-then" / ".Archive.2023.Q1" / "cur").is_dir() and len(list((root / "q1" / "cur").iterdir()))


def test_every_command_about_copies(tmp_path: Path) -> None:
    """By restic and rclone, with directories for the other host and the bucket."""
    requires("restic", "rclone")
    server, root = SampleServer(tmp_path / "server", messages=20, folder_count=2), tmp_path / "root"
    replica, offsite = tmp_path / "replica", tmp_path / "offsite"
    for made in (root, replica, offsite, offsite / "srv" / "mail1", offsite / "messages", tmp_path / "bin"):
        made.mkdir(parents=True)
    write_program(tmp_path / "bin" / "cyrsync", f'exec {python_words("-m", "cyrsync")} "$@"')
    (root / "restic.pw").write_text("any\n")
    (root / "rclone.conf").write_text(f"[offsite]\ntype = alias\nremote = {offsite}\n")
    sync_server_here(server.conf, "--delete", "--history", replica)
    lost = server.folders()[0]
    samplespool.expunge(lost, 1)
    sync_server_here(server.conf, "--delete", "--history", replica)
    here = {
        "/srv/replica/var/spool/imap": str(below(replica, server.spool)),
        "/srv/restored/srv/replica": f"{root}/restored{replica}",
        "offsite:/srv/mail1": f"{offsite}/srv/mail1",
        "sftp:offsite:/srv": f"{offsite}/srv",
        "/etc/imapd.conf": str(server.conf),
        "/srv/replica": str(replica),
        "/srv/restored": f"{root}/restored",
        "/root/": f"{root}/",
        "--content": f"--content -C {server.conf}",
    }
    named = re.compile("|".join(map(re.escape, sorted(here, key=len, reverse=True))))
    env = plain_env({"RCLONE_CONFIG": str(root / "rclone.conf"), "HOME": str(root)})
    env["PATH"] = f"{tmp_path}/bin:{env['PATH']}"
    ran = []
    for lines in pages.blocks(section("Off-site copies")):
        for command in pages.commands(lines):
            if command.text.startswith("syncoid "):
                continue
            text = named.sub(lambda match: here[match[0]], command.text)
            done = subprocess.run(["/bin/sh", "-c", text], cwd=root, env=env, capture_output=True, text=True)
            assert done.returncode == 0, (text, done.stderr)
            ran.append(command.text.split()[0])
            if "verify" in command.text:  # what comes next is restored anew
                assert list((root / "restored").rglob(".cyrsync-history/messages/??/*"))
                shutil.rmtree(root / "restored")
    assert ran == ["cyrsync", "restic", "restic", "restic", "cyrsync", "rclone", "rclone", "cyrsync", "rclone"]
    assert list((offsite / "messages").rglob("*")) and list((offsite / "srv" / "mail1").rglob("cyrus.index"))
