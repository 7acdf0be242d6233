"""A clean Debian in a directory, made by debootstrap from the mirror that this machine's apt has."""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from support.tools import requires, requires_root, unavailable
from support.tree import plain_env

#: What most Debian servers have, and the smallest Debian has not.
_INCLUDED = "bash-completion,man-db,systemd"
#: Bytes that the tree needs.
_ROOM = 2_000_000_000


@contextmanager
def clean_debian() -> Iterator[Path]:
    """Have a tree with such a Debian, on a disk, as it is large; it is removed at the end, also after a failure."""
    requires("debootstrap", "apt-get", "unshare", "chroot")
    requires_root()
    suite, mirror = _source()
    directory = Path(tempfile.mkdtemp(prefix="cyrsync-debian-", dir="/var/tmp"))
    try:
        if shutil.disk_usage(directory).free < _ROOM:
            unavailable(f"no room for a Debian in {directory.parent}")
        root = directory / "root"
        root.mkdir(mode=0o755)
        options = ["--variant=minbase", f"--include={_INCLUDED}"]
        # What debootstrap mounts is gone with the namespace, whatever happens.
        words = ["unshare", "--mount", "--pid", "--fork", "--kill-child", "--propagation=private", "debootstrap"]
        env = plain_env({"PATH": f"{os.environ['PATH']}:/usr/sbin:/sbin", **_proxies()})
        done = subprocess.run(
            [*words, *options, suite, root, mirror],
            env=env,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            check=False,
        )
        if done.returncode:
            unavailable(f"debootstrap cannot make a Debian here: {done.stdout[-500:]}")
        (root / "etc/apt/apt.conf.d/50machine").write_text(_output("apt-config", "dump", "--no-empty", "Acquire"))
        yield root
    finally:
        shutil.rmtree(directory)


def _output(*words: str) -> str:
    return subprocess.run(words, capture_output=True, text=True, check=True, env=plain_env()).stdout


def _source() -> tuple[str, str]:
    """Return this machine's suite, and the mirror that apt has it from."""
    lines = Path("/etc/os-release").read_text().splitlines()
    names = {name: shlex.split(value) for name, _, value in (line.partition("=") for line in lines)}
    suites = names.get("VERSION_CODENAME", [])
    asked = ["apt-get", "indextargets", "--format", "$(CODENAME) $(COMPONENT) $(SITE)", "Created-By: Packages"]
    for line in _output(*asked).splitlines():
        suite, component, mirror = line.split(" ", 2)
        if [suite] == suites and component == "main":
            return suite, mirror
    unavailable("apt knows no mirror of this machine's Debian")
    raise AssertionError("not reached")


def _proxies() -> dict[str, str]:
    """Return the proxies that apt uses, as other programs are told of them."""
    found = {}
    for scheme in ("http", "https"):
        words = shlex.split(_output("apt-config", "shell", "proxy", f"Acquire::{scheme}::Proxy"))
        for word in words:
            found[f"{scheme}_proxy"] = word.partition("=")[2]
    return found
