"""A far side without python3: its shell and `find` list it. Deleting there is left to rsync."""

from __future__ import annotations

import errno
import re
import shlex
import stat
import zlib
from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from cyrsync.audit.finding import Audited
from cyrsync.cyrus import entry as kinds
from cyrsync.cyrus import header, index
from cyrsync.cyrus.user import user_of
from cyrsync.errors import ConnectionFailed, UnusableError, UsageError
from cyrsync.tree import token
from cyrsync.tree.at_work import Cyrus, conf_of_words, is_directory, settings
from cyrsync.tree.folder import Entry, Folder, Incarnation, join, sort_key
from cyrsync.tree.link import Link
from cyrsync.tree.message_files import MessageFiles, sort_out
from cyrsync.tree.side import Rights, Status, WithoutAgent

# Every answer is a row of items, each a letter and its text, ended by NUL; the last is `e`. Paths are
# quoted for the shell that reads them here, a POSIX sh: no other shell ever sees one.
_RESOLVE = r"""
if cd -- {root} 2>/dev/null; then printf 'd%s\0' "$(pwd -P; echo x)"
  if [ -f {owner} ]; then printf 't%s\0' "$(dd if={owner} bs=65536 count=1 2>/dev/null; echo x)"; fi
elif [ -e {root} ] || [ -h {root} ]; then printf 'f\0'
elif [ -d {parent} ]; then printf 'p%s\0' "$(cd -- {parent} && pwd -P; echo x)"
fi
id -u | {{ read -r u; printf 'i%s\0' "$u"; }}
printf 'e\0'
"""
_USER = r"""printf 'n%s\0' "$(id -u {name} 2>/dev/null)"
"""
_GROUP = r"""printf 'n%s\0' "$({{ getent group {name} || grep ^{name}: /etc/group; }} 2>/dev/null | cut -d: -f3)"
"""
# What follows is a line of text each; the x keeps what is behind the last.
_LINES = r"""
printf 'l%s\0' "$({script}; echo x)"; printf 'e\0'
"""
_PROCESSES = "ps -A -o pid= -o args= 2>/dev/null || ps -w 2>/dev/null"
_READ = "if [ -f {path} ]; then dd if={path} bs=65536 count=16 2>/dev/null; fi"
_REAL = "cd -- {path} 2>/dev/null && pwd -P"
# `*` leaves out hidden names, and printf is built in, so a folder may be of any size.
_FOLDER = r"""
for d do
  if [ -r "$d" ] && [ -x "$d" ]; then
    printf "d%s\0" "$d"
    ( cd "$d" || exit
      set -- *
      if [ $# -gt 1 ] || [ -e "$1" ] || [ -h "$1" ]; then printf "n%s\0" "$@"; fi
      if [ -f cyrus.header ] && [ -f cyrus.index ]; then
        printf "h%s\0" "$(od -An -v -tx1 -N {header_size} cyrus.header)"
        printf "x%s\0" "$(od -An -v -tx1 -N {index_size} cyrus.index)"
      fi )
  else printf "u%s\0" "$d"
  fi
done
"""
# GNU find tells what `lstat` would of all that is no message.
_ATTRIBUTES = r"""find . -name '.?*' -prune -o ! -name '[0-9]*.' -printf 'a%y %m %s %T@ %U:%G:%u:%g %p\0'"""
_LIST = r"""
{{ cd -- {root} && {{ ! find . -prune -printf '' || {attributes}; }} &&
find . -name '.?*' -prune -o -type d -exec sh -c {folder} sh {{}} +; printf 'e%s\0' $?; }} \
2>/dev/null | if command -v gzip >/dev/null 2>&1; then gzip -c; else cat; fi
"""


#: What a name may be so that neither a shell nor grep takes it for anything else.
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")


