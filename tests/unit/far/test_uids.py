"""Sets of UIDs behave as sets, and cross a connection unchanged."""

from __future__ import annotations

import tracemalloc
from array import array

import pytest
from hypothesis import assume, example, given
from hypothesis import strategies as st

from cyrsync.far import uids

numbers = st.integers(0, uids.MAX_UID)
sets = st.frozensets(numbers) | st.frozensets(st.integers(0, 60))


def arrayed(values: frozenset[int]) -> array[int]:
    return array("I", sorted(values))


@given(sets)
def test_file_names(values: frozenset[int]) -> None:
    values -= {0}
    names = uids.file_names(arrayed(values))
    assert names == [b"%d." % uid for uid in sorted(values)]


@given(sets, sets)
def test_difference(left: frozenset[int], right: frozenset[int]) -> None:
    assert list(uids.difference(arrayed(left), arrayed(right))) == sorted(left - right)


@pytest.mark.parametrize("window", [1, 2, 3])
@given(left=sets, right=sets)
def test_difference_in_windows(window: int, left: frozenset[int], right: frozenset[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uids, "_WINDOW", window)
        assert list(uids.difference(arrayed(left), arrayed(right))) == sorted(left - right)


@given(sets, numbers)
def test_above_and_up_to(values: frozenset[int], limit: int) -> None:
    assert list(uids.above(arrayed(values), limit)) == sorted(uid for uid in values if uid > limit)
    assert list(uids.up_to(arrayed(values), limit)) == sorted(uid for uid in values if uid <= limit)


@given(st.lists(sets, max_size=4))
def test_merge(parts: list[frozenset[int]]) -> None:
    disjoint = [part.difference(*parts[:number]) for number, part in enumerate(parts)]
    assert list(uids.merge([arrayed(part) for part in disjoint])) == sorted(frozenset[int]().union(*parts))


@pytest.mark.parametrize("step", [1, 2, 5])
@given(st.lists(sets, max_size=4))
def test_merge_in_windows(step: int, parts: list[frozenset[int]]) -> None:
    disjoint = [part.difference(*parts[:number]) for number, part in enumerate(parts)]
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uids, "_WINDOW", 3)
        patch.setattr(uids, "_STEP", step)
        assert list(uids.merge([arrayed(part) for part in disjoint])) == sorted(frozenset[int]().union(*parts))


@pytest.mark.parametrize("window", [1, 3, 1000])
@given(st.lists(numbers | st.integers(0, 60)))
def test_sort(window: int, values: list[int]) -> None:
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(uids, "_WINDOW", window)
        assert list(uids.sort(array("I", values))) == sorted(set(values))


def test_large_sets_take_the_memory_of_arrays() -> None:
    """As Python's numbers they would take ten times as much."""
    even, nonstandard = array("I", range(0, 600_000, 2)), array("I", range(1, 600_000, 2))
    far_apart = array("I", range(0, 3_000_000_000, 10_000))
    twice = array("I", [*even[:-1], even[-2]])
    size, steps = uids.pack(twice)
    works = [
        lambda: uids.union(even, nonstandard),
        lambda: uids.difference(even, nonstandard),
        lambda: uids.sort(nonstandard),
        lambda: uids.pack(even),
        lambda: uids.pack(far_apart),
        lambda: uids.unpack(size, steps),
    ]
    for work in works:
        tracemalloc.start()
        try:
            work()
            assert tracemalloc.get_traced_memory()[1] < 12 << 20
        finally:
            tracemalloc.stop()


def test_empty_is_a_new_one_each_time() -> None:
    uids.empty().append(1)
    assert not uids.empty()


@given(sets)
@example(frozenset())
@example(frozenset({uids.MAX_UID}))
@example(frozenset({0, uids.MAX_UID}))
@example(frozenset({1, 256}))
@example(frozenset({1, 257}))
def test_pack_and_unpack(values: frozenset[int]) -> None:
    size, data = uids.pack(arrayed(values))
    assert uids.unpack(size, data) == arrayed(values)
    assert size == 1 or max(b - a for a, b in zip(sorted(values), sorted(values)[1:], strict=False)) > 255


def test_the_other_byte_order(monkeypatch: pytest.MonkeyPatch) -> None:
    values = array("I", [1, 1000, 2**31])
    expected = uids.pack(values)
    monkeypatch.setattr(uids.sys, "byteorder", "big" if uids.sys.byteorder == "little" else "little")
    size, data = uids.pack(values)
    assert (size, data[:4]) == (expected[0], expected[1][:4])
    assert data != expected[1]
    assert uids.unpack(size, data) == values


def test_a_byte_for_a_message() -> None:
    size, data = uids.pack(array("I", range(10**6, 2 * 10**6, 3)))
    assert (size, len(data)) == (1, 333334 + 3)


@given(st.integers(-1, 9), st.binary())
@example(4, b"\xff\xff\xff\xff\x01\x00\x00\x00")
@example(1, b"\xff\xff\xff\xff\x01")
def test_unpack_garbage(size: int, data: bytes) -> None:
    try:
        found = uids.unpack(size, data)
    except ValueError:
        return
    assert list(found) == sorted(found)


@given(sets, st.data())
def test_unpack_a_cut_off_frame(values: frozenset[int], data: st.DataObject) -> None:
    size, packed = uids.pack(arrayed(values))
    assume(size == 4)
    cut = data.draw(st.integers(5, len(packed) - 1).filter(lambda length: length % 4))
    with pytest.raises(ValueError, match=r".+"):
        uids.unpack(size, packed[:cut])
