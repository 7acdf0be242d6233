"""What `run` exits with when its jobs ended in different ways."""

from __future__ import annotations

import itertools
import re
from pathlib import Path

import pytest

from cyrsync.cli.run import gravest

#: As the man page has it: one of each, 5 and 14 being rsync's own.
ORDER = [20, 70, 4, 3, 2, 11, 10, 5, 25, 23, 75, 0]


@pytest.mark.parametrize(("graver", "other"), list(itertools.combinations(ORDER, 2)))
def test_of_two(graver: int, other: int) -> None:
    assert gravest([graver, other]) == gravest([other, graver]) == graver


def test_of_codes_of_one_kind_it_is_one_of_them() -> None:
    assert gravest([255, 12, 30]) in (12, 30, 255)
    assert gravest([14, 5, 23]) in (5, 14)
    assert gravest([0]) == 0


def test_the_man_page_has_the_order() -> None:
    page = (Path(__file__).resolve().parents[3] / "man" / "cyrsync-run.1").read_text("utf-8")
    said = " ".join(page[page.index("The exit code is the gravest") :].split())
    written = re.search(r"in this order: (.*?)\. ", said)
    assert written
    assert [int(code) for code in re.findall(r"\b\d+\b", written[1])] == [c for c in ORDER if c not in (10, 5)]
