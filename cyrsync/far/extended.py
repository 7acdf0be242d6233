"""ACLs and extended attributes of files (rsync's -A and -X), read where these are, and sent from there.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import errno
import os
import struct
from typing import TYPE_CHECKING, NamedTuple

from cyrsync.far import wire
from cyrsync.far.owner import owner_here
from cyrsync.far.walk import owner_of
from cyrsync.far.wire import WireError

if TYPE_CHECKING:
    from typing import Any, Dict

    #: What a file has, by name.
    Attributes = Dict[str, bytes]

ACLS = ("system.posix_acl_access", "system.posix_acl_default")
#: Lends root's rights, as a setuid bit does. Nothing of Cyrus's has one.
_CAPABILITY = "security.capability"
#: A file has none, its file system has none, or the file is not there any more: then rsync says so.
_NONE = (errno.ENODATA, errno.ENOTSUP, errno.ENOENT, errno.ENOTDIR)
#: How an ACL lies there (Linux, posix_acl_xattr.h): a version; of each entry tag, rights, and the id that it names.
_VERSION = struct.Struct("<I")
_ENTRY = struct.Struct("<HHI")
_USER, _GROUP = 2, 8
_TAGS = (1, _USER, 4, _GROUP, 16, 32)
_NOBODY = 0xFFFFFFFF
#: What Linux allows: bytes of a value, of a name, and of all names of a file.
_MAX_VALUE, _MAX_NAME, _MAX_NAMES = 1 << 16, 255, 1 << 16


class Kinds(NamedTuple):
    """What rsync is to keep."""

    acls: bool = False
    xattrs: bool = False

    def __bool__(self) -> bool:
        return self.acls or self.xattrs

    def includes(self, name: str) -> bool:
        """Tell whether rsync keeps an attribute: root's all but the system's, others' only the users'."""
        if name in ACLS:
            return self.acls
        ours = not name.startswith("system.") if os.geteuid() == 0 else name.startswith("user.")
        return self.xattrs and ours and name != _CAPABILITY


NO_KINDS = Kinds()


def can_read() -> bool:
    """Tell whether attributes can be read here: Python does so on Linux alone."""
    return hasattr(os, "listxattr")


def read(path: bytes, kinds: Kinds, follow: bool = False) -> "Attributes":
    """Return what a file has, none where it is not there; with `follow`, what a link leads to. Raise OSError."""
    found = {}
    for name in filter(kinds.includes, _or_none(os.listxattr, path, follow) or ()):
        value = _or_none(os.getxattr, path, name, follow)
        if value is not None:
            found[name] = value
    return found


def _or_none(call: "Any", *arguments: "Any") -> "Any":
    *others, follow = arguments
    try:
        return call(*others, follow_symlinks=follow)
    except OSError as error:
        if error.errno in _NONE:
            return None
        raise


def to_record(found: "Attributes") -> "list[Any]":
    """Return what JSON has of attributes: with ACLs go the names of those whom these name."""
    return [[name, _acl(value) if name in ACLS else value.decode("latin-1")] for name, value in sorted(found.items())]


def from_record(record: "Any", numeric_ids: bool) -> "Attributes":
    """Undo `to_record`; whom ACLs name gets the number that the name has here, as in rsync. Raise WireError."""
    found = {}
    for name, value in wire.list_of(record, _MAX_NAMES):
        if wire.text(name, _MAX_NAME) == _CAPABILITY or "\0" in name or name in found:
            raise WireError("no attribute: " + wire.shown(name))
        if name in ACLS:
            found[name] = _acl_here(value, numeric_ids)
        else:
            found[name] = wire.text(value, _MAX_VALUE).encode("latin-1")
    return found


def _acl(value: bytes) -> "list[Any]":
    """Return the entries of an ACL, each with the owner whom it names, if it names one."""
    entries = []
    for tag, rights, number in _ENTRY.iter_unpack(value[_VERSION.size :]):
        entries.append([tag, rights, _owner(tag, number)])
    return entries


def _owner(tag: int, number: int) -> str:
    if tag == _USER:
        return owner_of(number, 0)
    return owner_of(0, number) if tag == _GROUP else ""


def _acl_here(record: "Any", numeric_ids: bool) -> bytes:
    entries = []
    for tag, rights, owner in wire.list_of(record, _MAX_VALUE // _ENTRY.size):
        if wire.number(tag, max(_TAGS)) not in _TAGS:
            raise WireError("no entry of an ACL: {}".format(tag))
        number = _NOBODY
        if tag in (_USER, _GROUP):
            number = owner_here(wire.owner(owner), numeric_ids)[tag == _GROUP]
        entries.append((tag, wire.number(rights, 7), number))
    return _VERSION.pack(2) + b"".join([_ENTRY.pack(*entry) for entry in sorted(entries)])
