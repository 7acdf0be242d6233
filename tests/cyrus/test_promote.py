"""`cyrsync promote` on copies of a real server: a second Cyrus is started on them, and every mailbox opens."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from cyrsync.cyrus.server import config
from cyrsync.cyrus.server.server import located
from cyrsync.cyrus.server.settings import layout_settings
from cyrsync.far import owner_file
from cyrsync.far.owner_file import OwnerFile
from support.imapd import CyrusServer, dump, folders, ok
from support.tools import requires_root, wait_for
from support.tree import run_cyrsync

LAYOUTS = {
    "name directories": {"mailbox_legacy_dirs": "yes", "hashimapspool": "yes", "unixhierarchysep": "no"},
    "uniqueid directories": {"mailbox_legacy_dirs": "no", "conversations": "yes"},
    "separator, domains": {
        "mailbox_legacy_dirs": "yes",
        "fulldirhash": "yes",
        "hashimapspool": "yes",
        "unixhierarchysep": "yes",
        "virtdomains": "userid",
        "defaultdomain": "example.com",
    },
}
NAMES = ("Sent", "Two words", "Entw&APw-rfe", "Lost", "Gone", "Headless", "Fewer", "More")
#: What a spare needs, and nothing of what only one running Cyrus needs.
STATE = ("mailboxes.db", "annotations.db", "user", "quota")


def mail(subject: str) -> bytes:
    head = f"From: sender@example.com\r\nSubject: {subject}\r\nMessage-ID: <{subject}@example.com>\r\n"
    return f"{head}\r\nThis is {subject}.\r\n".encode()


def fill(server: CyrusServer) -> None:
    """A user with mail in folders of many names."""
    separator = "/" if server.options.get("unixhierarchysep") == "yes" else "."
    server.create_user("joe", separator=separator, quota=1000)
    with server.login("joe") as imap:
        for name in NAMES:
            folder = f'"INBOX{separator}{name}"'
            ok(imap.create(folder))
            for number in range(3):
                ok(imap.append(folder, "(\\Seen)", None, mail(f"{number}")))
            ok(imap.subscribe(folder))


def replicate(primary: CyrusServer, root: Path) -> CyrusServer:
    """A spare, not started, on a copy of what a replica has of a stopped server."""
    (root / "conf").mkdir(parents=True)
    for name in STATE:
        subprocess.run(["cp", "-a", primary.conf / name, root / "conf"], check=True)
    subprocess.run(["cp", "-a", primary.spool, root / "spool"], check=True)
    spare = CyrusServer(root, **primary.options)
    settings = layout_settings(config.read(f"{primary.root}/imapd.conf"))
    now = time.time()
    made = OwnerFile("abc", "master:/etc/imapd.conf", 7, now - 60, now - 50, now - 60, settings=settings)
    for directory in (spare.spool, spare.conf):
        owner_file.write(os.fsencode(directory), made)
    return spare


def folder(server: CyrusServer, name: str) -> Path:
    """Where one of joe's mailboxes lies."""
    found = {place.mailbox.name: place for place in located(config.read(f"{server.root}/imapd.conf"))}
    return Path(os.fsdecode(found[b"user.joe." + name.encode()].data))


def promote(server: CyrusServer, *words: str, code: int) -> dict[str, Any]:
    done = run_cyrsync("promote", "-C", server.root / "imapd.conf", "--json", *words)
    assert done.returncode == code, done
    found: dict[str, Any] = json.loads(done.stdout)
    return found


def assert_opens(server: CyrusServer) -> dict[str, int]:
    """Every mailbox opens, and all that it says it has can be read."""
    counts = {}
    with server.login("joe") as imap:
        for name in folders(imap):
            counts[name] = int(ok(imap.select(name))[0] or 0)
            read = ok(imap.uid("FETCH", "1:*", "(BODY.PEEK[])")) if counts[name] else []
            assert len([part for part in read if isinstance(part, tuple)]) == counts[name], name
            ok(imap.unselect())
    return {name.strip('"').replace("/", ".").rpartition(".")[2]: count for name, count in counts.items()}


