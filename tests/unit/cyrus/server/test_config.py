"""imapd.conf is read as Cyrus reads it, and a file that Cyrus would refuse is refused."""

from __future__ import annotations

import json
import os
import tarfile
from collections.abc import Callable, Iterable
from pathlib import Path
from typing import IO, cast

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrsync.cyrus.server.config import Config, ConfigError, Version, read
from support import campaign
from support.tree import DATA

SPOOLS = sorted(path.name.removeprefix("cyrus-").removesuffix(".tar.xz") for path in DATA.glob("cyrus-*.tar.xz"))
HOME = b"configdirectory: /conf\n"

Reader = Callable[..., Config]


@pytest.fixture
def conf(tmp_path: Path) -> Reader:
    """Read these bytes as an imapd.conf, after a line that sets configdirectory."""

    def reader(text: bytes, ident: str = "", version: Version = (3, 6)) -> Config:
        path = tmp_path / "imapd.conf"
        path.write_bytes(HOME + text)
        return read(os.fsencode(path), ident, version)

    return reader


@pytest.mark.parametrize(
    ("text", "option", "expected"),
    [
        (b"temp_path: /x", "temp_path", "/x"),
        (b"temp_path:/x", "temp_path", "/x"),
        (b" \t temp_path: \t /x \t\r\n", "temp_path", "/x"),
        (b"\v\ftemp_path:\v/x\f\n", "temp_path", "/x"),
        (b"Temp_PATH: /X\n", "temp_path", "/X"),
        (b"temp_path: \xff\n", "temp_path", "\udcff"),
        (b"temp_path: a b: c\n", "temp_path", "a b: c"),
        (b'temp_path: "a b"\n', "temp_path", '"a b"'),
        (b"\n\n \t\ntemp_path: /x\n\n", "temp_path", "/x"),
        # Not known here: kept as it is.
        (b"sasl_mech_list: PLAIN  LOGIN\n", "sasl_mech_list", "PLAIN  LOGIN"),
        (b"sync-log: maybe\n", "sync-log", "maybe"),
        (b"sync-log: yes\n", "sync_log", "off"),
        (b"other: {configdirectory}/x\n", "other", "{configdirectory}/x"),
        # Lines that go on.
        (b"temp_path: /x/a\\\nb  c\n", "temp_path", "/x/ab  c"),
        (b"temp_path: /x/a\\\n  b\n", "temp_path", "/x/a  b"),
        (b"temp_path:\\\n\\\n/x\n", "temp_path", "/x"),
        (b"temp_p\\\nath: /x\n", "temp_path", "/x"),
        (b"temp_path: /x\\\n\n", "temp_path", "/x"),
        (b"temp_path: /x\\ \nother: y\n", "temp_path", "/x\\"),
        (b"temp_path: /x\\\r\nother: y\n", "temp_path", "/x\\"),
        (b"temp_path: /x\\\\\n\nother: y\n", "temp_path", "/xother: y"),
        # At the end of the file: without a newline the backslash stays, with one Cyrus forgets the whole line.
        (b"temp_path: /x\\", "temp_path", "/x\\"),
        (b"temp_path: /x\\\n", "temp_path", "/tmp"),
        (b"temp_path: /x\\\n/y", "temp_path", "/x/y"),
        # Comments are whole lines, and go on as well.
        (b"#temp_path: /x\n", "temp_path", "/tmp"),
        (b"  # temp_path: /x\n", "temp_path", "/tmp"),
        (b"# a comment \\\ntemp_path: /x\n", "temp_path", "/tmp"),
        (b"temp_path: /x # y\n", "temp_path", "/x # y"),
        # A string that begins with it.
        (b"sievedir: {configdirectory}/sieve\n", "sievedir", "/conf/sieve"),
        (b"sievedir: {ConfigDirectory}sieve\n", "sievedir", "/confsieve"),
        (b"sievedir: {configdirectory}/{configdirectory}\n", "sievedir", "/conf/{configdirectory}"),
        (b"sievedir: /x{configdirectory}\n", "sievedir", "/x{configdirectory}"),
        (b"annotation_db_path: {configdirectory}/a.db\n", "annotation_db_path", "/conf/a.db"),
        (b"annotation_db: {configdirectory}\n", "annotation_db", "{configdirectory}"),
        # Enums know some spellings of on and off.
        (b"virtdomains: userid\n", "virtdomains", "userid"),
        (b"virtdomains: yes\n", "virtdomains", "on"),
        (b"virtdomains: true\n", "virtdomains", "on"),
        (b"virtdomains: t\n", "virtdomains", "on"),
        (b"virtdomains: 1\n", "virtdomains", "on"),
        (b"virtdomains: no\n", "virtdomains", "off"),
        (b"virtdomains: false\n", "virtdomains", "off"),
        (b"virtdomains: f\n", "virtdomains", "off"),
        (b"virtdomains: 0\n", "virtdomains", "off"),
        (b"metapartition_files: index  header\tindex\n", "metapartition_files", "index  header\tindex"),
        # A new name wins over the old one, wherever it stands.
        (b"tlscache_db: flat\n", "tls_sessions_db", "flat"),
        (b"tls_sessions_db: twom\ntlscache_db: flat\n", "tls_sessions_db", "twom"),
        (b"tlscache_db: flat\ntls_sessions_db: twom\n", "tls_sessions_db", "twom"),
    ],
)
def test_values(conf: Reader, text: bytes, option: str, expected: str) -> None:
    config = conf(text)
    assert config.text(option) == expected
    assert config.raw(option) == expected.encode("utf-8", "surrogateescape")


