"""What `restore` writes lies in DIR, is whole, and is for its owner alone, whatever names, links and disks are like."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
import zlib
from collections.abc import Iterator
from pathlib import Path

import pytest

from cyrsync.history import restore_to
from cyrsync.history.choose import Request
from cyrsync.history.destinations import place
from cyrsync.history.outcome import MailboxRestore, Outcome
from cyrsync.history.selected import Mailbox, Message, Selection
from cyrsync.history.target import MARK, NotWritten, Target
from cyrsync.history.tree import open_tree
from cyrsync.sync.progress import NoProgress
from support.boxes import Box
from support.strace import OPEN_CALLS, strace_calls
from support.tools import requires, requires_root, unavailable, wait_for
from support.tree import cyrsync_argv, is_message, plain_env, run_cyrsync, snapshot, start_cyrsync

HOSTILE = [
    b"user.joe./../../../etc",
    b"user.joe.\0",
    b"user.joe....",
    b"user.joe.\x1b[2J",
    b"user.joe.a/b",
    b"user.joe." + b"x" * 400,
    b"user.joe.-rf",
    "user.joe.\u202e".encode(),
    b"user../../joe.x",
    b"..",
    b"/etc.passwd",
    b"user.^^",
]


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box("3.4.9-plain", tmp_path)


def message(path: Path, flags: tuple[str, ...] = (), date: int = 1_700_000_000) -> Message:
    data = path.read_bytes()
    guid = hashlib.sha1(data).digest()
    return Message(1, guid, len(data), date, flags, 1, 0, False, False, 0, (os.fsencode(path),))


def selection(name: bytes, one: Message, user_flags: tuple[bytes | None, ...] = ()) -> Selection:
    mailbox = Mailbox(name, "e", "default", "id", 1, 1, 1, 0, (), None, user_flags, deleted=False, legacy=True)
    return Selection(mailbox, 1, 0, one.size, lambda: iter([one]), {}, (b"/none", b"/none"))


@pytest.mark.parametrize("form", ["maildir", "eml", "cyrus"])
def test_hostile_names_and_flags(tmp_path: Path, form: str) -> None:
    content = tmp_path / "content"
    content.write_bytes(b"Subject: x\r\n\r\n")
    flags = ("\\Seen", "../../x", "a\nb", "/etc/passwd", "$ok", "\x1b")
    one = message(content, flags)
    names = tuple(flag.encode() for flag in flags[1:])
    top = tmp_path / "top" / "in" / "it"
    top.parent.mkdir(parents=True)
    before = snapshot(tmp_path, skip_hidden=False, dir_mtimes=False)
    target = Target(os.fsencode(top), form, [], may_go_on=True)
    outcome = Outcome("", "")
    for name in HOSTILE:
        counts = outcome.begin("", 1)
        restore = MailboxRestore(outcome, NoProgress())
        chosen = selection(name, one, names)
        restore_to.FORMS[form](target, chosen, place(name, Request(), None), restore)
        assert counts.restored == 1, restore.damaged
    target.close()
    after = snapshot(tmp_path, skip_hidden=False, dir_mtimes=False)
    added = {path for path in after if before.get(path) != after[path]}
    assert all(path.startswith(b"top/in/it") for path in added)
    assert len(
        {path for path in added if after[path].content == hashlib.sha1(content.read_bytes()).hexdigest().encode()}
    ) == len(HOSTILE)
    for path in added:
        assert after[path].mode in (0o600, 0o700) and not any(byte < 32 or byte == 127 for byte in path)
        if path.endswith(b"dovecot-keywords"):
            names_in_it = [line.split(" ", 1)[1] for line in (tmp_path / os.fsdecode(path)).read_text().splitlines()]
            assert set(names_in_it) == {"../../x", "/etc/passwd", "$ok"}


@pytest.mark.parametrize("date", [0, 2**31, 2**32 - 1, 2**64 // 10**9])
@pytest.mark.parametrize("form", ["maildir", "eml"])
def test_any_date(tmp_path: Path, form: str, date: int) -> None:
    content = tmp_path / "content"
    content.write_bytes(b"x")
    target = Target(os.fsencode(tmp_path / "to"), form, [], may_go_on=True)
    outcome = Outcome("", "")
    counts = outcome.begin("", 1)
    chosen = selection(b"user.joe", message(content, date=date))
    where = place(b"user.joe", Request(), b"user.joe")
    restore_to.FORMS[form](target, chosen, where, MailboxRestore(outcome, NoProgress()))
    target.close()
    assert counts.restored == 1
    (written,) = (path for path in (tmp_path / "to").rglob("*") if path.is_file() and path.read_bytes() == b"x")
    os.utime(content, (date, date))  # a disk may hold no such time: ext4 none after 2446
    assert written.stat().st_mtime == content.stat().st_mtime


@pytest.mark.parametrize("name", ["cur", "tmp", ".Sent", "dovecot-keywords"])
def test_links_in_the_directory_lead_nowhere(box: Box, tmp_path: Path, name: str) -> None:
    """Somebody else may write to DIR, and put links where files are to be written."""
    mail, elsewhere = tmp_path / "mail", tmp_path / "elsewhere"
    mail.mkdir()
    elsewhere.mkdir()
    (mail / MARK.decode()).write_text("maildir\n")
    (elsewhere / "file").write_text("old")
    (mail / name).symlink_to(elsewhere / "file" if "keywords" in name else elsewhere)
    done = run_cyrsync("restore", box.root, "--user", "joe", "--to", mail)
    assert list(elsewhere.iterdir()) == [elsewhere / "file"] and (elsewhere / "file").read_text() == "old"
    if "keywords" in name:
        assert done.returncode == 0 and not (mail / name).is_symlink()
    else:
        reason = f"cyrsync: {mail}/{name}: Not a directory: "
        assert done.returncode == 11 and done.stderr.startswith(reason) and done.stderr.count("\n") == 1


def test_a_mark_that_is_no_file(box: Box, tmp_path: Path) -> None:
    mail = tmp_path / "mail"
    mail.mkdir()
    for make in (lambda path: path.symlink_to(box.conf), os.mkfifo):
        make(mail / MARK.decode())
        done = run_cyrsync("restore", box.root, "user/joe", "--to", mail)
        assert done.returncode == 3 and done.stderr.count("\n") == 1
        (mail / MARK.decode()).unlink()


@pytest.mark.parametrize("name", [MARK, b"dovecot-keywords"], ids=os.fsdecode)
def test_what_the_next_restore_needs_is_on_the_disk_first(
    box: Box, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: bytes
) -> None:
    """After a power cut, an empty mark would let no restore go on; and keywords, no file's flags be known."""
    mail = tmp_path / "mail"
    synced: list[tuple[str, bool]] = []
    sync = os.fsync

    def note(descriptor: int) -> None:
        synced.append((os.readlink(f"/proc/self/fd/{descriptor}"), (mail / os.fsdecode(name)).exists()))
        sync(descriptor)

    monkeypatch.setattr(os, "fsync", note)
    target = Target(os.fsencode(mail), "maildir", [], may_go_on=True)
    try:
        if name != MARK:
            outcome = Outcome("", "")
            outcome.begin("", 1)
            chosen = selection(b"user.joe", message(box.conf), (b"$Label1",))
            where = place(b"user.joe", Request(), b"user.joe")
            restore_to.FORMS["maildir"](target, chosen, where, MailboxRestore(outcome, NoProgress()))
    finally:
        target.close()
    partial = f"{mail}/.cyrsync-partial-{os.fsdecode(name)}"
    assert [there for path, there in synced if path == partial] == [False]
    assert (str(mail), True) in synced


