"""rsync's filter rules, as far as they are about whole names that are no message files. Pure.

A run in several steps has to know itself what a rule leaves out: that is neither sent nor deleted.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from cyrsync.cyrus.mailbox import entry as kinds

#: `--filter=RULE` with neither modifiers nor a side: a letter or a word, a separator, the pattern (rsync's exclude.c).
_RULE = re.compile(r"(?:(-|exclude)|\+|include)[ _](.+)\Z", re.DOTALL)
#: `--exclude=- PATTERN`: the old way of writing a rule, with a blank.
_OLD_PREFIX = re.compile(r"[-+] ")
_TOKEN = re.compile(rb"\*+|\?|[^*?]", re.DOTALL)
_DIGITS, _DOT = frozenset(b"0123456789"), ord(".")


class Rule(NamedTuple):
    """One rule: a pattern, and whether names that match are left out or kept."""

    excludes: bool
    pattern: bytes
    directories_only: bool
    matcher: re.Pattern[bytes]

    def may_match_message(self) -> bool:
        """Return whether a message file could match: then a run in steps cannot honour the rule."""
        return self.excludes and not self.directories_only and _may_match_message(_last(self.pattern))

    def may_match_snapshot_metadata(self) -> bool:
        """Return whether a header or an index could match: a mailbox cannot be known without."""
        tail = re.compile(_regex(_last(self.pattern)) + rb"\Z", re.DOTALL)
        names = (kinds.HEADER, kinds.INDEX)
        return self.excludes and not self.directories_only and any(map(tail.match, names))


@dataclass(frozen=True, slots=True)
class Rules:
    """The rules of a line: the first that matches decides. `words` spell them for rsync."""

    rules: tuple[Rule, ...] = ()
    words: tuple[str, ...] = ()
    #: How the tree's root is named in the transfer, as patterns see it.
    below: bytes = b""
    _known: dict[tuple[bytes, bool], bool] = field(default_factory=dict, compare=False)

    def __bool__(self) -> bool:
        return bool(self.rules)

    def root(self) -> str:
        """Return how a pattern spells the tree's root: "" for that of the transfer."""
        if not self.below:
            return ""
        literal = re.sub(rb"([*?\[\\])", rb"\\\1", self.below) if re.search(rb"[*?\[]", self.below) else self.below
        return "/" + os.fsdecode(literal)

    def excludes(self, path: bytes, *, directory: bool) -> bool:
        """Return whether a path below the tree's root is left out, by itself or with a directory that it is in."""
        if not self.rules or not path:
            return False
        parent = path.rpartition(b"/")[0]
        if parent and self.excludes_directory(parent):
            return True
        return self._decide(path, directory)

    def excludes_directory(self, path: bytes) -> bool:
        """Tell the same of a directory, and remember it."""
        key = (path, True)
        if key not in self._known:
            self._known[key] = self.excludes(path, directory=True)
        return self._known[key]

    def _decide(self, path: bytes, directory: bool) -> bool:
        whole = b"/" + self.below + b"/" + path if self.below else b"/" + path
        for rule in self.rules:
            if (directory or not rule.directories_only) and rule.matcher.search(whole):
                return rule.excludes
        return False


#: Nothing is left out.
NO_RULES = Rules()


def parse(option: str, value: str) -> Rule | None:
    """Return the rule of `--exclude`, `--include` or `--filter`; None for one that a run in steps cannot honour."""
    if option == "filter":
        found = _RULE.match(value)
        return _rule(bool(found[1]), found[2]) if found else None
    if _OLD_PREFIX.match(value):
        return _rule(value[0] == "-", value[2:])
    return None if value.startswith("!") else _rule(option == "exclude", value)


def _rule(excludes: bool, text: str) -> Rule | None:
    pattern = os.fsencode(text)
    # `dir/***` is the directory with all that is in it; an excluded one is never looked into.
    whole_tree = pattern.endswith(b"/***")
    if whole_tree and not excludes:
        return None
    bare = pattern[:-4] if whole_tree else pattern.removesuffix(b"/")
    if not bare.strip(b"/") or re.search(rb"[\[\\]|//", bare):
        return None
    # A pattern that begins with `**` matches the slash before a path's first name, too.
    anchor = b"" if bare.startswith(b"**") else rb"\A/" if bare.startswith(b"/") else b"/"
    matcher = re.compile(anchor + _regex(bare.removeprefix(b"/")) + rb"\Z", re.DOTALL)
    return Rule(excludes, bare, bare != pattern, matcher)


def _regex(pattern: bytes) -> bytes:
    return b"".join(_piece(owner_file) for owner_file in _TOKEN.findall(pattern))


def _piece(owner_file: bytes) -> bytes:
    if owner_file.startswith(b"*"):
        return b"[^/]*" if owner_file == b"*" else b".*"
    return b"[^/]" if owner_file == b"?" else re.escape(owner_file)


def _last(pattern: bytes) -> bytes:
    """Return the pattern of a path's last name: `**` may match a slash, and the beginning of that name."""
    tail = pattern.rpartition(b"/")[2]
    return b"*" + tail.rpartition(b"**")[2] if b"**" in tail else tail


def _may_match_message(pattern: bytes) -> bool:
    """Return whether a pattern for a name matches some name of digits and one dot at the end."""
    owner_files: Sequence[bytes] = _TOKEN.findall(pattern)
    #: After how many owner files, and after what of a name: 0 nothing, 1 digits, 2 all of it.
    states = {(0, 0)}
    seen: set[tuple[int, int]] = set()
    while states:
        at, stage = state = states.pop()
        if state in seen:
            continue
        seen.add(state)
        if at == len(owner_files):
            if stage == 2:
                return True
            continue
        owner_file = owner_files[at]
        if owner_file.startswith(b"*"):
            states.add((at + 1, stage))
            states.update((at, after) for after in _after(stage, None))
        else:
            states.update((at + 1, after) for after in _after(stage, None if owner_file == b"?" else owner_file[0]))
    return False


def _after(stage: int, byte: int | None) -> Iterable[int]:
    """Yield what a name may be after one more byte; None: any."""
    if stage < 2 and (byte is None or byte in _DIGITS):
        yield 1
    if stage == 1 and (byte is None or byte == _DOT):
        yield 2
