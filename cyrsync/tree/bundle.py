"""What is sent to the far end so that the agent runs there with nothing installed."""

from __future__ import annotations

import importlib.util
import zlib
from pathlib import Path

#: The modules that run at the far end, each after the ones it imports.
MODULES = (
    "cyrsync.cyrus.entry",
    "cyrsync.cyrus.header",
    "cyrsync.cyrus.index",
    "cyrsync.cyrus.user",
    "cyrsync.tree.uids",
    "cyrsync.tree.message_files",
    "cyrsync.tree.folder",
    "cyrsync.tree.read_ahead",
    "cyrsync.tree.walk",
    "cyrsync.tree.remove",
    "cyrsync.tree.agent",
)
#: Reads a program whose length stands in the first line, and runs it. No quote or `!` in it is left to a shell.
BOOTSTRAP = "import sys;exec(sys.stdin.buffer.read(int(sys.stdin.buffer.readline())))"

_LOADER = """\
import sys, types, zlib
def load(name, text):
    module = types.ModuleType(name)
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)
    exec(compile(text, name, "exec"), module.__dict__)
for package in ("cyrsync", "cyrsync.cyrus", "cyrsync.tree"):
    load(package, "__path__ = []")
for name, text in eval(zlib.decompress({packed!r})):
    load(name, text)
sys.modules["cyrsync.tree.agent"].main(compressed=True)
"""


def program() -> bytes:
    """Return what BOOTSTRAP is to be fed: a line with the length, then the agent and all it imports."""
    sources = [(name, _source(name)) for name in MODULES]
    packed = zlib.compress(repr(sources).encode("utf-8"), 9)
    loader = _LOADER.format(packed=packed).encode("ascii")
    return b"%d\n" % len(loader) + loader


def _source(name: str) -> str:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(name)
    return Path(spec.origin).read_text(encoding="utf-8")