@pytest.mark.parametrize("value", ["1", "y", "t", "on", "yes", "true", "yellow", "t # or so", "onwards"])
def test_switches_that_are_on(conf: Reader, value: str) -> None:
    assert conf(b"fulldirhash: %s\n" % value.encode()).fulldirhash is True


@pytest.mark.parametrize("value", ["0", "n", "f", "of", "off", "no", "false", "never", "0 # or so"])
def test_switches_that_are_off(conf: Reader, value: str) -> None:
    assert conf(b"singleinstancestore: %s\n" % value.encode()).switch("singleinstancestore") is False


@pytest.mark.parametrize(
    ("text", "line", "reason"),
    [
        (b"nothing\n", 2, "colon"),
        (b"\n# x\n\nnothing\n", 5, "colon"),
        (b"temp_path : /x\n", 2, "colon"),
        (b"temp.path: /x\n", 2, "colon"),
        (b"t\xc3\xa4mp: /x\n", 2, "colon"),
        (b"@@include: /x\n", 2, "colon"),
        (b"temp_path:\n", 2, "no value"),
        (b"temp_path: \t \n", 2, "no value"),
        (b"temp_path: \\\n  \\\n \n", 2, "no value"),
        (b"other:", 2, "no value"),
        (b"@include:\n", 2, "no value"),
        (b"@includes: /x\n", 2, "no such directive"),
        (b"@: /x\n", 2, "no such directive"),
        (b"a: \\\n x\nfulldirhash: x\n", 4, "neither on nor off"),
        (b"a: x\nfulldirhash: \\\n x\nb: y\n", 3, "neither on nor off"),
        (b"fulldirhash: On\n", 2, "neither on nor off"),
        (b"fulldirhash: o\n", 2, "neither on nor off"),
        (b"fulldirhash: # no\n", 2, "neither on nor off"),
        (b"virtdomains: UserID\n", 2, "none of off, userid, on"),
        (b"virtdomains: off # x\n", 2, "none of"),
        (b"virtdomains: onwards\n", 2, "none of"),
        (b"delete_mode: yes\n", 2, "on is none of immediate, delayed"),
        (b"metapartition_files: header # x\n", 2, "no #"),
        (b"metapartition_files: Header\n", 2, "no Header"),
        (b"temp_path: /x\ntemp_path: /x\n", 3, "line 2 of"),
        (b"temp_path: /x\nTEMP_PATH: /y\n", 3, "line 2 of"),
        (b"configdirectory: /conf\n", 2, "line 1 of"),
        (b"partition-a: /x\npartition-A: /y\n", 3, "line 2 of"),
        (b"partition-a: x\n", 2, "absolute"),
        (b"partition-a: {configdirectory}/x\n", 2, "absolute"),
        (b"partition-a: /x\nmetapartition-a: y\n", 3, "absolute"),
        (b"partition-a: /x\nmetadir-index-a: y\n", 3, "absolute"),
        (b"defaultpartition: a-b\n", 2, "letters and digits"),
        (b"a: b\nc: d\0e\nf: g\n", 3, "NUL"),
        (b"@include: /nowhere/at/all\n", 2, "can't read /nowhere/at/all"),
        (b"a: b\n@include: /\n", 3, "can't read /"),
    ],
)
def test_what_is_refused(conf: Reader, tmp_path: Path, text: bytes, line: int, reason: str) -> None:
    with pytest.raises(ConfigError) as caught:
        conf(text)
    assert caught.value.path == os.fsencode(tmp_path / "imapd.conf")
    assert caught.value.line == line
    assert reason in caught.value.reason
    assert str(caught.value) == f"{tmp_path}/imapd.conf:{line}: {caught.value.reason}"


