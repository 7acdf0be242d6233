"""The uniqueid is found in every version's cyrus.header, and never made up; so is the rest."""

from __future__ import annotations

import json
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrsync.cyrus.mailbox.header import MAGIC, PREAMBLE_SIZE, READ_SIZE, Header, HeaderError, read, uniqueid
from support.tree import DATA, unpack_spool

SPOOLS = sorted(path.name.removeprefix("cyrus-").removesuffix(".tar.xz") for path in DATA.glob("cyrus-*.tar.xz"))
PREAMBLE = MAGIC + b'"The best thing about this system was that it had lots of goals."\n\t--Jim Morris on Andrew\n'
UUID = "3f1d0cb8-0d0e-4730-b6ee-e055e7e08997"


@pytest.fixture(scope="module")
def mailboxes(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], list[tuple[bytes, str]]]:
    """Give the header's bytes and the uniqueid of every mailbox in a spool."""

    def read(name: str) -> list[tuple[bytes, str]]:
        box = unpack_spool(name, tmp_path_factory.mktemp("spool"))
        return [(header.read_bytes(), mailbox["uniqueid"]) for header, mailbox in _known(box)]

    return read


def _known(box: Path) -> list[tuple[Path, dict[str, Any]]]:
    mailboxes = json.loads((box / "truth.json").read_text())["mailboxes"]
    return [(box / m["metadir"] / "cyrus.header", m) for m in mailboxes if not m["tombstone"]]


@pytest.mark.parametrize("spool", SPOOLS)
def test_real_headers(spool: str, mailboxes: Callable[[str], list[tuple[bytes, str]]]) -> None:
    found = mailboxes(spool)
    assert len(found) >= 20
    assert [uniqueid(data[:READ_SIZE]) for data, _ in found] == [expected for _, expected in found]


@pytest.mark.parametrize("spool", SPOOLS)
def test_truncated_real_headers(spool: str, mailboxes: Callable[[str], list[tuple[bytes, str]]]) -> None:
    """There is no checksum, but the line must have its end."""
    for data, expected in mailboxes(spool):
        line_end = data.index(b"\n", PREAMBLE_SIZE)
        for size in range(len(data)):
            assert uniqueid(data[:size]) == (expected if size > line_end else "")


def test_preamble_is_as_long_as_it_should() -> None:
    assert len(PREAMBLE) == PREAMBLE_SIZE


@pytest.mark.parametrize(
    ("line", "expected"),
    [
        # Up to 3.4.
        (b"user.joe\t5bbd67166b039b05", "5bbd67166b039b05"),
        (b"\t5bbd67166b039b05", "5bbd67166b039b05"),
        (b"user.joe smith\t" + UUID.encode(), UUID),
        (b"user.joe\t", ""),
        (b"user.joe", ""),
        (b"", ""),
        # From 3.6 on.
        (b"%(T e N user.joe I " + UUID.encode() + b" A %(joe lrs))", UUID),
        (b"%(I " + UUID.encode() + b")", UUID),
        (b'%(I "' + UUID.encode() + b'")', UUID),
        (b'%(T e N "user.joe.I wrong" I right A %(joe lrs))', "right"),
        (b'%(N "I wrong \\" I wrong" I right)', "right"),
        (b'%(N "a \\\\" I right)', "right"),
        (b'%(N "I" I right)', "right"),
        (b"%(N I I right)", "right"),
        (b"%(A %(I wrong) I right)", "right"),
        (b"%(A %(x %(I wrong) y (I wrong)) I right)", "right"),
        (b'%(A %("I )" wrong) I right)', "right"),
        (b"%(U (I wrong) I right)", "right"),
        (b"%(U () I right)", "right"),
        (b"%(N NIL I right)", "right"),
        (b"%(Q 100% I right)", "right"),
        (b"%(T e  N  x  I  right )", "right"),
        (b"%(T e N user.joe I NIL A %(joe lrs))", ""),
        (b"%(T e N user.joe A %(joe lrs))", ""),
        (b"%(T e N user.joe I (a b))", ""),
        (b'%(T e N user.joe I "")', ""),
        (b"%(T e N user.joe I)", ""),
        (b"%(T e N user.joe I ", ""),
        (b"%(", ""),
        (b"%()", ""),
        (b'%(N "never ended I wrong', ""),
        (b"%(A %(never ended I wrong", ""),
    ],
)
def test_lines(line: bytes, expected: str) -> None:
    assert uniqueid(PREAMBLE + line + b"\nNonJunk \njoe\tlrs\t\n") == expected


@pytest.mark.parametrize("data", [b"", b"\0" * 300, PREAMBLE, PREAMBLE[1:] + b"x\tabc\n", b"x" * 115 + b"x\tabc\n"])
def test_no_headers(data: bytes) -> None:
    assert uniqueid(data) == ""


@given(st.binary())
def test_never_raises(data: bytes) -> None:
    assert isinstance(uniqueid(data), str)
    assert isinstance(uniqueid(PREAMBLE + data), str)


@given(st.text('()%"\\ INx\t', max_size=40))
def test_never_raises_for_odd_lists(text: str) -> None:
    assert isinstance(uniqueid(PREAMBLE + b"%(" + text.encode() + b"\n"), str)


