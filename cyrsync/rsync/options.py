"""Reading an rsync command line as rsync's popt does, and telling whether a run in steps can honour it. Pure.

The walk engine runs rsync twice, on lists of its own (new messages, then changed metadata), and deletes by
itself. A line fits when the replica ends as that rsync would have left it; any other goes to plain rsync.
"""

from __future__ import annotations

import posixpath
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.rsync import deletion_lines, filters
from cyrsync.rsync.deletion_lines import DeletionLines
from cyrsync.rsync.filters import Rules
from cyrsync.rsync.option_table import KNOWN, LONG, SHORT, Known, Role, Takes
from cyrsync.rsync.preserve import Preserve
from cyrsync.rsync.rate import Rate

#: What an option switches on besides itself.
_IMPLIED: Mapping[str, tuple[str, ...]] = {
    "archive": ("recursive", "links", "perms", "times", "group", "owner", "devices", "specials"),
    "D": ("devices", "specials"),
    "P": ("partial", "progress"),
    "acls": ("perms",),
    "usermap": ("owner",),
    "groupmap": ("group",),
}
#: The moments to delete at; rsync refuses two of them on one line.
_DELETE_WHEN: Mapping[str, str] = {
    "delete-before": "before",
    "delete-during": "during",
    "delete-delay": "during",
    "delete-after": "after",
}
_DELETE = frozenset({"delete", *_DELETE_WHEN})
_INT_MIN, _INT_MAX = -(2**31), 2**31 - 1
#: strtoll's base 0: hexadecimal, octal, decimal.
_NUMBER = re.compile(r"\s*([+-]?)(?:0x([0-9a-f]+)|(0[0-7]*)|([1-9][0-9]*))\Z", re.ASCII | re.IGNORECASE)
_FILTERS = frozenset({"exclude", "include", "filter"})


class Option(NamedTuple):
    """One option as given: its oldest long name ("no-perms" for `--no-p`), and words that spell it again."""

    name: str
    value: str | None
    words: tuple[str, ...]


class RsyncLine(NamedTuple):
    """An rsync command line; `unknown` is the word at which reading stopped, for rsync itself to judge."""

    options: tuple[Option, ...]
    operands: tuple[str, ...]
    unknown: str | None


@dataclass(frozen=True, slots=True)
class Settings:
    """What the options amount to for the walk engine."""

    recursive: bool
    delete: bool
    max_delete: int | None
    dry_run: bool
    preserve: Preserve
    compress: bool
    bwlimit: Rate | None
    rsh: str | None
    rsync_path: str | None
    verbose: int
    quiet: bool
    itemize: bool
    out_format: str | None
    stats: bool
    progress: bool
    timeout: int | None  # seconds
    own_quick_check: bool
    rules: Rules
    ignore_errors: bool
    one_file_system: bool
    size_only: bool
    old_args: bool
    protect_args: bool
    delete_after: bool
    deletions: DeletionLines
    passed: tuple[str, ...]
    connection: tuple[str, ...]


def parse(words: Sequence[str]) -> RsyncLine:
    """Read the words after `rsync`, up to the first that rsync would refuse or that is not in the table."""
    options: list[Option] = []
    operands: list[str] = []
    ahead = iter(words)
    for word in ahead:
        if word == "--":
            operands.extend(ahead)
        elif word == "-" or not word.startswith("-"):
            operands.append(word)
        else:
            read = _long(word[2:], ahead) if word.startswith("--") else _cluster(word[1:], ahead)
            if read is None:
                return RsyncLine(tuple(options), tuple(operands), word)
            options.extend(read)
    return RsyncLine(tuple(options), tuple(operands), None)


def settings(line: RsyncLine) -> Settings:
    """Work out what holds after all options; a later one overrides an earlier, as in rsync."""
    on = _switched_on(line.options)
    values = _last_values(line.options)
    return Settings(
        recursive="recursive" in on,
        delete=bool(_DELETE & on),
        max_delete=_max_delete(values.get("max-delete")),
        dry_run="dry-run" in on,
        preserve=_preserve(on),
        compress=_compresses(line.options),
        bwlimit=Rate.parse(values["bwlimit"]) if "bwlimit" in on else None,
        rsh=values.get("rsh"),
        rsync_path=values.get("rsync-path"),
        verbose=_verbosity(line.options),
        quiet="quiet" in on,
        itemize="itemize-changes" in on,
        out_format=values.get("out-format"),
        stats="stats" in on,
        progress="progress" in on,
        own_quick_check=not any(KNOWN[name].role is Role.COMPARE for name in on),
        timeout=_number(values["timeout"]) if "timeout" in on else None,
        rules=_rules(line.options),
        ignore_errors="ignore-errors" in on,
        one_file_system="one-file-system" in on,
        size_only="size-only" in on,
        old_args="old-args" in on,
        protect_args="protect-args" in on,
        delete_after="delete-after" in on,
        deletions=_deletion_lines(line.options, on, values),
        passed=(*_words(_but_rates(line.options), set(Role) - {Role.OWN}), *_beside(on, values)),
        connection=_words(line.options, {Role.REACH}),
    )


