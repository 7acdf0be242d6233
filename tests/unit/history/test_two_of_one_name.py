"""Two mailboxes with one name, as where a partition has an old copy of one and no mailboxes.db tells which is right."""

from __future__ import annotations

import os
import shutil
from dataclasses import replace
from pathlib import Path

import pytest

from cyrsync.history import to_cyrus
from cyrsync.history.choose import Request
from cyrsync.history.destinations import Place
from cyrsync.history.outcome import MailboxRestore, Outcome
from cyrsync.history.reading import selections
from cyrsync.history.restore_to import restore_to
from cyrsync.history.target import Target
from cyrsync.history.tree import open_tree
from cyrsync.sync.progress import NoProgress
from support.boxes import Box


@pytest.fixture
def box(tmp_path: Path) -> Box:
    return Box("3.4.9-plain", tmp_path / "box")


def lay(box: Box, tmp_path: Path, **mailboxes: str) -> Path:
    """A tree in which each partition has some mailbox under one and the same path."""
    top = tmp_path / "tree"
    for partition, name in mailboxes.items():
        source = box.root / box.mailbox(name)["datadir"]
        to = top / partition / "user" / "joe"
        to.mkdir(parents=True)
        for path in source.iterdir():
            if path.is_file():
                shutil.copy2(path, to)
    return top


def restored(top: Path, to: Path, form: str) -> Outcome:
    outcome = Outcome("", "")
    every = form == "cyrus"
    restore_to(open_tree(os.fsencode(top), None), Request(every=every), os.fsencode(to), form, outcome, NoProgress())
    return outcome


def contents(directory: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in directory.iterdir() if path.name != "cyrus.squat"}


@pytest.mark.parametrize(("one", "two"), [("user.joe", "user.joe.Sent"), ("user.joe.Sent", "user.joe")])
def test_they_are_not_mixed_in_a_directory_of_a_spool(box: Box, tmp_path: Path, one: str, two: str) -> None:
    top = lay(box, tmp_path, one=one, two=two)
    outcome = restored(top, tmp_path / "to", "cyrus")
    [error] = outcome.errors
    place = tmp_path / "to" / "user" / "joe"
    assert f"another mailbox was restored to {place}: " in error
    assert outcome.exit == 23
    found = contents(place)
    whole = [contents(top / part / "user" / "joe") for part in ("one", "two")]
    assert found["cyrus.index"] in [files["cyrus.index"] for files in whole]
    source = next(files for files in whole if files["cyrus.index"] == found["cyrus.index"])
    assert found.items() <= source.items()
    refused = "two" if source is whole[0] else "one"
    assert error.startswith(f"user/joe: {top / refused / 'user' / 'joe'}: not restored: ")
    left, other = outcome.mailboxes[1], outcome.mailboxes[0]
    assert (left.restored, other.restored) == (0, other.selected)


def test_each_is_restored_by_itself(box: Box, tmp_path: Path) -> None:
    """As the error says."""
    top = lay(box, tmp_path, one="user.joe", two="user.joe.Sent")
    for part in ("one", "two"):
        assert restored(top / part, tmp_path / f"to{part}", "cyrus").errors == []
        index = contents(top / part / "user" / "joe")["cyrus.index"]
        assert contents(tmp_path / f"to{part}" / "user" / "joe")["cyrus.index"] == index


def test_two_names_that_are_one_directory_on_this_disk(box: Box, tmp_path: Path) -> None:
    """As `Work` and `work` where case makes no difference."""
    tree = open_tree(os.fsencode(box.root), None)
    [found] = selections(tree, Request(mailbox="user/joe/Sent", every=True), print)
    target = Target(os.fsencode(tmp_path / "to"), "cyrus", [], may_go_on=False)
    outcome = Outcome("", "")
    outcome.begin("", 0)
    restore = MailboxRestore(outcome, NoProgress())
    to_cyrus.write(target, found, Place(), restore)
    other = replace(found, mailbox=replace(found.mailbox, name=b"user.joe.sent"))
    with pytest.raises(to_cyrus.DirectoryInUse):
        to_cyrus.write(target, other, Place(), restore)
    target.close()


@pytest.mark.parametrize("form", ["maildir", "eml"])
@pytest.mark.parametrize(("one", "two"), [("user.joe", "user.joe.Sent"), ("user.joe.Sent", "user.joe")])
def test_a_file_that_lacks_is_named_whatever_the_other_has(
    box: Box, tmp_path: Path, form: str, one: str, two: str
) -> None:
    top = lay(box, tmp_path, one=one, two=two)
    in_sent = {message["uid"] for message in box.mailbox("user.joe.Sent")["messages"]}
    seen = (message for message in box.mailbox("user.joe")["messages"] if message["state"] == "visible")
    uid = next(message["uid"] for message in seen if message["uid"] not in in_sent)
    (top / ("one" if one == "user.joe" else "two") / "user" / "joe" / f"{uid}.").unlink()
    outcome = restored(top, tmp_path / "to", form)
    assert [error.partition(": /")[0] for error in outcome.errors] == [f"user/joe: UID {uid}"]
    assert outcome.exit == 23
