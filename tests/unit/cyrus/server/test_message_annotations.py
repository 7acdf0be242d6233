"""Annotations of messages as 32- and 64-bit machines write them, and what is none."""

from __future__ import annotations

import struct

import pytest

from cyrsync.cyrus.server import message_annotations
from cyrsync.cyrus.server.message_annotations import Annotation

TAIL = b"\0text/plain\0"


def read(key: bytes, value: bytes) -> list[Annotation]:
    """By way of a database of text, which writes a NUL as two bytes."""

    def written(text: bytes) -> bytes:
        return b"".join(b"\xff%c" % (byte | 0x80) if byte in b"\0\t\r\n\xff" else b"%c" % byte for byte in text)

    return list(message_annotations.read(written(key) + b"\t" + written(value) + b"\n", b"cyrus.annotations"))


@pytest.mark.parametrize("modseq", [None, 0x123456789A])
@pytest.mark.parametrize(
    ("length", "width"), [(struct.pack(">II", 6, 0), 8), (struct.pack(">II", 0, 6), 8), (struct.pack(">I", 6), 4)]
)
def test_every_machine(length: bytes, width: int, modseq: int | None) -> None:
    rest = bytes(width) + (b"" if modseq is None else struct.pack(">QB", modseq, 0))
    assert read(b"7\0/comment\0joe\0", length + b"a note" + TAIL + rest) == [
        Annotation(7, b"/comment", b"joe", b"a note", modseq or 0)
    ]


def test_a_tombstone_and_nonsense() -> None:
    gone = struct.pack(">II", 6, 0) + b"a note" + TAIL + bytes(8) + struct.pack(">QB", 9, 1)
    assert read(b"7\0/comment\0joe\0", gone) == []
    for value in (b"x", struct.pack(">II", 2**32 - 1, 0) + b"a" + TAIL, bytes(3)):
        assert read(b"7\0/comment\0joe\0", value) == []
    whole = struct.pack(">II", 1, 0) + b"a" + TAIL + bytes(8)
    assert read(b"\0/comment\0joe\0", whole) == read(b"7\0/comment\0", whole) == []
