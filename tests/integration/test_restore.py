"""`cyrsync restore` brings out of a tree what real servers had in it, and writes nowhere else."""

from __future__ import annotations

import calendar
import hashlib
import json
import mailbox
import os
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

from support.boxes import NAMES, Box
from support.tree import run_cyrsync, snapshot

LETTERS = {"\\Draft": "D", "\\Flagged": "F", "\\Answered": "R", "\\Seen": "S", "\\Deleted": "T"}


def restore(*words: str | Path, expect: int = 0, **options: Any) -> dict[str, Any]:
    """Run it; its report, after a look at what it says on standard error."""
    done = run_cyrsync("restore", "--json", *words, **options)
    assert done.returncode == expect, (done.stdout, done.stderr)
    report: dict[str, Any] = json.loads(done.stdout)
    assert report["exit"] == expect
    assert (not done.stderr) == (not report["errors"] and not report["warnings"]), done.stderr
    return report


def true_messages(one: dict[str, Any], *states: str) -> list[dict[str, Any]]:
    return [message for message in one["messages"] if message["state"] in states]


def seconds(internaldate: str) -> int:
    day, clock, _ = internaldate.split()
    return calendar.timegm(time.strptime(f"{day} {clock}", "%d-%b-%Y %H:%M:%S"))


def in_maildir(folder: Path) -> list[tuple[str, int, frozenset[str]]]:
    """SHA-1, date and flags of each message; \\Seen aside, which 2.3 keeps apart."""
    names = {}
    keywords = folder / "dovecot-keywords"
    if keywords.exists():
        names = {chr(97 + int(number)): name for number, name in map(str.split, keywords.read_text().splitlines())}
    names.update({letter: flag for flag, letter in LETTERS.items()})
    found = []
    for path in (folder / "cur").iterdir():
        digest = hashlib.sha1(path.read_bytes()).hexdigest()
        flags = frozenset(names[letter] for letter in path.name.partition(":2,")[2]) - {"\\Seen"}
        found.append((digest, int(path.stat().st_mtime), flags))
    assert not list((folder / "tmp").iterdir()) and not list((folder / "new").iterdir())
    return sorted(found, key=repr)


def truth(one: dict[str, Any], *states: str) -> list[tuple[str, int, frozenset[str]]]:
    return sorted(
        (
            (message["sha1"], seconds(message["internaldate"]), frozenset(message["flags"]) - {"\\Seen", "\\Recent"})
            for message in true_messages(one, *states)
        ),
        key=repr,
    )


def folder_of(name: str) -> str:
    return "".join(f".{part}" for part in [".".join(name.split(".")[2:])] if part)


@pytest.mark.parametrize("name", NAMES)
def test_a_user_as_a_maildir(tmp_path: Path, name: str) -> None:
    box = Box(name, tmp_path)
    user, prefix = ("joe@example.com", "example.com!user.joe") if "rich" in name else ("joe", "user.joe")
    before = snapshot(box.root)
    report = restore(box.root, "-C", box.conf, "--user", user, "--to", tmp_path / "mail")
    joes = [one for one in box.mailboxes if (one["name"] + ".").startswith(prefix + ".")]
    assert {Path(folder).name for folder in os.listdir(tmp_path / "mail") if folder.startswith(".v")} <= {".v1^2 notes"}
    for one in joes:
        folder = tmp_path / "mail" / folder_of(one["name"].removeprefix("example.com!"))
        assert in_maildir(folder) == truth(one, "visible")
    assert report["restored"] == sum(one["n_visible"] for one in joes)
    assert snapshot(box.root) == before
    # Python's own reader of Maildirs finds the folders and all messages.
    read = mailbox.Maildir(tmp_path / "mail", create=False)
    assert len(read) + sum(len(read.get_folder(one)) for one in read.list_folders()) == report["restored"]


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box("3.4.9-plain", tmp_path)


def test_run_again_it_brings_what_lacks(box: Box, tmp_path: Path) -> None:
    words = (box.root, "user/joe", "--to", tmp_path / "mail")
    first = restore(*words)
    path = next((tmp_path / "mail" / "cur").iterdir())
    path.unlink()
    # A reader of mail has moved one and given it other flags.
    other = next((tmp_path / "mail" / "cur").iterdir())
    other.rename(other.with_name(other.name.partition(":")[0] + ":2,T"))
    again = restore(*words)
    assert (again["restored"], again["present"]) == (1, first["restored"] - 1)
    assert len(list((tmp_path / "mail" / "cur").iterdir())) == first["restored"]