def test_two_at_once(box: Box, tmp_path: Path) -> None:
    target = Target(os.fsencode(tmp_path / "mail"), "maildir", [], may_go_on=True)
    try:
        done = run_cyrsync("restore", box.root, "user/joe", "--to", tmp_path / "mail")
    finally:
        target.close()
    assert (done.returncode, done.stderr) == (75, f"cyrsync: {tmp_path}/mail: another restore is writing to it\n")


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 300 kB."""
    requires("mount", "umount")
    requires_root()
    path = tmp_path / "small"
    path.mkdir()
    if subprocess.run(["mount", "-t", "tmpfs", "-o", "size=300k", "none", str(path)], check=False).returncode:
        unavailable("not allowed to mount")
    yield path
    subprocess.run(["umount", str(path)], check=True)


@pytest.mark.parametrize("form", ["maildir", "eml"])
def test_a_full_disk(box: Box, small_disk: Path, form: str) -> None:
    words = ("restore", box.root, "--user", "joe", "--as", form, "--to", small_disk / "mail")
    done = run_cyrsync(*words)
    assert done.returncode == 11
    assert "No space left on device: " in done.stderr and "the same command restores the others" in done.stderr
    assert done.stderr.count("\n") == 1
    assert_whole(box, small_disk / "mail")
    subprocess.run(["mount", "-o", "remount,size=64m", str(small_disk)], check=True)
    again = run_cyrsync(*words)
    assert (again.returncode, again.stderr) == (0, "")
    assert_whole(box, small_disk / "mail", everything=True)


def assert_whole(box: Box, mail: Path, *, everything: bool = False) -> None:
    """Every message is one of Joe's, whole, and under its own name once."""
    joes = [one for one in box.mailboxes if (one["name"] + ".").startswith("user.joe.")]
    true = sorted(m["sha1"] for one in joes for m in one["messages"] if m["state"] == "visible")
    paths = [
        path for path in mail.rglob("*") if path.is_file() and (path.suffix == ".eml" or path.parent.name == "cur")
    ]
    found = sorted(hashlib.sha1(path.read_bytes()).hexdigest() for path in paths)
    assert set(found) <= set(true)
    if everything:
        assert found == true
        assert not [path for path in mail.rglob("*") if "partial" in path.name]


