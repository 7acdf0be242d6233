"""An rsync at the far end that sends what it was not asked for: nothing of that is written."""

from __future__ import annotations

import os
import shutil
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import samplespool
from cyrsync.cyrus.mailbox import entry as kinds
from support.tools import executable, requires_root
from support.tree import Entry, run_cyrsync, snapshot

#: What `-e` leads to. All that it runs is real, but it sends rsync's sender to another tree, and changes what passes:
#: the list on its way there, and names of the same length on their way back. In protocol 30 a list is sent as it is.
FAR_END = """\
#!{python}
import os, re, subprocess, sys, threading
command = " ".join(sys.argv[2:])  # behind the host
if "--server" not in command:
    os.execv("/bin/sh", ["sh", "-c", command])
rsync = subprocess.Popen(
    ["/bin/sh", "-c", command.replace("--server", "--server --protocol=30")],
    stdin=subprocess.PIPE, stdout=subprocess.PIPE, bufsize=0,
)
def back():
    while data := rsync.stdout.read(1 << 16):
        for name, other in {renamed!r}.items():
            data = data.replace(name, other)
        sys.stdout.buffer.write(data)
        sys.stdout.buffer.flush()
    os._exit(rsync.wait())
threading.Thread(target=back).start()
listed, done = b"", False
while data := os.read(0, 1 << 16):
    data = data.replace({source!r}, {other!r})
    if not done and (listed or b"./" in data):
        listed += data
        begin = listed.index(b"./")
        rsync.stdin.write(listed[:begin])
        listed = listed[begin:]
        if bytes(2) not in listed:
            continue
        data, done = listed.replace(bytes(2), bytes(1) + {more!r} + bytes(1), 1), True
    rsync.stdin.write(data)
rsync.stdin.close()
"""


class Liar:
    """A source, another tree in its place for rsync's sender, a replica here, and a directory beside it."""

    def __init__(self, directory: Path) -> None:
        self.outside = directory / "out"
        self.outside.mkdir()
        (self.outside / "file").write_bytes(b"somebody else's")
        self.source, self.other = directory / "source", directory / "others"
        self.replica = directory / "replica"
        self.far_end = directory / "far end"
        self.more: list[bytes] = []
        self.renamed: dict[bytes, bytes] = {}
        samplespool.make(self.source, messages=30, folder_count=4)
        self.folder = os.fsencode(samplespool.folders(self.source)[0].relative_to(self.source))

    def begin(self) -> None:
        """Pull what there is; then one message more is to be pulled, from another tree."""
        assert self.pull().returncode == 0
        before = set(os.listdir(self.at(self.source)))
        samplespool.deliver(self.at(self.source), 1)
        (name,) = set(os.listdir(self.at(self.source))) - before
        self.message = self.folder + b"/" + os.fsencode(name)
        self.copy()

    def copy(self) -> None:
        """Let the other tree be like the source."""
        shutil.copytree(self.source, self.other, symlinks=True)

    def at(self, tree: Path, path: bytes | None = None) -> Path:
        return tree / os.fsdecode(self.folder if path is None else path)

    def put(self, path: bytes, content: bytes = b"not asked for") -> None:
        """Write a file into the other tree, and have it sent with all that is asked for."""
        file = self.at(self.other, path)
        file.parent.mkdir(exist_ok=True)
        file.write_bytes(content)
        self.more.append(path)

    def pull(self) -> subprocess.CompletedProcess[str]:
        text = FAR_END.format(
            python=sys.executable,
            source=bytes(self.source) + b"/",
            other=bytes(self.other if self.other.exists() else self.source) + b"/",
            more=b"".join(b"./" + name + b"\0" for name in self.more),
            renamed=self.renamed,
        )
        executable(self.far_end, text)
        ends = (f"there:{self.source}/", f"{self.replica}/")
        return run_cyrsync("sync", "--delete", "--retries", "0", "-e", f"'{self.far_end}'", *ends)

    def everything(self) -> dict[bytes, Entry]:
        """All that a run may not touch, and the replica."""
        found = snapshot(self.replica.parent, skip_hidden=False, dir_mtimes=False)
        changing = {name.encode() for name in (self.source.name, self.other.name, "far end", ".far end.py")}
        changing.add(b"replica/.cyrsync-replica")
        return {
            path: one for path, one in found.items() if path.partition(b"/")[0] not in changing and path not in changing
        }


@pytest.fixture
def liar(tmp_path: Path) -> Liar:
    return Liar(tmp_path)


def a_file_more(liar: Liar) -> None:
    liar.put(liar.folder + b"/extra")


