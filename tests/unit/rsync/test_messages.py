"""What rsync 3.0 to 3.5 write on standard error, and what it means for the file it is about."""

from __future__ import annotations

import errno
from collections.abc import Iterator

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cyrsync.rsync.messages import Complaint, Kind, general_reason, read, refused, relative, unescape

#: Before the message's own words: up to 3.1, from 3.2 on.
PREFIXES = [b"rsync: ", b"rsync: [sender] ", b"rsync: [receiver] ", b"rsync: [generator] "]
#: Behind a path: nothing here and over ssh, the module where a daemon says it.
MODULES = [b"", b" (in spool)", b" (in a spool)"]
PATH = b"/srv/spool/user/joe/1."
TEMPORARY = b"/srv/spool/user/joe/.1..AbC9ef"
NASTY = [
    b'quo"te', b'"', b'" (in x', b"a: b (13)", b"a -> b", b"caf\xc3\xa9", b"\xff\xfe", b"back\\slash", b"(in x)",
    b"[sender] x", b" blank ", b"failed verification -- update discarded.", b"rsync error: x",
]  # fmt: skip


def one(line: bytes) -> Complaint:
    (message,) = read([line + b"\n"])
    return message


def lines(words: bytes, path: bytes = PATH) -> Iterator[bytes]:
    """The line with every prefix and, behind the path, every kind of module."""
    for prefix in PREFIXES:
        for module in MODULES:
            yield prefix + words.replace(b"PATH", b'"' + path + b'"' + module)


@pytest.mark.parametrize("module", MODULES)
@pytest.mark.parametrize("what", [b"file", b"directory"])
def test_vanished(what: bytes, module: bytes) -> None:
    assert one(what + b' has vanished: "' + PATH + b'"' + module) == Complaint(Kind.VANISHED, PATH, "vanished")


@pytest.mark.parametrize(
    ("words", "kind", "reason", "number"),
    [
        (b"link_stat PATH failed: No such file or directory (2)", Kind.VANISHED, "No such file or directory", 2),
        (b"link_stat PATH failed: Permission denied (13)", Kind.FAILED, "Permission denied", 13),
        (b"send_files failed to open PATH: Permission denied (13)", Kind.FAILED, "Permission denied", 13),
        (
            b"send_files failed to open PATH: Too many levels of symbolic links (40)",
            Kind.FAILED,
            "Too many levels of symbolic links",
            40,
        ),
        (b"mkstemp PATH failed: No such file or directory (2)", Kind.FAILED, "No such file or directory", 2),
        (b"opendir PATH failed: Permission denied (13)", Kind.FAILED, "Permission denied", 13),
        (b"readdir(PATH): Input/output error (5)", Kind.FAILED, "Input/output error", 5),
        (b"read errors mapping PATH: Input/output error (5)", Kind.FAILED, "Input/output error", 5),
        (b"recv_generator: mkdir PATH failed: Read-only file system (30)", Kind.FAILED, "Read-only file system", 30),
        (
            b"recv_generator: failed to stat PATH: Too many levels of symbolic links (40)",
            Kind.FAILED,
            "Too many levels of symbolic links",
            40,
        ),
        (b"write failed on PATH: No space left on device (28)", Kind.FAILED, "No space left on device", 28),
        (b"failed to open PATH, continuing: Permission denied (13)", Kind.FAILED, "Permission denied", 13),
        (b"open PATH failed: Too many open files (24)", Kind.FAILED, "Too many open files", 24),
        (b'symlink PATH -> "to/there" failed: Permission denied (13)', Kind.FAILED, "Permission denied", 13),
        (b"mknod PATH failed: Operation not permitted (1)", Kind.FAILED, "Operation not permitted", 1),
        (b"failed to set times on PATH: Operation not permitted (1)", Kind.ATTRIBUTES, "Operation not permitted", 1),
        (
            b"failed to set permissions on PATH: Read-only file system (30)",
            Kind.ATTRIBUTES,
            "Read-only file system",
            30,
        ),
        (
            b"failed to modify permissions on PATH: Operation not permitted (1)",
            Kind.ATTRIBUTES,
            "Operation not permitted",
            1,
        ),
        (b"chown PATH failed: Operation not permitted (1)", Kind.ATTRIBUTES, "Operation not permitted", 1),
        (b"chgrp PATH failed: Operation not permitted (1)", Kind.ATTRIBUTES, "Operation not permitted", 1),
        (
            b'rsync_xal_set: lsetxattr(PATH,"user.x") failed: Operation not supported (95)',
            Kind.ATTRIBUTES,
            "Operation not supported",
            95,
        ),
    ],
)
@pytest.mark.parametrize("path", [PATH, b"/srv/spool/user/jo e/1.", b'/srv/a "b" c/1.'])
def test_named_with_an_errno(words: bytes, kind: Kind, reason: str, number: int, path: bytes) -> None:
    for line in lines(words, path):
        assert one(line) == Complaint(kind, path, reason, number), line


