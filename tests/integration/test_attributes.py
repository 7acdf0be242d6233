"""ACLs and extended attributes, with -A and -X: also of the metadata that is sent from the staging."""

from __future__ import annotations

import grp
import os
import pwd
import struct
from pathlib import Path

import pytest

import samplespool
from cyrsync.far import extended
from cyrsync.sync import scratch
from cyrsync.sync.extended import Extended, Kinds
from support.inside import sync_here
from support.sshd import Sshd
from support.tools import requires_root, unavailable
from support.tree import run_cyrsync, start_cyrsync

ACCESS, DEFAULT = "system.posix_acl_access", "system.posix_acl_default"
FOLDER = "j/user/joe/Sent"


def acl(uid: int, rights: int) -> bytes:
    """An ACL that gives a user some rights."""
    none = 0xFFFFFFFF
    entries = [(1, 6, none), (2, rights, uid), (4, 4, none), (16, 7, none), (32, 0, none)]
    return struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in entries)


def attributes(path: Path) -> dict[str, bytes]:
    return {name: os.getxattr(path, name) for name in os.listxattr(path) if not name.startswith("security.selinux")}


def assert_same_attributes(source: Path, replica: Path) -> None:
    for path in [source, *source.rglob("*")]:
        if path.name.startswith("."):
            continue
        assert attributes(replica / path.relative_to(source)) == attributes(path), path


def decorate(folder: Path) -> None:
    requires_root()
    try:
        os.setxattr(folder / "cyrus.index", "user.note", b"\0one")
        os.setxattr(folder / "cyrus.index", "trusted.note", b"two")
        os.setxattr(folder / "cyrus.header", ACCESS, acl(4711, 6))
        os.setxattr(folder, DEFAULT, acl(4712, 7))
        os.setxattr(folder, ACCESS, acl(4713, 5))
        os.setxattr(folder.parent, "user.note", b"three")
    except OSError as error:
        unavailable(f"this file system has none: {error}")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    samplespool.make(tmp_path / "source", messages=60, folder_count=4)
    decorate(tmp_path / "source" / FOLDER)
    return tmp_path / "source"


