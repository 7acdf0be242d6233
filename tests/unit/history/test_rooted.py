"""Links in a tree lead to where they would if the tree were /."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cyrsync.history.rooted import rooted


@pytest.mark.parametrize(
    ("target", "path", "expected"),
    [
        ("/srv/mail", "/var/spool/imap", "/srv/mail/imap"),
        ("../srv", "/var/spool/imap", "/srv/imap"),
        ("../../../../srv", "/var/spool/imap", "/srv/imap"),
        ("/", "/var/spool/etc", "/etc"),
        ("/nowhere", "/var/spool/a/b", "/nowhere/a/b"),
    ],
)
def test_a_link_stays_in_the_tree(tmp_path: Path, target: str, path: str, expected: str) -> None:
    (tmp_path / "var").mkdir()
    (tmp_path / "var" / "spool").symlink_to(target)
    assert rooted(os.fsencode(tmp_path), path.encode()) == os.fsencode(f"{tmp_path}{expected}")


def test_dots_do_not_lead_out(tmp_path: Path) -> None:
    assert rooted(os.fsencode(tmp_path), b"/../../etc/./passwd") == os.fsencode(tmp_path / "etc" / "passwd")


def test_links_in_a_circle(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to("b")
    (tmp_path / "b").symlink_to("/a")
    with pytest.raises(OSError, match="Too many levels"):
        rooted(os.fsencode(tmp_path), b"/a/c")


def test_a_tree_that_is_the_machine_itself() -> None:
    assert rooted(b"/", b"/var/spool/imap") == b"/var/spool/imap"
