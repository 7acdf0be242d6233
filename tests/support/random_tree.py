"""Random trees with every kind of name, and random histories of them."""

from __future__ import annotations

import os
import shutil
import stat
import struct
import zlib
from collections.abc import Callable
from random import Random

from support.tree import is_left_alone

_PLAIN = [b"user", b"joe", b"Sent Items", b"a", b"b", b"uuid", b"Entw&APw-rfe", b"#calendars", b";notes", b"DELETED"]
_NASTY = [
    b"$(touch ran)", b"`id`", b"[red]x", b"\x1b[31mred", b"new\nline", b"cr\rhere", b"tab\t", b"quote'\"",
    b"back\\slash",
    b"\\#012", b"-dash", b"--delete", b"*", b"?", b"[a-z]", b"\xff\xfe", b"caf\xc3\xa9", b" blank ", b"12", b"12.5.",
    b"x.", b"user^name", b"a -> b", b"{x,y}", b"!history", b"~", b"stage.", b"sync.", b"lost+found", b"\xe2\x80\xae",
]  # fmt: skip
_MESSAGE_LIKE = [b"1.", b"7.", b"007.", b"0.", b"99999999999.", b"4294967295.", b"12345."]
_METADATA = [b"cyrus.cache", b"cyrus.squat", b"cyrus.annotations", b"cyrus.odd", b"cyrus."]
_LEFT_ALONE = [b".hidden", b".1..AbCdEf", b"cyrus.index.NEW"]
_NAMES = _PLAIN + _NASTY
_TIMES = [10**18, 10**18 + 1, 1_500_000_000_123_456_789, 1_600_000_000_000_000_000, -(10**9)]
_HEADER = (
    b'\xa1\x02\x8b\rCyrus mailbox header\n"The best thing about this system was that it had lots of goals."\n'
    b"\t--Jim Morris on Andrew\n"
)


