"""What is opened for reading is a regular file, and no more is read than there is."""

from __future__ import annotations

import errno
import os
import resource
import socket
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from cyrsync.cyrus.mailbox import regular_file
from support.tools import requires_root
from tests.support.descriptors import descriptors

MIB = 1 << 20


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "file"


def sparse(file: Path, size: int, filled: int = 0) -> Path:
    with open(file, "wb") as stream:
        stream.write(b"x" * filled)
        stream.truncate(size)
    return file


def make(file: Path, what: str) -> None:
    if what == "directory":
        file.mkdir()
    elif what == "FIFO":
        os.mkfifo(file)
    elif what == "link":
        file.symlink_to(__file__)
    elif what == "socket":
        with socket.socket(socket.AF_UNIX) as server:
            server.bind(os.path.relpath(file))
    else:
        requires_root()
        os.mknod(file, stat.S_IFCHR | 0o600, os.makedev(1, 5))  # /dev/zero


@pytest.mark.parametrize(
    ("what", "code"),
    [
        ("directory", errno.EISDIR),
        ("FIFO", errno.EINVAL),
        ("link", errno.ELOOP),
        ("socket", errno.ENXIO),
        ("device", errno.EINVAL),
    ],
)
def test_what_is_no_regular_file(file: Path, what: str, code: int) -> None:
    make(file, what)
    before = descriptors()
    for look in (regular_file.read, regular_file.opened, regular_file.ensure, lambda path: regular_file.start(path, 4)):
        with pytest.raises(OSError) as caught:  # noqa: PT011 - its code is looked at
            look(bytes(file))
        # Who opens a directory to write to it is told of that, too.
        assert caught.value.errno == code or (what, look) == ("socket", regular_file.ensure)
    assert descriptors() == before


def test_a_link_may_be_followed(file: Path) -> None:
    make(file, "link")
    assert regular_file.read(bytes(file), follow=True) == Path(__file__).read_bytes()
    file.unlink()
    os.mkfifo(file.with_name("fifo"))
    file.symlink_to("fifo")
    with pytest.raises(OSError, match="no regular file"):
        regular_file.read(bytes(file), follow=True)


def test_a_file(file: Path) -> None:
    for size in (0, 1, 5 * MIB):
        file.write_bytes(os.urandom(size))
        assert regular_file.read(bytes(file)) == file.read_bytes()
        assert regular_file.start(bytes(file), 3) == file.read_bytes()[:3]


def test_more_than_can_be_right(file: Path) -> None:
    file.write_bytes(bytes(11))
    with pytest.raises(OSError, match="too many to be right"):
        regular_file.read(bytes(file), 10)
    with pytest.raises(OSError, match="too many to be right"):
        regular_file.read(bytes(sparse(file, 1 << 40)))


@pytest.mark.parametrize(("size", "filled", "fits"), [(16, 0, True), (60, 30, True), (60, 20, False), (64, 0, False)])
def test_holes(file: Path, size: int, filled: int, fits: bool) -> None:
    sparse(file, size * MIB, filled * MIB)
    if fits:
        assert regular_file.read(bytes(file)) == b"x" * filled * MIB + bytes((size - filled) * MIB)
        return
    with pytest.raises(OSError, match="holes for the most part"):
        regular_file.read(bytes(file))


def test_more_than_there_is_memory_for(file: Path) -> None:
    sparse(file, 300 * MIB, 200 * MIB)
    program = (
        f"from cyrsync.cyrus.mailbox import regular_file\ntry: regular_file.read({bytes(file)!r})\n"
        "except OSError as error: print(error.errno, error.strerror)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program],
        env={"PYTHONPATH": str(Path(regular_file.__file__).parents[2])},
        preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_AS, (200 * MIB, 200 * MIB)),
        capture_output=True,
        text=True,
        check=True,
    )
    assert done.stdout == f"{errno.ENOMEM} {300 * MIB} bytes are more than there is memory for\n"


def test_a_file_is_made_for_us_alone(file: Path) -> None:
    regular_file.ensure(bytes(file))
    assert stat.S_IMODE(file.stat().st_mode) == 0o600
    file.write_text("kept")
    regular_file.ensure(bytes(file))
    assert file.read_text() == "kept"
