"""A far side without python3: its shell and `find` list it. Deleting there is left to rsync."""

from __future__ import annotations

import io
import os
import re
import shlex
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from typing import IO, TypeVar

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.cyrus.mailbox import header, index
from cyrsync.ends import answers, shell_items
from cyrsync.ends.find_listing import FindListing
from cyrsync.ends.inflated import GZIP, Inflated
from cyrsync.ends.link import Link
from cyrsync.ends.listing import MAX_BYTES, MAX_ITEM
from cyrsync.ends.tree import NO_OTHER, Other, Rights, Status, WithoutAgent
from cyrsync.errors import UnusableError, UsageError
from cyrsync.far import owner_file, wire
from cyrsync.far.at_work import Cyrus, conf_of_words, is_directory, settings
from cyrsync.far.digests import Digests, Question, of_data
from cyrsync.far.finding import Audited
from cyrsync.far.folder import Folder
from cyrsync.far.wire import WireError

Answer = TypeVar("Answer")

# Every answer is a row of items (shell_items.py). Paths are quoted for the shell that reads them here, a POSIX sh: no
# other shell ever sees one.
_RESOLVE = r"""
if cd -- {root} 2>/dev/null; then printf 'd%s\0' "$(pwd -P; echo x)"
  if [ -f {owner} ]; then printf 't%s\0' "$(dd if={owner} bs=65536 count=1 2>/dev/null; echo x)"; fi
  printf 'b%s\0' "$(cat /proc/sys/kernel/random/boot_id 2>/dev/null)"
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
_BLOCK = 1 << 16
_MOST_INDEXES = 100  # asked for at once
_MAX_ID = (1 << 32) - 1  # of users and groups
_PID = re.compile(rb"[0-9]{1,7}")
#: Bytes of an answer to a question: what all processes of a host are called.
_MAX_ANSWER = 16 << 20
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
                text = owner_file.text_of(shell_items.whole(found[b"t"])) if b"t" in found else ""
                root = shell_items.real_path(found[b"d"])
                boot = wire.text(found.get(b"b", b"").decode("ascii", "replace"), wire.MAX_BOOT)
                return Status(root, exists=True, directory=True, parent=True, owner_file=text, boot=boot)
            where = path
            if b"p" in found:
                where = shell_items.real_path(found[b"p"]).rstrip(b"/") + b"/" + path.rstrip(b"/").rpartition(b"/")[2]
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
        found = [shell_items.text(next(items, b""), b"n") for _ in range(count)]
        shell_items.text(next(items, b""), b"e")
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
        return self._checked(lambda: shell_items.whole(self._answer()[b"l"]).split(b"\n")[:-1])

    def walk(self, root: bytes, users: frozenset[str], other: Other = NO_OTHER) -> Iterator[Folder]:
        """Yield the folders below `root`. `find` does not look for leftovers: their age is not to be had."""
        script = _FOLDER.format(header_size=header.READ_SIZE, index_size=index.READ_SIZE)
        self._link.send(
            _LIST.format(root=_quote(root), attributes=_ATTRIBUTES, folder=shlex.quote(script)).encode("latin-1")
        )
        tree = FindListing()
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
        found = {question.path: of_data(shell_items.counted(stream), question.uids) for question in questions}
        list(shell_items.read(stream, 1, 2))
        self._end(stream)
        return found

    def to_disk(self, roots: Sequence[bytes]) -> None:
        """Wait until all that was written there is on its disks."""
        self._link.send(b"sync; printf 'e\\0'\n")
        self._checked(self._answer)

    def audit(self, root: bytes, content: bool) -> Iterator[Audited]:
        """Refuse: an agent is needed for that."""
        raise UsageError(
            f"{self._link.name}: an audit needs python3 there: install it, or run `cyrsync verify` on that host"
        )

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
        return shell_items.read(self._link.output, longest, 256 * longest)

    def _listing(self) -> Iterator[bytes]:
        """Yield the items of a listing, which may be compressed."""
        stream = self._output()
        yield from shell_items.read(stream, MAX_ITEM, MAX_BYTES)
        self._end(stream)

    def _output(self) -> IO[bytes]:
        """Return what comes, which may be compressed, as it is."""
        stream = self._link.output
        is_plain = stream.peek(1)[:1] != b"\x1f"  # type: ignore[attr-defined]
        return stream if is_plain else io.BufferedReader(Inflated(stream, self._link.see_work, GZIP), _BLOCK)

    def _end(self, stream: IO[bytes]) -> None:
        """See that what was compressed is at its end."""
        if stream is not self._link.output and stream.read(1):
            raise WireError("more than was asked for")


def _quote(path: bytes) -> str:
    return shlex.quote(path.decode("latin-1"))