def a_message_that_is_there_already(liar: Liar) -> None:
    name = next(name for name in os.listdir(liar.at(liar.replica)) if kinds.is_message(os.fsencode(name)))
    liar.put(liar.folder + b"/" + os.fsencode(name))


def an_index(liar: Liar) -> None:
    liar.put(liar.folder + b"/CYRUS.index")
    liar.renamed = {b"CYRUS.index": b"cyrus.index"}


def the_owner_file(liar: Liar) -> None:
    liar.put(b"Qcyrsync-replica")
    liar.renamed = {b"Qcyrsync-replica": b".cyrsync-replica"}


def a_folder_more(liar: Liar) -> None:
    liar.put(b"evil/1.")
    liar.more = [b"evil/"]


def a_path_that_leads_up(liar: Liar) -> None:
    liar.put(b"QZ/out-too")
    liar.renamed = {b"QZ": b".."}


def a_whole_path(liar: Liar) -> None:
    path = bytes(liar.outside)
    liar.put(b"Q" * len(path) + b"/file")
    liar.renamed = {b"Q" * len(path): path}


def a_link_that_leads_out(liar: Liar) -> None:
    message = liar.at(liar.other, liar.message)
    message.unlink()
    message.symlink_to(liar.outside / "file")


def a_device(liar: Liar) -> None:
    requires_root()
    message = liar.at(liar.other, liar.message)
    message.unlink()
    os.mknod(message, stat.S_IFCHR | 0o666, os.makedev(1, 3))


def a_file_below_a_file(liar: Liar) -> None:
    liar.at(liar.other, liar.message).unlink()
    liar.put(liar.message + b"/x")


def what_a_name_stands_for_as_a_pattern(liar: Liar) -> None:
    for tree in liar.source, liar.other:
        (tree / "**").write_bytes(b"a stray")
    liar.put(liar.folder + b"/extra")


def what_is_in_a_directory_that_was_asked_for_by_itself(liar: Liar) -> None:
    for tree in liar.source, liar.other:
        (tree / "empty [x]").mkdir()
    liar.put(b"empty [x]/extra")


LIES = [
    a_file_more,
    a_message_that_is_there_already,
    an_index,
    the_owner_file,
    a_folder_more,
    a_path_that_leads_up,
    a_whole_path,
    a_link_that_leads_out,
    a_device,
    a_file_below_a_file,
    what_a_name_stands_for_as_a_pattern,
    what_is_in_a_directory_that_was_asked_for_by_itself,
]


def test_who_does_not_lie_is_believed(liar: Liar) -> None:
    liar.begin()
    done = liar.pull()
    assert (done.returncode, done.stderr) == (0, "")
    assert liar.at(liar.replica, liar.message).read_bytes() == liar.at(liar.source, liar.message).read_bytes()


def test_names_that_are_patterns_are_asked_for_as_names(liar: Liar) -> None:
    """To rsync's receiver; and not all of them does it know again."""
    names = ("*", "**", "[x]", "a?", "\\*", "b\\?", "\\]", "c\\d", "\\\\[e]")
    for name in names:
        (liar.source / name).mkdir()
        (liar.source / name / "\\*").write_text("a stray")
    folders = [samplespool.create_folder(liar.source, f"user/joe/{name}") for name in names]
    done = liar.pull()
    assert (done.returncode, done.stderr) == (0, "")
    for folder in folders:
        samplespool.deliver(folder, 1)
    done = liar.pull()
    assert (done.returncode, done.stderr) == (0, "")
    # Protocol 30 has whole seconds.
    replica, source = (
        {path: one._replace(mtime_ns=one.mtime_ns // 10**9) for path, one in snapshot(tree).items()}
        for tree in (liar.replica, liar.source)
    )
    assert replica == source


@pytest.mark.parametrize("lie", LIES)
def test_nothing_is_written_that_was_not_asked_for(liar: Liar, lie: Callable[[Liar], None]) -> None:
    liar.begin()
    lie(liar)
    before = liar.everything()
    done = liar.pull()
    assert done.returncode in (4, 12, 23), done.stderr
    assert done.stderr
    after = liar.everything()
    cache = b"replica/" + liar.folder + b"/cyrus.cache"  # goes with the messages
    asked = {b"replica/" + liar.message, b"replica/**", b"replica/empty [x]", cache}
    del before[cache]
    assert {path: one for path, one in after.items() if path not in asked} == before
    written = after.get(b"replica/" + liar.message)
    assert written is None or written.kind == "file"
