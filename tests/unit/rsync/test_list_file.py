"""A list is what rsync reads it for."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrsync.rsync import list_file

names = st.binary(min_size=1).filter(lambda name: not {0, ord("/")} & set(name))


@given(st.lists(names))
def test_write(tmp_path_factory: pytest.TempPathFactory, some: list[bytes]) -> None:
    path = tmp_path_factory.getbasetemp() / "list"
    assert list_file.write(path, iter(some)) is bool(some)
    assert path.read_bytes() == b"".join(b"./" + name + b"\0" for name in some)


@pytest.mark.parametrize(
    ("below", "start"),
    [(b"", b"./"), (b"a", b"a/././"), (b"a/b", b"a/b/././"), (b"#a", b"#a/././")],
)
def test_write_below_the_operand(tmp_path: Path, below: bytes, start: bytes) -> None:
    list_file.write(tmp_path / "list", [b"user/joe/", b"#x"], below)
    assert (tmp_path / "list").read_bytes() == start + b"user/joe/\0" + start + b"#x\0"


@pytest.mark.parametrize(("below", "start"), [(b"", b""), (b"a", b"a/./"), (b"a/b", b"a/b/./"), (b"#a", b"#a/./")])
def test_what_is_pulled_has_nothing_before_it(tmp_path: Path, below: bytes, start: bytes) -> None:
    """rsync 3.2.5 looks for a name behind the first `/./`, as it stands there, and a daemon hides what is before it."""
    list_file.write(tmp_path / "list", [b"user/joe/", b"#x"], below, pulled=True)
    written = (tmp_path / "list").read_bytes()
    assert written == start + b"user/joe/\0" + start + b"#x\0"
    assert [entry.rpartition(b"/./")[2] for entry in written.split(b"\0")] == [b"user/joe/", b"#x", b""]
    assert written.count(b"/./") == 2 * bool(below)


@pytest.mark.parametrize(
    ("below", "name", "start"), [(b"", b"spool", b"././spool"), (b"a/b", b"#c", b"a/b/./#c"), (b"", b"c/d", b"././c/d")]
)
def test_write_a_tree_with_a_name(tmp_path: Path, below: bytes, name: bytes, start: bytes) -> None:
    """Nothing above the name has an entry, and the tree's own entry is not its contents."""
    list_file.write(tmp_path / "list", [b"user/joe/", list_file.ROOT], below, name)
    assert (tmp_path / "list").read_bytes() == start + b"/user/joe/\0" + start + b"\0"


def test_an_old_list_is_replaced(tmp_path: Path) -> None:
    list_file.write(tmp_path / "list", [b"a", b"b"])
    assert not list_file.write(tmp_path / "list", [])
    assert (tmp_path / "list").read_bytes() == b""