@pytest.mark.parametrize("words", [b"mkstemp PATH failed: Permission denied (13)", b"chown PATH failed: No (1)"])
def test_temporary_files_go_by_their_real_name(words: bytes) -> None:
    for line in lines(words, TEMPORARY):
        assert relative(one(line).path, [b"/srv/spool"]) == b"user/joe/1."


@pytest.mark.parametrize(
    "words",
    [
        b'rename PATH -> "user/joe/1.": Is a directory (21)',
        b'rename PATH -> ""/srv/spool/user/joe/1."" failed: Is a directory (21)',  # the generator's, quoted twice
        b'copy PATH -> "user/joe/1.": No space left on device (28)',
    ],
)
def test_rename(words: bytes) -> None:
    for line in lines(words, TEMPORARY):
        message = one(line)
        assert message.kind is Kind.FAILED
        assert message.number in (21, 28)
        assert relative(message.path, [b"/srv/spool"]) == b"user/joe/1.", line


@pytest.mark.parametrize(
    "line",
    [
        b"could not make way for new regular file: user/joe/1.",  # since 3.0
        b"could not make way for new directory: user/joe/1.",
        b"could not make way for new symlink: user/joe/1.",
        b"could not make way for new device file: user/joe/1.",
        b"could not make way for new special file: user/joe/1.",
        b"could not make way for backup regular file: user/joe/1.",
        b"cannot delete non-empty directory: user/joe/1.",
    ],
)
def test_in_the_way(line: bytes) -> None:
    assert one(line) == Complaint(Kind.FAILED, b"user/joe/1.", "a folder is in its place", errno.ENOTEMPTY)


@pytest.mark.parametrize("kept", [b"discarded", b"retained", b"put into partial-dir"])
def test_failed_verification(kept: bytes) -> None:
    message = one(b"ERROR: user/joe/1. failed verification -- update " + kept + b".")
    assert (message.kind, message.path) == (Kind.FAILED, b"user/joe/1.")
    assert message.worth_another_try()
    warning = b"WARNING: user/joe/1. failed verification -- update " + kept + b" (will try again).\n"
    assert list(read([warning])) == []  # rsync does try again


def test_no_room_for_what_is_to_come_later() -> None:
    line = b"Unable to create partial-dir for user/joe/cyrus.index -- discarding completed update."
    message = one(line)
    assert (message.kind, message.path) == (Kind.FAILED, b"user/joe/cyrus.index")


@pytest.mark.parametrize("number", [13, 28])
def test_what_could_not_be_put_in_place(number: int) -> None:
    path = b'"/srv/spool/user/joe/cyrus.index" (from user/joe/.~tmp~/cyrus.index)'
    message = one(b"rsync: [receiver] rename failed for " + path + b": No such luck (%d)" % number)
    assert (message.kind, message.path, message.number) == (Kind.FAILED, b"/srv/spool/user/joe/cyrus.index", number)


def test_rsyncs_own_summing_up_is_no_message() -> None:
    said = [
        b"",
        b"\n",
        b"rsync error: some files/attrs were not transferred (code 23) at main.c(1338) [sender]\n",
        b"rsync warning: some files vanished before they could be transferred (code 24) at main.c(1338) [sender]\n",
        b"*** Skipping any contents from this failed directory ***\n",
        b"IO error encountered -- skipping file deletion\n",
        b"Warning: Permanently added 'host' (ED25519) to the list of known hosts.\r\n",
    ]
    assert list(read(said)) == []


@pytest.mark.parametrize(
    "line",
    [
        b"bash: warning: setlocale: LC_ALL: cannot change locale (en_US.UTF-8)",
        b"ssh: connect to host standby port 22: Connection refused",
        b"@ERROR: Unknown module 'spool'",
        b"\xff\xfe",
    ],
)
def test_what_names_no_file(line: bytes) -> None:
    message = one(line)
    assert (message.kind, message.path) == (Kind.GENERAL, b"")
    assert message.reason


