"""What a directory entry of a spool is, told from its name alone.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import re

MESSAGE = re.compile(rb"[0-9]+\.\Z")
#: rsync's own temporary files: a dot, the name, a dot, six letters; of a message's own dot and that one, some
#: versions write only one (rsync's receiver.c, get_tmpname).
LEFTOVER = re.compile(rb"\.(?:[0-9]+\.?|cyrus\..+)\.[A-Za-z0-9]{6}\Z", re.DOTALL)
#: Such a file of any name. rsync does not double a dot at the beginning.
_TEMPORARY = re.compile(rb"\.(.+)\.[A-Za-z0-9]{6}\Z", re.DOTALL)
#: The directory in a folder where rsync keeps new metadata until all of it is there.
UPDATES = b".~tmp~"
CACHE = b"cyrus.cache"
#: Rebuilt by `reconstruct` and `squatter`: what --skip-derived leaves out.
DERIVED = frozenset([CACHE, b"cyrus.squat"])
#: Transient directories at the root of a partition (Cyrus's staging, fsck's finds).
ROOT_TRANSIENT = frozenset([b"stage.", b"sync.", b"lost+found"])
HEADER = b"cyrus.header"
INDEX = b"cyrus.index"
EXPUNGE = b"cyrus.expunge"
ANNOTATIONS = b"cyrus.annotations"
#: Sent last, and all of one moment. Other metadata may be newer than these; Cyrus rebuilds it where it does not fit.
SNAPSHOT = frozenset([HEADER, INDEX, EXPUNGE, ANNOTATIONS])
#: Files of every mailbox, or of its part in an archive partition: other names with the prefix may be anything.
MAIN_FILES = frozenset([HEADER, INDEX, CACHE])
METADATA_PREFIX = b"cyrus."


def is_metadata(name: bytes) -> bool:
    """Tell whether the name is a metadata file's (`cyrus.` and anything, but not a rewrite in progress)."""
    return name.startswith(METADATA_PREFIX) and not name.endswith(b".NEW")


def is_message(name: bytes) -> bool:
    """Tell whether the name is a message file's: digits, then one dot."""
    return MESSAGE.match(name) is not None


def is_left_alone(name: bytes, at_root: bool) -> bool:
    """Tell whether the entry is neither copied nor deleted: hidden, or Cyrus's own scratch space."""
    return (
        name.startswith(b".")
        or (name.startswith(METADATA_PREFIX) and name.endswith(b".NEW"))
        or (at_root and name in ROOT_TRANSIENT)
    )


def temporary_of(name: bytes) -> "tuple[bytes, ...]":
    """Return the files whose temporary file this may be by its name; none if it is no temporary file."""
    match = _TEMPORARY.match(name)
    return (match.group(1), match.group(1) + b".", b"." + match.group(1)) if match else ()


def is_leftover(name: bytes) -> bool:
    """Tell whether a killed rsync left this beside message or metadata files: a temporary file, or new metadata."""
    return name == UPDATES or LEFTOVER.match(name) is not None
