"""Where a path leads, and through whose links."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from cyrsync.far import host
from support.tools import requires_root


@pytest.fixture
def top(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "a/b").mkdir(parents=True)
    (tmp_path / "a/up").symlink_to("../a/b/..")
    (tmp_path / "whole").symlink_to(tmp_path / "a" / "up")
    (tmp_path / "dangling").symlink_to("nowhere/further")
    (tmp_path / "file").touch()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    "path",
    [
        "a",
        "a/b/",
        "./a//b",
        "a/up",
        "a/up/b",
        "whole/b",
        "whole/../file",
        "dangling",
        "dangling/x",
        "none/../a",
        "file/x",
    ],
)
def test_it_leads_where_the_system_says(top: Path, path: str) -> None:
    for one in (path, f"{top}/{path}"):
        assert host.resolve(os.fsencode(one))[0] == os.path.realpath(os.fsencode(one))


def test_links_that_lead_in_a_circle(top: Path) -> None:
    (top / "one").symlink_to("two")
    (top / "two").symlink_to("one")
    with pytest.raises(OSError, match="symbolic links") as raised:
        host.resolve(b"one/x")
    assert raised.value.errno == errno.ELOOP


@pytest.mark.parametrize(("path", "found"), [("whole/b", "a/up"), ("a/up", "a/up"), ("a/b", ""), ("dangling", "")])
def test_links_of_others(top: Path, path: str, found: str) -> None:
    requires_root()
    os.chown(top / "a/up", 65534, 65534, follow_symlinks=False)
    assert host.resolve(os.fsencode(path))[-1] == (os.fsencode(top / found) if found else b"")