def test_letters_of_flags_stay_those_of_the_first_restore(box: Box, tmp_path: Path) -> None:
    """Another mailbox has the same flags under other numbers; a file's letter tells of the flag that it had."""
    mail = tmp_path / "mail"
    restore(box.root, "user/joe/Sent", "--to", mail)
    names = (mail / "dovecot-keywords").read_text()
    restore(box.root, "user/ann/Sent", "--to", mail)
    assert (mail / "dovecot-keywords").read_text() == names
    numbers = [box.mailbox(name)["header"].split("\n")[4] for name in ("user.joe.Sent", "user.ann.Sent")]
    assert numbers[0].split() == numbers[1].split()[::-1]
    both = truth(box.mailbox("user.joe.Sent"), "visible") + truth(box.mailbox("user.ann.Sent"), "visible")
    assert in_maildir(mail) == sorted(both, key=repr)


def test_expunged_messages(box: Box, tmp_path: Path) -> None:
    report = restore(box.root, "user/joe", "--only-expunged", "--to", tmp_path / "mail")
    digests = sorted(one["sha1"] for one in true_messages(box.mailbox("user.joe"), "expunged"))
    assert [digest for digest, _, _ in in_maildir(tmp_path / "mail")] == digests
    assert report["restored"] == 4


def test_a_folder_with_what_is_below_it(box: Box, tmp_path: Path) -> None:
    restore(box.root, "user/ann/Archive", "-r", "--to", tmp_path / "mail")
    for name, folder in (("Archive", ""), ("Archive.2023", ".2023"), ("Archive.2023.Q1", ".2023.Q1")):
        assert in_maildir(tmp_path / "mail" / folder) == truth(box.mailbox(f"user.ann.{name}"), "visible")


def test_a_deleted_folder(box: Box, tmp_path: Path) -> None:
    done = run_cyrsync("restore", box.root, "user/joe/Drop", "--to", tmp_path / "mail")
    assert (done.returncode, done.stderr) == (
        3,
        "cyrsync: user/joe/Drop: no such mailbox; deleted ones of that name: DELETED/user/joe/Drop/6B039BC5\n",
    )
    assert not (tmp_path / "mail").exists()
    restore(box.root, "DELETED/user/joe/Drop/6B039BC5", "--to", tmp_path / "mail")
    assert in_maildir(tmp_path / "mail") == truth(box.mailbox("DELETED.user.joe.Drop.6B039BC5"), "visible")


def test_a_user_who_is_deleted(box: Box, tmp_path: Path) -> None:
    """All of the mailboxes have the name and the place that Cyrus gives them when they are deleted."""
    tree = tmp_path / "tree"
    for folder in ("", "Sent"):
        source = box.root / box.mailbox(f"user.ann.{folder}".rstrip("."))["datadir"]
        gone = tree / "u" / "DELETED" / "user" / "ann" / folder / "6B039BC5"
        shutil.copytree(source, gone, ignore=lambda _path, names: [name for name in names if name.isalpha()])
    restore(tree, "--user", "ann", "--to", tmp_path / "mail")
    for folder in ("", ".Sent"):
        assert in_maildir(tmp_path / "mail" / folder) == truth(box.mailbox(f"user.ann{folder}"), "visible")


def test_everything(box: Box, tmp_path: Path) -> None:
    restore(box.root, "--to", tmp_path / "mail")
    for one in box.mailboxes:
        first, *rest = one["name"].split(".")
        if first == "user":
            folder = tmp_path / "mail" / "user" / rest[0].replace("^", ".") / folder_of(one["name"])
        else:
            folder = tmp_path / "mail" / "shared" / f".{one['name']}"
        assert one["deleted"] or in_maildir(folder) == truth(one, "visible")
    assert not list(tmp_path.glob("mail/**/*DELETED*"))


