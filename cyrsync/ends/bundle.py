"""The program that is sent to the far end, so that the agent runs there with nothing installed."""

from __future__ import annotations

import binascii
import importlib.util
import zlib
from pathlib import Path

#: The modules that run at the far end, each after the ones it imports.
MODULES = (
    "cyrsync.cyrus.mailbox.entry",
    "cyrsync.cyrus.mailbox.regular_file",
    "cyrsync.cyrus.mailbox.header",
    "cyrsync.cyrus.mailbox.index",
    "cyrsync.cyrus.mailbox.user",
    "cyrsync.far.wire",
    "cyrsync.far.uids",
    "cyrsync.far.message_files",
    "cyrsync.far.folder",
    "cyrsync.far.descent",
    "cyrsync.far.read_ahead",
    "cyrsync.far.walk",
    "cyrsync.far.remove",
    "cyrsync.far.to_disk",
    "cyrsync.far.write_back",
    "cyrsync.far.owner",
    "cyrsync.far.grown",
    "cyrsync.far.frames",
    "cyrsync.far.attributes",
    "cyrsync.far.whole_file",
    "cyrsync.far.opened_folder",
    "cyrsync.far.folder_writer",
    "cyrsync.far.receive",
    "cyrsync.far.owner_file",
    "cyrsync.far.at_work",
    "cyrsync.far.hold",
    "cyrsync.far.host",
    "cyrsync.far.output",
    "cyrsync.far.request",
    "cyrsync.far.agent",
)
#: What an audit needs besides, and a source whose metadata is read under locks.
MORE_MODULES = (
    "cyrsync.cyrus.mailbox.dlist",
    "cyrsync.cyrus.mailbox.crcs",
    "cyrsync.cyrus.mailbox.records",
    "cyrsync.cyrus.mailbox.guids",
    "cyrsync.cyrus.mailbox.locks",
    "cyrsync.cyrus.mailbox.snapshot",
    "cyrsync.far.extended",
    "cyrsync.far.locked_folder",
    "cyrsync.far.relink",
    "cyrsync.far.quick_check",
    "cyrsync.far.digests",
    "cyrsync.far.guids",
    "cyrsync.far.links",
    "cyrsync.far.finding",
    "cyrsync.far.audit_cache",
    "cyrsync.far.audit_mailbox",
    "cyrsync.far.audit_tree",
    "cyrsync.cyrus.mailbox.finder",
    "cyrsync.far.store",
    "cyrsync.far.packed",
    "cyrsync.far.keep",
    "cyrsync.far.pool",
    "cyrsync.far.keeping",
    "cyrsync.far.stored",
    "cyrsync.far.named",
    "cyrsync.far.unnamed",
    "cyrsync.far.prune",
    "cyrsync.far.held",
    "cyrsync.far.versions",
    "cyrsync.far.rewrite",
    "cyrsync.far.store_service",
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
_PACKAGES = ("cyrsync", "cyrsync.cyrus", "cyrsync.cyrus.mailbox", "cyrsync.far")
_START = """\
sys.modules["cyrsync.far.agent"].main(compressed=True)
"""


def program() -> bytes:
    """Return the input of BOOTSTRAP: a line with the length, then the agent and all it imports."""
    loader = _loader(_PACKAGES, MODULES) + _START.encode("ascii")
    return b"%d\n" % len(loader) + loader


def more() -> bytes:
    """Return the rest for a running agent: Python source."""
    return _loader((), MORE_MODULES)


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