@pytest.mark.parametrize(
    "line",
    [
        b"rsync: connection unexpectedly closed (0 bytes received so far) [sender]",
        b"rsync: [Receiver] write error: Broken pipe (32)",
        b"rsync: read error: Connection reset by peer (104)",
        b"rsync: writefd_unbuffered failed to write 4 bytes to socket [generator]: Broken pipe (32)",
    ],
)
def test_what_only_follows_is_no_complaint(line: bytes) -> None:
    """A pull in which all has vanished ends with such a line, and nothing else is wrong."""
    assert list(read([line + b"\n"])) == []


@pytest.mark.parametrize(
    ("line", "no"),
    [
        (b"ERROR: module is read only", True),
        (b"@ERROR: auth failed on module spool", True),
        (b"@ERROR: max connections (4) reached -- try again later", False),
        (b"rsync: connection unexpectedly closed", False),
    ],
)
def test_refused(line: bytes, no: bool) -> None:
    assert refused([b"rsync: x\n", line + b"\n"]) is no


@pytest.mark.parametrize("name", NASTY)
@pytest.mark.parametrize(
    "words",
    [
        b"send_files failed to open PATH: Permission denied (13)",
        b"mkstemp PATH failed: Permission denied (13)",
        b"opendir PATH failed: Permission denied (13)",
        b"link_stat PATH failed: No such file or directory (2)",
    ],
)
def test_any_name(name: bytes, words: bytes) -> None:
    path = b"/srv/spool/user/" + name + b"/1."
    for prefix in PREFIXES:
        assert one(prefix + words.replace(b"PATH", b'"' + path + b'"')).path == path


@pytest.mark.parametrize("name", NASTY)
def test_any_name_elsewhere(name: bytes) -> None:
    path = b"/srv/spool/user/" + name + b"/1."
    assert one(b'file has vanished: "' + path + b'"') == Complaint(Kind.VANISHED, path, "vanished")
    assert one(b"could not make way for new regular file: " + path[1:]).path == path[1:]
    assert one(b"ERROR: " + path[1:] + b" failed verification -- update discarded.").path == path[1:]


@pytest.mark.parametrize(
    "folder",
    [
        b"could not make way for new directory: x",
        b"cannot delete non-empty directory: x",
        b'file has vanished: "x',
        b'directory has vanished: "x',
    ],
)
@pytest.mark.parametrize(
    "words", [b"send_files failed to open PATH: Permission denied (13)", b"mkstemp PATH failed: Permission denied (13)"]
)
def test_no_name_speaks_for_rsync(folder: bytes, words: bytes) -> None:
    """Mail users name folders as they like: a failure must still be booked where it was."""
    path = b"/srv/spool/user/" + folder + b"/1."
    for line in lines(words, path):
        assert one(line) == Complaint(Kind.FAILED, path, "Permission denied", errno.EACCES)


def test_control_characters_come_back() -> None:
    line = rb'rsync: [sender] send_files failed to open "/srv/a\#012b\#134#012/\#033[31m/1.": Permission denied (13)'
    assert one(line).path == b"/srv/a\nb\\#012/\x1b[31m/1."
    assert one(rb'file has vanished: "/srv/a\#0121."').path == b"/srv/a\n1."
    assert one(rb"could not make way for new regular file: a\#012/1.").path == b"a\n/1."
    assert one(rb"ERROR: a\#012/1. failed verification -- update discarded.").path == b"a\n/1."


def test_line_ends() -> None:
    for end in (b"", b"\n", b"\r\n"):
        assert [message.path for message in read([b'file has vanished: "/1."' + end])] == [b"/1."]


@pytest.mark.parametrize(
    ("number", "again"),
    [
        (errno.EINTR, True), (errno.EAGAIN, True), (errno.EBUSY, True), (errno.ENFILE, True), (errno.EMFILE, True),
        (errno.ETXTBSY, True), (errno.ESTALE, True), (errno.ENOMEM, True), (errno.EACCES, False),
        (errno.ENOSPC, False), (errno.EROFS, False), (errno.EIO, False), (errno.ENOTEMPTY, False), (0, False),
    ],
)  # fmt: skip
def test_what_is_tried_again(number: int, again: bool) -> None:
    assert Complaint(Kind.FAILED, b"x", "reason", number).worth_another_try() is again
    for kind in (Kind.VANISHED, Kind.ATTRIBUTES, Kind.GENERAL):
        assert not Complaint(kind, b"x", "reason", number).worth_another_try()