@pytest.mark.parametrize("by", ["guid", "uid"])
@pytest.mark.parametrize("state", ["visible", "expunged"])
def test_one_message(box: Box, tmp_path: Path, by: str, state: str) -> None:
    wanted = true_messages(box.mailbox("user.joe"), state)[1]
    words = ["--message", wanted["sha1"]] if by == "guid" else ["user/joe", "--message", str(wanted["uid"])]
    report = restore(box.root, *words, "--to", tmp_path / "mail")
    assert report["restored"] == 1
    ((digest, _, _),) = in_maildir(tmp_path / "mail")
    assert digest == wanted["sha1"]


def test_no_such_message(box: Box, tmp_path: Path) -> None:
    done = run_cyrsync("restore", box.root, "--message", "0" * 40, "--to", tmp_path / "mail")
    assert (done.returncode, done.stderr) == (3, f"cyrsync: {'0' * 40}: no such message\n")
    assert not (tmp_path / "mail").exists()


@pytest.mark.parametrize("dry_run", [[], ["-n"]], ids=["run", "dry run"])
def test_what_cannot_be_read_is_named_where_no_message_is_found(box: Box, tmp_path: Path, dry_run: list[str]) -> None:
    index = box.root / box.mailbox("user.joe.Sent")["datadir"] / "cyrus.index"
    index.unlink()
    done = run_cyrsync("restore", box.root, "--message", "0" * 40, "--to", tmp_path / "mail", *dry_run)
    assert done.returncode == 3 and f"user/joe/Sent: {index}: No such file or directory\n" in done.stderr
    assert "no such message (1 mailboxes cannot be read)" in done.stderr


def test_as_files(box: Box, tmp_path: Path) -> None:
    restore(box.root, "user/joe", "-r", "--as", "eml", "--to", tmp_path / "mail")
    again = restore(box.root, "user/joe", "-r", "--as", "eml", "--to", tmp_path / "mail")
    assert again["restored"] == 0
    for name, folder in (("user.joe", ""), ("user.joe.Entw&APw-rfe", "Entwürfe"), ("user.joe.2024", "2024")):
        found = []
        for line in (tmp_path / "mail" / folder / "messages.jsonl").read_text().splitlines():
            one = json.loads(line)
            path = tmp_path / "mail" / folder / one["file"]
            digest = hashlib.sha1(path.read_bytes()).hexdigest()
            found.append((digest, int(path.stat().st_mtime), frozenset(one["flags"]) - {"\\Seen"}))
            assert one["guid"] == digest and one["mailbox"] == name
        assert sorted(found, key=repr) == truth(box.mailbox(name), "visible")
        assert len(list((tmp_path / "mail" / folder).glob("*.eml"))) == len(found)


@pytest.mark.parametrize(("name", "mailbox"), [("3.4.9-plain", "user.joe"), ("2.3.12-plain", "user.joe")])
def test_as_a_directory_of_a_spool(tmp_path: Path, name: str, mailbox: str) -> None:
    box = Box(name, tmp_path)
    source = box.root / box.mailbox(mailbox)["datadir"]
    restore(box.root, mailbox, "--as", "cyrus", "--to", tmp_path / "mail")
    files = {path.name: path.read_bytes() for path in source.iterdir() if path.is_file()}
    restored = {path.name: path.read_bytes() for path in (tmp_path / "mail").iterdir() if path.name[:1] != "."}
    orphans = {f"{message['uid']}." for message in true_messages(box.mailbox(mailbox), "orphan", "unlinked")}
    left_out = {*orphans, "cyrus.squat"}
    assert restored == {name: data for name, data in files.items() if name not in left_out}
    done = run_cyrsync("verify", tmp_path / "mail", "--content")
    assert (done.returncode, done.stderr) == (0, "")


def test_as_the_directories_of_a_user(box: Box, tmp_path: Path) -> None:
    """Each folder in the one that it is below of, as in a spool."""
    report = restore(box.root, "--user", "joe", "--as", "cyrus", "--to", tmp_path / "mail")
    for name, folder in (
        ("user.joe", ""),
        ("user.joe.v1^2 notes", "v1^2 notes"),
        ("user.joe.Archive.2023.Q1", "Archive/2023/Q1"),
    ):
        index = box.root / box.mailbox(name)["datadir"] / "cyrus.index"
        assert (tmp_path / "mail" / folder / "cyrus.index").read_bytes() == index.read_bytes()
    done = run_cyrsync("verify", tmp_path / "mail", "--content", "--json")
    assert done.returncode == 0 and json.loads(done.stdout)["messages"] == report["restored"]


