"""Fixtures of many integration tests: a server with a replica."""

from __future__ import annotations

from pathlib import Path

import pytest

from support.replicas import Pair


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """A server, and an empty directory for its replica."""
    return Pair(tmp_path)


@pytest.fixture
def synced(pair: Pair) -> Pair:
    """Its replica is up to date."""
    pair.sync()
    return pair


@pytest.fixture
def changed(synced: Pair) -> Pair:
    """Its replica was up to date, and there is new mail."""
    synced.change()
    return synced