def for_reading(words: Sequence[str]) -> tuple[str, ...]:
    """Return the words, each an option, without those by which rsync prints more, less or elsewhere."""
    return tuple(word for word in words if not any(KNOWN[one.name].role is Role.PRINT for one in parse([word]).options))


def to_reach(words: Sequence[str]) -> tuple[str, ...]:
    """Return the words that any rsync needs that talks to the same far end."""
    return _words(parse(words).options, {Role.REACH})


def unfit(line: RsyncLine) -> str | None:
    """Return in one clause why plain rsync must run the line; None if the walk engine can."""
    on = _switched_on(line.options)
    if not line.operands and "human-readable" in on:
        return "-h with nothing else asks for rsync's help"
    return _unfit_option(line)


def unfit_extra(line: RsyncLine) -> str | None:
    """Say why the words cannot follow `--` of `cyrsync sync`, which gives them to rsync; None if they can."""
    if line.operands:
        return f"{line.operands[0]} is no option: the source and the destination stand before --"
    for option in line.options:
        if option.name in _DELETE:
            return "give --delete to cyrsync itself, before --"
        if option.name in ("max-delete", "dry-run"):
            return f"give --{option.name} to cyrsync itself, before --"
    archive = _option(KNOWN["archive"], None)
    return _unfit_option(RsyncLine((archive, *line.options), line.operands, line.unknown))


def _long(text: str, ahead: Iterator[str]) -> list[Option] | None:
    name, equals, value = text.partition("=")
    known = LONG.get(name)
    if known is None:
        return None
    if known.takes is Takes.NOTHING:
        return None if equals else [_option(known, None)]
    return _valued(known, value if equals else next(ahead, None))


def _cluster(text: str, ahead: Iterator[str]) -> list[Option] | None:
    options: list[Option] = []
    for at, flag in enumerate(text, start=1):
        known = SHORT.get(flag)
        if known is None:
            return None
        if known.takes is not Takes.NOTHING:
            # The rest of the word is the value, less one "=" (-e=ssh); without a rest it is the next word.
            rest = text[at:]
            valued = _valued(known, rest.removeprefix("=") if rest else next(ahead, None))
            return None if valued is None else [*options, *valued]
        options.append(_option(known, None))
    return options


def _valued(known: Known, value: str | None) -> list[Option] | None:
    if value is None or (known.takes is Takes.NUMBER and _number(value) is None):
        return None
    return [_option(known, value)]


def _option(known: Known, value: str | None) -> Option:
    # -D, -F and -P have no long name.
    word = f"--{known.name}" if known.name in LONG else f"-{known.name}"
    return Option(known.name, value, (word if value is None else f"{word}={value}",))


def _number(text: str) -> int | None:
    if not text:
        return 0
    if (match := _NUMBER.match(text)) is None:
        return None
    sign, hexadecimal, octal, decimal = match.groups()
    number = int(hexadecimal, 16) if hexadecimal else int(octal, 8) if octal else int(decimal)
    number = -number if sign == "-" else number
    return number if _INT_MIN <= number <= _INT_MAX else None


def _switched_on(options: Sequence[Option]) -> set[str]:
    on: set[str] = set()
    for option in options:
        known = KNOWN[option.name]
        if option.name == "no-D":
            on -= {"D", *_IMPLIED["D"]}
        elif not known.on or (option.name, option.value) == ("iconv", "-"):
            # What the subject implied stays: --no-A leaves -p in force.
            on.discard(known.subject)
        else:
            on.update((option.name, *_IMPLIED.get(option.name, ())))
            if option.name == "chown":
                user, _, group = (option.value or "").partition(":")
                on.update(name for name, given in (("owner", user), ("group", group)) if given)
    return on


def _last_values(options: Sequence[Option]) -> dict[str, str]:
    return {option.name: option.value for option in options if option.value is not None}


def _but_rates(options: Sequence[Option]) -> Sequence[Option]:
    """Return the options without --bwlimit, if we can read all that is said of it: what we cannot, rsync refuses."""
    rates = [option for option in options if KNOWN[option.name].subject == "bwlimit"]
    read = all(option.value is None or Rate.parse(option.value) for option in rates)
    return [option for option in options if option not in rates] if read else options


