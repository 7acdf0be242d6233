"""Every file system that a replica lies on is synced, once, and a disk that fails is an error."""

from __future__ import annotations

import ctypes
import errno
import io
import os
from pathlib import Path

import pytest

from cyrsync.far import to_disk


def test_what_is_mounted_below_is_synced_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    names = ("root", "root/a b", "root/a b/c", "roots")
    devices = {}
    for device, name in enumerate(names):
        (tmp_path / name).mkdir()
        devices[(tmp_path / name).stat().st_ino] = 0 if name.endswith("/c") else device
    real = os.fstat

    def fstat(descriptor: int) -> os.stat_result:
        status = real(descriptor)
        return os.stat_result((*status[:2], devices.get(status.st_ino, status.st_dev), *status[3:]))

    mounted = [str(tmp_path / name).replace(" ", "\\040") for name in (*names, "root/gone")]
    lines = "".join(f"36 35 98:0 / {name} rw,noatime - ext4 /dev/sdb rw\n" for name in mounted)
    synced: list[bytes] = []
    monkeypatch.setattr(os, "fstat", fstat)
    monkeypatch.setattr(to_disk, "open", lambda *_: io.BytesIO(lines.encode()), raising=False)
    monkeypatch.setattr(to_disk, "_syncfs", lambda _, path: synced.append(path))
    to_disk.to_disk([os.fsencode(tmp_path / "root")])
    assert synced == [os.fsencode(tmp_path / name) for name in names[:2]]


def test_a_disk_that_fails(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    class Library:
        def syncfs(self, _: int) -> int:
            ctypes.set_errno(errno.EIO)
            return -1

    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: Library())
    with pytest.raises(OSError, match="Input/output error") as raised:
        to_disk.to_disk([os.fsencode(tmp_path)])
    assert raised.value.filename == os.fsencode(tmp_path)


def test_a_library_that_cannot_sync_one_file_system(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    synced: list[bool] = []
    monkeypatch.setattr(ctypes, "CDLL", lambda *_, **__: object())
    monkeypatch.setattr(os, "sync", lambda: synced.append(True))
    to_disk.to_disk([os.fsencode(tmp_path)])
    assert synced == [True]
