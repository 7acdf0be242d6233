"""XXH3, 64 bits, seed 0, of any length: the checksum of twom (the XXH3 section of the xxHash specification).

Written for short inputs: a record's head and tail. Words are little-endian.

Also runs at the far end of a connection: standard library only, Python 3.6.
"""

import struct
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    pass

_M32, _M64 = 0xFFFFFFFF, 0xFFFFFFFFFFFFFFFF
_P32_1, _P32_2, _P32_3 = 0x9E3779B1, 0x85EBCA77, 0xC2B2AE3D
_P64_1, _P64_2, _P64_3 = 0x9E3779B185EBCA87, 0xC2B2AE3D27D4EB4F, 0x165667B19E3779F9
_P64_4, _P64_5 = 0x85EBCA77C2B2AE63, 0x27D4EB2F165667C5
_MIX_1, _MIX_2 = 0x165667919E3779F9, 0x9FB21C651E98DF25
_SECRET = bytes.fromhex(
    "b8fe6c3923a44bbe7c01812cf721ad1cded46de9839097db7240a4a4b7b3671f"
    "cb79e64eccc0e578825ad07dccff7221b8084674f743248ee03590e6813a264c"
    "3c2852bb91c300cb88d0658b1b532ea371644897a20df94e3819ef46a9deacd8"
    "a8fa763fe39c343ff9dcbbc7c70b4f1d8a51e04bcdb45931c89f7ec9d9787364"
    "eac5ac8334d3ebc3c581a0fffa1363eb170ddd51b7f0da49d316552629d4689e"
    "2b16be587d47a1fc8ff8b8d17ad031ce45cb3a8f95160428afd7fbcabb4b407e"
)
_MIN_SECRET = 136
_STRIPE = 64
_STRIPES_A_BLOCK = (len(_SECRET) - _STRIPE) // 8


def xxh3_64(data: bytes) -> int:
    """Return the 64-bit hash."""
    length = len(data)
    if length <= 16:
        return _short(data, length)
    if length <= 128:
        return _up_to_128(data, length)
    if length <= 240:
        return _up_to_240(data, length)
    return _long(data, length)


def _word(data: bytes, at: int, size: int = 8) -> int:
    return int.from_bytes(data[at : at + size], "little")


def _words(at: int, count: int) -> "tuple[int, ...]":
    return struct.unpack_from("<%dQ" % count, _SECRET, at)


def _fold(left: int, right: int) -> int:
    product = left * right
    return (product & _M64) ^ (product >> 64)


def _avalanche(value: int) -> int:
    value ^= value >> 37
    value = value * _MIX_1 & _M64
    return value ^ (value >> 32)


def _avalanche_64(value: int) -> int:
    """Mix as XXH64 does."""
    value ^= value >> 33
    value = value * _P64_2 & _M64
    value ^= value >> 29
    value = value * _P64_3 & _M64
    return value ^ (value >> 32)


def _swapped(value: int) -> int:
    return int.from_bytes(value.to_bytes(8, "little"), "big")


def _short(data: bytes, length: int) -> int:
    if length > 8:
        low = _word(data, 0) ^ _word(_SECRET, 24) ^ _word(_SECRET, 32)
        high = _word(data, length - 8) ^ _word(_SECRET, 40) ^ _word(_SECRET, 48)
        return _avalanche((length + _swapped(low) + high + _fold(low, high)) & _M64)
    if length > 3:
        value = _word(data, length - 4, 4) + (_word(data, 0, 4) << 32)
        value ^= _word(_SECRET, 8) ^ _word(_SECRET, 16)
        value ^= ((value << 49 | value >> 15) ^ (value << 24 | value >> 40)) & _M64
        value = value * _MIX_2 & _M64
        value ^= (value >> 35) + length
        value = value * _MIX_2 & _M64
        return value ^ (value >> 28)
    if length:
        value = data[0] << 16 | data[length >> 1] << 24 | data[-1] | length << 8
        return _avalanche_64(value ^ _word(_SECRET, 0, 4) ^ _word(_SECRET, 4, 4))
    return _avalanche_64(_word(_SECRET, 56) ^ _word(_SECRET, 64))


