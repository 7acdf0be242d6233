"""A folder crosses a connection unchanged, and folders have one order."""

from __future__ import annotations

import io
import json

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cyrsync.far import folder as folders
from cyrsync.far.folder import Folder, Incarnation, join, sort_key
from cyrsync.far.message_files import MessageFiles
from support import frames

Tree = dict[bytes, "Tree"]


def decoded(stream: io.BytesIO) -> Folder:
    """Read one frame as the other end does."""
    record = json.loads(stream.readline())
    return folders.decode(record, stream.read(record[3][1]))


@pytest.mark.parametrize("compressible", [True, False])
@given(some=st.lists(frames.folders, max_size=3))
@example(some=[Folder(b"")])
@example(some=[Folder(b"a\nb/\xff", other_files={b"\n": None})])
def test_round_trip(some: list[Folder], compressible: bool) -> None:
    stream = io.BytesIO(b"".join(folders.encode(folder, compressible) for folder in some))
    assert [decoded(stream) for _ in some] == some
    assert not stream.read()


@given(frames.folders)
def test_decoded_values_have_the_same_types(folder: Folder) -> None:
    found = decoded(io.BytesIO(folders.encode(folder)))
    assert [type(value) for value in found] == [type(value) for value in folder]
    assert type(found.incarnation) is type(folder.incarnation)


@given(st.lists(st.lists(frames.names, min_size=1, max_size=4).map(tuple)))
@example([(b"a",), (b"a", b"b"), (b"a-b",), (b"a b",), (b"a\x01",), (b"a0",)])
def test_sort_key_is_the_order_of_a_walk(some: list[tuple[bytes, ...]]) -> None:
    tree: Tree = {}
    for parts in some:
        below = tree
        for part in parts:
            below = below.setdefault(part, {})
    walked = list(_walk(tree, b""))
    assert sorted(walked, key=sort_key) == walked


def _walk(tree: Tree, path: bytes) -> list[bytes]:
    """List depth first, each folder before what is below it, names in order of their bytes."""
    below = [found for name in sorted(tree) for found in _walk(tree[name], join(path, name))]
    return [path, *below]


def test_join() -> None:
    assert join(b"", b"a") == b"a"
    assert join(b"a/b", b"c") == b"a/b/c"


def test_same_incarnation() -> None:
    mailbox = Incarnation("a", 1, 10)
    assert mailbox.same_as(Incarnation("a", 1, 99))
    assert not mailbox.same_as(Incarnation("b", 1, 10))
    assert not mailbox.same_as(Incarnation("a", 2, 10))


def test_what_gives_cyrus_away() -> None:
    assert not Folder(b"a", other_files={b"x": None}, folders=(b"b",)).is_cyrus()
    assert Folder(b"a", metadata={b"cyrus.index": None}).is_cyrus()
    assert Folder(b"a", messages=MessageFiles(b"1.")).is_cyrus()
