"""`imapd.conf`: where a Cyrus keeps its files, and how it names their directories.

The rules of the file are the same from 2.3.12 to 3.13 (lib/libconfig.c, config_read_file); what an option is when the
file does not name it depends on the version (imapd_options.py). Options that are not known here are kept as they are.
"""

import os
import re
from collections.abc import Callable, Iterator
from typing import NamedTuple

from cyrsync.cyrus.mailbox import regular_file
from cyrsync.cyrus.server.imapd_options import (
    DEFAULTS,
    ENUMS,
    FILES,
    KNOWN,
    META_WORDS,
    NO_FILE,
    RENAMED,
    STRINGS,
    SWITCHES,
    Version,
)

#: A switch is decided by how its value begins, in lower case. An enum has these spellings of on and off, and no other.
_ON, _OFF = re.compile(b"[1yt]|on"), re.compile(b"[0nf]|of")
_SAME = {
    **dict.fromkeys([b"1", b"yes", b"t", b"true"], b"on"),
    **dict.fromkeys([b"0", b"no", b"f", b"false"], b"off"),
}

#: Bytes of an imapd.conf.
_LARGEST = 1 << 20
_SETTING = re.compile(rb"(@?[A-Za-z0-9_-]*):\s*(.*)", re.DOTALL)
_HOME = b"{configdirectory}"
_ROOT_OF = re.compile(r"partition-|metadir-\w+-")


class ConfigError(Exception):
    """A file that Cyrus would not run with, or that can't be read; `line` counts from 1; 0: all of it."""

    def __init__(self, path: bytes, line: int, reason: str) -> None:
        super().__init__(path, line, reason)
        self.path = path
        self.line = line
        self.reason = reason

    def __str__(self) -> str:
        return f"{os.fsdecode(self.path)}:{self.line}: {self.reason}" if self.line else self.reason


class _Setting(NamedTuple):
    """An option in the file, its value as it stands, and whether it was the service's own."""

    path: bytes
    line: int
    key: str
    value: bytes
    own: bool

    def error(self, reason: str) -> ConfigError:
        return ConfigError(self.path, self.line, f"{self.key}: {reason}")


class Partition(NamedTuple):
    """A partition's root directories; `meta` and `archive` are `data` where there are none of their own."""

    name: str
    data: bytes
    meta: bytes
    #: The words of metapartition_files, if there is a metapartition.
    meta_files: "frozenset[str]"
    archive: bytes
    #: `metadir-F-P` by F: 2.4 and newer, not documented.
    elsewhere: "dict[str, bytes]"

    def root_of(self, word: str) -> bytes:
        """Return the root below which a kind of metadata lies: a word of metapartition_files (mboxname_metapath)."""
        if word not in META_WORDS:
            raise ValueError(word)
        # There is no key of their own for annotations.
        key = "index" if word == "annotations" else word
        if key in self.elsewhere:
            return self.elsewhere[key]
        if word in self.meta_files:
            return self.meta
        return self.archive if word == "archivecache" else self.data