@given(st.integers(0, 8 * 250 - 1))
def test_never_raises_for_flipped_bits(bit: int) -> None:
    data = bytearray(
        PREAMBLE + b'%(T e N "user.joe.I x" I ' + UUID.encode() + b" A %(joe lrswipkxtecdan anyone lrs))\n"
    )
    data += b" " * (250 - len(data))
    data[bit // 8] ^= 1 << bit % 8
    assert isinstance(uniqueid(bytes(data)), str)


@pytest.mark.parametrize("spool", SPOOLS)
def test_real_headers_taken_apart(spool: str, tmp_path: Path) -> None:
    for path, mailbox in _known(unpack_spool(spool, tmp_path)):
        data = path.read_bytes()
        found = read(data)
        assert found.uniqueid == mailbox["uniqueid"]
        text = mailbox["header"].encode("latin-1")[PREAMBLE_SIZE:]
        assert all(flag is not None and flag + b" " in text.replace(b")", b" ") for flag in found.flags)
        assert (found.name is None) == (found.mbtype == "") == (not text.startswith(b"%("))
        if found.name is not None:
            assert found.name.decode() == mailbox["name"]
            assert found.mbtype == mailbox["mbtype"]
        known = mailbox.get("mboxlist", {}).get("acl")
        assert found.acl
        assert known is None or {user.decode(): rights.decode() for user, rights in found.acl} == known
        for size in range(len(data)):
            with pytest.raises(HeaderError):
                read(data[:size])


@pytest.mark.parametrize(
    ("lines", "expected"),
    [
        (
            b"user.joe\t5bbd6716\nNonJunk $Label1 \njoe\tlrs\tann\tl\t\n",
            Header(b"user.joe", "5bbd6716", (b"NonJunk", b"$Label1"), ((b"joe", b"lrs"), (b"ann", b"l")), None, ""),
        ),
        (b"\tabc\n\n\n", Header(None, "abc", (), (), None, "")),
        (b"q r\tabc\textra\na  c\nx\ty\nmore", Header(b"q r", "abc", (b"a", None, b"c"), ((b"x", b"y"),), None, "")),
        (
            b"%(T el N user.joe I abc J P-F Q user.joe A %(joe lrs ann l) U (NonJunk NIL $Label1))\n",
            Header(
                *(b"user.joe", "abc", (b"NonJunk", None, b"$Label1"), ((b"joe", b"lrs"), (b"ann", b"l"))),
                *(b"user.joe", "el"),
            ),
        ),
        (b'%(T e N "a b" I "abc" A %())\n', Header(None, "abc", (), (), b"a b", "e")),
        (b"%(I abc)\n", Header(None, "abc", (), (), None, "")),
    ],
)
def test_all_of_a_header(lines: bytes, expected: Header) -> None:
    assert read(PREAMBLE + lines) == expected
    assert uniqueid(PREAMBLE + lines).partition("\t")[0] == expected.uniqueid


def test_flags_beyond_the_last_bit() -> None:
    names = [b"f%d" % number for number in range(130)]
    assert read(PREAMBLE + b"\tabc\n" + b" ".join(names) + b" \n\n").flags == tuple(names[:128])
    assert read(PREAMBLE + b"%(I abc U (" + b" ".join(names) + b"))\n").flags == tuple(names[:128])


@pytest.mark.parametrize(
    ("data", "offset"),
    [
        (b"", 0),
        (b"x" * 200, 0),
        (PREAMBLE, PREAMBLE_SIZE),
        (PREAMBLE + b"\tabc\n", PREAMBLE_SIZE + 5),
        (PREAMBLE + b"\tabc\nflag \n", PREAMBLE_SIZE + 11),
        (PREAMBLE + b"\tabc\nflag \njoe\n", PREAMBLE_SIZE + 11),
        (PREAMBLE + b"user.joe\t\n\n\n", PREAMBLE_SIZE + 8),
        (PREAMBLE + b"user.joe\n\n\n", PREAMBLE_SIZE + 8),
        (PREAMBLE + b"%(I abc)", PREAMBLE_SIZE + 8),
        (PREAMBLE + b"%(I abc\n", PREAMBLE_SIZE + 7),
        (PREAMBLE + b"%(I abc) \n", PREAMBLE_SIZE + 8),
        (PREAMBLE + b"%(T e)\n", PREAMBLE_SIZE),
        (PREAMBLE + b"%(I (a))\n", PREAMBLE_SIZE),
        (PREAMBLE + b"%(I a A (b c))\n", PREAMBLE_SIZE),
        (PREAMBLE + b"%(I a U b)\n", PREAMBLE_SIZE),
    ],
)
def test_what_is_no_header_is_named(data: bytes, offset: int) -> None:
    with pytest.raises(HeaderError, match=f"^byte {offset}: ") as caught:
        read(data)
    assert caught.value.offset == offset


@given(st.binary() | st.text('()%"\\ INAUx\t\n', max_size=40).map(str.encode))
def test_anything_is_read_or_refused(data: bytes) -> None:
    for start in (b"", PREAMBLE, PREAMBLE + b"%(I abc A %(", PREAMBLE + b"\tabc\n"):
        with suppress(HeaderError):
            assert read(start + data).uniqueid
