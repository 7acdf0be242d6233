"""The remote shell is called as rsync would call it, with one connection for all."""

from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cyrsync.ends.bundle import BOOTSTRAP
from cyrsync.ends.shell import HAS_POSIX, HAS_PYTHON, RemoteShell, agent_command
from cyrsync.errors import UsageError

DIRECTORY = Path("/run/private")
SOCKET = "ControlPath=/run/private/ssh"
words = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]))


@pytest.fixture(autouse=True)
def no_rsh(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("RSYNC_RSH", raising=False)


def shell(host: str = "host", rsh: str | None = None) -> RemoteShell:
    return RemoteShell(host, rsh, DIRECTORY)


def test_plain_ssh_shares_one_connection() -> None:
    first, later = shell().words("true", first=True), shell().words("true")
    assert first[0] == later[0] == "ssh"
    assert first[-2:] == later[-2:] == ["host", "true"]
    assert SOCKET in first
    assert SOCKET in later
    assert "ControlMaster=yes" in first
    assert "ControlMaster=no" in later
    assert [word for word in first if word not in later] == ["ControlMaster=yes"]


def test_a_dead_connection_is_noticed() -> None:
    for rsh in (None, "ssh -S none", "/usr/bin/ssh"):
        assert any(word.startswith("ServerAliveInterval=") for word in shell(rsh=rsh).words("true"))


@pytest.mark.parametrize(
    ("host", "target"),
    [
        ("host", ["host"]),
        ("joe@host", ["-l", "joe", "host"]),
        ("joe@example.com@host", ["-l", "joe@example.com", "host"]),
        ("[::1]", ["::1"]),
        ("joe@[fe80::1%eth0]", ["-l", "joe", "fe80::1%eth0"]),
    ],
)
def test_target(host: str, target: list[str]) -> None:
    assert shell(host).words("x")[-1 - len(target) :] == [*target, "x"]


@pytest.mark.parametrize(
    ("rsh", "expected"),
    [
        ("ssh -p 2222", ["ssh", "-p", "2222"]),
        ("ssh -i '/a key' -o \"User Name=x\"", ["ssh", "-i", "/a key", "-o", "User Name=x"]),
        ("/opt/ssh\\ x/ssh", ["/opt/ssh x/ssh"]),
    ],
)
def test_the_users_words_come_first(rsh: str, expected: list[str]) -> None:
    assert shell(rsh=rsh).words("x")[: len(expected)] == expected
    assert SOCKET in shell(rsh=rsh).words("x")


def test_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RSYNC_RSH", "rsh -4")
    assert shell().words("x") == ["rsh", "-4", "host", "x"]
    assert shell(rsh="ssh").words("x")[0] == "ssh"
    monkeypatch.setenv("RSYNC_RSH", "")
    assert shell().words("x")[0] == "ssh"


@pytest.mark.parametrize("rsh", ["rsh", "sudo ssh", "./wrapper", "env X=1 ssh", "sshpass -p x ssh"])
def test_other_programs_get_nothing_added(rsh: str) -> None:
    for first in (False, True):
        assert shell("joe@host", rsh).words("x", first=first) == [*rsh.split(), "-l", "joe", "host", "x"]
    assert shell(rsh=rsh).for_rsync() == rsh


@pytest.mark.parametrize(
    "rsh",
    ["ssh -S /run/mine", "ssh -S/run/mine", "ssh -Snone", "ssh -M", "ssh -o ControlPath=/run/mine",
     "ssh -oControlPath=none", "ssh -o controlmaster=auto", "ssh -o 'ControlPath /run/mine'"],
)  # fmt: skip
def test_the_users_own_sharing_is_respected(rsh: str) -> None:
    for first in (False, True):
        command = " ".join(shell(rsh=rsh).words("x", first=first))
        assert SOCKET not in command
        assert "ControlMaster" not in command.replace(rsh, "")


@pytest.mark.parametrize("rsh", ["'never closed", '"', "\\"])
def test_bad_quoting(rsh: str) -> None:
    with pytest.raises(UsageError, match="-e "):
        shell(rsh=rsh)


def test_empty() -> None:
    with pytest.raises(UsageError, match="-e is empty"):
        shell(rsh=" ")


@given(st.lists(words, min_size=1))
@example(["ssh", ""])
@example(["ssh", "it's", 'a "b"', "$x", "`y`", "a\\b", "new\nline", "*"])
def test_for_rsync_says_the_same(some: list[str]) -> None:
    if not shlex.join(some).strip():
        return
    remote = shell(rsh=shlex.join(some))
    assert [*shlex.split(remote.for_rsync()), "host", "x"] == remote.words("x")


@given(st.lists(words, min_size=1))
@example(["ssh", "it's", 'a "b"', "'", '"', "''"])
def test_rsync_reads_it_as_a_shell_does(some: list[str]) -> None:
    joined = shlex.join(some)
    assert _as_rsync_splits(shell(rsh=joined).for_rsync()) == shell(rsh=joined).words("x")[:-2]


def _as_rsync_splits(text: str) -> list[str]:
    """Split at blanks; a quote ends where the same follows that is not doubled; no backslash (rsync's do_cmd)."""
    found, at = [], 0
    while at < len(text):
        if text[at] == " ":
            at += 1
            continue
        word, quote = "", ""
        while at < len(text) and (quote or text[at] != " "):
            if text[at] in "'\"":
                if not quote:
                    quote = text[at]
                    at += 1
                    continue
                if text[at] == quote:
                    at += 1
                    if text[at : at + 1] != quote:
                        quote = ""
                        continue
            word += text[at]
            at += 1
        found.append(word)
    return found


def test_rsync_never_opens_the_connection() -> None:
    assert "ControlMaster=no" in shell().for_rsync()


def test_agent_command_is_one_word_for_any_login_shell() -> None:
    command = agent_command(BOOTSTRAP)
    outer = shlex.split(command)
    assert outer[:2] == ["sh", "-c"]
    assert len(outer) == 3
    assert command == f"sh -c '{outer[2]}'"
    assert not set("'!\n\\") & set(outer[2])
    assert f'exec python3 -I -c "{BOOTSTRAP}"' in outer[2]
    assert HAS_PYTHON.decode() in outer[2]
    assert HAS_POSIX.decode() in outer[2]