def test_a_spare_with_directories_of_its_own(cyrus_server: Callable[..., CyrusServer], open_dir: Path) -> None:
    """The master's are mapped to them, from a server at work; the spare's imapd.conf names its own."""
    requires_root()
    primary, root = cyrus_server("primary"), open_dir / "spare"
    fill(primary)
    seen = dump(primary, ["joe"])
    prefix = open_dir / "prefix"
    prefix.mkdir()
    maps = (f"--map={primary.spool}={root}/spool", f"--map={primary.conf}={root}/conf")
    done = run_cyrsync("sync", "-C", primary.root / "imapd.conf", "--delete", *maps, prefix)
    assert (done.returncode, done.stderr) == (0, "")
    primary.stop()
    spare = CyrusServer(root, **primary.options)
    found = promote(spare, "--run", "--content", code=0)
    assert set(found["roots"]) == {str(spare.spool), str(spare.conf)}
    with spare:
        assert dump(spare, ["joe"]) == seen


@pytest.mark.parametrize("options", LAYOUTS.values(), ids=LAYOUTS)
def test_a_sound_replica_is_ready_and_shows_the_same(
    cyrus_server: Callable[..., CyrusServer], open_dir: Path, options: dict[str, str]
) -> None:
    primary = cyrus_server("primary", **options)
    fill(primary)
    seen = dump(primary, ["joe"])
    primary.stop()
    spare = replicate(primary, open_dir / "spare")
    found = promote(spare, "--run", "--content", code=0)
    assert found["problems"] == []
    assert {step["exit"] for step in found["steps"] if not step["operator"]} == {0}
    with spare:
        assert dump(spare, ["joe"]) == seen


def test_the_command_that_is_printed_starts_the_server(
    cyrus_server: Callable[..., CyrusServer], open_dir: Path
) -> None:
    primary = cyrus_server("primary")
    fill(primary)
    seen = dump(primary, ["joe"])
    primary.stop()
    spare = replicate(primary, open_dir / "spare")
    found = promote(spare, "--run", code=0)
    (start,) = [step["command"] for step in found["steps"] if " -M " in step["command"]]
    subprocess.run(["sh", "-c", start], check=True, env=spare.environment, timeout=60)
    try:
        wait_for(spare.answers, seconds=30, name="the server that was started")
        assert dump(spare, ["joe"]) == seen
    finally:
        os.kill(int((spare.conf / "master.pid").read_text()), signal.SIGTERM)


@pytest.mark.parametrize("options", LAYOUTS.values(), ids=LAYOUTS)
def test_a_damaged_replica_opens(
    cyrus_server: Callable[..., CyrusServer], open_dir: Path, options: dict[str, str]
) -> None:
    requires_root()
    primary = cyrus_server("primary", **options)
    fill(primary)
    primary.stop()
    spare = replicate(primary, open_dir / "spare")
    (folder(spare, "Lost") / "cyrus.index").unlink()
    (folder(spare, "Headless") / "cyrus.header").unlink()
    (folder(spare, "Fewer") / "2.").unlink()
    (folder(spare, "More") / "9.").write_bytes(mail("more"))
    shutil.rmtree(folder(spare, "Gone"))
    sent = folder(spare, "Sent")
    leftovers = [sent / "cyrus.index.NEW", sent / ".4..AbCdEf", spare.conf / "mailboxes.db.NEW"]
    for path in leftovers:
        path.write_bytes(b"cut")
    os.chown(sent / "cyrus.index", 0, 0)
    os.chmod(folder(spare, "Two words"), 0)
    assert len(promote(spare, code=1)["problems"]) == 5
    assert not any(path.exists() for path in leftovers)
    found = promote(spare, "--run", code=1)
    assert [(one["kind"], one["uids"]) for one in found["problems"]] == [("orphan", [9])]
    assert found["mended"] == 4
    with spare:
        counts = assert_opens(spare)
    assert counts["Lost"] == counts["Sent"] == counts["Two words"] == counts["More"] == 3
    assert (counts["Gone"], counts["Fewer"]) == (0, 2)


