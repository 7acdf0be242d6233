"""A far side without python3: its shell and `find` list it. Deleting there is left to rsync."""

from __future__ import annotations

import errno
import io
import os
import re
import shlex
import stat
from collections.abc import Callable, Collection, Iterable, Iterator, Mapping, Sequence
from typing import IO, TypeVar

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.cyrus.mailbox import header, index
from cyrsync.ends import answers
from cyrsync.ends.inflated import GZIP, Inflated
from cyrsync.ends.link import Link
from cyrsync.ends.listing import MAX_BYTES, MAX_ITEM, Found, Listing
from cyrsync.ends.tree import Rights, Status, WithoutAgent
from cyrsync.errors import UnusableError, UsageError
from cyrsync.far import folder, owner_file, wire
from cyrsync.far.at_work import Cyrus, conf_of_words, is_directory, settings
from cyrsync.far.digests import Digests, Question, of_data
from cyrsync.far.finding import Audited
from cyrsync.far.folder import Entry, Folder, Incarnation, join
from cyrsync.far.message_files import MessageFiles
from cyrsync.far.wire import WireError

Answer = TypeVar("Answer")

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
# A number of bytes, and then the bytes themselves.
_INDEX = r"""if [ -f {path} ] && [ -r {path} ]; then
printf '%s\0' "$(($(wc -c <{path})))"; dd if={path} bs=65536 2>/dev/null; else printf '0\0'; fi
"""
_INDEXES = r"""
{{ {indexes}printf 'e\0'; }} 2>/dev/null | if command -v gzip >/dev/null 2>&1; then gzip -c; else cat; fi
"""


#: What a name may be so that neither a shell nor grep takes it for anything else.
_PLAIN_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_-]*")
#: What _ATTRIBUTES prints: users and groups may have blanks in their names, and every path begins with a dot.
_ENTRY = re.compile(
    rb"([A-Za-z?]) ([0-7]{1,6}) ([0-9]{1,20}) (-?[0-9]{1,20})(?:\.([0-9]{0,20}))? (.{1,1024}?) (\.|\./.*)\Z", re.DOTALL
)
_BLOCK = 1 << 16
_SIZE = re.compile(rb"[0-9]{1,12}\0?")
_MOST_INDEXES = 100  # asked for at once
_MAX_ID = (1 << 32) - 1  # of users and groups
_PID = re.compile(rb"[0-9]{1,7}")
#: Bytes of an answer to a question: what all processes of a host are called.
_MAX_ANSWER = 16 << 20
_STATUS = re.compile(rb"[0-9]{1,3}")
#: Files of settings, and Cyruses, of one host.
_MOST_CONFS = 1000