@pytest.mark.parametrize(
    ("text", "line"), [(b"", 1), (b"a: b\n", 1), (b"a: b\nconfigdirectory: x\n", 2), (b"configdirectory: /\n", 1)]
)
def test_configdirectory_is_required(tmp_path: Path, text: bytes, line: int) -> None:
    path = tmp_path / "x.conf"
    path.write_bytes(text)
    with pytest.raises(ConfigError, match="configdirectory") as caught:
        read(str(path))
    assert caught.value.line == line


@pytest.mark.parametrize("path", ["/nowhere/at/all", b"/nowhere/at/all", "/", "a\0b"])
def test_a_file_that_cannot_be_read(path: str | bytes) -> None:
    with pytest.raises(ConfigError, match="can't read") as caught:
        read(path)
    assert (caught.value.path, caught.value.line) == (os.fsencode(path), 0)
    assert str(caught.value).startswith(f"can't read {os.fsdecode(path)}: ")


# Included files.


def test_included_files(conf: Reader, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"partition-a: /a\n@include: %s/two\ntemp_path: /one" % os.fsencode(tmp_path))
    (tmp_path / "two").write_bytes(b"fulldirhash: yes\n")
    config = conf(b"@Include: %s/one\nhashimapspool: yes\n" % os.fsencode(tmp_path))
    assert (config.text("temp_path"), config.fulldirhash, config.hashimapspool) == ("/one", True, True)
    assert list(config.partitions) == ["a"]


def test_an_included_path_is_relative_to_the_process(
    conf: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "below").mkdir()
    (tmp_path / "below" / "one").write_bytes(b"temp_path: /below\n")
    monkeypatch.chdir(tmp_path / "below")
    assert conf(b"@include: one\n").text("temp_path") == "/below"
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ConfigError, match="can't read one"):
        conf(b"@include: one\n")


def test_an_error_names_the_included_file(conf: Reader, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"\nbroken\n")
    with pytest.raises(ConfigError) as caught:
        conf(b"@include: %s/one\n" % os.fsencode(tmp_path))
    assert (caught.value.path, caught.value.line) == (os.fsencode(tmp_path / "one"), 2)


def test_an_option_set_in_two_files(conf: Reader, tmp_path: Path) -> None:
    (tmp_path / "one").write_bytes(b"temp_path: /x\n")
    with pytest.raises(ConfigError, match=f"line 1 of {tmp_path}/one"):
        conf(b"@include: %s/one\ntemp_path: /x\n" % os.fsencode(tmp_path))


def test_a_path_included_twice(conf: Reader, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What counts is the path as it is written: another spelling of it may come once more."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one").write_bytes(b"# nothing\n")
    assert conf(b"@include: one\n@include: ./one\n").configdirectory == b"/conf"
    with pytest.raises(ConfigError, match="one is included a second time") as caught:
        conf(b"@include: one\n@include: ./one\n@include: one\n")
    assert caught.value.line == 4


