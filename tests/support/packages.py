"""What scripts/build makes, for the tests that look at it or install it."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from pathlib import Path

from support.tools import requires, unavailable
from support.tree import plain_env

PROJECT = Path(__file__).resolve().parents[2]


def build(directory: Path) -> Path:
    """Build all packages into a directory, and return it."""
    requires("bash")
    for module in ("build", "shiv", "twine", "wheel", "setuptools"):
        if importlib.util.find_spec(module) is None:
            unavailable(f"no Python package {module}")
    requires("dpkg-deb")
    env = plain_env({"CYRSYNC_BUILD_PYTHON": sys.executable, "DEBEMAIL": "cyrsync@packages.debian.org"})
    done = subprocess.run(
        [PROJECT / "scripts" / "build", directory], env=env, stdin=subprocess.DEVNULL, capture_output=True, text=True
    )
    if "No matching distribution" in done.stderr:
        unavailable("no package index")
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("PASSED") == 2
    return directory


def only(directory: Path, pattern: str) -> Path:
    """Return the one file of that kind."""
    [found] = directory.glob(pattern)
    return found