@pytest.mark.parametrize("how", ["sync", "drop-in", "push", "beside the state"])
def test_of_a_spool(
    source: Path, tmp_path: Path, request: pytest.FixtureRequest, how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    replica = tmp_path / "replica"
    words = [f"{source}/", f"{replica}/"]
    if how == "push":
        sshd: Sshd = request.getfixturevalue("sshd")
        words = ["-e", sshd.rsh, words[0], sshd.at(words[1])]
    if how == "beside the state":
        monkeypatch.setattr(Kinds, "can_be_staged", lambda *_: False)
    for _ in range(2):
        if how == "drop-in":
            done = run_cyrsync("rsync", "-aAX", "--delete", *words)
            assert done.returncode == 0, done.stderr
        else:
            sync_here("--delete", *words, "--", "-A", "-X")
        assert_same_attributes(source, replica)
        samplespool.deliver(source / FOLDER, 2)
        samplespool.change(source, flags=1)
        os.setxattr(source / FOLDER / "cyrus.index", "user.more", b"four")
        os.removexattr(source / FOLDER / "cyrus.header", ACCESS)
    plain = tmp_path / "plain"
    sync_here(f"{source}/", f"{plain}/")
    assert attributes(plain / FOLDER / "cyrus.index") == {}


def test_only_what_was_asked_for(source: Path, tmp_path: Path) -> None:
    for word, expected in (("-A", {}), ("-X", {"user.note": b"\0one", "trusted.note": b"two"})):
        replica = tmp_path / f"replica{word}"
        sync_here(f"{source}/", f"{replica}/", "--", word)
        assert attributes(replica / FOLDER / "cyrus.index") == expected
        assert (ACCESS in attributes(replica / FOLDER / "cyrus.header")) is (word == "-A")


@pytest.mark.parametrize("how", ["sync", "drop-in"])
def test_pulled(source: Path, tmp_path: Path, sshd: Sshd, how: str) -> None:
    """They are read where the spool is, with what is read under the locks."""
    far, replica = sshd.at(f"{source}/"), tmp_path / "replica"
    for _ in range(2):
        if how == "drop-in":
            done = run_cyrsync("rsync", "-aAXv", "--delete", "-e", sshd.rsh, far, f"{replica}/")
            assert (done.returncode, done.stderr) == (0, "")
        else:
            report = sync_here("--delete", "-e", sshd.rsh, far, f"{replica}/", "--", "-AX")
            assert report["warnings"] == []
        assert_same_attributes(source, replica)
        samplespool.deliver(source / FOLDER, 2)
        samplespool.change(source, flags=1)
        os.setxattr(source / FOLDER / "cyrus.index", "user.more", b"\0\xfffour")
        os.removexattr(source / FOLDER / "cyrus.header", ACCESS)
    plain = tmp_path / "plain"
    sync_here("-e", sshd.rsh, far, f"{plain}/")
    assert attributes(plain / FOLDER / "cyrus.index") == {}


def test_who_is_not_root_keeps_what_users_may_set(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the far end has sent, as with rsync."""
    told = {"user.note": b"one", "trusted.note": b"two", ACCESS: acl(4711, 6)}
    staged = Extended(Kinds(acls=True, xattrs=True), told={b"a": told})
    monkeypatch.setattr(os, "geteuid", lambda: 65534)
    assert staged.of(b"a", directory=False).keys() == {"user.note", ACCESS}
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert staged.of(b"a", directory=False) == told


def test_names_in_acls_have_the_numbers_of_here() -> None:
    """As in rsync: what a far host calls by a name is who has that name here."""
    uid, gid = pwd.getpwnam("daemon").pw_uid, grp.getgrnam("daemon").gr_gid
    record = extended.to_record({ACCESS: acl(uid, 6)})
    assert record[0][1][1] == [2, 6, f"{uid}:0:daemon:root"]
    for number, entry in ((12345, "12345:0:daemon:"), (uid, f"{uid}:0:nobody here:")):
        record[0][1][1][2] = entry
        assert extended.from_record(record, numeric_ids=False) == {ACCESS: acl(uid, 6)}
        assert extended.from_record(record, numeric_ids=True) == {ACCESS: acl(number, 6)}
    group = struct.pack("<IHHI", 2, 8, 7, gid)
    assert extended.from_record([[ACCESS, [[8, 7, "0:7777::daemon"]]]], numeric_ids=False) == {ACCESS: group}


def test_where_python_reads_none(source: Path, tmp_path: Path, sshd: Sshd, monkeypatch: pytest.MonkeyPatch) -> None:
    """On another system than Linux sync says so, and the drop-in leaves the line to plain rsync."""
    hide = "import os; del os.listxattr"
    monkeypatch.setattr("cyrsync.spool.execution.can_read", lambda: False)
    report = sync_here("-e", sshd.rsh, sshd.at(f"{source}/"), f"{tmp_path}/replica/", "--", "-AX")
    assert ["are not kept" in warning for warning in report["warnings"]] == [True]
    with start_cyrsync("rsync", "-aAXv", f"{source}/", f"{tmp_path}/other/", first=hide) as run:
        done = run.complete(timeout=60)
    assert (done.returncode, "plain rsync runs" in done.stderr) == (0, True)
    assert_same_attributes(source, tmp_path / "other")


def test_memory_that_keeps_none_is_not_used(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "memory").mkdir()
    monkeypatch.setattr(scratch, "_MEMORY", tmp_path / "memory")
    monkeypatch.setattr(scratch, "_PLENTY", 0)
    monkeypatch.setattr(Kinds, "can_be_staged", lambda *_: False)
    with scratch.staging_directory(tmp_path, "key", tmp_path / "otherwise", Kinds(acls=True)) as directory:
        assert directory == tmp_path / "otherwise"
    with scratch.staging_directory(tmp_path, "key", tmp_path / "otherwise") as directory:
        assert directory.parent == tmp_path / "memory"