def test_a_file_that_includes_itself(conf: Reader, tmp_path: Path) -> None:
    (tmp_path / "loop").write_bytes(b"@include: %s/loop\n" % os.fsencode(tmp_path))
    with pytest.raises(ConfigError, match="second time"):
        conf(b"@include: %s/loop\n" % os.fsencode(tmp_path))


def test_the_file_itself_included(tmp_path: Path) -> None:
    path = tmp_path / "imapd.conf"
    path.write_bytes(HOME + b"@include: %s\n" % os.fsencode(path))
    with pytest.raises(ConfigError, match=r"imapd\.conf is included a second time") as caught:
        read(str(path))
    assert caught.value.line == 2


def test_a_long_chain_of_files(conf: Reader, tmp_path: Path) -> None:
    for number in range(1500):
        (tmp_path / str(number)).write_bytes(b"@include: %s/%d\n" % (os.fsencode(tmp_path), number + 1))
    (tmp_path / "1500").write_bytes(b"temp_path: /deep\n")
    assert conf(b"@include: %s/0\n" % os.fsencode(tmp_path)).text("temp_path") == "/deep"


def test_the_prefix_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "etc").mkdir()
    (tmp_path / "etc/x").write_bytes(b"configdirectory: /moved\n")
    monkeypatch.setenv("CYRUS_PREFIX", str(tmp_path))
    assert read("/etc/x").configdirectory == b"/moved"
    (tmp_path / "y").write_bytes(HOME)
    assert read(str(tmp_path / "y")).configdirectory == b"/conf"


# Options of a service's own.

OWN, GENERAL = b"imap_temp_path: /own\n", b"temp_path: /all\n"


@pytest.mark.parametrize(
    ("text", "ident", "expected"),
    [
        (OWN + GENERAL, "imap", "/own"),
        (GENERAL + OWN, "imap", "/own"),
        (GENERAL + OWN, "IMAP", "/own"),
        (OWN, "imap", "/own"),
        (GENERAL + OWN, "", "/all"),
        (GENERAL + OWN, "pop3", "/all"),
        (GENERAL + b"_temp_path: /none\n", "", "/all"),
        # What comes after the service's own is not even looked at.
        (OWN + GENERAL + GENERAL, "imap", "/own"),
    ],
)
def test_a_service_wins(conf: Reader, text: bytes, ident: str, expected: str) -> None:
    assert conf(text, ident).text("temp_path") == expected


@pytest.mark.parametrize(
    ("text", "ident"), [(OWN + OWN, "imap"), (GENERAL + GENERAL + OWN, "imap"), (OWN + OWN, ""), (OWN + OWN, "pop3")]
)
def test_a_service_sets_an_option_twice(conf: Reader, text: bytes, ident: str) -> None:
    with pytest.raises(ConfigError, match="already set in line"):
        conf(text, ident)


def test_a_service_with_a_name_like_an_option(conf: Reader) -> None:
    assert conf(b"sync_log: yes\n", "sync").switch("sync_log") is True


def test_partitions_of_a_service(conf: Reader) -> None:
    text = b"lmtp_partition-a: /own\npartition-a: /all\nlmtp_partition-b: /b\n_partition-c: /c\n"
    assert {name: part.data for name, part in conf(text, "lmtp").partitions.items()} == {"a": b"/own", "b": b"/b"}
    assert {name: part.data for name, part in conf(text).partitions.items()} == {"a": b"/all"}


# What holds when the file is silent.


