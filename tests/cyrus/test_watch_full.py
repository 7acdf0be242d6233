"""A watcher beside a real Cyrus, where there is no room any more for the sync log, or for the watcher's own state."""

from __future__ import annotations

import os
import shutil
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

import pytest

from support.tools import requires, requires_root, unavailable
from support.watched import Box, mail, user
from support.watcher import watching


@contextmanager
def small_disk(kind: str, at: Path, image: Path) -> Iterator[None]:
    """A directory is a file system of its own, of 2 MB."""
    requires("mount", "umount")
    requires_root()
    if kind == "tmpfs":
        words = ["-t", "tmpfs", "-o", "size=2m,mode=700", "none"]
    else:
        requires("mkfs.ext4")
        image.write_bytes(bytes(2 << 20))
        subprocess.run(["mkfs.ext4", "-q", "-m", "0", image], check=True)
        words = ["-o", "loop", str(image)]
    if subprocess.run(["mount", *words, at], check=False).returncode:
        unavailable("not allowed to mount")
    try:
        yield
    finally:
        subprocess.run(["umount", "--lazy", at], check=True)


def fill(directory: Path) -> Path:
    """Leave no room at all."""
    path = directory / "fill"
    with path.open("wb", buffering=0) as file:
        for size in (1 << 16, 1 << 10, 1):
            with suppress(OSError):
                while True:
                    file.write(bytes(size))
            os.fsync(file.fileno())
    return path


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_no_room_for_the_log(box: Box, kind: str, tmp_path: Path, state_dir: Path) -> None:
    """Cyrus takes the messages, and logs nothing of them."""
    joe = user(box, "joe")
    channel = box.log.parent
    channel.mkdir(parents=True, exist_ok=True)
    with small_disk(kind, channel, tmp_path / "image"):
        shutil.chown(channel, box.server.user, box.server.group)
        with watching(box.conf, "--delete", box.replica, said=tmp_path / "said") as watcher:
            box.server.deliver(mail(f"{joe}-before"), joe)
            watcher.wait(lambda: box.is_there(f"{joe}-before"), name="the message before")
            watcher.wait(lambda: not list(channel.glob("log*")), name="the log is taken, which makes room")
            os.sync()  # only a commit of ext4's journal gives back the room of the log that was taken
            filled = fill(channel)
            for number in range(3):
                box.server.deliver(mail(f"{joe}-{number}"), joe)
            watcher.wait(lambda: watcher.status(state_dir)["blind"], name="it is told")
            watcher.wait(lambda: box.is_there(f"{joe}-2"), name="what was not logged")
            box.server.deliver(mail(f"{joe}-last"), joe)
            filled.unlink()
            watcher.wait(lambda: box.is_there(f"{joe}-last"), name="the last that was not logged")
            watcher.wait(lambda: not watcher.status(state_dir)["blind"], name="it is told that there is room")
            box.server.deliver(mail(f"{joe}-after"), joe)
            watcher.wait(lambda: box.is_there(f"{joe}-after"), name="the message after")
            reason = f"{channel}: there is no room left for the log: Cyrus cannot say what changes"
            told = [line for line in watcher.said().splitlines() if reason in line]
            assert told == [f"log: {reason}: all mailboxes are looked at every 10 s", f"log: no longer: {reason}"]
            assert watcher.stop() == 0
    box.assert_equal()


def test_no_room_for_the_state(box: Box, tmp_path: Path, state_dir: Path) -> None:
    joe = user(box, "joe")
    with (
        small_disk("tmpfs", state_dir, tmp_path / "image"),
        watching(box.conf, "--delete", box.replica, said=tmp_path / "said") as watcher,
    ):
        box.server.deliver(mail(f"{joe}-before"), joe)
        watcher.wait(lambda: box.is_there(f"{joe}-before"), name="the message before")
        filled = fill(state_dir)
        for number in range(50):
            box.server.deliver(mail(f"{joe}-{number}"), joe)
        watcher.wait(lambda: "the state file: database or disk is full" in watcher.said(), name="it is told")
        filled.unlink()
        watcher.wait(lambda: box.is_there(f"{joe}-49"), name="the last message")
        watcher.wait(lambda: not watcher.status(state_dir)["pending"], name="nothing to wait")
        assert watcher.status(state_dir)["connected"]
        assert watcher.said().count("disk is full") == 1
        assert watcher.stop() == 0
    box.assert_equal()