def conversations(server: CyrusServer) -> bytes:
    """What Cyrus knows of joe's conversations."""
    (path,) = server.conf.rglob("*conversations*")
    return path.read_bytes()


def test_conversations_that_were_not_copied_are_as_before(
    cyrus_server: Callable[..., CyrusServer], open_dir: Path
) -> None:
    """Ctl_conversationsdb can make them of the indexes, or make others of the messages: clients remember the first."""
    primary = cyrus_server("primary", conversations="yes", mailbox_legacy_dirs="yes")
    fill(primary)
    primary.stop()
    spare = replicate(primary, open_dir / "spare")
    before = re.findall(rb"B[0-9a-f]{16}", conversations(spare))
    (spare.conf / "user" / "j" / "joe.conversations").unlink()
    found = promote(spare, "--run", code=0)
    assert [step["exit"] for step in found["steps"] if "ctl_conversationsdb" in step["command"]] == [0]
    assert set(re.findall(rb"B[0-9a-f]{16}", conversations(spare))) == set(before) != set()


def test_a_mailbox_with_extra_files_is_left_to_people(cyrus_server: Callable[..., CyrusServer], open_dir: Path) -> None:
    primary = cyrus_server("primary")
    fill(primary)
    primary.stop()
    spare = replicate(primary, open_dir / "spare")
    more = folder(spare, "More")
    (more / "2.").unlink()
    (more / "9.").write_bytes(mail("more"))
    found = promote(spare, "--run", code=1)
    assert sorted(one["kind"] for one in found["problems"]) == ["missing", "orphan"]
    (look,) = [step for step in found["steps"] if "reconstruct" in step["command"]]
    assert look["operator"]
    assert look["command"].endswith("user.joe.More")
    with spare, spare.login("joe") as imap:
        assert ok(imap.select("INBOX.More")) == [b"3"]


def test_mail_that_lies_elsewhere_is_not_buried(cyrus_server: Callable[..., CyrusServer], open_dir: Path) -> None:
    """A rename that only mailboxes.db has: an empty mailbox must not take its place."""
    primary = cyrus_server("primary", mailbox_legacy_dirs="yes")
    fill(primary)
    primary.stop()
    spare = replicate(primary, open_dir / "spare")
    sent = folder(spare, "Sent")
    sent.rename(sent.with_name("Old"))
    found = promote(spare, "--run", code=1)
    assert sorted(one["kind"] for one in found["problems"]) == ["no directory", "no mailbox"]
    (look,) = [step for step in found["steps"] if "reconstruct" in step["command"]]
    assert look["operator"]
    assert str(sent.with_name("Old")) in look["why"]
    assert not sent.exists()


def test_a_command_that_fails_ends_it(cyrus_server: Callable[..., CyrusServer], open_dir: Path) -> None:
    primary = cyrus_server("primary")
    fill(primary)
    primary.stop()
    spare = replicate(primary, open_dir / "spare")
    lost = folder(spare, "Lost")
    shutil.rmtree(lost)
    lost.write_text("in the way of reconstruct, after which quota does not get past it")
    (folder(spare, "Gone") / "cyrus.index").unlink()
    found = promote(spare, "--run", code=23)
    *done, failed = [step for step in found["steps"] if not step["operator"]]
    assert failed["exit"]
    assert {step["exit"] for step in done} == {0}
    (error,) = found["errors"]
    assert error.startswith(failed["command"])
    assert [one["kind"] for one in found["problems"]] == ["no directory"]
    assert found["mended"] == 1


def test_a_running_server_is_not_promoted(cyrus_server: Callable[..., CyrusServer]) -> None:
    primary = cyrus_server("primary")
    done = run_cyrsync("promote", "-C", primary.root / "imapd.conf")
    assert (done.returncode, done.stdout) == (3, "")
    assert "a Cyrus is using it" in done.stderr
    assert not list(primary.root.rglob(".cyrsync-replica"))