@pytest.mark.parametrize(
    ("option", "version", "expected"),
    [
        ("unixhierarchysep", (2, 5, 17), "off"),
        ("unixhierarchysep", (3, 0), "on"),
        ("altnamespace", (2, 5, 17), "off"),
        ("altnamespace", (3, 0, 18), "on"),
        ("delete_mode", (2, 4, 22), "immediate"),
        ("delete_mode", (2, 5), "delayed"),
        ("expunge_mode", (2, 3, 19), "immediate"),
        ("expunge_mode", (2, 4, 0), "default"),
        ("expunge_mode", (3, 13, 7), "delayed"),
        ("defaultdomain", (2, 5, 17), ""),
        ("defaultdomain", (3, 0), "internal"),
        ("defaultpartition", (2, 3, 12), "default"),
        ("defaultpartition", (2, 3, 19), ""),
        ("global_lock", (3, 10, 3), "off"),
        ("global_lock", (3, 12, 0), "on"),
        ("virtdomains", (2, 3, 12), "off"),
        ("deletedprefix", (2, 3, 12), "DELETED"),
        ("sievedir", (3, 6), "/usr/sieve"),
        ("sync_log_unsuppressable_channels", (2, 5), "squatter"),
        ("mboxname_userpath", (3, 13, 7), "/conf"),
        ("metapartition_files", (3, 6), ""),
        ("anything", (3, 6), ""),
        # Chapter 1.3.
        *((f"{name}_db", (2, 3, 12), "skiplist") for name in ("mboxlist", "annotation", "seenstate", "mboxkey")),
        *((f"{name}_db", (2, 4, 22), "skiplist") for name in ("mboxlist", "annotation", "seenstate", "mboxkey")),
        *((f"{name}_db", (2, 5), "twoskip") for name in ("mboxlist", "annotation", "seenstate", "mboxkey")),
        *((f"{name}_db", (2, 3), "berkeley-nosync") for name in ("duplicate", "statuscache", "tls_sessions")),
        *((f"{name}_db", (2, 4), "skiplist") for name in ("duplicate", "statuscache", "tls_sessions", "ptscache")),
        *((f"{name}_db", (3, 6), "twoskip") for name in ("duplicate", "statuscache", "tls_sessions", "ptscache")),
        ("ptscache_db", (2, 3), "berkeley"),
        *((f"{name}_db", (version, 3), "flat") for name in ("subscription", "userdeny") for version in (2, 3)),
        *(("quota_db", (version, 3), "quotalegacy") for version in (2, 3)),
        ("conversations_db", (3, 13), "skiplist"),
    ],
)
def test_defaults(conf: Reader, option: str, version: Version, expected: str) -> None:
    assert conf(b"", version=version).text(option) == expected


def test_a_switch_is_not_made_of_anything_else(conf: Reader) -> None:
    with pytest.raises(ValueError, match="temp_path"):
        conf(b"").switch("temp_path")


def test_what_is_derived(conf: Reader) -> None:
    config = conf(b"", version=(2, 5))
    assert (config.separator, config.lock_directory, config.userpath) == (b".", b"/conf/lock", b"/conf")
    config = conf(b"mboxname_lockpath: /run/lock/\nmboxname_userpath: {configdirectory}/u/\nsievedir: /sieve/\n")
    assert (config.separator, config.lock_directory, config.userpath) == (b"/", b"/run/lock", b"/conf/u")
    assert (config.sievedir, config.configdirectory, config.version) == (b"/sieve", b"/conf", (3, 6))
    config = conf(b"deletedprefix: GONE\ndefaultdomain: example.com\ndefaultpartition: Fast\nvirtdomains: on\n")
    assert (config.deletedprefix, config.defaultdomain) == (b"GONE", b"example.com")
    assert (config.defaultpartition, config.virtdomains) == ("fast", "on")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        (b"", []),
        (b"sync_log_channels: a b\n", []),
        (b"sync_log: yes\n", [""]),
        (b"sync_log: yes\nsync_log_channels: a  b\n", ["a", "b"]),
        (b'sync_log: yes\nsync_log_channels: squatter ""\n', ["squatter", ""]),
    ],
)
def test_channels(conf: Reader, text: bytes, expected: list[str]) -> None:
    assert conf(text).sync_log_channels == expected