_FIRST_32 = _words(0, 16)


def _up_to_128(data: bytes, length: int) -> int:
    total = length * _P64_1
    # Pairs of words from the front and from the end towards the middle.
    pairs = (length - 1) // 32 + 1
    front = struct.unpack_from("<%dQ" % (2 * pairs), data, 0)
    back = struct.unpack_from("<%dQ" % (2 * pairs), data, length - 16 * pairs)
    for number in range(pairs):
        two, other, key = 2 * number, 2 * (pairs - 1 - number), 4 * number
        product = (front[two] ^ _FIRST_32[key]) * (front[two + 1] ^ _FIRST_32[key + 1])
        total += (product & _M64) ^ (product >> 64)
        product = (back[other] ^ _FIRST_32[key + 2]) * (back[other + 1] ^ _FIRST_32[key + 3])
        total += (product & _M64) ^ (product >> 64)
    return _avalanche(total & _M64)


_FROM_3 = _words(3, 16)
_LAST_16 = _words(_MIN_SECRET - 17, 2)


def _up_to_240(data: bytes, length: int) -> int:
    pairs = length // 16
    words = struct.unpack_from("<%dQ" % (2 * pairs), data, 0)
    total = length * _P64_1
    for at in range(0, 16, 2):
        total += _fold(words[at] ^ _FIRST_32[at], words[at + 1] ^ _FIRST_32[at + 1])
    total = _avalanche(total & _M64)
    for at in range(16, 2 * pairs, 2):
        total += _fold(words[at] ^ _FROM_3[at - 16], words[at + 1] ^ _FROM_3[at - 15])
    low, high = struct.unpack_from("<2Q", data, length - 16)
    return _avalanche((total + _fold(low ^ _LAST_16[0], high ^ _LAST_16[1])) & _M64)


_LANES = (_P32_3, _P64_1, _P64_2, _P64_3, _P64_4, _P32_2, _P64_5, _P32_1)
#: What the words of a block are keyed with: eight words for each stripe, from a secret that moves on by one.
_BLOCK = tuple(word for stripe in range(_STRIPES_A_BLOCK) for word in _words(8 * stripe, 8))
_SCRAMBLE = _words(len(_SECRET) - _STRIPE, 8)
_LAST_STRIPE = _words(len(_SECRET) - _STRIPE - 7, 8)
_MERGE = _words(11, 8)


def _long(data: bytes, length: int) -> int:
    lanes = list(_LANES)
    stripes = (length - 1) // _STRIPE
    for first in range(0, stripes, _STRIPES_A_BLOCK):
        count = min(stripes - first, _STRIPES_A_BLOCK)
        _accumulate(lanes, struct.unpack_from("<%dQ" % (8 * count), data, first * _STRIPE), _BLOCK)
        if count == _STRIPES_A_BLOCK:
            lanes = [((lane ^ (lane >> 47)) ^ key) * _P32_1 & _M64 for lane, key in zip(lanes, _SCRAMBLE)]
    _accumulate(lanes, struct.unpack_from("<8Q", data, length - _STRIPE), _LAST_STRIPE)
    total = length * _P64_1
    for at in range(0, 8, 2):
        total += _fold(lanes[at] ^ _MERGE[at], lanes[at + 1] ^ _MERGE[at + 1])
    return _avalanche(total & _M64)


def _accumulate(lanes: "list[int]", words: "tuple[int, ...]", keys: "tuple[int, ...]") -> None:
    """Add the stripes of a block: the product of both halves of each keyed word, and its neighbour as it is."""
    products = [((word ^ key) & _M32) * ((word ^ key) >> 32) for word, key in zip(words, keys)]
    for lane in range(8):
        lanes[lane] = (lanes[lane] + sum(products[lane::8]) + sum(words[lane ^ 1 :: 8])) & _M64
