"""SRC and DEST mean to cyrsync what they mean to rsync."""

from __future__ import annotations

import os

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cyrsync.ends.address import Address, parse
from cyrsync.errors import UsageError

#: Whatever a shell can pass: any byte but NUL.
arguments = st.binary().map(lambda raw: os.fsdecode(raw.replace(b"\0", b"")))
pieces = ["rsync://", "RSYNC://", "h", "joe@", "@", ":", "::", "/", "[", "]", "::1", "-", "873", "mod", "~", ".", " "]


@pytest.mark.parametrize(
    ("text", "path"),
    [
        ("/var/spool/imap", b"/var/spool/imap"),
        ("/var/spool/imap/", b"/var/spool/imap/"),
        ("spool", b"spool"),
        (".", b"."),
        ("./host:path", b"./host:path"),
        ("/a:b", b"/a:b"),
        ("a/b:c", b"a/b:c"),
        ("a/b::c", b"a/b::c"),
        ("joe@host", b"joe@host"),
        ("-spool", b"-spool"),
        ("a b\n", b"a b\n"),
        ("[::1]", b"[::1]"),
        ("a[b:c", b"a[b:c"),
        ("rsync:", None),
        ("\udcff", b"\xff"),
    ],
)
def test_local(text: str, path: bytes | None) -> None:
    if path is None:
        assert not parse(text).local
        return
    address = parse(text)
    assert address == Address(text, path)
    assert address.local
    assert not address.daemon


@pytest.mark.parametrize(
    ("text", "host", "path"),
    [
        ("host:/spool", "host", b"/spool"),
        ("host:spool/", "host", b"spool/"),
        ("host:", "host", b"."),
        ("joe@host:/spool", "joe@host", b"/spool"),
        ("host:/a:b::c", "host", b"/a:b::c"),
        ("host:a:b", "host", b"a:b"),
        ("host:-x", "host", b"-x"),
        ("[::1]:/spool", "[::1]", b"/spool"),
        ("joe@[fe80::1%eth0]:/spool", "joe@[fe80::1%eth0]", b"/spool"),
        ("joe@example.com@host:/spool", "joe@example.com@host", b"/spool"),
        ("host:/sp ool\n$(x)", "host", b"/sp ool\n$(x)"),
        ("host:\udcff", "host", b"\xff"),
        ("C:\\spool", "C", b"\\spool"),
        # What rsync takes for a host called rsync:
        ("rsync:/host", "rsync", b"/host"),
        ("rsync://host:port/module", "rsync", b"//host:port/module"),
    ],
)
def test_ssh(text: str, host: str, path: bytes) -> None:
    assert parse(text) == Address(text, path, host)


@pytest.mark.parametrize(
    ("text", "host", "port", "path"),
    [
        ("host::module", "host", None, b"module"),
        ("host::module/", "host", None, b"module/"),
        ("host::module/a:b", "host", None, b"module/a:b"),
        ("host::/module", "host", None, b"module"),
        ("joe@host::module/path", "joe@host", None, b"module/path"),
        ("[::1]::module", "[::1]", None, b"module"),
        ("rsync://host/module", "host", None, b"module"),
        ("rsync://host/module/path/", "host", None, b"module/path/"),
        ("rsync://host:8873/module", "host", "8873", b"module"),
        ("rsync://joe@host:8873/module/a b", "joe@host", "8873", b"module/a b"),
        ("rsync://[::1]/module", "[::1]", None, b"module"),
        ("rsync://joe@[::1]:8873/module", "joe@[::1]", "8873", b"module"),
        ("RSYNC://host/module", "host", None, b"module"),
        ("rsync://host/module/a\nb", "host", None, b"module/a\nb"),
        ("rsync://host//module", "host", None, b"module"),
    ],
)
def test_daemon(text: str, host: str, port: str | None, path: bytes) -> None:
    address = parse(text)
    assert address == Address(text, path, host, port, daemon=True)
    assert not address.local


@pytest.mark.parametrize(
    "text",
    ["", "-host:/spool", "-oProxyCommand=x:/spool", "joe@-oProxyCommand=x:/spool", "[-oProxyCommand=x]:/spool",
     "joe@[-oProxyCommand=x]:/spool", "host::", "host::/", "rsync://", "rsync://host", "rsync://host/",
     "rsync://host:873", "rsync:///module", "rsync://host//"],
)  # fmt: skip
def test_refused(text: str) -> None:
    with pytest.raises(UsageError):
        parse(text)


@given(arguments | st.lists(st.sampled_from(pieces)).map("".join))
@example("rsync://joe@:873/x")
@example("::")
@example(":x")
@example("@:x")
def test_nothing_but_usage_errors(text: str) -> None:
    try:
        address = parse(text)
    except UsageError:
        return
    assert address.path
    assert address.text == text
    assert address.local is (address.host is None)
    assert address.for_rsync(address.path).endswith("/")


@given(st.binary(min_size=1).map(lambda raw: raw.replace(b"\0", b"x")))
def test_a_path_behind_a_slash_is_local(raw: bytes) -> None:
    for prefix in (b"/", b"./"):
        address = parse(os.fsdecode(prefix + raw))
        assert address.local
        assert address.path == prefix + raw


@pytest.mark.parametrize(
    ("text", "resolved", "operand"),
    [
        ("spool", b"/srv/spool", "/srv/spool/"),
        ("spool", b"/", "/"),
        ("spool", b"/srv/a:b", "/srv/a:b/"),
        ("joe@host:spool", b"/srv/\xff", "joe@host:/srv/\udcff/"),
        ("[::1]:spool", b"/srv/spool/", "[::1]:/srv/spool/"),
        ("host::module", b"module/x", "rsync://host/module/x/"),
        ("rsync://joe@[::1]:8873/module", b"module", "rsync://joe@[::1]:8873/module/"),
    ],
)
def test_operands(text: str, resolved: bytes, operand: str) -> None:
    assert parse(text).for_rsync(resolved) == operand
    assert parse(operand).path == resolved.rstrip(b"/") + b"/"


@pytest.mark.parametrize(
    ("text", "resolved", "operand", "below"),
    [
        ("spool", b"/srv/spool", b"/srv/spool", b""),
        ("host:spool", b"/srv/spool", b"/srv/spool", b""),
        ("host::module", b"module", b"module", b""),
        ("host::module/", b"module/", b"module", b""),
        ("host::module/a/b/", b"module/a/b/", b"module", b"a/b"),
        ("host::module/./a//./b/.", b"module/./a//./b/.", b"module", b"a/b"),
    ],
)
def test_daemons_are_given_their_module(text: str, resolved: bytes, operand: bytes, below: bytes) -> None:
    assert parse(text).split(resolved) == (operand, below)
