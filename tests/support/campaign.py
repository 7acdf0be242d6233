"""How much a test that could go on for ever does: little in the usual run, much with `scripts/test --long`."""

from __future__ import annotations

from typing import TypeVar

from hypothesis import settings

Amount = TypeVar("Amount", int, float)

_is_long = False


def begin(*, is_long: bool) -> None:
    """Say which run this is, before any test is loaded."""
    global _is_long
    _is_long = is_long


def amount(usual: Amount, *, long: Amount) -> Amount:
    """Return how much this run does."""
    return long if _is_long else usual


def slow() -> settings:
    """Return how many examples a property has of which each takes long."""
    return settings(max_examples=amount(40, long=500))
