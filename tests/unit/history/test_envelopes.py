"""Sender, subject and Message-ID: out of a cache's envelope, and out of a message's header, alike."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from cyrsync.history.envelopes import Envelope, Envelopes
from cyrsync.history.selected import Mailbox, Message, Selection

GENERATION = b"\0\0\0\7"
BOX = Mailbox(b"user.joe", "e", "default", "id", 1, 1, 1, 0, (), None, (), deleted=False, legacy=True)


def message(path: Path, offset: int = 4) -> Message:
    return Message(1, None, 0, 0, (), 1, 0, False, False, offset, (os.fsencode(path),))


def envelopes(
    tmp_path: Path, envelope: bytes, header: bytes = b"Subject: of the message\r\n\r\n"
) -> tuple[Envelopes, Message]:
    """What reads a mailbox with one message, and that."""
    cache, file = tmp_path / "cyrus.cache", tmp_path / "1."
    cache.write_bytes(GENERATION + len(envelope).to_bytes(4, "big") + envelope)
    file.write_bytes(header)
    one = message(file)
    paths = os.fsencode(cache), b"/none"
    return Envelopes(Selection(BOX, 1, 0, 1, lambda: iter([one]), {b"cyrus.index": GENERATION}, paths)), one


def cached(subject: bytes = b'"hello"', name: bytes = b'"Joe"') -> bytes:
    address = b'((%s NIL "joe" "example.com"))' % name
    return b'("date" %s %s %s %s NIL NIL NIL NIL "<id@example.com>")' % (subject, address, address, address)


@pytest.mark.parametrize(
    ("subject", "expected"),
    [
        (b'"hello"', "hello"),
        (b"NIL", ""),
        (b'"a \\"quoted\\" \\\\ word"', 'a "quoted" \\ word'),
        (b"{12}\r\nin two\r\nline", "in two line"),
        (b'"=?utf-8?q?J=C3=B6rg?= =?iso-8859-1?q?_=E4?="', "Jörg ä"),
        (b'"=?nonsense?x?y?="', "=?nonsense?x?y?="),
        ('"grün"'.encode(), "grün"),
        ('"grün"'.encode("latin-1"), "grün"),
    ],
)
def test_subjects_in_a_cache(tmp_path: Path, subject: bytes, expected: str) -> None:
    reader, one = envelopes(tmp_path, cached(subject))
    assert reader.of(one) == Envelope("<id@example.com>", "Joe <joe@example.com>", expected)
    assert reader.matching(one, expected.upper()) is not None
    assert reader.matching(one, "other") is None
    reader.close()


@pytest.mark.parametrize(("text", "found"), [("hello", True), ("grün", False)])
def test_a_cache_is_read_once_for_a_message(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, text: str, found: bool
) -> None:
    reader, one = envelopes(tmp_path, cached())
    reads, pread = [], os.pread
    monkeypatch.setattr(os, "pread", lambda *words: reads.append(words) or pread(*words))  # type: ignore[func-returns-value]
    assert (reader.matching(one, text) is not None) is found
    assert len(reads) == 1
    reader.close()


@pytest.mark.parametrize("text", ["joe@example.com", "Joe <joe", "ID@EXAMPLE", "<id@example.com>", "hell"])
def test_what_is_looked_for_may_stand_over_several_words(tmp_path: Path, text: str) -> None:
    reader, one = envelopes(tmp_path, cached())
    assert reader.matching(one, text) is not None
    for other in (f"{text}x", "com>x", "joe example"):
        assert reader.matching(one, other) is None
    reader.close()


@pytest.mark.parametrize(
    "envelope", [b"", b"()", b"(a b)", b"(((((", b"x", b'("a"' + b" NIL" * 8 + b" (", b"\xff" * 2000]
)
def test_a_cache_that_says_nothing(tmp_path: Path, envelope: bytes) -> None:
    reader, one = envelopes(tmp_path, envelope)
    assert reader.of(one).subject == "of the message"
    assert reader.matching(one, "of the message") is not None
    reader.close()


def test_a_long_envelope(tmp_path: Path) -> None:
    reader, one = envelopes(tmp_path, cached(b'"' + b"x" * 5000 + b'"'))
    assert reader.of(one).subject == "x" * 5000
    reader.close()


@pytest.mark.parametrize(
    ("header", "expected"),
    [
        (b"", Envelope("", "", "")),
        (b"SUBJECT: a\r\n b\r\nfrom: x@y\r\nMessage-Id: <1>\r\n\r\nSubject: no\r\n", Envelope("<1>", "x@y", "a b")),
        (b"Subject: =?utf-8?b?w7w=?=\n\n", Envelope("", "", "ü")),
        (b"\xff\xfe\0: nonsense", Envelope("", "", "")),
        (b"Subject: gr\xfcn\r\n\r\n", None),
    ],
)
def test_headers(tmp_path: Path, header: bytes, expected: Envelope | None) -> None:
    reader, one = envelopes(tmp_path, b"", header)
    found = reader.of(one)
    assert found == expected or (expected is None and found.subject.startswith("gr"))
    reader.close()


def test_a_message_that_is_not_there(tmp_path: Path) -> None:
    reader, one = envelopes(tmp_path, b"")
    (tmp_path / "1.").unlink()
    assert reader.of(one) == Envelope("", "", "")
    reader.close()
