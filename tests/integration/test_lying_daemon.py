"""A daemon that serves other names and files than it has listed: nothing is written that was not asked for."""

from __future__ import annotations

import os
import shutil
import socket
import stat
import subprocess
import threading
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path

import pytest

from cyrsync.ends import fetched_size
from cyrsync.ends.address import Address
from cyrsync.ends.daemon_tree import DaemonTree
from cyrsync.errors import WrongAnswer
from support.daemon import RsyncDaemon
from support.lies import LIES, Trees, an_index
from support.tools import requires_root, write_program
from support.tree import run_cyrsync

#: Directories of the module: what is listed, and what is served in its place.
LISTED, SERVED = b"ro/aa/", b"ro/bb/"
#: What rsync is told by whom it sends mail to, and by whom it sends headers and indexes to, to be compared.
SENDING, FETCHING = b"\0-logtp", b"\0-tRe."


class Liar:
    """Stands between an rsync and a daemon.

    All that passes is real, but the list on its way there, and names of the same length on their way back.
    """

    def __init__(self, daemon: RsyncDaemon, directory: Path) -> None:
        self._daemon = daemon
        module = daemon.directory("ro")
        self.trees = Trees(directory, *(module / os.fsdecode(tree[3:-1]) for tree in (LISTED, SERVED)))
        self.lies_when = b"nobody asks"
        self.lied = 0
        self._listener = socket.create_server(("127.0.0.1", 0))
        threading.Thread(target=self._serve, daemon=True).start()

    def close(self) -> None:
        self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()

    def begin(self) -> None:
        """Pull what there is; then one message more is to be pulled, and is served from another tree."""
        assert self.pull().returncode == 0
        self.trees.part()

    def pull(self) -> subprocess.CompletedProcess[str]:
        url = f"rsync://127.0.0.1:{self._listener.getsockname()[1]}/{os.fsdecode(LISTED)}"
        return run_cyrsync("sync", "--delete", "--retries", "0", url, f"{self.trees.replica}/")

    def _serve(self) -> None:
        with suppress(OSError):
            while True:
                near = self._listener.accept()[0]
                far = socket.create_connection(("127.0.0.1", self._daemon.port))
                threading.Thread(target=self._there, args=(near, far), daemon=True).start()
                threading.Thread(target=self._back, args=(near, far), daemon=True).start()

    def _there(self, near: socket.socket, far: socket.socket) -> None:
        words, listed, lies = b"", b"", False
        with suppress(OSError):
            while data := near.recv(1 << 16):
                data = _older(data)
                if not words.endswith(bytes(2)):
                    words += data
                    if words.endswith(bytes(2)) and b"--files-from" in words and self.lies_when in words:
                        lies = True
                        self.lied += 1
                elif lies and (listed or b"./" in data):
                    listed += data
                    if bytes(2) not in listed[listed.index(b"./") :]:
                        continue
                    more = b"".join(b"aa/././" + name + b"\0" for name in self.trees.more)
                    at = listed.index(bytes(2), listed.index(b"./"))
                    data, listed = listed[: at + 1] + more + listed[at + 1 :], b""
                if lies:
                    data = data.replace(b"aa/./", b"bb/./")
                far.sendall(data)
        far.close()

    def _back(self, near: socket.socket, far: socket.socket) -> None:
        with suppress(OSError):
            while data := far.recv(1 << 16):
                for name, other in self.trees.renamed.items():
                    data = data.replace(name, other)
                near.sendall(_older(data))
        near.close()


def _older(data: bytes) -> bytes:
    """Make of a greeting one of protocol 30: there, a list is sent as it is."""
    return data.replace(b"@RSYNCD: 32.0", b"@RSYNCD: 30.0").replace(b"@RSYNCD: 31.0", b"@RSYNCD: 30.0")


@pytest.fixture
def liar(daemon: RsyncDaemon, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Liar]:
    liar = Liar(daemon, tmp_path_factory.mktemp("liar"))
    yield liar
    liar.close()


def nothing_more(trees: Trees) -> None:
    """Only what each file has in it is another."""
    for path in (trees.message, trees.folder + b"/cyrus.index", trees.folder + b"/cyrus.header"):
        trees.sent(path).write_bytes(os.urandom(100_000))