@pytest.mark.parametrize(
    ("text", "name", "expected"),
    [
        (b"", "mboxlist", ("twoskip", b"/conf/mailboxes.db")),
        (b"mboxlist_db: twom\n", "mboxlist", ("twom", b"/conf/mailboxes.db")),
        (b"mboxlist_db_path: /fast/m.db\n", "mboxlist", ("twoskip", b"/fast/m.db")),
        (b"mboxlist_db_path: {configdirectory}/m.db\n", "mboxlist", ("twoskip", b"/conf/m.db")),
        (b"", "annotation", ("twoskip", b"/conf/annotations.db")),
        (b"", "duplicate", ("twoskip", b"/conf/deliver.db")),
        (b"", "ptscache", ("twoskip", b"/conf/ptclient/ptscache.db")),
        (b"", "userdeny", ("flat", b"/conf/user_deny.db")),
        (b"", "quota", ("quotalegacy", b"/conf/quotas.db")),
        (b"tlscache_db_path: /t\n", "tls_sessions", ("twoskip", b"/t")),
        (b"", "subscription", ("flat", b"")),
        (b"", "sync_cache", ("twoskip", b"")),
        (b"sync_cache_db_path: /s\n", "sync_cache", ("twoskip", b"/s")),
    ],
)
def test_databases(conf: Reader, text: bytes, name: str, expected: tuple[str, bytes]) -> None:
    assert conf(text).database(name) == expected


# Partitions.

ROOTS = b"partition-Fast: /data/\nmetapartition-fast: /meta\narchivepartition-fast: /archive\n"


def test_partitions(conf: Reader) -> None:
    text = b"partition-b-2: /b\nbackuppartition-c: /c\nmetapartition-d: /d\npartition-: /none\narchive_enabled: yes\n"
    partitions = conf(ROOTS + text).partitions
    assert list(partitions) == ["b-2", "fast"]
    assert partitions["fast"][:5] == ("fast", b"/data", b"/meta", frozenset(), b"/archive")
    assert partitions["b-2"][:5] == ("b-2", b"/b", b"/b", frozenset(), b"/b")


@pytest.mark.parametrize(
    ("text", "version", "expected"),
    [
        (b"", (3, 6), b"/data"),
        (b"archive_enabled: off\n", (3, 6), b"/data"),
        (b"archive_enabled: on\n", (2, 5), b"/data"),
        (b"archive_enabled: on\n", (3, 0), b"/archive"),
    ],
)
def test_the_archive_is_in_use(conf: Reader, text: bytes, version: Version, expected: bytes) -> None:
    assert conf(ROOTS + text, version=version).partitions["fast"].archive == expected


EVERY = "header index cache expunge squat annotations dav archivecache".split()


def roots(config: Config, partition: str = "fast", words: Iterable[str] = EVERY) -> dict[str, bytes]:
    return {word: config.partitions[partition].root_of(word) for word in words}


def test_metadata_without_a_list(conf: Reader) -> None:
    config = conf(ROOTS + b"archive_enabled: on\n")
    assert roots(config) == {**dict.fromkeys(EVERY, b"/data"), "archivecache": b"/archive"}


def test_metadata_on_the_metapartition(conf: Reader) -> None:
    config = conf(ROOTS + b"metapartition_files: header expunge archivecache\nmetadir-index-fast: /i\n")
    assert config.partitions["fast"].meta_files == {"header", "expunge", "archivecache"}
    meta = {"header": b"/meta", "expunge": b"/meta", "archivecache": b"/meta", "index": b"/i", "annotations": b"/i"}
    assert roots(config) == {**dict.fromkeys(EVERY, b"/data"), **meta}


def test_metadata_each_in_its_own_place(conf: Reader) -> None:
    keys = "".join(f"metadir-{word}-fast: /{word}\n" for word in EVERY).encode()
    text = ROOTS + b"archive_enabled: on\nmetapartition_files: " + " ".join(EVERY).encode() + b"\n" + keys
    # These two have no key of their own.
    assert roots(conf(text)) == {
        **{word: f"/{word}".encode() for word in EVERY},
        "annotations": b"/index",
        "expunge": b"/meta",
    }
    assert roots(conf(text, version=(2, 3, 19))) == dict.fromkeys(EVERY, b"/meta")


def test_no_metapartition_for_a_partition(conf: Reader) -> None:
    config = conf(b"partition-a: /a\nmetapartition_files: header\n")
    assert config.partitions["a"].meta_files == frozenset()
    assert roots(config, "a", ["header"]) == {"header": b"/a"}
    with pytest.raises(ValueError, match="sieve"):
        config.partitions["a"].root_of("sieve")


