"""A disk whose power can be cut: a file system in a file, and hosts that boot again.

What the kernel has not written to the disk yet is not in the file: a copy of the file is what a power cut leaves.
"""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import uuid
from pathlib import Path
from typing import Any

from support.tools import requires, requires_root, unavailable
from support.tree import cyrsync_argv, plain_env

_BOOT_ID = "/proc/sys/kernel/random/boot_id"


class Disk:
    """An ext4 with a journal, mounted at `mount`. Use as a context manager."""

    def __init__(self, directory: Path, megabytes: int = 48) -> None:
        requires("mkfs.ext4", "mount", "umount")
        requires_root()
        self.mount = directory / "disk"
        self._images = directory / "images"
        self.image = self._images / "first"
        self.mount.mkdir()
        self._images.mkdir()
        with open(self.image, "wb") as file:
            file.truncate(megabytes << 20)
        subprocess.run(["mkfs.ext4", "-q", "-N", "8192", self.image], check=True)

    def __enter__(self) -> Disk:
        self._mount()
        return self

    def __exit__(self, *_: object) -> None:
        subprocess.run(["umount", self.mount], check=True)

    def commit(self) -> str:
        """The command that writes the journal, as happens every few seconds: names are on the disk, contents not."""
        return f"dd if=/dev/zero of={shlex.quote(str(self.mount / 'committed'))} count=1 conv=fsync status=none"

    def copy(self, name: str) -> Path:
        """What a power cut at this moment would leave."""
        subprocess.run(self.commit(), shell=True, check=True)  # noqa: S602
        image = self._images / name
        subprocess.run(["cp", "--sparse=always", self.image, image], check=True)
        return image

    def cut_power(self, image: Path | None = None) -> None:
        """Lose what is not on the disk at this moment, or was not when the image was copied; mount what is left."""
        left = image or self.copy("left")
        self.__exit__()
        self.image = self._images / "mounted"
        shutil.move(left, self.image)
        self._mount()

    def _mount(self) -> None:
        # The journal is committed every five minutes, and what is written stays in memory as long as the kernel likes.
        done = subprocess.run(["mount", "-o", "loop,commit=300", self.image, self.mount], check=False)
        if done.returncode:
            unavailable("not allowed to mount")


class Host:
    """A machine that runs cyrsync, until it boots again."""

    def __init__(self, directory: Path) -> None:
        self._boot_id = directory / "boot_id"
        self.boot()

    def boot(self) -> None:
        """Begin another life."""
        self._boot_id.write_text(f"{uuid.uuid4()}\n")

    def run(
        self, *words: str | Path, env: dict[str, str] | None = None, argv: list[str] | None = None
    ) -> subprocess.CompletedProcess[str]:
        """Run cyrsync in this life of the machine, or another program by its `argv`."""
        script = f'mount --bind "$0" {_BOOT_ID} && exec "$@"'
        whole = ["unshare", "--mount", "sh", "-c", script, os.fspath(self._boot_id), *(argv or cyrsync_argv(*words))]
        return subprocess.run(
            whole,
            env=plain_env(env),
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )

    def sync(
        self, *words: str | Path, expect: tuple[int, ...] = (0,), env: dict[str, str] | None = None
    ) -> dict[str, Any]:
        """Run `cyrsync sync`, check its exit code and return its report."""
        done = self.run("sync", "--json", *words, env=env)
        assert done.returncode in expect, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
        report: dict[str, Any] = json.loads(done.stdout)
        return report