class RandomTree:
    """A directory that is filled and changed at random, the same for the same `random`.

    With `hidden`, also what cyrsync leaves alone is in it. Files that differ have times that differ, by one `grain` or
    more (nanoseconds).
    """

    def __init__(self, root: bytes, random: Random, *, hidden: bool = True, grain: int = 1) -> None:
        self.root = root
        self.random = random
        self.hidden = hidden
        self.grain = grain
        os.makedirs(root, exist_ok=True)
        self.folders = [root]
        self.make_mailbox(os.path.join(root, b"user"))

    def change(self, steps: int) -> None:
        """Do so many random things."""
        actions: list[Callable[[], None]] = [
            self.add_folder, self.add_folder, self.add_mailbox, self.add_mailbox, self.add_file, self.add_file,
            self.deliver, self.deliver, self.remove_something, self.touch_something, self.rename_folder,
            self.recreate, self.swap, self.replace_kind, self.chmod_something, self.chown_something, self.add_link,
        ]  # fmt: skip
        for _ in range(steps):
            self.random.choice(actions)()
            self._find_folders()
            if not any(_is_mailbox(folder) and self._counts(folder) for folder in self.folders):
                self._keep_a_spool()
            self.settle_times()

    def _counts(self, folder: bytes) -> bool:
        """Whether the folder is not below one of the transient ones."""
        return not is_left_alone(os.path.relpath(folder, self.root))

    def _keep_a_spool(self) -> None:
        name = b"box%d" % self.random.getrandbits(32)
        self.make_mailbox(os.path.join(self.root, name))
        self._find_folders()

    def add_folder(self) -> None:
        """Make an ordinary directory."""
        if self._free():
            os.mkdir(self._new)

    def add_mailbox(self) -> None:
        """Make a mailbox with a few messages."""
        if self._free():
            self.make_mailbox(self._new)

    def make_mailbox(self, folder: bytes) -> None:
        """Write a header, an index and messages 1 to n."""
        os.makedirs(folder, exist_ok=True)
        unique = f"{self.random.getrandbits(64):016x}"
        self._write(os.path.join(folder, b"cyrus.header"), _HEADER + b"user.joe\t" + unique.encode() + b"\n\n\n")
        self._write_index(folder, self.random.choice([1000, 1001, 1002]), 0)
        self._deliver_to(folder, self.random.randrange(4))

    def deliver(self) -> None:
        """Append messages to some mailbox, the index after them."""
        boxes = [folder for folder in self.folders if _is_mailbox(folder)]
        if boxes:
            self._deliver_to(self.random.choice(boxes), 1 + self.random.randrange(3))

    def add_file(self) -> None:
        """Write a file of any name; not a message's in a mailbox, where only Cyrus writes those."""
        folder = self._folder()
        names = _NAMES + _METADATA + _LEFT_ALONE + ([] if _has_index(folder) else _MESSAGE_LIKE)
        path = os.path.join(folder, self._name(names))
        if not os.path.isdir(path) and not os.path.islink(path):
            self._write(path, self._content())

    def add_link(self) -> None:
        """Make a symbolic link."""
        if self._free():
            target = self.random.choice([b"nowhere", b"..", b"/etc", b"user"])
            os.symlink(target, self._new)
            self._set_time(self._new, 10**18, zlib.crc32(target))

    def remove_something(self) -> None:
        """Remove a file or a whole folder."""
        victim = self._something()
        if victim:
            _remove(victim)

    def touch_something(self) -> None:
        """Write a file anew: the same size, another time, or another content; messages of mailboxes don't change."""
        path = self._something()
        if path and stat.S_ISREG(os.lstat(path).st_mode) and not _is_protected(path):
            self._write(path, self._content())

    def chmod_something(self) -> None:
        """Change a mode."""
        path = self._something()
        if path and not os.path.islink(path) and not _is_protected(path):
            os.chmod(path, self.random.choice([0o755, 0o700]) if os.path.isdir(path) else 0o640)

    def chown_something(self) -> None:
        """Give something away, also to owners that have no name; only root can."""
        path = self._something()
        if path and os.geteuid() == 0 and not _is_protected(path):
            os.lchown(path, self.random.choice([0, 1, 54321]), self.random.choice([0, 1, 54321]))

    def rename_folder(self) -> None:
        """Rename a folder with all that is in it."""
        folder = self._folder()
        target = os.path.join(self._folder(), self._name(_NAMES))
        if folder != self.root and not os.path.lexists(target) and not (target + b"/").startswith(folder + b"/"):
            os.rename(folder, target)

    def recreate(self) -> None:
        """Delete a mailbox and make it again, with other messages under the same names."""
        boxes = [folder for folder in self.folders if _is_mailbox(folder)]
        if boxes:
            folder = self.random.choice(boxes)
            for name in os.listdir(folder):
                path = os.path.join(folder, name)
                if not os.path.isdir(path) or os.path.islink(path):
                    os.unlink(path)
            self.make_mailbox(folder)

    def swap(self) -> None:
        """Swap two folders by renames."""
        left, right = self._folder(), self._folder()
        nested = (left + b"/").startswith(right + b"/") or (right + b"/").startswith(left + b"/")
        if not nested:
            os.rename(left, left + b"-swap")
            os.rename(right, left)
            os.rename(left + b"-swap", right)

    def replace_kind(self) -> None:
        """Put a folder where a file was, or the other way round."""
        path = self._something()
        if path and not _is_protected(path):
            was_folder = os.path.isdir(path) and not os.path.islink(path)
            _remove(path)
            if was_folder:
                self._write(path, self._content())
            else:
                os.mkdir(path)
                self._write(os.path.join(path, b"inside"), self._content())

    def settle_times(self) -> None:
        """Give folders times that do not depend on the clock's grain."""
        for folder in self.folders:
            self._set_time(folder, 10**18, len(os.listdir(folder)))

    def _deliver_to(self, folder: bytes, count: int) -> None:
        uidvalidity, last_uid = _read_index(folder)
        unique = _content_of(os.path.join(folder, b"cyrus.header"))[-25:]
        for uid in range(last_uid + 1, last_uid + 1 + count):
            if self.random.random() < 0.9 and not os.path.isdir(os.path.join(folder, b"%d." % uid)):
                self._write(os.path.join(folder, b"%d." % uid), unique + b"%d" % uid)
        self._write_index(folder, uidvalidity, last_uid + count)

    def _write_index(self, folder: bytes, uidvalidity: int, last_uid: int) -> None:
        head = bytearray(160)
        struct.pack_into(">5I", head, 0, 1, 0, 17, 160, 112)
        struct.pack_into(">I", head, 28, last_uid)
        struct.pack_into(">I", head, 44, uidvalidity)
        struct.pack_into(">I", head, 156, zlib.crc32(bytes(head[:156])))
        path = os.path.join(folder, b"cyrus.index")
        self._write(path, bytes(head))
        self._set_time(path, 10**18, uidvalidity * 1000 + last_uid)

    def _write(self, path: bytes, content: bytes) -> None:
        with open(path, "wb") as file:
            file.write(content)
        self._set_time(path, self.random.choice(_TIMES), zlib.crc32(content))

    def _set_time(self, path: bytes, begin: int, steps: int) -> None:
        time = begin // self.grain * self.grain + steps % 10**7 * self.grain
        os.utime(path, ns=(time, time), follow_symlinks=False)

    def _content(self) -> bytes:
        return self.random.choice([b"", b"one", b"two", b"a longer content"])

    def _folder(self) -> bytes:
        return self.random.choice(self.folders)

    def _name(self, names: list[bytes]) -> bytes:
        return self.random.choice([name for name in names if self.hidden or not is_left_alone(name)])

    def _free(self) -> bool:
        """Choose a new path, `_new`; tell whether nothing is there yet."""
        extra = [] if self.random.random() < 0.8 else [b"5.", b"cyrus.folder", b"9."]
        folder = self._folder()
        self._new = os.path.join(folder, self._name(extra or _NAMES))
        return not os.path.lexists(self._new) and not (extra and _is_mailbox(folder) and extra[0] != b"cyrus.folder")

    def _something(self) -> bytes | None:
        folder = self._folder()
        names = os.listdir(folder)
        return os.path.join(folder, self.random.choice(sorted(names))) if names else None

    def _find_folders(self) -> None:
        self.folders = sorted(top for top, _, _ in os.walk(self.root))


def _is_mailbox(folder: bytes) -> bool:
    return os.path.isfile(os.path.join(folder, b"cyrus.header")) and _has_index(folder)


def _has_index(folder: bytes) -> bool:
    return os.path.isfile(os.path.join(folder, b"cyrus.index")) and bool(_read_index(folder))


def _read_index(folder: bytes) -> tuple[int, int]:
    data = _content_of(os.path.join(folder, b"cyrus.index"))
    return struct.unpack_from(">12xI12xI", data, 16)[::-1] if len(data) == 160 else (0, 0)


def _content_of(path: bytes) -> bytes:
    with open(path, "rb") as file:
        return file.read()


def _is_protected(path: bytes) -> bool:
    """What only Cyrus changes: the header and the index of a mailbox, and the messages under any index."""
    folder, name = os.path.split(path)
    if name[:-1].isdigit():
        return _has_index(folder)
    return name in (b"cyrus.header", b"cyrus.index") and _is_mailbox(folder)


def _remove(path: bytes) -> None:
    if os.path.isdir(path) and not os.path.islink(path):
        shutil.rmtree(path)
    else:
        os.unlink(path)