class PosixSide(WithoutAgent):
    """A tree listed by a POSIX shell that answers over a link."""

    can_remove = False
    can_take = False
    wants_other = False

    def __init__(self, link: Link) -> None:
        self._link = link
        self.rights = Rights()

    def resolve(self, path: bytes) -> Status:
        """Return what stands at `path`, links resolved."""
        parent = path.rstrip(b"/").rpartition(b"/")[0] or (b"/" if path.startswith(b"/") else b".")
        self._link.send(
            _RESOLVE.format(root=_quote(path), parent=_quote(parent), owner=token.NAME.decode()).encode("latin-1")
        )
        found = {item[:1]: item[1:] for item in self._items(packed=False)}
        self.rights = Rights(root=found.get(b"i") == b"0")
        real = found.get(b"d")
        if real is not None:
            text = token.text_of(found[b"t"][:-1]) if b"t" in found else ""
            return Status(real[:-2], exists=True, directory=True, parent=True, token=text)
        above = found.get(b"p", b"")[:-2]
        where = above.rstrip(b"/") + b"/" + path.rstrip(b"/").rpartition(b"/")[2] if above else path
        return Status(where, exists=b"f" in found, directory=False, parent=b"p" in found)

    def numbers(self, names: Collection[str]) -> Mapping[str, int | None]:
        """Return the numbers that `user:NAME` and `group:NAME` have there, None for what is unknown."""
        asked = [name for name in sorted(names) if _PLAIN_NAME.fullmatch(name.partition(":")[2])]
        questions = [
            (_GROUP if name.startswith("group:") else _USER).format(name=name.partition(":")[2]) for name in asked
        ]
        self._link.send("".join([*questions, r"printf 'e\0'", "\n"]).encode("ascii"))
        answers = [item[1:] for item in self._items(packed=False) if item[:1] == b"n"]
        return {name: int(found) if found.isdigit() else None for name, found in zip(asked, answers, strict=True)}

    def cyrus_at_work(self, roots: Sequence[bytes]) -> list[Cyrus]:
        """Return who works on one of these directories, as far as `ps` tells; real paths are compared."""
        confs: dict[bytes, int] = {}
        for line in self._ask(_PROCESSES):
            pid, *words = line.split()
            conf = conf_of_words(words, lambda _: b"/") if words else None
            if conf is not None and pid.isdigit():
                confs.setdefault(conf, int(pid))
        ours = [(root, self._real(root)) for root in roots] if confs else []
        found = []
        for conf, number in confs.items():
            theirs = [self._real(directory) for directory in self._directories(conf)]
            touched = [
                root for root, real in ours if any(real.startswith(one) or one.startswith(real) for one in theirs)
            ]
            found += [Cyrus(number, conf, root) for root in touched[:1]]
        return found

    def _directories(self, conf: bytes) -> Iterator[bytes]:
        """Yield what an imapd.conf names."""
        pending, seen = [conf], set[bytes]()
        while pending:
            path = pending.pop()
            text = b"" if path in seen else b"\n".join(self._ask(_READ.format(path=_quote(path))))
            seen.add(path)
            for key, value in settings(text):
                if key == b"@include":
                    pending.append(value)
                elif is_directory(key, value):
                    yield value

    def _real(self, path: bytes) -> bytes:
        """Return the real path of a directory, with a slash behind it; of one that is not there, the path as it is."""
        return b"\n".join(self._ask(_REAL.format(path=_quote(path))) or [path]).rstrip(b"/") + b"/"

    def _ask(self, script: str) -> list[bytes]:
        """Return the lines that a command prints."""
        self._link.send(_LINES.format(script=script).encode("latin-1"))
        found = {item[:1]: item[1:] for item in self._items(packed=False)}
        return found[b"l"].split(b"\n")[:-1]

    def walk(self, root: bytes, users: frozenset[str], other: Iterable[Folder] = ()) -> Iterator[Folder]:
        """Yield the folders below `root`. `find` does not look for leftovers: their age is not to be had."""
        script = _FOLDER.format(header_size=header.READ_SIZE, index_size=index.READ_SIZE)
        self._link.send(
            _LIST.format(root=_quote(root), attributes=_ATTRIBUTES, folder=shlex.quote(script)).encode("latin-1")
        )
        found: dict[bytes, _Found] = {}
        attributes: dict[bytes, Entry | None] = {}
        current = _Found()
        status = b""
        for item in self._items(packed=True):
            kind, text = item[:1], item[1:]
            if kind == b"a":
                path, entry = _attributes(text)
                attributes[path] = entry
            elif kind in (b"d", b"u"):
                current = found[_relative(text)] = _Found(readable=kind == b"d")
            elif kind == b"n":
                current.names.append(text)
            elif kind == b"h":
                current.header = bytes.fromhex(text.decode("ascii"))
            elif kind == b"x":
                current.index = bytes.fromhex(text.decode("ascii"))
            else:
                status = text
        if status != b"0" and not any(not one.readable for one in found.values()):
            raise UnusableError(
                f"{self._link.name}: find could not read all of the tree (status {status.decode('ascii', 'replace')}); "
                "install python3 there, which can tell what failed"
            )
        for path in sorted(found, key=sort_key):
            if not users or user_of(path) in users or not found[path].readable:
                yield _folder(path, found, attributes)

    def to_disk(self, roots: Sequence[bytes]) -> None:
        """Wait until all that was written there is on its disks."""
        self._link.send(b"sync; printf 'e\\0'\n")
        for _ in self._items(packed=False):
            pass

    def audit(self, root: bytes, content: bool) -> Iterator[Audited]:
        """Refuse: an agent is needed for that."""
        raise UsageError(f"{self._link.name}: an audit needs python3 there: audit it where it lies")

    def close(self) -> None:
        """End the shell."""
        self._link.close()

    def _items(self, *, packed: bool) -> Iterator[bytes]:
        """Yield the items of an answer, whose last begins with `e`."""
        rest = b""
        inflate = None
        first = packed
        while True:
            data = self._link.output.read1(1 << 16)  # type: ignore[attr-defined]
            if not data:
                raise self._link.failure()
            if first:
                inflate, first = zlib.decompressobj(31) if data[:1] == b"\x1f" else None, False
            try:
                *items, rest = (rest + (inflate.decompress(data) if inflate else data)).split(b"\0")
            except zlib.error as error:
                raise ConnectionFailed(f"{self._link.name}: the answer was cut short: {error}") from error
            for item in items:
                yield item
                if item[:1] == b"e":
                    return