def as_rsync_shows(name: bytes) -> bytes:
    """Escape as rsync does with -8: control characters but tabs, and what looks escaped (log.c, filtered_fwrite)."""
    shown = bytearray()
    for at, byte in enumerate(name):
        rest = name[at + 1 : at + 5]
        looks_escaped = byte == ord("\\") and rest[:1] == b"#" and len(rest) == 4 and rest[1:].isdigit()
        if looks_escaped or (byte < 32 and byte != 9):
            shown += b"\\#%03o" % byte
        else:
            shown.append(byte)
    return bytes(shown)


@given(st.binary() | st.lists(st.sampled_from([b"\\", b"#", b"012", b"\n", b"1", b"\\#134", b"\xff"])).map(b"".join))
@example(b"\\#012")
@example(b"\\\\#012")
@example(b"\\#134#012")
def test_unescape(name: bytes) -> None:
    # What follows a name in a message, if only a quote, belongs to what rsync looks at.
    assert unescape(as_rsync_shows(name + b'"')) == name + b'"'


@given(st.lists(st.binary(max_size=80)))
def test_read_never_raises(said: list[bytes]) -> None:
    for message in read(said):
        assert message.kind in Kind


@pytest.mark.parametrize(
    ("path", "roots", "expected"),
    [
        (b"/src/user/joe/1.", [b"/src", b"/dst"], b"user/joe/1."),
        (b"/dst/user/joe/1.", [b"/src", b"/dst"], b"user/joe/1."),
        (b"/src/user/joe/1.", [b"/src/", b"/dst/"], b"user/joe/1."),
        (b"/src", [b"/src", b"/dst"], b""),
        (b"/src/", [b"/src", b"/dst"], b""),
        (b"/src/.", [b"/src", b"/dst"], b""),
        (b"/srcs/1.", [b"/src", b"/dst"], None),
        (b"/elsewhere", [b"/src", b"/dst"], None),
        (b"user/joe/1.", [b"/src", b"/dst"], None),
        (b"/user/joe/1.", [b"/"], b"user/joe/1."),
        (b"/", [b"/"], b""),
        (b"/dst/.1..AbC9ef", [b"/src", b"/dst"], b"1."),
        (b"/dst/user/.cyrus.index.AbC9ef", [b"/src", b"/dst"], b"user/cyrus.index"),
        (b"/dst/user/.x y\n.AbC9ef", [b"/src", b"/dst"], b"user/x y\n"),
        (b"/dst/user/.hidden", [b"/src", b"/dst"], b"user/.hidden"),
        # One root lies in the other: one of them is on another machine.
        (b"/srv/mirror/user/joe/1.", [b"/srv", b"/srv/mirror"], b"user/joe/1."),
        (b"/srv/mirror/user/joe/1.", [b"/srv/mirror", b"/srv"], b"user/joe/1."),
        # A daemon's module, its own name left out.
        (b"/dst/user/joe/.1..AbC9ef", [b"/", b"/dst"], b"user/joe/1."),
        (b"/dst/user/joe/.1..AbC9ef", [b"/dst", b"/"], b"user/joe/1."),
        # rsync 3.0.0 shows an entry as it was listed.
        (b"/src/./user/joe/1.", [b"/src"], b"user/joe/1."),
        (b"/src/././joe/.1..AbC9ef", [b"/src"], b"joe/1."),
    ],
)
def test_relative(path: bytes, roots: list[bytes], expected: bytes | None) -> None:
    assert relative(path, roots) == expected


@pytest.mark.parametrize(
    ("said", "reason"),
    [
        (
            [b"ssh: no route\n", b"rsync: connection unexpectedly closed\n", b"rsync error: x (code 12)\n"],
            "ssh: no route",
        ),
        ([b"rsync error: x (code 12)\n"], "rsync error: x (code 12)"),
        ([b"rsync: server sent\n", b"ERROR: no room\n", b"rsync error: x\n"], "ERROR: no room"),
        ([b"Warning: Permanently added 'h'\n", b"rsync: x: Broken pipe (32)\n", b"rsync: no room\n"], "rsync: no room"),
        ([b"rsync: connection unexpectedly closed\n"], "rsync: connection unexpectedly closed"),
        ([b"\n", b"  \n"], "it said nothing"),
        ([], "it said nothing"),
        ([b"caf\xe9\n"], "caf\\xe9"),
    ],
)
def test_general_reason(said: list[bytes], reason: str) -> None:
    assert general_reason(said) == reason
