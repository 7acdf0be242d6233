"""Sets of UIDs as sorted arrays: four bytes a message, compared and cut at C speed.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import sys
from array import array
from bisect import bisect_left, bisect_right
from itertools import accumulate, chain
from operator import sub

#: IMAP's UIDs are 32 bits wide (RFC 9051, 2.3.1.1).
MAX_UID = 0xFFFFFFFF
_WINDOW = 1 << 16


def empty() -> "array[int]":
    """Return a UID array without an element."""
    return array("I")


def of(numbers: "list[int]") -> "array[int]":
    """Return an array of sorted numbers."""
    return array("I", numbers)


def file_names(uids: "array[int]") -> "list[bytes]":
    """Return the names of the message files."""
    return [b"%d." % uid for uid in uids]


def merge(parts: "list[array[int]]") -> "array[int]":
    """Return the sorted union of disjoint arrays."""
    return parts[0] if len(parts) == 1 else array("I", sorted(chain.from_iterable(parts)))


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


def has(uids: "array[int]", uid: int) -> bool:
    """Tell whether a UID is in the set."""
    number = bisect_left(uids, uid)
    return number < len(uids) and uids[number] == uid


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
    steps = list(map(sub, uids[1:], uids))
    first = uids[0].to_bytes(4, "little")
    try:
        return 1, first + bytes(steps)
    except ValueError:
        return 4, first + _little_endian(array("I", steps)).tobytes()


def unpack(size: int, data: bytes) -> "array[int]":
    """Undo `pack`. Raise ValueError when the bytes are not of its form."""
    if not data:
        return empty()
    if size not in (1, 4) or len(data) < 4:
        raise ValueError("UID steps of {} bytes, in {}".format(size, len(data)))
    steps = array("B" if size == 1 else "I")
    steps.frombytes(data[4:])
    first = int.from_bytes(data[:4], "little")
    try:
        found = array("I", accumulate(chain([first], steps if size == 1 else _little_endian(steps))))
    except OverflowError:
        raise ValueError("a UID past 32 bits") from None
    # A directory that changes while it is read may show a name twice.
    twice = b"\0" in data[4:] if size == 1 else 0 in steps
    return array("I", sorted(set(found))) if twice else found


def _little_endian(values: "array[int]") -> "array[int]":
    if sys.byteorder == "big":
        values.byteswap()
    return values