@dataclass(slots=True)
class _Found:
    readable: bool = True
    names: list[bytes] = field(default_factory=list)
    header: bytes = b""
    index: bytes = b""


def _attributes(text: bytes) -> tuple[bytes, Entry | None]:
    """Read what GNU find printed of one entry; nothing is said of links and devices, rsync looks at those."""
    kind, mode, size, time, owner, path = text.split(b" ", 5)
    formats = {b"f": stat.S_IFREG, b"d": stat.S_IFDIR}
    if kind not in formats:
        return _relative(path), None
    seconds, _, fraction = time.partition(b".")
    nanoseconds = int(seconds) * 10**9 + int(fraction[:9].ljust(9, b"0"))
    return _relative(path), Entry(
        formats[kind] | int(mode, 8), int(size), nanoseconds, _owner(owner.decode("latin-1")), ""
    )


def _owner(text: str) -> str:
    """Return an owner as all sides have it: `find` prints the number where there is no name."""
    uid, gid, user, group = text.split(":")
    return ":".join([uid, gid, user if user != uid else "", group if group != gid else ""])


def _folder(path: bytes, all_found: dict[bytes, _Found], attributes: dict[bytes, Entry | None]) -> Folder:
    found = all_found[path]
    if not found.readable:
        return Folder(path, problem=errno.EACCES)
    below = [name for name in found.names if join(path, name) in all_found]
    directories = set(below)
    files = [name for name in found.names if name not in directories]
    row, others = sort_out(files)
    if found.header == b"":
        # Empty or unreadable: as good as none.
        others = [name for name in others if name != kinds.HEADER]
    others = [name for name in others if not kinds.is_left_alone(name, at_root=not path)]
    uniqueid, head = header.uniqueid(found.header), index.head(found.index)
    return Folder(
        path,
        messages=MessageFiles(row),
        attributes=attributes.get(path),
        metadata={name: attributes.get(join(path, name)) for name in others if kinds.is_metadata(name)},
        strays={name: attributes.get(join(path, name)) for name in others if not kinds.is_metadata(name)},
        folders=tuple(sorted(n for n in below if not kinds.is_left_alone(n, at_root=not path))),
        incarnation=Incarnation(uniqueid, *head) if uniqueid and head else None,
    )


def _relative(path: bytes) -> bytes:
    return path[2:] if path != b"." else b""


def _quote(path: bytes) -> str:
    return shlex.quote(path.decode("latin-1"))