def links_that_lead_out(trees: Trees) -> None:
    for path in (trees.message, trees.folder + b"/cyrus.index", trees.folder + b"/cyrus.header"):
        trees.sent(path).unlink()
        trees.sent(path).symlink_to(trees.outside / "file")


def devices(trees: Trees) -> None:
    requires_root()
    for path in (trees.message, trees.folder + b"/cyrus.index"):
        trees.sent(path).unlink()
        os.mknod(trees.sent(path), stat.S_IFCHR | 0o666, os.makedev(1, 3))


def a_directory_that_is_a_link(trees: Trees) -> None:
    folder = trees.sent(trees.folder)
    shutil.rmtree(folder)
    folder.symlink_to(trees.outside)


def files_that_lend_rights(trees: Trees) -> None:
    for path in (trees.message, trees.folder + b"/cyrus.index"):
        trees.sent(path).chmod(0o6755)


OWN_LIES = [
    nothing_more,
    links_that_lead_out,
    devices,
    a_directory_that_is_a_link,
    files_that_lend_rights,
]


def test_who_does_not_lie_is_believed(liar: Liar) -> None:
    liar.begin()
    done = liar.pull()
    assert (done.returncode, done.stderr, liar.lied) == (0, "", 0)
    trees = liar.trees
    assert trees.at(trees.replica, trees.message).read_bytes() == trees.at(trees.source, trees.message).read_bytes()


@pytest.mark.parametrize("when", [SENDING, FETCHING], ids=["sending", "fetching"])
@pytest.mark.parametrize("lie", [*LIES, *OWN_LIES])
def test_nothing_is_written_that_was_not_asked_for(liar: Liar, lie: Callable[[Trees], None], when: bytes) -> None:
    liar.begin()
    trees = liar.trees
    lie(trees)
    liar.lies_when = when
    before = trees.everything()
    done = liar.pull()
    assert liar.lied
    assert "Traceback" not in done.stderr
    if trees.more and (lie, when) != (an_index, FETCHING):  # which is asked for then
        assert done.returncode in (3, 4, 12, 23), done
        assert len(done.stderr.splitlines()) == 1, done
    after = trees.everything()
    # The files of the one folder that has changed are the source's to choose.
    folder = b"replica/" + trees.folder + b"/"
    asked = {folder + name for name in (b"cyrus.cache", b"cyrus.index", b"cyrus.header")}
    asked |= {b"replica/" + trees.message}
    assert {path: one for path, one in after.items() if path not in asked} == {
        path: one for path, one in before.items() if path not in asked
    }
    for path in asked & after.keys():
        assert after[path].kind == "file"
        assert not after[path].mode & 0o7000


@pytest.mark.parametrize(("spare", "error"), [(0, WrongAnswer), (1 << 60, OSError)], ids=["listed", "disk"])
def test_no_more_is_fetched_than_was_listed_nor_is_the_disk_filled(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, spare: int, error: type[Exception]
) -> None:
    """The rsync here writes without an end, as one does to which a daemon sends without an end."""
    lines = [b"drwxr-xr-x 4,096 2026/11/28 04:00:00 .", b"drwxr-xr-x 4,096 2026/11/28 04:00:00 joe"]
    lines += [b"-rw------- 12 2026/11/28 04:00:00 joe/" + name for name in (b"cyrus.header", b"cyrus.index")]
    (tmp_path / "lines").write_bytes(b"\n".join([*lines, b""]))
    write_program(
        tmp_path / "rsync",
        f'case "$*" in *--list-only*) exec cat {tmp_path}/lines ;; esac\n'
        'for last; do :; done\nmkdir "$last/joe"\n'
        'while head -c 65536 /dev/zero >>"$last/joe/.cyrus.index.x"; do sleep 0.01; done',
    )
    monkeypatch.setenv("PATH", f"{tmp_path}:{os.environ['PATH']}")
    monkeypatch.setattr(fetched_size, "_GROWTH", 1 << 20)
    monkeypatch.setattr(fetched_size, "_SPARE", spare)
    if spare:
        monkeypatch.setattr(fetched_size, "_SPARE_SHARE", 1)
    address = Address("host::m/", b"m/", "host", daemon=True)
    with pytest.raises(error):
        list(DaemonTree(address, (), tmp_path).walk(b"m", frozenset()))