class Config:
    """What an imapd.conf says, with the defaults of a version. Names and paths are bytes, other values text."""

    def __init__(self, settings: "dict[str, _Setting]", prefix: str, version: Version) -> None:
        self.version = version
        self._settings = settings
        #: What a service puts before its own options, "" for none.
        self._prefix = prefix
        self.configdirectory = _root(self._configdirectory())
        self.hashimapspool = self.switch("hashimapspool")
        self.fulldirhash = self.switch("fulldirhash")
        self.virtdomains = self.text("virtdomains")
        self.defaultdomain = self.raw("defaultdomain")
        self.deletedprefix = self.raw("deletedprefix")
        #: Of the names that people see; inside Cyrus it is always the dot.
        self.separator = b"/" if self.switch("unixhierarchysep") else b"."
        self.lock_directory = _root(self.raw("mboxname_lockpath") or self.configdirectory + b"/lock")
        #: What `user/` and `domain/` are in, the users' own files.
        self.userpath = _root(self.raw("mboxname_userpath"))
        self.sievedir = _root(self.raw("sievedir"))
        self.defaultpartition = self._defaultpartition()
        self.partitions = self._partitions()

    def raw(self, option: str) -> bytes:
        """Return a value as bytes, b"" for one that is neither set nor has a default."""
        setting = self._found(option)
        value = setting.value if setting else self._default(option).encode("ascii")
        if option in STRINGS and option != "configdirectory" and value[: len(_HOME)].lower() == _HOME:
            return self._configdirectory() + value[len(_HOME) :]
        return value

    def text(self, option: str) -> str:
        return _text(self.raw(option))

    def switch(self, option: str) -> bool:
        if option not in SWITCHES:
            raise ValueError(option)
        return self.raw(option) == b"on"

    def words(self, option: str) -> "list[str]":
        return self.text(option).split()

    @property
    def sync_log_channels(self) -> "list[str]":
        """The channels that changes are logged to, "" for the one without a name; none if there is no log."""
        if not self.switch("sync_log"):
            return []
        # Only the blank parts them (imap/sync_log.c).
        channels = [channel for channel in self.text("sync_log_channels").split(" ") if channel]
        return ["" if channel == '""' else channel for channel in channels] or [""]

    def says_the_same_as(self, other: "Config") -> bool:
        """Tell whether another reading says the same in all that is known here."""
        return self._set() == other._set()

    def _set(self) -> "dict[str, bytes]":
        known = (key for key in self._settings if key in KNOWN or _ROOT_OF.search(key))
        return {key: self._settings[key].value for key in known}

    def database(self, name: str) -> "tuple[str, bytes]":
        """Return the type that is configured, and the path; b"" for what every user or mailbox has its own of.

        The name is that in front of `_db`. From 2.4 on the file may be of another type: look at its first bytes.
        """
        path = self.raw(name + "_db_path")
        if not path and name not in NO_FILE:
            path = self.configdirectory + b"/" + FILES[name]
        return self.text(name + "_db"), path

    def _found(self, option: str) -> "_Setting | None":
        if option in KNOWN:
            return self._settings.get(option)
        return self._settings.get(self._prefix + option) or self._settings.get(option)

    def _default(self, option: str) -> str:
        fitting = [value for since, value, options in DEFAULTS if since <= self.version and option in options.split()]
        return fitting[-1] if fitting else "off" if option in SWITCHES else ""

    def _configdirectory(self) -> bytes:
        return self._settings["configdirectory"].value

    def _defaultpartition(self) -> str:
        """Return where new mailboxes go, "" if that is left to `partition_select_mode`."""
        name = self.raw("defaultpartition")
        if name and not name.isalnum():
            raise self._settings["defaultpartition"].error("may have letters and digits only")
        return _text(name.lower())

    def _partitions(self) -> "dict[str, Partition]":
        own = [key[len(self._prefix) :] for key in self._settings if key.startswith(self._prefix)]
        names = {key[len("partition-") :] for key in own + list(self._settings) if key.startswith("partition-")}
        return {name: self._partition(name) for name in sorted(names) if name}

    def _partition(self, name: str) -> Partition:
        data = self._directory("partition-" + name)
        meta = self._directory("metapartition-" + name)
        archived = self.version >= (3, 0) and self.switch("archive_enabled")
        archive = self._directory("archivepartition-" + name) if archived else b""
        # cyrus.expunge can't be moved this way, and 2.3 does not know it.
        movable = "header index cache squat dav archivecache".split() if self.version >= (2, 4) else []
        elsewhere = {word: self._directory(f"metadir-{word}-{name}") for word in movable}
        return Partition(
            name,
            data,
            meta or data,
            frozenset(self.words("metapartition_files") if meta else ()),
            archive or data,
            {word: root for word, root in elsewhere.items() if root},
        )

    def _directory(self, key: str) -> bytes:
        setting = self._found(key)
        if setting and not setting.value.startswith(b"/"):
            # Cyrus would look below whatever directory each of its processes is in.
            raise setting.error("is not an absolute path")
        return _root(setting.value) if setting else b""


def read(
    path: "bytes | str", ident: str = "", version: Version = (3, 6), load: "Callable[[bytes], bytes] | None" = None
) -> Config:
    """Read an imapd.conf as the process of that name would (`imap`, `sync_client`), or as one without a name.

    `load` gives the bytes of a file that is not here.
    """
    name = os.fsencode(path)
    prefix = ident.lower() + "_" if ident else ""
    settings: dict[str, _Setting] = {}
    for setting in _settings(name, prefix, load or _content):
        before = settings.get(setting.key)
        if before and before.own and not setting.own:
            continue
        if before and before.own == setting.own:
            raise setting.error(f"was already set in line {before.line} of {_text(before.path)}")
        settings[setting.key] = setting._replace(value=_checked(setting))
    for old, new in RENAMED.items():
        if old in settings:
            settings.setdefault(new, settings[old])
    home = settings.get("configdirectory")
    if home is None:
        raise ConfigError(name, 1, "configdirectory is not set")
    if not home.value.startswith(b"/") or home.value == b"/":
        raise home.error("has to be an absolute path, and not /")
    return Config(settings, prefix, version)


