"""`restore --into` before there is a server: what is asked for wrongly, and where the password may come from."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from support.boxes import Box
from support.tools import free_port
from support.tree import run_cyrsync


@pytest.fixture(scope="module")
def tree(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    box = Box("3.4.9-plain", tmp_path_factory.mktemp("box"))
    return [str(box.root), "-C", str(box.conf), "user.joe"]


WRONG = {
    "no port": ["--into", "imaps://cyrus@host:port"],
    "a password": ["--into", "imaps://cyrus:secret@host"],
    "two targets": ["--into", "imaps://cyrus@host", "--to", "dir"],
    "a form": ["--into", "imaps://cyrus@host", "--as", "eml"],
    "nothing for --flags": ["--to", "dir", "--flags"],
    "nothing for --only-missing": ["-n", "--only-missing"],
    "nothing for --cafile": ["-n", "--cafile", "ca.pem"],
    "two kinds": ["--into", "imaps://cyrus@host", "--only-missing", "--flags"],
    "no password": ["--into", "imaps://cyrus@host"],
}


@pytest.mark.parametrize("words", WRONG.values(), ids=WRONG)
def test_what_is_refused(tree: list[str], words: list[str]) -> None:
    done = run_cyrsync("restore", *tree, *words)
    assert (done.returncode, done.stdout, done.stderr.count("\n")) == (2, "", 1)
    assert "secret" not in done.stderr


@pytest.mark.parametrize("text", [None, b"", b"\nsecond line\n", b"\xff\n", b"a\0b\n"])
def test_a_password_file_without_a_password(tree: list[str], tmp_path: Path, text: bytes | None) -> None:
    file = tmp_path / "password"
    if text is not None:
        file.write_bytes(text)
    done = run_cyrsync("restore", *tree, "--into", "imaps://cyrus@host", "--password-file", file)
    assert (done.returncode, done.stderr.count("\n")) == (3, 1)
    assert str(file) in done.stderr


def test_a_password_file_that_others_may_read(tree: list[str], tmp_path: Path) -> None:
    file = tmp_path / "password"
    file.write_text("secret\n")
    os.chmod(file, 0o644)
    address = f"imap://cyrus@127.0.0.1:{free_port()}"
    done = run_cyrsync("restore", *tree, "--into", address, "--password-file", file)
    assert done.returncode == 10
    assert "chmod 600" in done.stderr and "refused" in done.stderr and "secret" not in done.stderr
