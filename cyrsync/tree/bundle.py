"""What is sent to the far end so that the agent runs there with nothing installed."""

from __future__ import annotations

import binascii
import importlib.util
import zlib
from pathlib import Path

#: The modules that run at the far end, each after the ones it imports.
MODULES = (
    "cyrsync.cyrus.entry",
    "cyrsync.cyrus.regular_file",
    "cyrsync.cyrus.header",
    "cyrsync.cyrus.index",
    "cyrsync.cyrus.user",
    "cyrsync.tree.wire",
    "cyrsync.tree.uids",
    "cyrsync.tree.message_files",
    "cyrsync.tree.folder",
    "cyrsync.tree.descent",
    "cyrsync.tree.read_ahead",
    "cyrsync.tree.walk",
    "cyrsync.tree.remove",
    "cyrsync.tree.to_disk",
    "cyrsync.tree.place",
    "cyrsync.tree.token",
    "cyrsync.tree.at_work",
    "cyrsync.tree.hold",
    "cyrsync.tree.agent",
)
#: What an audit needs besides, and a source whose metadata is taken under locks.
MORE_MODULES = (
    "cyrsync.cyrus.dlist",
    "cyrsync.cyrus.records",
    "cyrsync.cyrus.locks",
    "cyrsync.cyrus.snapshot",
    "cyrsync.tree.extended",
    "cyrsync.tree.take",
    "cyrsync.tree.relink",
    "cyrsync.tree.digests",
    "cyrsync.tree.links",
    "cyrsync.audit.finding",
    "cyrsync.audit.cache",
    "cyrsync.audit.mailbox",
    "cyrsync.audit.tree",
)
#: Reads a program whose length stands in the first line, and runs it. No quote or `!` in it is left to a shell.
BOOTSTRAP = "import sys;exec(sys.stdin.buffer.read(int(sys.stdin.buffer.readline())))"

_LOADER = """\
import binascii, sys, types, zlib
def load(name, text):
    module = types.ModuleType(name)
    sys.modules[name] = module
    parent, _, child = name.rpartition(".")
    if parent:
        setattr(sys.modules[parent], child, module)
    exec(compile(text, name, "exec"), module.__dict__)
for package in {packages!r}:
    load(package, "__path__ = []")
for name, text in eval(zlib.decompress(binascii.a2b_base64({packed!r}))):
    load(name, text)
"""
_START = """\
sys.modules["cyrsync.tree.agent"].main(compressed=True)
"""


def program() -> bytes:
    """Return what BOOTSTRAP is to be fed: a line with the length, then the agent and all it imports."""
    loader = _loader(("cyrsync", "cyrsync.cyrus", "cyrsync.tree"), MODULES) + _START.encode("ascii")
    return b"%d\n" % len(loader) + loader


def more() -> bytes:
    """Return what teaches a running agent the rest: Python source."""
    return _loader(("cyrsync.audit",), MORE_MODULES)


def _loader(packages: tuple[str, ...], modules: tuple[str, ...]) -> bytes:
    sources = [(name, _source(name)) for name in modules]
    # A bytes literal of what is compressed would be twice as long.
    packed = binascii.b2a_base64(zlib.compress(repr(sources).encode("utf-8"), 9), newline=False)
    return _LOADER.format(packages=packages, packed=packed).encode("ascii")


def _source(name: str) -> str:
    spec = importlib.util.find_spec(name)
    if spec is None or spec.origin is None:
        raise FileNotFoundError(name)
    return Path(spec.origin).read_text(encoding="utf-8")
