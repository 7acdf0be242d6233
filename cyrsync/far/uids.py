"""Sets of UIDs as sorted arrays: four bytes a message, compared and cut at C speed.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import sys
from array import array
from bisect import bisect_left, bisect_right
from itertools import accumulate, chain, groupby
from operator import itemgetter

#: IMAP's UIDs are 32 bits wide (RFC 9051, 2.3.1.1).
MAX_UID = 0xFFFFFFFF
#: Messages of one folder: no file system has so many in one directory. A few bytes of compressed data may say more.
MOST = 1 << 25
#: So many numbers at once are objects of Python's, which take ten times as much memory.
_WINDOW = 1 << 16
#: Of one of many arrays, at least so many are looked at together.
_STEP = 1 << 10
#: Of the bytes in an array's numbers.
_ORDER = sys.byteorder


def empty() -> "array[int]":
    """Return a UID array without an element."""
    return array("I")


def of(numbers: "list[int]") -> "array[int]":
    """Return an array of sorted numbers."""
    return array("I", numbers)


def file_names(uids: "array[int]") -> "list[bytes]":
    """Return the names of the message files."""
    return [b"%d." % uid for uid in uids]


def sort(numbers: "array[int]") -> "array[int]":
    """Return numbers in any order, some perhaps twice, as a set."""
    if len(numbers) <= _WINDOW:
        return array("I", sorted(set(numbers)))
    windows = [numbers[start : start + _WINDOW] for start in range(0, len(numbers), _WINDOW)]
    return _once(merge([array("I", sorted(window)) for window in windows]))


def has(uids: "array[int]", uid: int) -> bool:
    """Tell whether a UID is in a sorted array."""
    at = bisect_left(uids, uid)
    return at < len(uids) and uids[at] == uid


def merge(parts: "list[array[int]]") -> "array[int]":
    """Return the sorted union of sorted arrays, which are disjoint; memory is bounded by a window, beside the union."""
    if len(parts) == 1:
        return parts[0]
    if sum(map(len, parts)) <= _WINDOW:
        return array("I", sorted(chain.from_iterable(parts)))
    step = max(_WINDOW // len(parts), _STEP)
    # No array has more than a step of numbers between two of these.
    limits = sorted({part[at] for part in parts for at in range(0, len(part), step)})
    starts, merged = [0] * len(parts), empty()
    for limit in [*limits[1:], MAX_UID + 1]:
        ends = [bisect_left(part, limit, start) for part, start in zip(parts, starts)]
        window = chain.from_iterable([part[start:end] for part, start, end in zip(parts, starts, ends)])
        merged.extend(array("I", sorted(window)))
        starts = ends
    return merged


def union(left: "array[int]", right: "array[int]") -> "array[int]":
    """Return the sorted union of sorted arrays, which may overlap."""
    if not left or not right:
        return left or right
    return merge([left, difference(right, left)])


def difference(left: "array[int]", right: "array[int]") -> "array[int]":
    """Return the UIDs of `left` that `right` lacks; memory is bounded by a window, not by the arrays."""
    if left == right:
        return empty()
    if not right:
        return left
    size = min(len(left), len(right))
    if left[:size] == right[:size]:
        return left[size:]  # mostly: what is new has higher UIDs than what is there
    missing = empty()
    for start in range(0, len(left), _WINDOW):
        window = left[start : start + _WINDOW]
        low, high = bisect_left(right, window[0]), bisect_right(right, window[-1])
        facing = right[low:high]
        if window != facing:
            missing.extend(sorted(set(window).difference(facing)))
    return missing


def common(left: "array[int]", right: "array[int]") -> "array[int]":
    """Return the UIDs that are in both sets."""
    return difference(left, difference(left, right))


def above(uids: "array[int]", limit: int) -> "array[int]":
    """Return the UIDs greater than `limit`."""
    return uids[bisect_right(uids, limit) :]


def up_to(uids: "array[int]", limit: int) -> "array[int]":
    """Return the UIDs not greater than `limit`."""
    return uids[: bisect_right(uids, limit)]


def pack(uids: "array[int]") -> "tuple[int, bytes]":
    """Return (item size, bytes): the steps from one UID to the next, which compress well.

    Steps are little-endian, one byte each if all are below 256 (but for the first), else four.
    """
    if not uids:
        return 1, b""
    first, steps = uids[0].to_bytes(4, "little"), _little_endian(_steps(uids)).tobytes()
    is_narrow = not any(steps[at::4].strip(b"\0") for at in (1, 2, 3))
    return (1, first + steps[::4]) if is_narrow else (4, first + steps)


def unpack(size: int, data: bytes) -> "array[int]":
    """Undo `pack`. Raise ValueError when the bytes are not of its form."""
    if not data:
        return empty()
    if size not in (1, 4) or len(data) < 4:
        raise ValueError("UID steps of {} bytes, in {}".format(size, len(data)))
    if (len(data) - 4) // size >= MOST:
        raise ValueError("more UIDs than a folder has")
    steps = array("B" if size == 1 else "I")
    steps.frombytes(data[4:])
    first = int.from_bytes(data[:4], "little")
    try:
        found = array("I", accumulate(chain([first], steps if size == 1 else _little_endian(steps))))
    except OverflowError:
        raise ValueError("a UID past 32 bits") from None
    # A directory that changes while it is read may show a name twice.
    twice = b"\0" in data[4:] if size == 1 else 0 in steps
    return _once(found) if twice else found


def _steps(uids: "array[int]") -> "array[int]":
    """Return the steps between UIDs, as the difference of two long numbers: UIDs rise, so nothing is carried."""
    steps, higher, lower = empty(), uids[1:].tobytes(), uids[:-1].tobytes()
    difference = int.from_bytes(higher, _ORDER) - int.from_bytes(lower, _ORDER)
    steps.frombytes(difference.to_bytes(len(higher), _ORDER))
    return steps


def _once(numbers: "array[int]") -> "array[int]":
    """Return sorted numbers without those that are there twice."""
    return array("I", map(itemgetter(0), groupby(numbers)))


def _little_endian(values: "array[int]") -> "array[int]":
    if sys.byteorder == "big":
        values.byteswap()
    return values
