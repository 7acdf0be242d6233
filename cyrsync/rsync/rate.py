"""A limit of bandwidth, as rsync's --bwlimit has it."""

from __future__ import annotations

import re
from typing import NamedTuple

_RATE = re.compile(r"(\d+\.?\d*|\.\d+)((?:[bB]|[kKmMgGtTpP](?:[bB]|[iI][bB])?)?(?:[+-]1)?)", re.ASCII)


class Rate(NamedTuple):
    """So much a second; 0 is for no limit."""

    number: str
    unit: str = ""  # rsync's: KiB if there is none

    @classmethod
    def parse(cls, text: str) -> Rate | None:
        """Read `500`, `5m` or `1.5MB`; None for what rsync would not read."""
        match = _RATE.fullmatch(text)
        return cls(match[1], match[2]) if match else None

    def share(self, jobs: int) -> Rate:
        """Return what each of so many jobs may send, so that all together send no more than this."""
        number = f"{float(self.number) / jobs:.3f}".rstrip("0").rstrip(".")
        return Rate(number, self.unit) if jobs > 1 else self

    @property
    def bytes(self) -> float:
        """How many bytes a second these are, 0 for no limit (rsync's parse_size_arg)."""
        letters = self.unit.rstrip("+-1").lower()
        power = "bkmgtp".index(letters[:1] or "k")
        thousand = 1000.0 if letters[1:] == "b" else 1024.0
        return float(self.number) * float(thousand**power)

    @property
    def words(self) -> tuple[str, ...]:
        """Rsync's words for it."""
        return (f"--bwlimit={self.number}{self.unit}",)