def test_as_a_directory_with_archived_messages(tmp_path: Path) -> None:
    box = Box("3.6.1-rich", tmp_path)
    restore(box.root, "-C", box.conf, "user/joe@example.com", "--as", "cyrus", "--to", tmp_path / "mail")
    digests = {hashlib.sha1(path.read_bytes()).hexdigest() for path in (tmp_path / "mail").glob("[0-9]*.")}
    assert digests == {one["sha1"] for one in true_messages(box.mailbox("example.com!user.joe"), "visible", "expunged")}
    assert {"cyrus.header", "cyrus.index", "cyrus.cache"} <= set(os.listdir(tmp_path / "mail"))


def test_nothing_is_written_in_a_dry_run(box: Box, tmp_path: Path) -> None:
    report = restore(box.root, "--user", "joe", "-n", "--to", tmp_path / "mail")
    assert sum(one["selected"] for one in report["mailboxes"]) == sum(
        one["n_visible"] for one in box.mailboxes if (one["name"] + ".").startswith("user.joe.")
    )
    assert report["restored"] == 0 and not (tmp_path / "mail").exists()
    done = run_cyrsync("restore", box.root, "user/joe/Sent", "-n", "-v")
    for message in true_messages(box.mailbox("user.joe.Sent"), "visible"):
        assert message["sha1"] in done.stdout
    assert "user/joe/Sent" in done.stdout and "a352965@example.com" in done.stdout


def test_a_message_that_lacks_and_one_that_is_another(box: Box, tmp_path: Path) -> None:
    directory = box.root / box.mailbox("user.joe")["datadir"]
    (directory / "1.").write_bytes((directory / "3.").read_bytes())
    (directory / "4.").unlink()
    report = restore(box.root, "user/joe", "--to", tmp_path / "mail", expect=23)
    true = {one["uid"]: one for one in box.mailbox("user.joe")["messages"]}
    assert report["errors"] == [
        f"user/joe: UID 1: {directory}/1.: its size is not that in the index",
        f"user/joe: UID 4: {directory}/4.: No such file or directory",
    ]
    assert in_maildir(tmp_path / "mail") == [
        one for one in truth(box.mailbox("user.joe"), "visible") if one[0] not in (true[1]["sha1"], true[4]["sha1"])
    ]


def test_many_that_lack_are_summed_up(box: Box, tmp_path: Path) -> None:
    """A line each would be a million, where a disk is away; -v and --json name each."""
    directory = box.root / box.mailbox("user.joe")["datadir"]
    for path in directory.glob("[0-9]*."):
        path.unlink()
    words = ("restore", box.root, "user/joe", "--to", tmp_path / "mail")
    lines = run_cyrsync(*words).stderr.splitlines()
    assert len(lines) == 6 and lines[-1] == "cyrsync: ... and 23 more: No such file or directory"
    assert len(run_cyrsync(*words, "-v").stderr.splitlines()) == 28
    assert len(restore(*words[1:], expect=23)["errors"]) == 28


def test_a_mailbox_that_cannot_be_read_costs_only_itself(box: Box, tmp_path: Path) -> None:
    index = box.root / box.mailbox("user.joe.Sent")["datadir"] / "cyrus.index"
    index.unlink()
    report = restore(box.root, "--user", "joe", "--to", tmp_path / "mail", expect=23)
    assert report["errors"] == [f"user/joe/Sent: {index}: No such file or directory"]
    assert in_maildir(tmp_path / "mail" / ".Trash") == truth(box.mailbox("user.joe.Trash"), "visible")


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (["user/joe"], "restore needs --to DIR"),
        (["user/joe", "--user", "joe", "--to", "x"], "give either MAILBOX or --user"),
        (["-r", "--to", "x"], "-r needs a MAILBOX"),
        (["--message", "5", "--to", "x"], "a UID belongs to a mailbox"),
        (["--message", "abc", "--to", "x"], "a GUID has 40 digits"),
        (["--message", "5", "user/joe", "-r", "--to", "x"], "leave out -r and --only-expunged"),
        (["--as", "cyrus", "--only-expunged", "--to", "x"], "--as cyrus restores whole mailboxes"),
    ],
)
def test_what_cannot_be(box: Box, words: list[str], reason: str) -> None:
    done = run_cyrsync("restore", box.root, *words)
    assert done.returncode == 2 and reason in done.stderr
    assert done.stderr.count("\n") == 1