def moved(config: Config, place: "Callable[[bytes], bytes]") -> Config:
    """Return what the imapd.conf would say if each of its directories and files lay where `place` tells by its path."""
    settings = {
        key: setting._replace(value=place(setting.value)) if _is_path(setting) else setting
        for key, setting in config._settings.items()
    }
    return Config(settings, config._prefix, config.version)


def _is_path(setting: _Setting) -> bool:
    words = ("configdirectory", "sievedir", "mboxname_lockpath", "mboxname_userpath")
    named = setting.key in words or setting.key.endswith("_db_path") or bool(_ROOT_OF.search(setting.key))
    return named and setting.value.startswith(b"/")


def _settings(path: bytes, prefix: str, load: "Callable[[bytes], bytes]") -> "Iterator[_Setting]":
    """Yield what is set, in order, the included files' where they are included."""
    included = {path}
    pending = [_lines(path, path, 0, load)]
    while pending:
        found = next(pending[-1], None)
        if found is None:
            pending.pop()
            continue
        path, line, text = found
        if not text or text.startswith(b"#"):
            continue
        match = _SETTING.match(text)
        if not match:
            raise ConfigError(path, line, "not an option's name with a colon after it")
        key, value = match.group(1).decode("ascii").lower(), match.group(2)
        if not value:
            raise ConfigError(path, line, f"{key}: has no value")
        if not key.startswith("@"):
            own = bool(prefix) and key.startswith(prefix) and key[len(prefix) :] in KNOWN
            yield _Setting(path, line, key[len(prefix) :] if own else key, value, own)
        elif key != "@include":
            raise ConfigError(path, line, f"{key}: no such directive")
        elif value in included:
            raise ConfigError(path, line, f"{_text(value)} is included a second time")
        else:
            included.add(value)
            pending.append(_lines(value, path, line, load))


def _lines(
    path: bytes, wanted_by: bytes, wanted_at: int, load: "Callable[[bytes], bytes]"
) -> "Iterator[tuple[bytes, int, bytes]]":
    """Yield the lines that say something, joined and stripped, each with the number of its first."""
    try:
        data = load(path)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else error
        raise ConfigError(wanted_by, wanted_at, f"can't read {_text(path)}: {reason}") from error
    if b"\0" in data:
        raise ConfigError(path, data[: data.index(b"\0")].count(b"\n") + 1, "holds a NUL byte")
    *lines, rest = data.split(b"\n")
    joined, first = bytearray(), 1
    for number, line in enumerate(lines, 1):
        joined += line
        # Not `line`: after `a\\` an empty line goes on, too, as it does for Cyrus.
        if joined.endswith(b"\\"):
            del joined[-1]
            continue
        yield path, first, bytes(joined).strip()
        joined, first = bytearray(), number + 1
    # Without a newline at its end the last line has its backslash. Where nothing is left to go on with, Cyrus drops
    # the line that was to be continued.
    if rest:
        yield path, first, bytes(joined + rest).strip()


def _content(path: bytes) -> bytes:
    # Late 2.4 and newer look below the directory that this variable names first.
    moved = os.environb.get(b"CYRUS_PREFIX", b"") + path
    return regular_file.read(moved if os.path.exists(moved) else path, _LARGEST, follow=True)


def _checked(setting: _Setting) -> bytes:
    """Return the value in the one spelling that the others stand for; raise for one that can't be."""
    key, value = setting.key, setting.value
    if key in SWITCHES:
        off, on = _OFF.match(value), _ON.match(value)
        if not off and not on:
            raise setting.error(f"{_text(value)} is neither on nor off")
        return b"on" if on else b"off"
    if key in ENUMS:
        value = _SAME.get(value, value)
        if _text(value) not in ENUMS[key]:
            raise setting.error("{} is none of {}".format(_text(value), ", ".join(ENUMS[key])))
    if key == "metapartition_files":
        for word in _text(value).split():
            if word not in META_WORDS:
                raise setting.error(f"there is no {word}")
    return value


def _root(path: bytes) -> bytes:
    return path.rstrip(b"/") or path[:1]


def _text(value: bytes) -> str:
    return value.decode("utf-8", "surrogateescape")
