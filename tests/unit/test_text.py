"""Text that is safe to show, and numbers as people read them."""

from __future__ import annotations

import inspect
import unicodedata

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrsync import text
from cyrsync.report import progress
from cyrsync.text import human_bytes, human_count, human_seconds, path_text, printable, summed

ANY_TEXT = st.text(st.characters())  # with surrogates


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("Sent Items", "Sent Items"),
        ("Entwürfe 日本語 \U0001f600", "Entwürfe 日本語 \U0001f600"),
        ("[red]x[/]", "[red]x[/]"),
        ("\x1b[31mred\n", "\\x1b[31mred\\x0a"),
        ("a\x7fb\x9bc", "a\\x7fb\\u009bc"),
        ("bill\u202egpj.exe", "bill\\u202egpj.exe"),
        ("\u2066x\u2069\u200f", "\\u2066x\\u2069\\u200f"),
        ("a\u2028b\u2029c", "a\\u2028b\\u2029c"),
        ("a\u200bb\ufeffc\xadd", "a\\u200bb\\ufeffc\\u00add"),
        ("j\udcf6rg", "j\\udcf6rg"),
        ("\ue000\U000e0041\U0010ffff", "\\ue000\\U000e0041\\U0010ffff"),
    ],
)
def test_printable(text: str, shown: str) -> None:
    assert printable(text) == shown


@given(ANY_TEXT)
def test_printable_emits_nothing_that_acts(text: str) -> None:
    shown = printable(text)
    assert not {unicodedata.category(char) for char in shown} & {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}
    assert printable(shown) == shown
    shown.encode()


@pytest.mark.parametrize(
    ("path", "shown"),
    [
        (b"j/user/joe/1.", "j/user/joe/1."),
        ("für".encode(), "für"),
        (b"f\xfcr", "f\\xfcr"),
        (b"f\\xfcr", "f\\\\xfcr"),
        (b"a\nb\x1b", "a\\x0ab\\x1b"),
        ("\x9b".encode(), "\\u009b"),
    ],
)
def test_path_text(path: bytes, shown: str) -> None:
    assert path_text(path) == shown


@given(st.binary(), st.binary())
def test_path_text_is_unambiguous(one: bytes, other: bytes) -> None:
    assert (path_text(one) == path_text(other)) == (one == other)


@pytest.mark.parametrize(
    ("size", "shown"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (1024**2 - 1, "1.0 MiB"),
        (12 * 1024**3, "12.0 GiB"),
        (1024**6 * 3, "3,072.0 PiB"),
    ],
)
def test_human_bytes(size: int, shown: str) -> None:
    assert human_bytes(size) == shown


@pytest.mark.parametrize(
    ("seconds", "shown"),
    [
        (0, "0.00 s"),
        (0.042, "0.04 s"),
        (0.999, "1.0 s"),
        (7.26, "7.3 s"),
        (59.97, "1 min 00 s"),
        (125, "2 min 05 s"),
        (3599.7, "1 h 00 min"),
        (12_000, "3 h 20 min"),
    ],
)
def test_human_seconds(seconds: float, shown: str) -> None:
    assert human_seconds(seconds) == shown


def test_rich_is_not_paid_for_by_a_run_that_shows_nothing() -> None:
    for module in (text, progress):
        source = inspect.getsource(module)
        assert "\nfrom rich" not in source
        assert "\nimport rich" not in source


def test_human_count() -> None:
    assert human_count(1234567) == "1,234,567"


def test_many_messages_of_one_reason_are_summed_up() -> None:
    one, other = ([f"j/user/{number}.: {why}" for number in range(7)] for why in ("Permission denied", "I/O: error"))
    alone = ["connection failed", "nothing is deleted: 12 of 13"]
    mixed = [message for pair in zip(one, other, strict=True) for message in pair]
    found = list(summed(alone + mixed))
    assert found[:12] == alone + mixed[:10]
    assert found[12:] == ["... and 2 more: Permission denied", "... and 2 more: I/O: error"]
    assert list(summed(one[:5])) == one[:5]
    assert list(summed(alone[:1] * 9)) == alone[:1] * 9