def test_a_directory_that_is_in_use_for_something_else(box: Box, tmp_path: Path) -> None:
    (tmp_path / "used").mkdir()
    (tmp_path / "used" / "file").touch()
    restored = tmp_path / "restored"
    restore(box.root, "user/joe/Sent", "--as", "eml", "--to", restored)
    spool = restore(box.root, "user/joe/Sent", "--as", "cyrus", "--to", tmp_path / "spool")
    assert spool["restored"]
    for words, reason in {
        ("--to", str(tmp_path / "used")): "not empty: name a new directory",
        ("--to", str(restored)): "something else was restored to it",
        ("--to", str(tmp_path / "spool"), "--as", "cyrus"): "not empty: name a new directory",
        ("--to", str(tmp_path / "used" / "file")): "Not a directory",
        ("--to", str(tmp_path / "no" / "where")): "No such file or directory",
        ("--to", str(box.root / "mail")): f"lies in {box.root}, and nothing is written there",
    }.items():
        done = run_cyrsync("restore", box.root, "user/joe", *words)
        assert done.returncode == 3 and reason in done.stderr, done
    assert not (box.root / "mail").exists()


def test_a_tree_that_is_not_there_or_holds_no_mail(tmp_path: Path) -> None:
    for tree, reason in ((tmp_path / "none", "no such directory"), (tmp_path, "no mailboxes")):
        done = run_cyrsync("restore", tree, "--to", tmp_path / "mail")
        assert done.returncode == 3 and reason in done.stderr
        assert not (tmp_path / "mail").exists()


def test_a_replica_below_its_own_prefix(box: Box, tmp_path: Path) -> None:
    """As `sync -C` leaves it, with the source's imapd.conf beside, or below it."""
    replica = tmp_path / "replica"
    (replica / str(box.root)[1:]).parent.mkdir(parents=True)
    conf = tmp_path / "source.conf"
    shutil.copy(box.conf, conf)
    shutil.move(box.root, f"{replica}{box.root}")
    restore(replica, "-C", conf, "user/joe", "--to", tmp_path / "one")
    (replica / "etc").mkdir()
    shutil.move(conf, replica / "etc" / "imapd.conf")
    restore(replica, "user/joe", "--to", tmp_path / "two")
    for mail in ("one", "two"):
        assert in_maildir(tmp_path / mail) == truth(box.mailbox("user.joe"), "visible")


def test_the_imapd_conf_of_a_standby_leads_into_the_replica(box: Box, tmp_path: Path) -> None:
    """Its paths are other than the source's: they are those of the replica as they stand."""
    (tmp_path / "link").symlink_to(box.root)
    conf = tmp_path / "standby.conf"
    conf.write_text(box.conf.read_text().replace(str(box.root), f"{tmp_path}/link"))
    restore(tmp_path / "link", "-C", conf, "user/joe", "--to", tmp_path / "mail")
    assert in_maildir(tmp_path / "mail") == truth(box.mailbox("user.joe"), "visible")


def test_a_partition_that_imapd_conf_does_not_have(box: Box, tmp_path: Path) -> None:
    conf = tmp_path / "imapd.conf"
    conf.write_text(box.conf.read_text().replace("partition-default:", "partition-other:"))
    report = restore(box.root, "-C", conf, "user/joe", "--to", tmp_path / "mail", expect=23)
    assert report["errors"] == ["user/joe: imapd.conf has no partition default"]


def test_a_link_in_a_tree_leads_nowhere_else(box: Box, tmp_path: Path) -> None:
    """The partition is behind an absolute link: in a mounted backup, that is not the live server's."""
    tree = tmp_path / "backup"
    box.root.rename(tree)
    text = (tree / "imapd.conf").read_text().replace(f"{box.root}/spool", "/var/spool/imap").replace(str(box.root), "")
    conf = tmp_path / "imapd.conf"
    conf.write_text(text)
    (tree / "var" / "spool").mkdir(parents=True)
    (tree / "var" / "spool" / "imap").symlink_to("/spool")
    restore(tree, "-C", conf, "user/joe", "--to", tmp_path / "mail")
    assert in_maildir(tmp_path / "mail") == truth(box.mailbox("user.joe"), "visible")
