"""ACLs and extended attributes, given to a staged copy from its original where rsync is to keep them (-A, -X)."""

from __future__ import annotations

import os
import struct
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from cyrsync.far import extended
from cyrsync.far.extended import ACLS

if TYPE_CHECKING:
    from cyrsync.far.extended import Attributes

#: The ACL that says what a mode of 0700 does: version, then tag, rights and id of owner, group and others.
_PLAIN_ACL = struct.pack("<IHHIHHIHHI", 2, 1, 7, 0xFFFFFFFF, 4, 0, 0xFFFFFFFF, 32, 0, 0xFFFFFFFF)


class Kinds(extended.Kinds):
    """What rsync is to keep, of what is staged here."""

    def can_be_staged(self, directory: int) -> bool:
        """Tell whether the file system of an open directory of ours takes them."""
        try:
            if self.xattrs:
                os.setxattr(directory, "user.cyrsync", b"1")
                os.removexattr(directory, "user.cyrsync")
            if self.acls:
                os.setxattr(directory, ACLS[0], _PLAIN_ACL)
        except OSError:
            return False
        return True


NO_KINDS = Kinds()


@dataclass(frozen=True, slots=True)
class Extended:
    """Gives copies what their originals have; `where` tells the place of an original's directory here.

    Without `where`, originals have what was `told` of them.
    """

    kinds: Kinds
    where: Callable[[bytes], bytes] | None = None
    told: dict[bytes, Attributes] = field(default_factory=dict)

    def of(self, path: bytes, *, directory: bool) -> Attributes:
        """Return what an original has. Raise OSError."""
        if self.where is None:
            found = self.told.get(path, {})
            return {name: value for name, value in found.items() if self.kinds.includes(name)}
        if directory:
            return extended.read(self.where(path), self.kinds, follow=True)
        above, _, name = path.rpartition(b"/")
        return extended.read(os.path.join(self.where(above), name), self.kinds, follow=False)

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