class PosixTree(WithoutAgent):
    """A tree listed by a POSIX shell that answers over a link."""

    wants_other = False

    def __init__(self, link: Link) -> None:
        self._link = link
        self.rights = Rights()

    def resolve(self, path: bytes) -> Status:
        """Return what stands at `path`, links resolved."""
        parent = path.rstrip(b"/").rpartition(b"/")[0] or (b"/" if path.startswith(b"/") else b".")
        self._link.send(
            _RESOLVE.format(root=_quote(path), parent=_quote(parent), owner=owner_file.NAME.decode()).encode("latin-1")
        )

        def read() -> Status:
            found = self._answer()
            self.rights = Rights(root=found.get(b"i") == b"0")
            if b"d" in found:
                text = owner_file.text_of(_whole(found[b"t"])) if b"t" in found else ""
                return Status(_real_path(found[b"d"]), exists=True, directory=True, parent=True, owner_file=text)
            where = path
            if b"p" in found:
                where = _real_path(found[b"p"]).rstrip(b"/") + b"/" + path.rstrip(b"/").rpartition(b"/")[2]
            return Status(where, exists=b"f" in found, directory=False, parent=b"p" in found)

        return self._checked(read)

    def numbers(self, names: Collection[str]) -> Mapping[str, int | None]:
        """Return the numbers that `user:NAME` and `group:NAME` have there, None for what is unknown."""
        asked = [name for name in sorted(names) if _PLAIN_NAME.fullmatch(name.partition(":")[2])]
        questions = [
            (_GROUP if name.startswith("group:") else _USER).format(name=name.partition(":")[2]) for name in asked
        ]
        self._link.send("".join([*questions, r"printf 'e\0'", "\n"]).encode("ascii"))
        return dict(zip(asked, self._checked(lambda: self._numbers(len(asked))), strict=True))

    def _numbers(self, count: int) -> list[int | None]:
        items = self._items(_MAX_ANSWER)
        found = [_text(next(items, b""), b"n") for _ in range(count)]
        _text(next(items, b""), b"e")
        return [wire.number(int(one), _MAX_ID) if one.isdigit() else None for one in found]

    def cyrus_at_work(self, roots: Sequence[bytes]) -> list[Cyrus]:
        """Return who works on one of these directories, as far as `ps` tells; real paths are compared."""
        confs: dict[bytes, int] = {}
        for line in self._ask(_PROCESSES):
            pid, *words = line.split() or [b""]
            conf = conf_of_words(words, lambda _: b"/") if words and _PID.fullmatch(pid) else None
            if conf is not None and len(confs) < _MOST_CONFS:
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
        while pending and len(seen) < _MOST_CONFS:
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
        return self._checked(lambda: _whole(self._answer()[b"l"]).split(b"\n")[:-1])

    def walk(self, root: bytes, users: frozenset[str], other: Iterable[Folder] = ()) -> Iterator[Folder]:
        """Yield the folders below `root`. `find` does not look for leftovers: their age is not to be had."""
        script = _FOLDER.format(header_size=header.READ_SIZE, index_size=index.READ_SIZE)
        self._link.send(
            _LIST.format(root=_quote(root), attributes=_ATTRIBUTES, folder=shlex.quote(script)).encode("latin-1")
        )
        tree = _Tree()
        status = self._checked(lambda: tree.read(self._listing()))
        if status != b"0" and not any(one.problem for one in tree.listing.found.values()):
            raise UnusableError(
                f"{self._link.name}: find could not read all of the tree (status {status.decode('ascii')}); "
                "install python3 there, which can name what failed"
            )
        for path, found, names in self._checked(lambda: list(tree.listing.in_order(users))):
            yield tree.folder(path, found, names)

    def digests(self, root: bytes, questions: Sequence[Question]) -> dict[bytes, Digests | None]:
        """Fetch indexes, and return what they say of messages; None where one cannot be read."""
        found: dict[bytes, Digests | None] = {}
        for start in range(0, len(questions), _MOST_INDEXES):
            asked = questions[start : start + _MOST_INDEXES]
            paths = [os.path.join(root, question.path, kinds.INDEX) for question in asked]
            script = _INDEXES.format(indexes="".join([_INDEX.format(path=_quote(path)) for path in paths]))
            self._link.send(script.encode("latin-1"))
            found.update(self._checked(lambda asked=asked: self._digests(asked)))  # type: ignore[misc]
        return found

    def _digests(self, questions: Sequence[Question]) -> dict[bytes, Digests | None]:
        stream = self._output()
        found = {question.path: of_data(_counted(stream), question.uids) for question in questions}
        list(_items(stream, 1, 2))
        self._end(stream)
        return found

    def to_disk(self, roots: Sequence[bytes]) -> None:
        """Wait until all that was written there is on its disks."""
        self._link.send(b"sync; printf 'e\\0'\n")
        self._checked(self._answer)

    def audit(self, root: bytes, content: bool) -> Iterator[Audited]:
        """Refuse: an agent is needed for that."""
        raise UsageError(f"{self._link.name}: an audit needs python3 there: audit it where it lies")

    def close(self) -> None:
        """End the shell."""
        self._link.close()

    def _checked(self, read: Callable[[], Answer]) -> Answer:
        return answers.checked(self._link, read)

    def _answer(self) -> dict[bytes, bytes]:
        """Return the items of an answer, which has one of each kind at the most."""
        found: dict[bytes, bytes] = {}
        for item in self._items(_MAX_ANSWER):
            if item[:1] in found:
                raise WireError("more than was asked for")
            found[item[:1]] = item[1:]
        return found

    def _items(self, longest: int) -> Iterator[bytes]:
        return _items(self._link.output, longest, 256 * longest)

    def _listing(self) -> Iterator[bytes]:
        """Yield the items of a listing, which may be compressed."""
        stream = self._output()
        yield from _items(stream, MAX_ITEM, MAX_BYTES)
        self._end(stream)

    def _output(self) -> IO[bytes]:
        """Return what comes, which may be compressed, as it is."""
        stream = self._link.output
        is_plain = stream.peek(1)[:1] != b"\x1f"  # type: ignore[attr-defined]
        return stream if is_plain else io.BufferedReader(Inflated(stream, GZIP), _BLOCK)

    def _end(self, stream: IO[bytes]) -> None:
        """See that what was compressed is at its end."""
        if stream is not self._link.output and stream.read(1):
            raise WireError("more than was asked for")


