"""An index is cut into the same pieces, however its UIDs lie, and whatever it is read from."""

from __future__ import annotations

import struct
import tracemalloc
from array import array
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

import samplespool
from cyrsync.cyrus.mailbox import records
from cyrsync.far import packed

UIDS = st.builds(
    lambda first, steps: [uid for uid in _sums(first, steps) if uid < 1 << 32],
    st.integers(1, (1 << 32) - 1),
    st.one_of(
        st.integers(1, 3000).map(lambda count: [1] * count),
        st.lists(st.integers(1, 40), max_size=2000),
        st.lists(st.integers(1, 1 << 24), max_size=300),
    ),
)


def _sums(first: int, steps: list[int]) -> list[int]:
    found = [first]
    for step in steps:
        found.append(found[-1] + step)
    return found


def _ends(uids: list[int], limit: int) -> list[int]:
    """One by one."""
    return [number for number, uid in enumerate(uids, 1) if uid * packed._FACTOR & packed._MASK < limit]


@given(uids=UIDS, apart=st.floats(0, 1), limit=st.sampled_from([1, 16, 200]).map(lambda part: packed._ENDS * part))
def test_the_uid_of_a_record_alone_decides_where_a_piece_ends(uids: list[int], apart: float, limit: int) -> None:
    at = int(apart * len(uids))
    ends = packed._Ends(limit)
    found = ends.among(array("I", uids[:at])) + [at + number for number in ends.among(array("I", uids[at:]))]
    assert found == _ends(uids, limit)


@given(uids=st.lists(st.integers(0, 5000), max_size=1500))
def test_no_record_is_lost_where_uids_do_not_ascend(uids: list[int]) -> None:
    found = packed._Ends(packed._ENDS * 16).among(array("I", uids))
    assert found == sorted(set(found))
    assert all(0 < number <= len(uids) for number in found)


def test_pieces_of_views_are_those_of_bytes(tmp_path: Path) -> None:
    samplespool.make(tmp_path / "spool", 5000, 1, size=10)
    (folder,) = samplespool.folders(tmp_path / "spool")
    data = (folder / "cyrus.index").read_bytes() + b"left over"
    view = memoryview(data)
    pieces = [bytes(one) for one in packed.cut_index(lambda at, size: view[at : at + size], len(data))]
    assert pieces == list(packed.cut_index(lambda at, size: data[at : at + size], len(data)))
    assert b"".join(pieces) == data and len(pieces) > 8


@pytest.mark.parametrize("cut", [1, 4, 8, 12])
def test_a_packed_file_that_is_cut_off_is_torn(cut: int) -> None:
    data = packed.compressed(b"index")
    assert packed.unpacked(data) == b"index"
    for torn in (data[:-cut], data + data[:cut]):
        with pytest.raises(ValueError, match="torn"):
            packed.unpacked(torn)


def test_no_more_is_unpacked_than_there_may_be() -> None:
    """Whoever owns the root may have put anything there, and it is not even in memory."""
    data = packed.compressed(bytes(256 << 20))
    tracemalloc.start()
    with pytest.raises(ValueError, match="too large"):
        packed.unpacked(data, 1 << 20)
    peak = tracemalloc.get_traced_memory()[1]
    tracemalloc.stop()
    assert peak < 16 << 20


def test_uids_of_records_alone(tmp_path: Path) -> None:
    samplespool.make(tmp_path / "spool", 300, 1, size=10)
    (folder,) = samplespool.folders(tmp_path / "spool")
    samplespool.expunge(folder, 20)
    data = (folder / "cyrus.index").read_bytes()
    header = records.read_header(data)
    index, area = records.read(data), data[header.start_offset :]
    assert records.uids_of(header, area) == index.uids
    with_file = [uid for uid, gone in zip(index.uids, index.unlinked, strict=True) if not gone]
    assert records.uids_with_file(header, area).tolist() == with_file and len(with_file) == 280
    old = struct.pack(">I", 7) + bytes(header.record_size - 8) + b"\xff" * 4
    assert records.uids_with_file(header._replace(minor_version=10), old).tolist() == [7]
