"""A continuous integration job fails if the tests write anything outside their own directories."""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest

from support.tools import requires, requires_root, write_program
from support.tree import plain_env

PROJECT = Path(__file__).parents[2]
#: What else goes on here writes to these directories meanwhile: in the test's own, nothing does.
PRIVATE = """
mount --bind "$1" /mnt && shift &&
for directory in /dev/shm /tmp /var/lib; do mount -t tmpfs none "$directory" || exit; done &&
exec "/mnt/check out/.ci/run"
"""
#: In place of what installs packages.
SETUP = "make_venv() { :; }"
ALLOWED = ("", ".venv-test/file")
FOUND = (
    ".venv/file",
    "cyrsync/made.pyc",
    "$HOME/.local/state/cyrsync/pair.lock",
    "$HOME/here/file",
    "/var/lib/cyrsync/pair.lock",
    "/dev/shm/made",
    "/tmp/cyrsync-staging-0-x",
    "/tmp/tmp.x.cyrsync-build",  # of the scripts' own, the suffix tells
)


@pytest.mark.parametrize("file", ALLOWED + FOUND)
def test_what_the_tests_write_is_found(tmp_path: Path, file: str) -> None:
    requires_root()
    requires("git", "unshare")
    checkout, programs = tmp_path / "check out", tmp_path / "bin"
    for directory in (tmp_path / "home" / "here", checkout / "scripts", checkout / ".ci", programs):
        directory.mkdir(parents=True)
    for name in (".ci/run", ".gitignore"):
        shutil.copy(PROJECT / name, checkout / name)
    (checkout / "scripts" / "setup.bash").write_text(SETUP)
    write_program(checkout / "scripts" / "test", f'file={file}\n[ -z "$file" ] || install -D /dev/null "$file"')
    write_program(programs / "id", "echo 1000")  # root would have another user run them again
    subprocess.run(["git", "init", "--quiet", checkout], check=True)
    subprocess.run(["git", "-C", checkout, "add", "."], check=True)
    argv = ["unshare", "--mount", "sh", "-c", PRIVATE, "sh", str(tmp_path)]
    env = plain_env({"HOME": "/mnt/home", "PATH": f"/mnt/bin:{os.environ['PATH']}", "TMPDIR": "/tmp"})
    done = subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    if file in ALLOWED:
        assert (done.returncode, done.stderr) == (0, "")
    else:
        said, *found = done.stderr.splitlines()
        assert (done.returncode, said) == (1, "left behind by the tests:")
        assert any(file.rpartition("/")[2] in line for line in found), found