def test_killed_and_run_again(box: Box, tmp_path: Path) -> None:
    mail = tmp_path / "mail"
    words = ("restore", box.root, "--user", "joe", "--to", mail)
    for least in (1, 40, 80):
        with start_cyrsync(*words) as process:
            wait_for(lambda: process.poll() is not None or len(list(mail.rglob("cur/*"))) >= least, interval=0.001)  # noqa: B023
            process.kill()
        if mail.exists():
            assert_whole(box, mail)
    assert run_cyrsync(*words).returncode == 0
    assert_whole(box, mail, everything=True)


@pytest.mark.parametrize("form", ["maildir", "eml"])
def test_a_file_that_a_power_cut_left_empty_is_written_again(box: Box, tmp_path: Path, form: str) -> None:
    words = ("restore", box.root, "--user", "joe", "--as", form, "--to", tmp_path / "mail")
    assert run_cyrsync(*words).returncode == 0
    paths = [*(tmp_path / "mail").rglob("cur/*"), *(tmp_path / "mail").rglob("*.eml")]
    for path in paths[:3]:
        os.truncate(path, 0)
    assert run_cyrsync(*words).returncode == 0
    assert_whole(box, tmp_path / "mail", everything=True)
    assert sorted(paths) == sorted([*(tmp_path / "mail").rglob("cur/*"), *(tmp_path / "mail").rglob("*.eml")])


def test_interrupted(box: Box, tmp_path: Path) -> None:
    """No part of a message is left by a signal, whenever it comes."""
    target = Target(os.fsencode(tmp_path / "mail"), "maildir", [], may_go_on=True)
    directory = target.directory([b"x"])

    def blocks() -> Iterator[bytes]:
        yield b"some"
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        target.write(directory, b"name", blocks())
    assert not os.listdir(directory)
    os.close(directory)
    target.close()


