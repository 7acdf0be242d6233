"""Whatever is in a mailbox's files: it is read, or named as what cannot be; nothing else happens."""

from __future__ import annotations

import os
import shutil
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from cyrsync.history import contents, findings, reading
from cyrsync.history.choose import Request
from cyrsync.history.tree import open_tree
from cyrsync.sync.progress import NoProgress
from support.boxes import Box

FILES = ["cyrus.header", "cyrus.index", "cyrus.cache", "cyrus.annotations", "cyrus.expunge"]
DAMAGES = st.lists(st.tuples(st.floats(0, 1, exclude_max=True), st.binary(max_size=12)), min_size=1, max_size=3)


@pytest.fixture(scope="module", params=["2.3.12-plain", "3.4.9-plain", "3.13.7-plain"])
def mailbox(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A mailbox of a real server, and where copies of it may be damaged."""
    root = tmp_path_factory.mktemp("mailbox")
    box = Box(request.param, root)
    copy = root / "copy" / "j" / "user" / "joe"
    copy.mkdir(parents=True)
    return box.root / box.mailbox("user.joe")["datadir"], copy


@settings(max_examples=30)
@given(name=st.sampled_from(FILES), damages=DAMAGES, cut=st.none() | st.floats(0, 1))
def test_damaged_files(
    mailbox: tuple[Path, Path], name: str, damages: list[tuple[float, bytes]], cut: float | None
) -> None:
    source, copy = mailbox
    for path in source.iterdir():
        if path.is_file():
            shutil.copyfile(path, copy / path.name)
    if not (copy / name).exists():
        return
    data = bytearray((copy / name).read_bytes())
    for where, patch in damages:
        at = int(where * len(data))
        data[at : at + len(patch)] = patch
    (copy / name).write_bytes(data[: int(cut * len(data))] if cut is not None else data)

    tree = open_tree(os.fsencode(copy.parents[2]), None)
    errors: list[str] = []
    for request in (Request(), Request(only_expunged=True), Request(every=True), Request(message=1)):
        for one in reading.selections(tree, request, errors.append):
            for message in one.messages():
                try:
                    assert len(contents.whole(message)) == message.size
                except contents.Damaged as error:
                    errors.append(str(error))
    meant = findings.meant(tree, Request(), errors.append)
    for found in findings.messages(meant, errors.append, NoProgress(), text=""):
        found.to_json()
    assert all("\n" not in error for error in errors)
