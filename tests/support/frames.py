"""What may cross a connection, as an honest end has it: folders, files, removals and the rest, made by hypothesis."""

from __future__ import annotations

import os
import stat
import struct
from array import array

from hypothesis import strategies as st

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.far.extended import ACLS
from cyrsync.far.finding import KINDS, Audited, Problem
from cyrsync.far.folder import Entry, File, Folder, Incarnation, join
from cyrsync.far.locked_folder import LockedFolder
from cyrsync.far.message_files import MessageFiles
from cyrsync.far.quick_check import Question
from cyrsync.far.relink import Move
from cyrsync.far.remove import Removal
from cyrsync.far.uids import MAX_UID

#: Names as a directory holds them: any byte but two, and not its own two entries.
names = st.binary(min_size=1, max_size=12).filter(
    lambda name: not {0, ord("/")} & set(name) and name not in (b".", b"..")
)
paths = st.lists(names, max_size=4).map(b"/".join)
whole_paths = paths.map(lambda path: b"/" + path)
_listed = names.filter(lambda name: not kinds.is_left_alone(name, at_root=True))
_metadata = st.sampled_from([*kinds.MAIN_FILES, b"cyrus.x"]) | names.map(lambda name: b"cyrus." + name + b"x")
_strays = _listed.filter(lambda name: not kinds.is_message(name) and not kinds.is_metadata(name))
_leftovers = st.sampled_from([b".1.abcdef", b".12..AbCd12", b".cyrus.index.ABCdef", kinds.UPDATES])
_times = st.integers(-(2**63), 2**63) | st.integers(0, 2**31 * 10**9)
_ids = st.integers(0, 2**32 - 2).map(str)
_users = st.sampled_from(["", "cyrus", "domain users", "EXAMPLE\\joe$", "müller", os.fsdecode(b"\xff")])
_owners = st.builds(lambda *fields: ":".join(fields), _ids, _ids, _users, _users)
_texts = st.text(max_size=12)
_permissions = st.integers(0, 0o777)


def _entries(modes: st.SearchStrategy[int]) -> st.SearchStrategy[Entry]:
    return st.builds(Entry, modes, st.integers(0, 2**63 - 1), _times, _owners, _texts)


regular_files = _entries(_permissions.map(lambda mode: stat.S_IFREG | mode))
directories = _entries(st.integers(0, 0o7777).map(lambda mode: stat.S_IFDIR | mode))
_special = st.sampled_from([stat.S_IFLNK, stat.S_IFIFO, stat.S_IFSOCK, stat.S_IFCHR, stat.S_IFBLK])
entries = regular_files | _entries(st.builds(int.__or__, _special, st.integers(0, 0o7777)))
uids = st.frozensets(st.integers(0, MAX_UID)).map(lambda values: array("I", sorted(values)))
_odd_names = st.frozensets(st.from_regex(rb"\A0[0-9]{0,9}\.\Z"), max_size=3).map(lambda found: tuple(sorted(found)))
_incarnations = st.builds(Incarnation, st.text("0123456789abcdef-\xff", min_size=1), *[st.integers(1, MAX_UID)] * 2)
folders = st.builds(
    Folder,
    path=paths,
    problem=st.just(0),
    attributes=st.none() | directories,
    messages=st.builds(MessageFiles.of, uids, _odd_names),
    metadata=st.dictionaries(_metadata, st.none() | entries, max_size=4),
    other_files=st.dictionaries(_strays, st.none() | entries, max_size=4),
    folders=st.frozensets(_listed, max_size=3).map(lambda found: tuple(sorted(found))),
    incarnation=st.none() | _incarnations,
    leftovers=st.lists(_leftovers, max_size=2).map(tuple),
    differing=st.just(frozenset()),
) | st.builds(lambda path, problem: Folder(path, problem), paths, st.integers(1, 200))


def leading_to(path: bytes) -> list[bytes]:
    """The root, and the directories from there to a path, its own last."""
    parts = path.split(b"/") if path else []
    return [b"/".join(parts[:depth]) for depth in range(len(parts) + 1)]


@st.composite
def above(draw: st.DrawFn, path: bytes) -> tuple[tuple[bytes, Entry], ...]:
    """Those directories with their attributes."""
    return tuple((one, draw(directories)) for one in leading_to(path))


#: Of whom no host has a name.
_acl_entries = st.tuples(st.sampled_from([2, 8]), st.integers(0, 7), st.integers(10**9, 2**32 - 2))
_acls = st.lists(_acl_entries, max_size=3).map(
    lambda found: struct.pack("<I", 2) + b"".join(struct.pack("<HHI", *entry) for entry in sorted(found))
)
attributes = st.builds(
    dict.__or__,
    st.dictionaries(
        st.text("abc.\xff", min_size=1, max_size=9).map("user.{}".format), st.binary(max_size=20), max_size=3
    ),
    st.dictionaries(st.sampled_from(ACLS), _acls),
)


@st.composite
def takens(draw: st.DrawFn) -> LockedFolder:
    folder = draw(folders)
    if folder.problem:
        return LockedFolder(folder)
    found = draw(st.lists(st.sampled_from(sorted(kinds.SNAPSHOT)), unique=True))
    files = tuple(File(name, draw(regular_files), draw(st.binary(max_size=200))) for name in found)
    leading = draw(above(folder.path))
    has_some = [path for path, _ in leading] + [join(folder.path, file.name) for file in files]
    extended = draw(st.dictionaries(st.sampled_from(has_some), attributes, max_size=3))
    return LockedFolder(folder, files, leading, tuple(extended.items()))


_owned = st.tuples(st.integers(1, MAX_UID), regular_files.map(lambda entry: entry._replace(extra="")))
questions = st.builds(Question, whole_paths, paths, st.lists(_owned, max_size=3).map(tuple))
removals = st.builds(
    Removal,
    path=paths,
    uids=uids,
    files=st.lists(names, max_size=3).map(tuple),
    folders=st.lists(names, max_size=3).map(tuple),
)
moves = st.builds(Move, st.tuples(whole_paths, paths), st.tuples(whole_paths, paths), uids)
_numbers = st.integers(0, 2**40)
_problems = st.builds(
    Problem,
    st.sampled_from(list(KINDS)),
    st.lists(st.integers(1, MAX_UID), max_size=5).map(tuple),
    st.binary(max_size=20).map(os.fsdecode),
)
audits = st.builds(
    Audited,
    path=paths,
    messages=_numbers,
    files=_numbers,
    bytes_read=_numbers,
    problems=st.lists(_problems, max_size=3).map(tuple),
    mailbox=st.binary(max_size=20),
)
