"""Where the configuration file lies, and which are refused because somebody else could have written them."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cyrsync.errors import UnusableError
from cyrsync.jobs import place
from support.tools import requires_root


@pytest.fixture
def config(open_dir: Path) -> Path:
    path = open_dir / "etc" / "cyrsync.toml"
    path.parent.mkdir()
    path.write_text("[one]\n")
    return path


def refused(path: Path) -> str:
    with pytest.raises(UnusableError) as raised:
        place.read(str(path))
    return str(raised.value)


def test_a_file_of_the_runners_is_read(config: Path) -> None:
    assert place.read(str(config)) == "[one]\n"


@pytest.mark.parametrize("mode", [0o666, 0o602, 0o646])
def test_a_file_that_all_can_write_is_refused(config: Path, mode: int) -> None:
    config.chmod(mode)
    assert refused(config).startswith(f"{config}: users other than root")
    assert "chmod go-w it" in refused(config)


def test_a_file_that_a_group_can_write_is_refused(config: Path) -> None:
    requires_root()
    os.chown(config, 0, 65534)
    config.chmod(0o664)
    assert "can write to it" in refused(config)
    os.chown(config, 0, 0)
    assert place.read(str(config)) == "[one]\n"


def test_a_file_of_somebody_else_is_refused_and_one_in_his_directory(config: Path) -> None:
    requires_root()
    os.chown(config, 65534, 0)
    assert refused(config).startswith(f"{config}: users other than root can write to it")
    os.chown(config, 0, 0)
    os.chown(config.parent, 65534, 0)
    assert refused(config).startswith(f"{config}: {config.parent}: users other than root can write to it")


#: Who the message names: whoever is not root may write, too.
OTHERS = "users other than root" + (" and you" if os.geteuid() else "")


def test_a_directory_that_all_can_write_is_refused_unless_it_is_sticky(config: Path) -> None:
    config.parent.chmod(0o777)
    assert refused(config).startswith(f"{config}: {config.parent}: {OTHERS} can write to it")
    config.parent.chmod(0o1777)
    assert place.read(str(config)) == "[one]\n"


def test_behind_a_link_both_places_count(config: Path, open_dir: Path) -> None:
    elsewhere = open_dir / "open"
    elsewhere.mkdir()
    link = elsewhere / "link.toml"
    link.symlink_to(config)
    assert place.read(str(link)) == "[one]\n"
    elsewhere.chmod(0o777)
    assert f"{elsewhere}: {OTHERS} can write to it" in refused(link)
    elsewhere.chmod(0o755)
    config.parent.chmod(0o777)
    assert f"{config.parent}: {OTHERS} can write to it" in refused(link)


def test_what_is_no_file_or_too_large_or_no_text_is_refused(config: Path) -> None:
    config.write_bytes(b"\xff")
    assert refused(config) == f"{config}: not UTF-8"
    config.write_bytes(b"#" * (1 << 19))
    assert "too many to be right" in refused(config)
    config.unlink()
    assert "No such file: `cyrsync config --example` prints one" in refused(config)
    os.mkfifo(config)
    assert "no regular file" in refused(config)
    config.unlink()
    config.mkdir()
    assert refused(config).startswith(f"{config}: ")


def test_the_file_is_the_one_given_or_the_environments_or_the_users_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CYRSYNC_CONFIG", "/a/b.toml")
    assert place.config_path("/c.toml") == "/c.toml"
    assert place.config_path() == "/a/b.toml"
    monkeypatch.delenv("CYRSYNC_CONFIG")
    monkeypatch.setenv("HOME", str(tmp_path))
    monkeypatch.delenv("XDG_CONFIG_HOME", raising=False)
    (tmp_path / ".config").mkdir()
    (tmp_path / ".config" / "cyrsync.toml").touch()
    monkeypatch.setattr(os, "geteuid", lambda: 1000)
    assert place.config_path() == str(tmp_path / ".config" / "cyrsync.toml")
    monkeypatch.setenv("XDG_CONFIG_HOME", str(tmp_path / "none"))
    assert place.config_path() == "/etc/cyrsync.toml"
    monkeypatch.delenv("XDG_CONFIG_HOME")
    monkeypatch.setattr(os, "geteuid", lambda: 0)
    assert place.config_path() == "/etc/cyrsync.toml"
