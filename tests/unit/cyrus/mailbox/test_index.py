"""What the header of cyrus.index says, in every version, and only if it can be trusted."""

from __future__ import annotations

import json
import struct
import zlib
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrsync.cyrus.mailbox.index import READ_SIZE, IndexHead, head
from support.tree import DATA, unpack_spool

SPOOLS = sorted(path.name.removeprefix("cyrus-").removesuffix(".tar.xz") for path in DATA.glob("cyrus-*.tar.xz"))
#: Minor version: size of the header.
SIZES = {6: 76, 7: 76, 8: 92, 9: 96, 10: 96, 12: 128, 13: 128, **dict.fromkeys(range(14, 20), 160), 20: 192}
uint32 = st.integers(0, 2**32 - 1)


def made(minor: int, uidvalidity: int = 1234567890, last_uid: int = 42) -> bytes:
    """Write an index of this version, its other fields full of ones."""
    size = SIZES[minor]
    data = bytearray(b"\xff" * size)
    struct.pack_into(">5I", data, 0, 3, 0, minor, size, 112)
    struct.pack_into(">I", data, 88 if minor == 20 else 28, last_uid)
    struct.pack_into(">I", data, 92 if minor == 20 else 44, uidvalidity)
    if minor >= 12:
        struct.pack_into(">I", data, size - 4, zlib.crc32(data[: size - 4]))
    return bytes(data)


@pytest.fixture(scope="module")
def real(tmp_path_factory: pytest.TempPathFactory) -> dict[str, list[tuple[bytes, IndexHead, int]]]:
    """The index of every mailbox in every spool, what it must say, and its minor version."""
    found = {}
    for name in SPOOLS:
        box = unpack_spool(name, tmp_path_factory.mktemp("spool"))
        found[name] = _known(box)
    return found


def _known(box: Path) -> list[tuple[bytes, IndexHead, int]]:
    mailboxes = json.loads((box / "truth.json").read_text())["mailboxes"]
    return [
        (
            (box / m["metadir"] / "cyrus.index").read_bytes(),
            IndexHead(m["uidvalidity"], m["uidnext"] - 1),
            m["index"]["minor_version"],
        )
        for m in mailboxes
        if not m["tombstone"]
    ]


def test_real_indexes(real: dict[str, list[tuple[bytes, IndexHead, int]]]) -> None:
    for name, found in real.items():
        assert len(found) >= 20
        assert [head(data[:READ_SIZE]) for data, _, _ in found] == [expected for _, expected, _ in found], name
    assert {minor for found in real.values() for _, _, minor in found} == {10, 17, 20}


def test_truncated_real_indexes(real: dict[str, list[tuple[bytes, IndexHead, int]]]) -> None:
    for found in real.values():
        for data, expected, minor in found:
            assert not any(head(data[:size]) for size in range(SIZES[minor]))
            assert all(head(data[:size]) == expected for size in range(SIZES[minor], READ_SIZE + 1))


@given(data=st.data())
def test_flipped_bits_in_real_indexes(real: dict[str, list[tuple[bytes, IndexHead, int]]], data: st.DataObject) -> None:
    content, _, minor = data.draw(st.sampled_from([case for found in real.values() for case in found]))
    bit = data.draw(st.integers(0, 8 * SIZES[minor] - 1))
    flipped = bytearray(content[:READ_SIZE])
    flipped[bit // 8] ^= 1 << bit % 8
    found = head(bytes(flipped))
    assert found is None or minor < 12


@pytest.mark.parametrize("minor", SIZES)
@given(uidvalidity=st.integers(1, 2**32 - 1), last_uid=uint32)
def test_every_version(minor: int, uidvalidity: int, last_uid: int) -> None:
    assert head(made(minor, uidvalidity, last_uid)) == IndexHead(uidvalidity, last_uid)


@pytest.mark.parametrize("minor", SIZES)
def test_truncated_at_every_length(minor: int) -> None:
    data = made(minor)
    assert not any(head(data[:size]) for size in range(len(data)))
    assert head(data + b"records") == head(data) is not None


@pytest.mark.parametrize("minor", [minor for minor in SIZES if minor >= 12])
def test_every_flipped_bit_is_seen(minor: int) -> None:
    for bit in range(8 * SIZES[minor]):
        data = bytearray(made(minor))
        data[bit // 8] ^= 1 << bit % 8
        assert head(bytes(data)) is None, bit


@pytest.mark.parametrize("minor", [0, 5, 11, 21, 255, 2**32 - 1])
def test_unknown_version(minor: int) -> None:
    for known in SIZES:
        data = bytearray(made(known))
        struct.pack_into(">I", data, 8, minor)
        struct.pack_into(">I", data, len(data) - 4, zlib.crc32(data[:-4]))
        assert head(bytes(data)) is None


@pytest.mark.parametrize("minor", SIZES)
def test_uidvalidity_of_zero_is_no_uidvalidity(minor: int) -> None:
    assert head(made(minor, uidvalidity=0)) is None


@pytest.mark.parametrize(("at", "value"), [(12, 0), (12, 161), (16, 0)])
def test_wrong_sizes(at: int, value: int) -> None:
    data = bytearray(made(10))
    struct.pack_into(">I", data, at, value)
    assert head(bytes(data)) is None


@given(st.binary(max_size=300))
def test_never_raises(data: bytes) -> None:
    assert head(data) is None or isinstance(head(data), IndexHead)


@given(st.sampled_from(sorted(SIZES)), st.binary(max_size=200))
def test_never_trusts_random_bytes_with_a_checksum(minor: int, data: bytes) -> None:
    start = struct.pack(">5I", 1, 0, minor, SIZES[minor], 112)
    assert minor < 12 or head(start + data) is None
