"""Where a tree has its directories, by whichever imapd.conf there is."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator
from pathlib import Path

import pytest

from cyrsync.errors import UnusableError
from cyrsync.far.folder import Folder
from cyrsync.far.walk import walk
from cyrsync.history import tree
from cyrsync.history.choose import Request
from cyrsync.history.reading import selections
from cyrsync.history.tree import open_tree
from support.boxes import Box


@pytest.fixture
def top(tmp_path: Path) -> Path:
    """A tree with a server's directories below /var."""
    box = Box("3.4.9-plain", tmp_path / "box")
    found = tmp_path / "tree"
    (found / "var").mkdir(parents=True)
    for name in ("spool", "conf"):
        (box.root / name).rename(found / "var" / name)
    (tmp_path / "imapd.conf").write_text(box.conf.read_text().replace(str(box.root), "/var"))
    return found


def names(top: Path, conf: Path | None = None) -> int:
    return len(open_tree(os.fsencode(top), str(conf) if conf else None).mailboxes)


def test_the_trees_own_with_what_it_includes(top: Path, tmp_path: Path) -> None:
    (top / "etc").mkdir()
    lines = (tmp_path / "imapd.conf").read_text().splitlines(keepends=True)
    (top / "etc" / "more.conf").write_text("".join(line for line in lines if "partition" in line))
    rest = "".join(line for line in lines if "partition" not in line)
    (top / "etc" / "imapd.conf").write_text(f"{rest}@include: /etc/more.conf\n")
    found = open_tree(os.fsencode(top), None)
    assert found.config is not None and found.config.partitions["default"].data == os.fsencode(top / "var" / "spool")
    assert names(top) == 26


def test_this_hosts_where_it_leads_into_the_tree(top: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """As on a backup server with a Cyrus of its own, and as on one where nothing of that is in the tree."""
    monkeypatch.setattr(tree, "CONF", str(tmp_path / "imapd.conf"))
    found = open_tree(os.fsencode(top), None)
    assert found.config is not None and found.config.configdirectory == os.fsencode(top / "var" / "conf")
    (tmp_path / "imapd.conf").write_text("configdirectory: /srv/cyrus\npartition-default: /srv/spool\n")
    found = open_tree(os.fsencode(top), None)
    assert found.config is None and len(found.mailboxes) == 26


def test_the_machine_itself(top: Path, tmp_path: Path) -> None:
    conf = tmp_path / "imapd.conf"
    conf.write_text(conf.read_text().replace("/var", f"{top}/var"))
    found = open_tree(b"/", str(conf))
    assert len(found.mailboxes) == 26
    assert os.fsencode(top / "var" / "spool") in found.roots() and b"/" not in found.roots()


def test_a_machine_without_an_imapd_conf(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """All of its disks are not looked through."""
    monkeypatch.setattr(tree, "CONF", str(tmp_path / "none.conf"))
    with pytest.raises(UnusableError, match=r"none\.conf: no such file: name the server's imapd\.conf with -C FILE"):
        open_tree(b"/", None)


def test_a_damaged_mailbox_list(top: Path, tmp_path: Path) -> None:
    """Then directories tell, and the reason is said."""
    database = top / "var" / "conf" / "mailboxes.db"
    for damage in (b"", b"\xa1\x02\x8b\x0dtwoskip file\0\0\0\0" + bytes(100)):
        database.write_bytes(damage)
        found = open_tree(os.fsencode(top), str(tmp_path / "imapd.conf"))
        assert len(found.mailboxes) == 26
        assert found.warnings[0].startswith(f"{database}: ")
        assert found.warnings[0].endswith(": mailboxes are looked for by their directories")


def test_an_imapd_conf_that_is_none(top: Path, tmp_path: Path) -> None:
    (tmp_path / "bad.conf").write_text("nonsense\n")
    with pytest.raises(UnusableError, match=r"bad\.conf:1: "):
        open_tree(os.fsencode(top), str(tmp_path / "bad.conf"))
    with pytest.raises(UnusableError, match=r"can't read .*/none\.conf: "):
        open_tree(os.fsencode(top), str(tmp_path / "none.conf"))


@pytest.mark.parametrize("part", ["", "spool", "spool/j", "spool/j/user", "spool/j/user/joe", "spool/j/user/joe/Sent"])
def test_a_part_of_a_partition(tmp_path: Path, part: str) -> None:
    """Mailboxes keep their names, as far as the path tells."""
    box = Box("3.4.9-plain", tmp_path)
    found = open_tree(os.fsencode(box.root / part), None).mailboxes
    data = {os.fsencode(box.root / one["datadir"]): one["name"].encode() for one in box.mailboxes}
    top = os.fsencode(box.root / part)
    expected = {path: name for path, name in data.items() if (path + b"/").startswith(top + b"/")}
    assert {one.data: one.mailbox.name for one in found} == expected


def test_a_mailboxs_directory_anywhere(tmp_path: Path) -> None:
    box = Box("3.4.9-plain", tmp_path)
    (box.root / box.mailbox("user.joe.Sent")["datadir"]).rename(tmp_path / "from-tape")
    (one,) = open_tree(os.fsencode(tmp_path / "from-tape"), None).mailboxes
    assert one.mailbox.name == b"from-tape"


@pytest.mark.parametrize("conf", [True, False])
def test_a_directory_that_cannot_be_read(
    top: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, conf: bool
) -> None:
    """It may have mailboxes in it, so it is named."""

    def walked(root: bytes) -> Iterator[Folder]:
        for folder in walk(root):
            yield folder._replace(problem=errno.EACCES) if folder.path.endswith(b"user/ann") else folder

    monkeypatch.setattr("cyrsync.history.by_directory.walk", walked)
    (top / "var" / "conf" / "mailboxes.db").unlink()
    opened = open_tree(os.fsencode(top), str(tmp_path / "imapd.conf") if conf else None)
    errors: list[str] = []
    found = list(selections(opened, Request(), errors.append))
    assert errors == [f"{top}/var/spool/a/user/ann: Permission denied"]
    assert b"user.joe" in {one.mailbox.name for one in found}
