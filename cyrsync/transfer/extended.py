"""ACLs and extended attributes, given to a staged copy from its original where rsync is to keep them (-A, -X)."""

from __future__ import annotations

import errno
import os
import struct
from collections.abc import Callable
from dataclasses import dataclass

_ACLS = ("system.posix_acl_access", "system.posix_acl_default")
#: The ACL that says what a mode of 0700 does: version, then tag, rights and id of owner, group and others.
_PLAIN_ACL = struct.pack("<IHHIHHIHHI", 2, 1, 7, 0xFFFFFFFF, 4, 0, 0xFFFFFFFF, 32, 0, 0xFFFFFFFF)
#: It has none, its file system has none, or it is not there any more: then rsync says so.
_NONE = (errno.ENODATA, errno.ENOTSUP, errno.ENOENT, errno.ENOTDIR)


@dataclass(frozen=True, slots=True)
class Kinds:
    """What rsync is to keep."""

    acls: bool = False
    xattrs: bool = False

    def __bool__(self) -> bool:
        return self.acls or self.xattrs

    def includes(self, name: str) -> bool:
        """Tell whether rsync keeps an attribute: root's all but the system's, others' only the users'."""
        if name in _ACLS:
            return self.acls
        return self.xattrs and (not name.startswith("system.") if os.geteuid() == 0 else name.startswith("user."))

    def below(self, root: bytes) -> Extended | None:
        """Return what gives them to copies of what lies below a root, wherever links lead; None for nothing to give."""
        return Extended(self, lambda path: os.path.join(root, path), follow=True) if self else None

    def can_be_staged(self, directory: int) -> bool:
        """Tell whether the file system of an open directory of ours takes them."""
        try:
            if self.xattrs:
                os.setxattr(directory, "user.cyrsync", b"1")
                os.removexattr(directory, "user.cyrsync")
            if self.acls:
                os.setxattr(directory, _ACLS[0], _PLAIN_ACL)
        except OSError:
            return False
        return True


NO_KINDS = Kinds()


@dataclass(frozen=True, slots=True)
class Extended:
    """Gives copies what their originals have; `where` tells the place of an original's directory.

    With `follow`, an original may be a link to a file.
    """

    kinds: Kinds
    where: Callable[[bytes], bytes]
    follow: bool = False

    def of(self, path: bytes, *, directory: bool) -> dict[str, bytes]:
        """Return what an original has. Raise OSError."""
        try:
            if directory:
                return self._read(self.where(path), follow=True)
            above, _, name = path.rpartition(b"/")
            return self._read(os.path.join(self.where(above), name), follow=self.follow)
        except OSError as error:
            if error.errno in _NONE:
                return {}
            raise

    def give(self, path: bytes, copy: int, *, directory: bool) -> None:
        """Give an open copy what the original of that path has, and nothing else. Raise OSError."""
        wanted = self.of(path, directory=directory)
        for name in os.listxattr(copy):
            if self.kinds.includes(name) and name not in wanted:
                os.removexattr(copy, name)  # as new files have of the directory that they are made in
        for name, value in wanted.items():
            try:
                os.setxattr(copy, name, value)
            except OSError as error:
                reason = f"{name} cannot be kept while it is staged: {error.strerror}"
                raise OSError(error.errno, reason, os.fsdecode(path)) from None

    def _read(self, original: bytes, *, follow: bool) -> dict[str, bytes]:
        found = {}
        for name in filter(self.kinds.includes, os.listxattr(original, follow_symlinks=follow)):
            try:
                found[name] = os.getxattr(original, name, follow_symlinks=follow)
            except OSError as error:
                if error.errno not in _NONE:
                    raise
        return found
