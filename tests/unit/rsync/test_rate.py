"""Limits of bandwidth."""

from __future__ import annotations

import pytest

from cyrsync.rsync.rate import Rate


@pytest.mark.parametrize("text", ["0", "500", "5m", "1.5MB", ".5k", "5.", "10KiB", "1g-1", "9999b", "2T+1"])
def test_what_rsync_reads(text: str) -> None:
    rate = Rate.parse(text)
    assert rate
    assert rate.words == rate.share(1).words == (f"--bwlimit={text}",)


@pytest.mark.parametrize("text", ["", "lots", "5x", "-1", "1 m", "1mm", "1,5", "1m+2", "٣"])
def test_what_it_does_not(text: str) -> None:
    assert Rate.parse(text) is None


@pytest.mark.parametrize(
    ("text", "jobs", "each"), [("8000", 2, "4000"), ("1.5MB", 3, "0.5MB"), ("1", 3, "0.333"), ("1g-1", 4, "0.25g-1")]
)
def test_jobs_share_it(text: str, jobs: int, each: str) -> None:
    rate = Rate.parse(text)
    assert rate
    assert rate.share(jobs).words == (f"--bwlimit={each}",)


@pytest.mark.parametrize(
    ("text", "rate"),
    [
        *(("0", 0), ("1", 1024), ("1.5", 1536), ("2b", 2), ("2B", 2), ("2k", 2048), ("2KiB", 2048), ("2KB", 2000)),
        *(("1m", 1 << 20), ("1.5MB", 1_500_000), ("1g-1", 1 << 30), ("1TiB+1", 1 << 40)),
    ],
)
def test_bytes_a_second(text: str, rate: float) -> None:
    found = Rate.parse(text)
    assert found and found.bytes == rate