def test_what_another_user_may_not_read(box: Box, tmp_path: Path, open_dir: Path) -> None:
    requires_root()
    shutil.copytree(box.root, open_dir / "tree")
    conf = open_dir / "imapd.conf"
    conf.write_text(box.conf.read_text().replace(str(box.root), ""))
    for path in (open_dir / "tree").rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    sent = open_dir / "tree" / "spool" / "j" / "user" / "joe" / "Sent"
    sent.chmod(0o700)
    os.chown(sent, 12345, 12345)
    trash = sent.parent / "Trash"
    bad = trash / "2."
    bad.chmod(0o600)
    os.chown(bad, 12345, 12345)
    (open_dir / "out").mkdir(mode=0o777)
    (open_dir / "out").chmod(0o777)
    words = ("restore", open_dir / "tree", "-C", conf, "--user", "joe", "--to", open_dir / "out" / "mail")
    done = run_cyrsync(*words, user=True)
    assert done.returncode == 23
    lines = done.stderr.splitlines()
    assert len(lines) == 2 and all("Permission denied" in line for line in lines), lines
    assert lines[0].startswith(f"cyrsync: user/joe/Sent: {sent}/cyrus.")
    assert lines[1].startswith(f"cyrsync: user/joe/Trash: UID 2: {bad}: ")


def test_one_message_reads_no_other(box: Box, tmp_path: Path) -> None:
    """Of the whole tree, that one file is opened, and no directory is listed."""
    wanted = next(one for one in box.mailbox("user.joe")["messages"] if one["state"] == "visible")
    calls = strace_calls(
        cyrsync_argv("restore", box.root, "-C", box.conf, "--message", wanted["sha1"], "--to", tmp_path / "mail"),
        env=plain_env(),
        output=tmp_path / "trace",
        calls=(*OPEN_CALLS, "getdents64", "stat", "lstat", "newfstatat"),
    )
    inside = [call.path for call in calls if call.path.startswith(os.fsencode(box.root / "spool") + b"/")]
    opened = {path for path in inside if is_message(path)}
    assert opened == {os.fsencode(box.root / wanted["path"])}
    assert not [
        call for call in calls if call.name == "getdents64" and call.path in {os.path.dirname(p) for p in inside}
    ]


@pytest.mark.parametrize("meanwhile", ["expunged", "nothing"])
def test_a_message_that_goes_away_meanwhile(box: Box, tmp_path: Path, meanwhile: str) -> None:
    """Cyrus, or a sync of the replica, has taken a record and its file away: that is no failure."""
    directory = box.root / box.mailbox("user.joe")["datadir"]
    wanted = [one for one in box.mailbox("user.joe")["messages"] if one["state"] == "visible"]
    gone = next(one["uid"] for one in wanted[1:] if not set(one["flags"]) & {"\\Flagged", "\\Answered", "\\Deleted"})

    class Reporter(NoProgress):
        def transfer(self, *_what: object) -> None:
            if (directory / f"{gone}.").exists():
                (directory / f"{gone}.").unlink()
                if meanwhile == "expunged":
                    unlink_record(directory / "cyrus.index", gone)

    outcome = Outcome("", "")
    tree = open_tree(os.fsencode(box.root), None)
    to = os.fsencode(tmp_path / "mail")
    restore_to.restore_to(tree, Request(mailbox="user/joe"), to, "maildir", outcome, Reporter())
    assert outcome.restored == len(wanted) - 1
    assert (outcome.exit, len(outcome.errors)) == ((0, 0) if meanwhile == "expunged" else (23, 1))
    assert outcome.mailboxes[0].selected == len(wanted) - (meanwhile == "expunged")


def unlink_record(path: Path, uid: int) -> None:
    """Mark a record of an index of 3.4 as expunged, and its file as removed."""
    data = bytearray(path.read_bytes())
    for at in range(160, len(data), 112):
        if int.from_bytes(data[at : at + 4], "big") == uid:
            data[at + 32] |= 0xC0
            data[at + 108 : at + 112] = zlib.crc32(data[at : at + 108]).to_bytes(4, "big")
    data[84:88] = (int.from_bytes(data[84:88], "big") - 1).to_bytes(4, "big")
    data[156:160] = zlib.crc32(data[:156]).to_bytes(4, "big")
    path.write_bytes(data)


def test_a_disk_that_fails_when_all_is_written(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def fail(_roots: list[bytes]) -> None:
        raise OSError(5, "Input/output error")

    monkeypatch.setattr("cyrsync.history.target.to_disk", fail)
    target = Target(os.fsencode(tmp_path / "mail"), "maildir", [], may_go_on=True)
    with pytest.raises(NotWritten, match="mail: Input/output error"):
        target.settle()
    target.close()