class _Tree:
    """What the items of a listing say."""

    def __init__(self) -> None:
        self.listing = Listing()
        self._attributes: dict[bytes, Entry | None] = {}

    def read(self, items: Iterable[bytes]) -> bytes:
        """Take all items, and return the status of `find`. Raise WireError, or another of wire.WRONG."""
        current: Found | None = None
        status = b""
        for item in items:
            kind, text = item[:1], item[1:]
            if kind == b"a":
                self.listing.count()
                path, entry = _attributes(text)
                self._attributes[path] = entry
            elif kind in (b"d", b"u"):
                problem = errno.EACCES if kind == b"u" else 0
                current = self.listing.add_folder(_relative(text), Found(problem=problem))
            elif kind == b"e":
                status = text
            elif current is None:
                raise WireError("something that is in no folder")
            elif kind == b"n":
                self._add_name(current, text)
            elif kind == b"h":
                current.header = _bytes(text, header.READ_SIZE)
            elif kind == b"x":
                current.index = _bytes(text, index.READ_SIZE)
            else:
                raise WireError(f"an item of an unknown kind: {wire.shown(item)}")
        if not _STATUS.fullmatch(status):
            raise WireError(f"no status: {wire.shown(status)}")
        return status

    def folder(self, path: bytes, found: Found, names: tuple[bytes, ...]) -> Folder:
        """Return a folder that has these sub-folders."""
        if found.problem:
            return Folder(path, problem=found.problem)
        row = bytes(found.messages)
        numbered = {name for name in names if kinds.is_message(name)}
        if numbered:
            row = b"".join([name for digits in row.split(b".")[:-1] if (name := digits + b".") not in numbered])
        others = {
            name: self._attributes.get(join(path, name))
            for name in found.others
            if not kinds.is_left_alone(name, at_root=not path)
            and join(path, name) not in self.listing.found
            and (found.header or name != kinds.HEADER)  # empty or unreadable: as good as none
        }
        uniqueid, head = header.uniqueid(found.header), index.head(found.index)
        return Folder(
            path,
            messages=MessageFiles(row),
            attributes=self._attributes.get(path),
            metadata={name: entry for name, entry in others.items() if kinds.is_metadata(name)},
            other_files={name: entry for name, entry in others.items() if not kinds.is_metadata(name)},
            folders=names,
            incarnation=Incarnation(uniqueid, *head) if uniqueid and head else None,
        )

    def _add_name(self, current: Found, name: bytes) -> None:
        if kinds.is_message(name):
            current.add_message(name)
            return
        self.listing.count()
        wire.unhidden([wire.checked_name(name)])
        current.others[name] = None


def _items(stream: IO[bytes], longest: int, most: int) -> Iterator[bytes]:
    """Yield items of so many bytes at the most, all in all `most`; the last begins with `e`.

    Raise WireError, or EOFError where the stream ends before.
    """
    rest = b""
    while True:
        data = stream.read1(_BLOCK)  # type: ignore[attr-defined]
        if not data:
            raise EOFError
        most -= len(data)
        *items, rest = (rest + data).split(b"\0")
        if most < 0 or len(rest) > longest:
            raise WireError("more than can be an answer")
        for item in items:
            yield item
            if item[:1] == b"e":
                return


def _counted(stream: IO[bytes]) -> bytes:
    """Return as many bytes as a number before them says. Raise WireError, or EOFError where the stream ends before."""
    digits = b""
    while not digits.endswith(b"\0"):
        byte = stream.read(1)
        if not byte:
            raise EOFError
        digits += byte
        if not _SIZE.fullmatch(digits):
            raise WireError(f"no size: {wire.shown(digits)}")
    return wire.read_data(stream, int(digits[:-1]), wire.MAX_FILE)


def _text(item: bytes, kind: bytes) -> bytes:
    """Return what an item of this kind says. Raise WireError for any other."""
    if item[:1] != kind:
        raise WireError(f"an item of another kind: {wire.shown(item)}")
    return item[1:]


def _whole(text: bytes) -> bytes:
    """Return what is before the x that keeps blank lines at an end. Raise WireError where there is none."""
    if not text.endswith(b"x"):
        raise WireError(f"an end that is none: {wire.shown(text[-20:])}")
    return text[:-1]


def _real_path(text: bytes) -> bytes:
    """Return what `pwd -P` printed. Raise WireError for what is no whole path."""
    path = _whole(text)[:-1]
    if not path.startswith(b"/") or not text.endswith(b"\nx"):
        raise WireError(f"no whole path: {wire.shown(text)}")
    return path


def _bytes(text: bytes, most: int) -> bytes:
    """Return the bytes that `od` printed."""
    found = bytes.fromhex(text.decode("ascii"))
    wire.number(len(found), most)
    return found


def _attributes(text: bytes) -> tuple[bytes, Entry | None]:
    """Read what GNU find printed of one entry; nothing is said of links and devices, rsync looks at those."""
    match = _ENTRY.match(text)
    if not match:
        raise WireError(f"no entry: {wire.shown(text)}")
    kind, mode, size, seconds, fraction, owner, path = match.groups()
    time = int(seconds) * 10**9 + int((fraction or b"0")[:9].ljust(9, b"0"))
    if kind == b"f":
        fields = [stat.S_IFREG | (int(mode, 8) & 0o777), int(size), time, _owner(os.fsdecode(owner)), ""]
        return _relative(path), folder.regular(fields)
    if kind == b"d":
        fields = [stat.S_IFDIR | int(mode, 8), int(size), time, _owner(os.fsdecode(owner)), ""]
        return _relative(path), folder.directory(fields)
    return _relative(path), None


def _owner(text: str) -> str:
    """Return an owner as all sides have it: `find` prints the number where there is no name."""
    uid, gid, user, group = text.split(":")
    names = [
        name if name != number and wire.is_owner_name(name) else "" for name, number in ((user, uid), (group, gid))
    ]
    return ":".join([uid, gid, *names])


def _relative(path: bytes) -> bytes:
    if path == b".":
        return b""
    if not path.startswith(b"./") or len(path) == 2:
        raise WireError(f"a path that leads elsewhere: {wire.shown(path)}")
    return wire.checked_path(path[2:])


def _quote(path: bytes) -> str:
    return shlex.quote(path.decode("latin-1"))
