"""The settings that say where mail lies, and as whose: the replica of one server is of use to another if they agree."""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

from cyrsync.cyrus.server.config import Config, Partition

Settings = tuple[tuple[str, str], ...]

_SWITCHES = ("hashimapspool", "fulldirhash", "unixhierarchysep", "altnamespace", "mailbox_legacy_dirs")
#: Where they differ, Cyrus would look in other directories, or take mail for another domain's.
_FATAL = frozenset(["hashimapspool", "fulldirhash", "virtdomains", "defaultdomain"])
#: Kinds of metadata that Cyrus does not make again where it finds none.
_IRREPLACEABLE = frozenset(["header", "index", "annotations", "expunge"])


class Difference(NamedTuple):
    """What two servers do not agree on; `fatal` if the second could not read what the first has written."""

    text: str
    fatal: bool


def layout_settings(config: Config) -> Settings:
    """Return names and values of what has to be alike on the server that takes over. Paths are not among them."""
    found = {name: _word(config.switch(name)) for name in _SWITCHES}
    found["virtdomains"] = config.text("virtdomains")
    if found["virtdomains"] != "off":
        found["defaultdomain"] = config.text("defaultdomain")
    found["partitions"] = " ".join(sorted(config.partitions))
    for name, partition in sorted(config.partitions.items()):
        found[f"metapartition_files-{name}"] = " ".join(sorted(_moved(partition)))
        found[f"archive-{name}"] = _word(partition.archive != partition.data)
    return tuple(sorted(found.items()))


def differences(theirs: Settings, ours: Settings) -> list[Difference]:
    """Return what has to be set in our imapd.conf, a line each, worst first; what only one of them tells is equal."""
    found = [*_partitions(dict(theirs), dict(ours)), *_switches(dict(theirs), dict(ours))]
    return sorted(found, key=lambda one: not one.fatal)


def _switches(theirs: dict[str, str], ours: dict[str, str]) -> Iterator[Difference]:
    for name in (*_SWITCHES, "virtdomains", "defaultdomain"):
        if theirs.get(name, ours.get(name)) == ours.get(name, theirs.get(name)):
            continue
        # Both have names with domains in them; they differ in how a client's own domain is found.
        alike = name == "virtdomains" and "off" not in (theirs[name], ours[name])
        yield Difference(_line(name, theirs[name], ours[name]), name in _FATAL and not alike)


def _partitions(theirs: dict[str, str], ours: dict[str, str]) -> Iterator[Difference]:
    here = ours.get("partitions", "").split()
    for name in theirs.get("partitions", "").split():
        if name not in here:
            yield Difference(f"partition-{name}: the source has this partition, and it is not set here", fatal=True)
            continue
        yield from _moved_files(name, theirs, ours)
        key = f"archive-{name}"
        if theirs.get(key, "off") != ours.get(key, "off"):
            settings = f"archive_enabled and archivepartition-{name}"
            yield Difference(_line(settings, theirs[key], ours[key]), fatal=theirs[key] == "on")


def _moved_files(name: str, theirs: dict[str, str], ours: dict[str, str]) -> Iterator[Difference]:
    """Tell of metadata that lies with the messages on one of both sides alone."""
    key = f"metapartition_files-{name}"
    there, here = (set(tree.get(key, "").split()) for tree in (theirs, ours))
    if key in theirs and there != here:
        fatal = bool((there ^ here) & _IRREPLACEABLE)
        settings = f"metapartition_files, with metapartition-{name}"
        yield Difference(_line(settings, " ".join(sorted(there)), " ".join(sorted(here))), fatal)


def _moved(partition: Partition) -> set[str]:
    """Return the kinds of metadata that do not lie with the messages, by whatever option."""
    # There is no other key for 2.3's expunge than metapartition_files.
    words = ("header", "index", "cache", "expunge", "squat", "annotations", "dav")
    return {word for word in words if partition.root_of(word) != partition.data}


def _line(name: str, theirs: str, ours: str) -> str:
    return f"{name}: {theirs or 'nothing'} on the source, {ours or 'nothing'} here"


def _word(value: bool) -> str:
    return "on" if value else "off"
