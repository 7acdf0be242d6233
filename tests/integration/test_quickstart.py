"""`scripts/quickstart` ends with what to do next on this very machine."""

from __future__ import annotations

import shutil
import subprocess
from pathlib import Path

import pytest

from support.tools import requires, requires_root, write_program
from support.tree import plain_env

PROJECT = Path(__file__).parents[2]
#: In place of what installs packages: programs that do nothing.
SETUP = 'say() { printf "== %s\\n" "$*" >&2; }\nmake_venv() { VENV=$1; }'
#: Nothing of this machine is in /etc and /var/spool, only what a test puts there.
PRIVATE = """
mount -t tmpfs none /var/spool && mkdir /var/spool/imap && mount --bind "$1/etc" /etc &&
exec "$1/my cyrsync/scripts/quickstart"
"""


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    requires_root()
    requires("bash", "unshare")
    checkout = tmp_path / "my cyrsync"
    for directory in (checkout / "scripts", checkout / ".venv" / "bin", tmp_path / "etc"):
        directory.mkdir(parents=True)
    shutil.copy(PROJECT / "scripts" / "quickstart", checkout / "scripts")
    (checkout / "scripts" / "setup.bash").write_text(SETUP)
    for name in ("cyrsync", "python"):
        write_program(checkout / ".venv" / "bin" / name, "exit 0")
    return checkout


def last_words(checkout: Path) -> list[str]:
    argv = ["unshare", "--mount", "sh", "-c", PRIVATE, "sh", str(checkout.parent)]
    env = plain_env({"TMPDIR": "/tmp"})
    done = subprocess.run(argv, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
    return done.stderr.rpartition("\n== ")[2].splitlines()


def test_a_cyrus_server_is_told_how_to_sync_it_whole(checkout: Path) -> None:
    (checkout.parent / "etc" / "imapd.conf").write_text("configdirectory: /var/imap\n")
    said, *lines = last_words(checkout)
    assert "/etc/imapd.conf" in said
    command = str(checkout / ".venv/bin/cyrsync").replace(" ", "\\ ")
    assert lines == [f"{command} check standby:/", f"{command} sync -C /etc/imapd.conf -v standby:/"]


def test_another_machine_is_told_how_to_sync_a_spool(checkout: Path) -> None:
    assert last_words(checkout)[-1].endswith(
        "/my\\ cyrsync/scripts/quickstart /var/spool/imap/ standby:/var/spool/imap/"
    )