@pytest.mark.parametrize("spool", SPOOLS)
def test_real_files(spool: str, tmp_path: Path) -> None:
    with tarfile.open(DATA / f"cyrus-{spool}.tar.xz") as archive:
        (tmp_path / "imapd.conf").write_bytes(cast(IO[bytes], archive.extractfile(f"cyrus-{spool}/imapd.conf")).read())
        truth = json.load(cast(IO[bytes], archive.extractfile(f"cyrus-{spool}/truth.json")))
    root = truth["root"].encode()
    config = read(str(tmp_path / "imapd.conf"), version=tuple(map(int, truth["version"].split("."))))
    assert config.configdirectory == root + b"/conf"
    assert config.hashimapspool and config.sync_log_channels == [""]
    assert config.fulldirhash is ("rich" in spool)
    assert config.virtdomains == ("userid" if "rich" in spool else "off")
    assert config.separator == (b"." if "rich" in spool else b"/")
    assert config.partitions["default"].data == root + b"/spool"
    assert config.partitions["default"].meta == root + (b"/meta" if "rich" in spool else b"/spool")
    assert config.partitions["default"].archive == root + (b"/archive" if "rich" in spool else b"/spool")
    assert set(config.partitions) == ({"default", "part2"} if "rich" in spool else {"default"})


# Any bytes at all.


@given(data=st.binary())
def test_any_bytes(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "imapd.conf"
    for text in (data, HOME + data):
        path.write_bytes(text)
        found = attempt(path)
        if isinstance(found, ConfigError):
            assert found.path == os.fsencode(path)
            assert 1 <= found.line <= text.count(b"\n") + 1
            assert str(found).endswith(found.reason)


def attempt(path: Path, ident: str = "") -> Config | ConfigError:
    try:
        return read(os.fsencode(path), ident)
    except ConfigError as error:
        return error


WORDS = [
    b"@include",
    b"configdirectory",
    b"partition-a",
    b"metadir-index-a",
    b"virtdomains",
    b"hashimapspool",
    b"imap_",
]
PIECES = [
    *WORDS,
    b":",
    b" ",
    b"\n",
    b"\\\n",
    b"#",
    b"/x",
    b"on",
    b"header",
    b"{configdirectory}",
    b"\xff",
    b"\r",
    b"\0",
]


@given(data=st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join), ident=st.sampled_from(["", "imap", "x"]))
def test_any_words(tmp_path: Path, data: bytes, ident: str) -> None:
    path = tmp_path / "imapd.conf"
    path.write_bytes(HOME + b"partition-b: /b\n" + data)
    found = attempt(path, ident)
    if isinstance(found, Config):
        assert found.configdirectory == b"/conf"
        assert found.partitions["b"].root_of("index") == b"/b"


blanks = st.text(" \t", max_size=3)
values = st.text(st.characters(exclude_characters="\n\\\0", exclude_categories=["Cs"]), min_size=1).filter(
    lambda value: value.encode() == value.encode().strip()
)


@campaign.slow()
@given(
    options=st.dictionaries(st.from_regex(r"[a-z0-9_-]{1,12}", fullmatch=True).map("x-{}".format), values),
    data=st.data(),
)
def test_what_is_written_is_read(tmp_path: Path, options: dict[str, str], data: st.DataObject) -> None:
    """Whatever blanks, capitals, comments and broken lines there are around it."""
    text = HOME
    for key, value in options.items():
        line = f"{key.upper() if data.draw(st.booleans()) else key}:{data.draw(blanks)}{value}{data.draw(blanks)}"
        cut = data.draw(st.integers(0, len(line)))
        text += data.draw(st.sampled_from([b"", b"\n", b"# x: y\n", b" #\\\nx: y\n"]))
        text += data.draw(blanks).encode() + line[:cut].encode() + b"\\\n" + line[cut:].encode() + b"\n"
    path = tmp_path / "imapd.conf"
    path.write_bytes(text)
    config = read(str(path))
    assert {key: config.text(key) for key in options} == options