def _words(options: Sequence[Option], roles: set[Role]) -> tuple[str, ...]:
    return tuple(word for option in options if KNOWN[option.name].role in roles for word in option.words)


def _verbosity(options: Sequence[Option]) -> int:
    verbose = 0
    for option in options:
        if option.name == "verbose":
            verbose += 1
        elif option.name == "no-verbose":
            verbose = 0
    return verbose


def _max_delete(value: str | None) -> int | None:
    # rsync keeps INT_MIN for "no limit", and reads any other negative number as "delete nothing".
    number = None if value is None else _number(value)
    return None if number is None or number == _INT_MIN else max(number, 0)


def _compresses(options: Sequence[Option]) -> bool:
    asked, choice, level = False, "auto", None
    for option in options:
        match option.name, option.value:
            case "compress", _:
                asked = True
            case "old-compress" | "new-compress", _:
                choice = "zlib"
            case "compress-choice", str(value):
                choice = value.lower()
            case "compress-level", str(value):
                level = _number(value)
            case "no-compress", _:
                asked, choice = False, "auto"
    # A choice or a level asks for compression as well, save "none" and 0.
    return (asked or choice != "auto" or level is not None) and choice != "none" and level != 0


def _unfit_option(line: RsyncLine) -> str | None:
    if line.unknown is not None:
        return f"{line.unknown} is no option, or has no value, that cyrsync can read"
    on = _switched_on(line.options)
    for option in line.options:
        if option.name in on and (reason := KNOWN[option.name].reason):
            return f"{_option(KNOWN[option.name], None).words[0]} {reason}"
    if "recursive" not in on:
        return "without --recursive or --archive rsync does not walk the tree"
    return _unfit_together(line.options, on)


def _unfit_together(options: Sequence[Option], on: set[str]) -> str | None:
    values = _last_values(options)
    if len({_DELETE_WHEN[name] for name in on & _DELETE_WHEN.keys()}) > 1:
        return "rsync takes only one of --delete-before, --delete-during and --delete-after"
    if values.get("password-file") == "-":
        return "--password-file=- can be read once, and cyrsync runs rsync more than once"
    for name in ("out-format", "log-file-format"):
        if _DELETE & on and (escape := deletion_lines.unknown_escape(values.get(name))):
            return f"--{name}: only rsync knows what {escape} is"
    for option in options:
        rule = filters.parse(option.name, option.value or "") if option.name in _FILTERS else None
        if option.name in _FILTERS and rule is None:
            return f"{option.words[0]} is a rule that only rsync can apply"
        if rule and rule.may_match_message():
            return f"{option.words[0]} is about messages, too"
        if rule and rule.may_match_snapshot_metadata():
            return f"{option.words[0]} leaves out what a mailbox is known by"
    return None


def _deletion_lines(options: Sequence[Option], on: set[str], values: Mapping[str, str]) -> DeletionLines:
    return deletion_lines.deletion_lines(
        verbose=_verbosity(options),
        quiet="quiet" in on,
        itemize="itemize-changes" in on,
        progress="progress" in on,
        info=[option.value or "" for option in options if option.name == "info"],
        out_format=values.get("out-format"),
        log_file=values.get("log-file"),
        log_format=values.get("log-file-format"),
        as_they_are="8-bit-output" in on,
    )


def _preserve(on: set[str]) -> Preserve:
    return Preserve(
        perms="perms" in on,
        owner="owner" in on,
        group="group" in on,
        times="times" in on,
        dir_times="times" in on and "omit-dir-times" not in on,
        links="links" in on,
        devices=bool({"devices", "specials"} & on),
        numeric_ids="numeric-ids" in on,
        acls="acls" in on,
        xattrs="xattrs" in on,
    )


def _rules(options: Sequence[Option]) -> Rules:
    given = [option for option in options if option.name in _FILTERS]
    rules = [filters.parse(option.name, option.value or "") for option in given]
    return Rules(tuple(filter(None, rules)), tuple(word for option in given for word in option.words))


def _beside(on: set[str], values: Mapping[str, str]) -> tuple[str, ...]:
    """Return what keeps the part of a file that has arrived out of its final place: a directory for it."""
    # rsync reads a --partial-dir of "" or "." for none at all, and as a wish for --partial.
    folder = values.get("partial-dir", kinds.UPDATES.decode() if "delay-updates" in on else None)
    in_place = "partial" in on if folder is None else posixpath.normpath(folder) == "."
    return (f"--partial-dir={kinds.UPDATES.decode()}",) if in_place else ()
