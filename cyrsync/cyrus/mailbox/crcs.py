"""Whether records that end in their CRC-32 are right: some at once, which takes a fifth of the time.

What has its own CRC behind it, the least byte first, leaves a remainder that depends on the length alone; so do several
behind each other. As of a single record, damage of up to three bits shows for certain, and of any other damage one in
2**32 does not.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import zlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from collections.abc import Iterable

#: Records whose CRCs are compared at once: of up to 91,607 bits, CRC-32 shows each damage of three bits for certain
#: (P. Koopman, 32-bit cyclic redundancy codes for Internet applications, 2002). And those that are made ready for that.
_TOGETHER, _SWAPPED = 64, 1 << 13


def all_right(windows: "Iterable[bytes | memoryview]", size: int) -> bool:
    """Tell whether all records of so many bytes are right; a window has whole ones, their CRCs big-endian."""
    right = {}  # type: dict[int, int]  # by the length of some
    for window in windows:
        for start in range(0, len(window), size * _SWAPPED):
            area = bytearray(window[start : start + size * _SWAPPED])
            for first, last in ((size - 4, size - 1), (size - 3, size - 2)):
                area[first::size], area[last::size] = area[last::size], area[first::size]
            view = memoryview(area)
            for at in range(0, len(area), size * _TOGETHER):
                some = view[at : at + size * _TOGETHER]
                if len(some) not in right:
                    right[len(some)] = _remainder(size, len(some) // size)
                if zlib.crc32(some) != right[len(some)]:
                    return False
    return True


def _remainder(size: int, count: int) -> int:
    """Return what right records leave, all of them the same as those of zeros."""
    covered = bytes(size - 4)
    return zlib.crc32((covered + zlib.crc32(covered).to_bytes(4, "little")) * count)
