"""Every value comes back as it was written, and nothing else is taken for one."""

from __future__ import annotations

import re
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrsync.cyrus.mailbox.dlist import DlistError, Value, encode, items, parse
from support import campaign

ATOM = re.compile(rb'[^\x00-\x20\x7f-\xff{()"%*\\]+')
strings = st.binary(max_size=12) | st.text('aN IL\\"(){}%*\r\n\0', max_size=6).map(str.encode) | st.just(b"NIL")
values = st.recursive(
    st.none() | strings,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(strings, inner, max_size=4),
    max_leaves=20,
)


def written(value: Value, draw: st.DataObject) -> bytes:
    """Write a value, each string in one of the ways that it may be written in."""
    if value is None:
        return b"NIL"
    if isinstance(value, bytes):
        return written_string(value, draw)
    if isinstance(value, list):
        return b"(" + b" ".join(written(item, draw) for item in value) + b")"
    pairs = [written_string(key, draw) + b" " + written(item, draw) for key, item in value.items()]
    return b"%(" + b" ".join(pairs) + b")"


def written_string(text: bytes, draw: st.DataObject) -> bytes:
    ways = [b"{%d}\r\n%b" % (len(text), text), b"{%d+}\r\n%b" % (len(text), text)]
    if not re.search(rb"[\r\n\0]", text):
        ways.append(b'"' + re.sub(rb'(["\\])', rb"\\\1", text) + b'"')
    if ATOM.fullmatch(text) and text != b"NIL":
        ways.append(text)
    return draw.draw(st.sampled_from(ways))


@given(values, st.data())
def test_round_trip(value: Value, data: st.DataObject) -> None:
    found = parse(written(value, data))
    assert found == value
    if isinstance(value, dict) and isinstance(found, dict):
        assert list(found) == list(value)


@given(values, st.data())
def test_no_beginning_of_a_list_is_a_value(value: Value, data: st.DataObject) -> None:
    whole = written([value], data)
    for size in range(len(whole)):
        with pytest.raises(DlistError):
            parse(whole[:size])


@given(st.binary() | st.text('()%"\\ NILa{1+}\r\n', max_size=40).map(str.encode))
def test_anything_is_a_value_or_an_error(data: bytes) -> None:
    try:
        parse(data)
    except DlistError as error:
        offset = error.offset
    else:
        offset = 0
    assert 0 <= offset <= len(data)


@pytest.mark.parametrize(
    ("data", "expected"),
    [
        (
            b"%(A %(joe lrswipkxtecdan anyone p) I 3f1d P default V 1795398657 M 1795398659)",
            {
                b"A": {b"joe": b"lrswipkxtecdan", b"anyone": b"p"},
                b"I": b"3f1d",
                b"P": b"default",
                b"V": b"1795398657",
                b"M": b"1795398659",
            },
        ),
        (b"%(T ed N NIL H (%(N old F 1)))", {b"T": b"ed", b"N": None, b"H": [{b"N": b"old", b"F": b"1"}]}),
        (b"%(A %())", {b"A": {}}),
        (b'("NIL" NIL {3}\r\nNIL nil)', [b"NIL", None, b"NIL", b"nil"]),
        (b"%(NIL x)", {b"NIL": b"x"}),
        (b"(\\Seen $Label1 100% [a] *)", [b"\\Seen", b"$Label1", b"100%", b"[a]", b"*"]),
        (b"(  a\t(b)(c) \r\n d )", [b"a", [b"b"], [b"c"], b"d"]),
        (b"%( k  v  l(m) )", {b"k": b"v", b"l": [b"m"]}),
        (b"%(k first k second)", {b"k": b"first"}),
        ("%(jürgen lrs)".encode(), {"jürgen".encode(): b"lrs"}),
        (b'%("a b" x)', {b"a b": b"x"}),
        (b"(" * 32 + b")" * 32, None),
    ],
)
def test_values(data: bytes, expected: Value) -> None:
    found = parse(data)
    assert found == expected or (expected is None and found)


@pytest.mark.parametrize(
    ("data", "offset"),
    [
        (b"", 0),
        (b" a", 0),
        (b"a ", 1),
        (b"a\n", 1),
        (b"(a) b", 3),
        (b"(a", 2),
        (b")", 0),
        (b"%(a)", 3),
        (b"%(a b c)", 7),
        (b"%(%(a b) c)", 10),
        (b"%((a) c)", 2),
        (b"%{default 0123 5}\r\nhello", 0),
        (b'"a', 0),
        (b'("a\\")', 1),
        (b'"a\nb"', 0),
        (b"{3}\r\nab", 0),
        (b"{3}\nabc", 0),
        (b"{}\r\n", 0),
        (b"{99999999999}\r\n", 0),
        (b"{2}\r\nabc", 7),
        (b"a\0b", 1),
        (b"(" * 100_000, 32),
        (b"%(a " * 100_000, 32 * 4),
    ],
)
def test_errors_name_the_byte(data: bytes, offset: int) -> None:
    with pytest.raises(DlistError, match=f"^byte {offset}: ") as caught:
        parse(data)
    assert caught.value.offset == offset


@given(values)
def test_what_is_encoded_is_parsed_as_the_same(value: Value) -> None:
    assert parse(encode(value)) == value


@given(values)
def test_a_line_end_is_encoded_in_a_literal_alone(value: Value) -> None:
    """Else what follows it would be another command."""
    left = encode(value)
    while opening := re.search(rb"\{([0-9]+)\+\}\r\n", left):
        assert not re.search(rb"[\r\n\0]", left[: opening.start()])
        left = left[opening.end() + int(opening[1]) :]
    assert not re.search(rb"[\r\n\0]", left)


@campaign.slow()
@given(st.dictionaries(strings, values, max_size=4), st.lists(values, max_size=4), st.data())
def test_members_of_one_list_alone(pairs: dict[bytes, Value], members: list[Value], data: st.DataObject) -> None:
    pairs = {key: value for key, value in pairs.items() if key != b"RECORD"}
    assert list(items(written({**pairs, b"RECORD": members}, data), b"RECORD")) == members
    assert list(items(written(pairs, data), b"RECORD")) == []


@given(st.binary() | st.text('()%"\\ RECORD{1+}\r\n', max_size=40).map(str.encode))
def test_anything_has_members_or_is_an_error(data: bytes) -> None:
    with suppress(DlistError):
        list(items(b"%(" + data, b"RECORD"))
