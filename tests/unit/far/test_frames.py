"""Streams of mailboxes as they cross a connection: unchanged, and nothing else than what an honest end sends."""

from __future__ import annotations

import io
import stat
import struct
import zlib
from contextlib import suppress

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrsync.far import frames as far_frames
from cyrsync.far.folder import Entry
from cyrsync.far.frames import Deflated, Encoder, Inflated, Part, Target, decode
from cyrsync.far.grown import Cache
from cyrsync.far.wire import WireError
from support import campaign, frames

_HEAD = struct.Struct("<cI")
_links = st.builds(Entry, st.just(stat.S_IFLNK | 0o777), st.just(3), st.just(5), st.just("0:0::"), st.just("a/b"))
_sizes = st.lists(st.binary(min_size=1, max_size=9), min_size=1, max_size=3)

_targets = st.builds(Target, frames.whole_paths, frames.paths, st.integers(1, 2**32 - 1))


@st.composite
def _parts(draw: st.DrawFn) -> Part:
    path = draw(frames.paths)
    names = path.split(b"/") if path else []
    above = [b"/".join(names[:depth]) for depth in range(len(names) + 1)]
    return Part(draw(frames.whole_paths), path, tuple((one, draw(frames.directories)) for one in above))


@st.composite
def _calls(draw: st.DrawFn) -> list[tuple[object, ...]]:
    """What a sink is told, by the names of its methods."""
    calls: list[tuple[object, ...]] = []
    for _ in range(draw(st.integers(0, 3))):
        for part in draw(st.lists(_parts(), max_size=2)):
            calls.append(("part", part))
            for pieces in draw(st.lists(_sizes, max_size=3)):
                entry = draw(frames.regular_files)._replace(size=sum(map(len, pieces)), extra="")
                name = draw(frames.names.filter(lambda name: not name.startswith(b".cyrsync")))
                is_message = draw(st.booleans())
                calls.append(("message", draw(st.integers(1, 2**32 - 1)), entry, pieces[0]) if is_message else
                             ("file", name, entry, pieces[0]))  # fmt: skip
                calls += [("more", piece) for piece in pieces[1:]]
            for pieces in draw(st.lists(_sizes, max_size=1)):
                offset = draw(st.integers(0, 2**40))
                entry = draw(frames.regular_files)._replace(size=offset + sum(map(len, pieces)), extra="")
                old = Cache(
                    offset, draw(st.integers(-(10**18), 10**18)), draw(st.text("0123456789abcdef", max_size=40))
                )
                calls.append(("tail", b"cyrus.cache", entry, old, pieces[0]))
                calls += [("more", piece) for piece in pieces[1:]]
            for target in draw(st.lists(_targets, max_size=2)):
                entry = draw(frames.regular_files)._replace(extra="")
                calls.append(("link", draw(st.integers(1, 2**32 - 1)), entry, target))
            if draw(st.booleans()):
                calls.append(("file", b"link", draw(_links), b""))
        calls.append((draw(st.sampled_from(["commit", "abandon"])),))
    return calls


class _Recorder:
    """A sink that notes what it is told."""

    def __init__(self) -> None:
        self.calls: list[tuple[object, ...]] = []

    def __getattr__(self, name: str) -> object:
        return lambda *values: self.calls.append((name, *values))


def _encoded(calls: list[tuple[object, ...]]) -> bytes:
    stream = io.BytesIO()
    encoder = Encoder(lambda data: stream.write(data) and None)
    for name, *values in calls:
        getattr(encoder, str(name))(*values)
    encoder.end()
    return stream.getvalue()


def _decoded(stream: bytes) -> tuple[list[tuple[object, ...]], bytes]:
    recorder, source = _Recorder(), io.BytesIO(stream)
    decode(source, recorder, wanted=lambda: True)
    return recorder.calls, source.read()


@campaign.slow()
@given(_calls())
def test_it_crosses_a_connection_unchanged(calls: list[tuple[object, ...]]) -> None:
    assert _decoded(_encoded(calls) + b"more") == (calls, b"more")


