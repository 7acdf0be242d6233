"""A Debian as a throw-away, this machine's own or another: whatever is installed there, the original stays as it is."""

from __future__ import annotations

import os
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.tools import requires, requires_root, unavailable
from support.tree import plain_env

#: In a mount namespace and process namespace of its own: $1 is the place, $2 what is given, $3 the original, the rest a
#: command in it.
_INSIDE = """set -e
mount -t tmpfs -o mode=755 none "$1"
mkdir "$1/upper" "$1/work" "$1/root"
mount -t overlay -o lowerdir="$3",upperdir="$1/upper",workdir="$1/work" none "$1/root"
mount --rbind /dev "$1/root/dev"
mount -t proc none "$1/root/proc"
for directory in /tmp /var/tmp /run; do mount -t tmpfs none "$1/root$directory"; done
mkdir "$1/root/tmp/given"
mount --bind "$2" "$1/root/tmp/given"
root=$1/root
shift 3
exec chroot "$root" "$@"
"""


class Overlay:
    """A Debian for one command: what `given` has is in /tmp/given there."""

    def __init__(self, place: Path, given: Path, lower: Path) -> None:
        self._place = place
        self._given = given
        self._lower = lower

    def run(self, script: str) -> subprocess.CompletedProcess[str]:
        """Run a script for the shell there, as root; nothing of it stays."""
        words = ["unshare", "--mount", "--pid", "--fork", "--propagation=private", "sh", "-c", _INSIDE, "sh"]
        command = [*words, str(self._place), str(self._given), str(self._lower), "sh", "-exc", script]
        env = plain_env({"PATH": "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME": "/root"})
        env = {name: value for name, value in env.items() if not name.startswith(("CYRSYNC", "TMPDIR", "PYTHON"))}
        return subprocess.run(command, env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)


@contextmanager
def overlay(given: Path, lower: Path = Path("/")) -> Iterator[Overlay]:
    """Have such a Debian, of the tree `lower`, where the kernel and the user allow it."""
    requires("unshare", "mount", "chroot", "dpkg")
    requires_root()
    place = Path(tempfile.mkdtemp(prefix="cyrsync-overlay-"))
    try:
        found = Overlay(place, given, lower)
        if found.run("true").returncode:
            unavailable("no overlay file system can be mounted")
        yield found
    finally:
        shutil.rmtree(place)
    assert not os.path.exists(place)
