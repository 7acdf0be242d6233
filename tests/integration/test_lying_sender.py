"""An rsync at the far end that sends what it was not asked for: nothing of that is written."""

from __future__ import annotations

import os
import re
import stat
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

import samplespool
from support.lies import LIES, Trees
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
    if not done and (listed or re.search({entry!r}, data)):
        listed += data
        begin = re.search({entry!r}, listed).start()
        rsync.stdin.write(listed[:begin])
        listed = listed[begin:]
        if bytes(2) not in listed:
            continue
        data, done = listed.replace(bytes(2), bytes(1) + {more!r} + bytes(1), 1), True
    rsync.stdin.write(data)
rsync.stdin.close()
"""


class Liar:
    """A far end with a source, and another tree in its place for rsync's sender."""

    def __init__(self, directory: Path) -> None:
        self.trees = Trees(directory, directory / "source", directory / "others")
        self._far_end = directory / "far end"

    def begin(self) -> None:
        """Pull what there is; then one message more is to be pulled, from another tree."""
        assert self.pull().returncode == 0
        self.trees.part()

    def pull(self) -> subprocess.CompletedProcess[str]:
        trees = self.trees
        text = FAR_END.format(
            python=sys.executable,
            source=bytes(trees.source) + b"/",
            other=bytes(trees.other if trees.other.exists() else trees.source) + b"/",
            more=b"".join(b"./" + name + b"\0" for name in trees.more),
            renamed=trees.renamed,
            # A list begins with a name of the tree's, behind no other.
            entry=rb"(?<![/\w])(?:%s)[/\0]" % b"|".join(map(re.escape, os.listdir(bytes(trees.source)))),
        )
        executable(self._far_end, text)
        ends = (f"there:{trees.source}/", f"{trees.replica}/")
        return run_cyrsync("sync", "--delete", "--retries", "0", "-e", f"'{self._far_end}'", *ends)

    def everything(self) -> dict[bytes, Entry]:
        """All that a run may not touch, and the replica."""
        changing = (self.trees.source.name, self.trees.other.name, "far end", ".far end.py")
        return self.trees.everything(*map(os.fsencode, changing))


@pytest.fixture
def liar(tmp_path: Path) -> Liar:
    return Liar(tmp_path)


def a_folder_more(trees: Trees) -> None:
    trees.put(b"evil/1.")
    trees.more = [b"evil/"]


def a_link_that_leads_out(trees: Trees) -> None:
    message = trees.sent(trees.message)
    message.unlink()
    message.symlink_to(trees.outside / "file")


def a_device(trees: Trees) -> None:
    requires_root()
    message = trees.sent(trees.message)
    message.unlink()
    os.mknod(message, stat.S_IFCHR | 0o666, os.makedev(1, 3))


def a_file_below_a_file(trees: Trees) -> None:
    trees.sent(trees.message).unlink()
    trees.put(trees.message + b"/x")


def what_a_name_stands_for_as_a_pattern(trees: Trees) -> None:
    for tree in (trees.source, trees.other):
        (tree / "**").write_bytes(b"a stray")
    trees.put(trees.folder + b"/extra")


def what_is_in_a_directory_that_was_asked_for_by_itself(trees: Trees) -> None:
    for tree in (trees.source, trees.other):
        (tree / "empty [x]").mkdir()
    trees.put(b"empty [x]/extra")


OWN_LIES = [
    a_folder_more,
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
    trees = liar.trees
    assert trees.at(trees.replica, trees.message).read_bytes() == trees.at(trees.source, trees.message).read_bytes()


def test_names_that_are_patterns_are_asked_for_as_names(liar: Liar) -> None:
    """To rsync's receiver; and not all of them does it know again."""
    names = ("*", "**", "[x]", "a?", "\\*", "b\\?", "\\]", "c\\d", "\\\\[e]")
    for name in names:
        (liar.trees.source / name).mkdir()
        (liar.trees.source / name / "\\*").write_text("a stray")
    folders = [samplespool.create_folder(liar.trees.source, f"user/joe/{name}") for name in names]
    done = liar.pull()
    assert (done.returncode, done.stderr) == (0, "")
    for folder in folders:
        samplespool.deliver(folder, 1)
    done = liar.pull()
    assert (done.returncode, done.stderr) == (0, "")
    # Protocol 30 has whole seconds.
    replica, source = (
        {path: one._replace(mtime_ns=one.mtime_ns // 10**9) for path, one in snapshot(tree).items()}
        for tree in (liar.trees.replica, liar.trees.source)
    )
    assert replica == source


@pytest.mark.parametrize("lie", [*LIES, *OWN_LIES])
def test_nothing_is_written_that_was_not_asked_for(liar: Liar, lie: Callable[[Trees], None]) -> None:
    liar.begin()
    trees = liar.trees
    lie(trees)
    before = liar.everything()
    done = liar.pull()
    assert done.returncode in (4, 12, 23), done.stderr
    assert done.stderr
    after = liar.everything()
    cache = b"replica/" + trees.folder + b"/cyrus.cache"  # goes with the messages
    asked = {b"replica/" + trees.message, b"replica/**", b"replica/empty [x]", cache}
    del before[cache]
    assert {path: one for path, one in after.items() if path not in asked} == before
    written = after.get(b"replica/" + trees.message)
    assert written is None or written.kind == "file"