def test_more_owners_than_numbers(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(far_frames, "_MOST_OWNERS", 3)
    calls: list[tuple[object, ...]] = []
    for number in (*range(8), 6, 7, 1, 0):
        entry = Entry(stat.S_IFREG | 0o600, 1, 5, f"{number}:0::", "")
        calls.append(("message", number + 1, entry, b"x"))
    assert _decoded(_encoded(calls)) == (calls, b"")


def test_more_owners_than_there_ever_were() -> None:
    entries = [Entry(stat.S_IFREG | 0o600, 0, 5, f"{number}:0::", "") for number in range((1 << 16) + 2)]
    calls: list[tuple[object, ...]] = [("message", uid, entry, b"") for uid, entry in enumerate(entries, 1)]
    assert _decoded(_encoded(calls)) == (calls, b"")


@campaign.slow()
@given(_calls(), st.data())
def test_what_is_cut_off_is_not_taken_for_whole(calls: list[tuple[object, ...]], data: st.DataObject) -> None:
    whole = _encoded(calls)
    with pytest.raises(EOFError):
        _decoded(whole[: data.draw(st.integers(0, len(whole) - 1))])


def _deflated(calls: list[tuple[object, ...]]) -> bytes:
    stream = io.BytesIO()
    deflated = Deflated(lambda data: stream.write(data) and None)
    deflated.write(_encoded(calls)[:5])
    deflated.write(_encoded(calls)[5:])
    deflated.end()
    return stream.getvalue()


def _inflated(stream: bytes) -> tuple[list[tuple[object, ...]], bytes]:
    recorder, source = _Recorder(), io.BytesIO(stream)
    inflated = Inflated(source)
    decode(inflated, recorder, wanted=lambda: True)
    inflated.end()
    return recorder.calls, source.read()


@campaign.slow()
@given(_calls())
def test_it_crosses_a_connection_compressed(calls: list[tuple[object, ...]]) -> None:
    assert _inflated(_deflated(calls) + b"more") == (calls, b"more")


@campaign.slow()
@given(_calls(), st.data())
def test_what_is_compressed_and_damaged_is_one_error(calls: list[tuple[object, ...]], data: st.DataObject) -> None:
    whole = bytearray(_deflated(calls))
    whole[data.draw(st.integers(0, len(whole) - 1))] ^= data.draw(st.integers(1, 255))
    with suppress(WireError, EOFError):
        _inflated(bytes(whole))
    with pytest.raises((WireError, EOFError)):
        _inflated(bytes(_deflated(calls))[: data.draw(st.integers(0, len(whole) - 1))])


def test_what_is_compressed_is_read_in_pieces() -> None:
    """A block that would fill the memory is not made large."""
    block = zlib.compress(bytes(100 << 20))
    inflated = Inflated(io.BytesIO(struct.pack("<I", len(block)) + block))
    assert inflated.read(3) == bytes(3)
    assert len(inflated._block.getvalue()) <= 1 << 20


@campaign.slow()
@given(_calls(), st.data())
def test_whatever_is_wrong_is_one_error(calls: list[tuple[object, ...]], data: st.DataObject) -> None:
    whole = bytearray(_encoded(calls))
    for _ in range(data.draw(st.integers(1, 4))):
        whole[data.draw(st.integers(0, len(whole) - 1))] = data.draw(st.integers(0, 255))
    try:
        found, _ = _decoded(bytes(whole))
    except (WireError, EOFError):
        return
    for name, *values in found:
        if name == "part":
            part = values[0]
            assert isinstance(part, Part)
            assert not {b"", b".", b".."} & set(part.path.split(b"/")) or not part.path
        if name == "link":
            target = values[2]
            assert isinstance(target, Target)
            assert target.root[:1] in (b"", b"/", b"~")
            assert not {b"", b".", b".."} & set(target.path.split(b"/")) or not target.path
            assert 0 < target.uid < 2**32
        if name == "file":
            assert isinstance(values[0], bytes)
            assert b"/" not in values[0] and values[0] not in (b"", b".", b"..")


def _frame(tag: bytes, data: bytes) -> bytes:
    return _HEAD.pack(tag, len(data)) + data


_PART = _frame(b"P", b'["/r","",[["",[16832,0,0,"0:0::",""]]]]\n')
_OWNER = _frame(b"O", b"0:0::")


def _message(uid: int = 1, mode: int = 0o600, size: int = 3, owner: int = 0, nanoseconds: int = 0) -> bytes:
    return _frame(b"M", struct.pack("<IqIQHH", uid, 0, nanoseconds, size, mode, owner) + b"one")


def _link(target: bytes, **fields: int) -> bytes:
    size = _HEAD.size
    return _frame(b"L", _message(**fields)[size:-3] + target)


@pytest.mark.parametrize(
    "frames_of_it",
    [
        _frame(b"L", b"short"),
        _link(b'["/r","a",1]\n'),
        _OWNER + _link(b'["/r","a",1]\n', uid=0),
        _OWNER + _link(b'["/r","a",1]\n', mode=0o4755),
        _OWNER + _link(b'["/r","a",1]\n', nanoseconds=10**9),
        _OWNER + _link(b'["/r","a",1]\n', size=1 << 63),
        _OWNER + _link(b'["/r","../a",1]\n'),
        _OWNER + _link(b'["/r","a//b",1]\n'),
        _OWNER + _link(b'["/r","/a",1]\n'),
        _OWNER + _link(b'["/r","a\\u0000",1]\n'),
        _OWNER + _link(b'["/r","a",0]\n'),
        _OWNER + _link(b'["/r","a",-1]\n'),
        _OWNER + _link(b'["/r","a",4294967296]\n'),
        _OWNER + _link(b'["/r","a","../x"]\n'),
        _OWNER + _link(b'["/r","a",1,2]\n'),
        _OWNER + _link(b""),
        _HEAD.pack(b"M", (16 << 20) + 1),
        _frame(b"?", b""),
        _frame(b"M", b"short"),
        _OWNER + _message(uid=0),
        _OWNER + _message(mode=0o4755),
        _OWNER + _message(owner=1),
        _OWNER + _message(nanoseconds=10**9),
        _OWNER + _message(size=2),
        _OWNER + _message(size=1 << 63),
        _OWNER + _message(size=4) + _frame(b"C", b""),
        _OWNER + _message() + _frame(b"D", b"x"),
        _OWNER + _message(size=5) + _frame(b"D", b"xyz"),
        _OWNER + _message(size=4) + _frame(b"D", b""),
        _frame(b"F", b'["../x",[33188,0,0,"0:0::",""]]\n'),
        _frame(b"F", b'["a/b",[33188,0,0,"0:0::",""]]\n'),
        _frame(b"F", b'[".cyrsync-renamed",[33188,0,0,"0:0::",""]]\n'),
        _frame(b"F", b'["x",[35309,0,0,"0:0::",""]]\n'),
        _frame(b"F", b'["x",[16832,0,0,"0:0::",""]]\n'),
        _frame(b"F", b'["x",[41471,0,0,"0:0::",""]]\n'),
        _frame(b"P", b'["/r","../x",[["",[16832,0,0,"0:0::",""]]]]\n'),
        _frame(b"P", b'["/r","a/b",[["",[16832,0,0,"0:0::",""]]]]\n'),
        _frame(b"P", b'["/r","",[["",[33188,0,0,"0:0::",""]]]]\n'),
        _frame(b"T", b'["cyrus.cache",[33188,2,0,"0:0::",""],3,0,"ab"]\n'),
        _frame(b"T", b'["cyrus.cache",[33188,2,0,"0:0::",""],-1,0,"ab"]\n'),
        _frame(b"T", b'["cyrus.cache",[33188,4,0,"0:0::",""],3,0,"ab"]\nxx'),
        _frame(b"T", b'["1.",[33188,4,0,"0:0::",""],3,0,"ab"]\nx'),
        _frame(b"T", b'["cyrus.squat",[33188,4,0,"0:0::",""],3,0,"ab"]\nx'),
        _frame(b"T", b'["cyrus.cache",[33188,4,0,"0:0::",""],3,0.5,"ab"]\nx'),
        _frame(b"T", b'["cyrus.cache",[33188,4,0,"0:0::",""],3,10000000000000000000000000000,"ab"]\nx'),
        _frame(b"T", b'["cyrus.cache",[33188,4,0,"0:0::",""],3,0,"' + b"a" * 41 + b'"]\nx'),
        _frame(b"O", b"0:0"),
        _frame(b"O", b"\xff"),
    ],
)
def test_what_cannot_be_is_refused(frames_of_it: bytes) -> None:
    with pytest.raises(WireError):
        _decoded(_PART + frames_of_it + _frame(b"Z", b""))


def test_nobody_wants_it_any_more() -> None:
    recorder = _Recorder()
    decode(io.BytesIO(_PART + _frame(b"C", b"")), recorder, wanted=lambda: False)
    assert [name for name, *_ in recorder.calls] == ["part"]
