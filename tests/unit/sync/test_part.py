"""The part that a run is for: what belongs to it, and how shards are told apart."""

from __future__ import annotations

from collections import Counter

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrsync.errors import UsageError
from cyrsync.sync.part import Part, Shard

SLURM = {"SLURM_ARRAY_TASK_ID": "3", "SLURM_ARRAY_TASK_COUNT": "8"}
INDEXED = {"JOB_COMPLETION_INDEX": "0"}


@given(st.integers(1, 40), st.binary(max_size=20))
def test_every_name_is_in_just_one_shard(of: int, name: bytes) -> None:
    assert sum(Shard(number, of).has(name) for number in range(1, of + 1)) == 1


def test_shards_are_the_same_for_ever_and_about_as_large() -> None:
    """Another version, or another machine, may send the next one."""
    numbers = [next(n for n in range(1, 5) if Shard(n, 4).has(b"user%d" % i)) for i in range(1000)]
    assert numbers[:12] == [2, 4, 2, 3, 2, 2, 3, 1, 4, 4, 3, 2]
    assert max(Counter(numbers).values()) < 300


@pytest.mark.parametrize(
    ("text", "environment", "expected"),
    [
        ("1/1", {}, Shard(1, 1)),
        ("2/8", SLURM, Shard(2, 8)),
        ("auto", SLURM, Shard(3, 8)),
        ("auto", {**SLURM, "SLURM_ARRAY_TASK_MIN": "0"}, Shard(4, 8)),
        ("auto/16", SLURM, Shard(3, 16)),
        ("auto/4", INDEXED, Shard(1, 4)),
        ("auto/4", {"JOB_COMPLETION_INDEX": "3"}, Shard(4, 4)),
    ],
)
def test_which_shard(text: str, environment: dict[str, str], expected: Shard) -> None:
    assert Shard.parse(text, environment) == expected


@pytest.mark.parametrize(
    ("text", "environment"),
    [
        *[
            (text, {})
            for text in ("", "3", "0/4", "5/4", "1/0", "a/b", "-1/4", "1/4/2", "auto", "auto/4", "auto/", "\u0661/4")
        ],
        ("auto", INDEXED),
        ("auto/3", {"JOB_COMPLETION_INDEX": "3"}),
        ("auto/4", {"JOB_COMPLETION_INDEX": "-1"}),
        ("auto", {**SLURM, "SLURM_ARRAY_TASK_MIN": "5"}),
        ("auto", {**SLURM, "SLURM_ARRAY_TASK_COUNT": "2"}),
    ],
)
def test_no_such_shard(text: str, environment: dict[str, str]) -> None:
    with pytest.raises(UsageError, match=r"^--shard .*: [^\n]+$"):
        Shard.parse(text, environment)


def test_it_is_named_by_its_options() -> None:
    part = Part(frozenset(["b", "a"]), frozenset(["fast"]), Shard(2, 8))
    assert part.words() == ["--user=a", "--user=b", "--partition=fast", "--shard=2/8"]
    assert (bool(part), bool(Part()), Part().words()) == (True, False, [])


def test_a_shard_goes_by_the_owner_and_else_by_the_name() -> None:
    parts = [Part(shard=Shard(number, 3)) for number in (1, 2, 3)]
    for name in (b"user.joe", b"user.joe.Sent", None):
        assert [part.has("joe", "default", name) for part in parts] == [part.has("joe", "fast") for part in parts]
    assert len({tuple(part.has(None, "default", b"shared.%d" % i) for part in parts) for i in range(20)}) == 3
    assert not any(part.has(None, "default") for part in parts)
