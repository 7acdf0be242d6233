"""The names in the store."""

from __future__ import annotations

import os
import re
from datetime import datetime, timezone
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrsync.far import store
from cyrsync.far.store import Store

TIMES = st.integers(0, 253_402_300_799 * 10**9)


@given(TIMES, TIMES)
def test_names_of_states_sort_by_time_and_tell_it(one: int, other: int) -> None:
    names = store.since(one), store.since(other)
    assert (names[0] < names[1]) == (one < other)
    assert store.time_of(names[0]) == one
    assert store.SINCE.match(names[0])


def test_a_name_is_a_time_as_people_write_it() -> None:
    at = datetime(2026, 11, 20, 10, 0, 1, tzinfo=timezone.utc)
    assert store.since(int(at.timestamp()) * 10**9 + 42) == b"20261120T100001.000000042Z"


@given(st.text(max_size=120))
def test_a_mailbox_has_a_directory_whatever_its_uniqueid_is(uniqueid: str) -> None:
    name = store.directory_of(uniqueid)
    assert re.fullmatch(rb"[A-Za-z0-9_-]{1,100}", name)


@given(st.binary(min_size=1, max_size=255))
def test_a_file_has_a_directory_whatever_it_is_called(name: bytes) -> None:
    found = store.versions_of(name)
    assert found.endswith(b".versions")
    assert len(found) <= 255


def test_a_directory_that_somebody_has_replaced_by_a_link_is_not_entered(tmp_path: Path) -> None:
    (tmp_path / "else").mkdir()
    os.symlink(tmp_path / "else", tmp_path / os.fsdecode(store.STORE))
    with pytest.raises(NotADirectoryError):
        Store(os.fsencode(tmp_path)).open(store.MESSAGES)
    (tmp_path / os.fsdecode(store.STORE)).unlink()
    os.close(Store(os.fsencode(tmp_path)).open(store.MESSAGES))
    os.symlink(tmp_path / "else", tmp_path / os.fsdecode(store.STORE) / "messages" / "ab")
    with pytest.raises(NotADirectoryError):
        Store(os.fsencode(tmp_path)).open(store.MESSAGES, b"ab")
    assert not list((tmp_path / "else").iterdir())


def test_the_root_keeps_its_time(tmp_path: Path) -> None:
    os.utime(tmp_path, ns=(1, 2))
    os.close(Store(os.fsencode(tmp_path)).open(store.MESSAGES))
    assert tmp_path.stat().st_mtime_ns == 2


@pytest.mark.parametrize("path", [b"/etc", b"mailboxes", b"mailboxes/../../x", b"messages/ab", b"files//x", b"files/."])
def test_notes_that_lead_elsewhere_are_none(tmp_path: Path, path: bytes) -> None:
    kept = Store(os.fsencode(tmp_path))
    kept.note(path)
    kept.note(b"mailboxes/abc/x")
    assert sorted(map(kept.noted, kept.notes())) == [b"", b"mailboxes/abc/x"]
