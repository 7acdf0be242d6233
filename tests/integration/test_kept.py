"""`restore` and `history` of a replica that keeps what it loses."""

from __future__ import annotations

import gzip
import json
import os
import random
import re
import shutil
import time
from pathlib import Path
from typing import Any

import pytest

import sampleindex
import samplespool
from cyrsync.cyrus.mailbox import records
from cyrsync.far import packed
from cyrsync.far.store import Store as WrittenStore
from cyrsync.history import moment
from cyrsync.history.kept.kept import Kept
from cyrsync.history.kept.store import Store
from cyrsync.history.removed import Removed
from cyrsync.history.tree import open_tree
from support.inside import sync_here
from support.kept import STORE, KeepingReplica
from support.servers import SampleServer
from support.tree import run_cyrsync, snapshot

TICK = 0.02


def restore(*words: str | Path, expect: int = 0) -> dict[str, Any]:
    done = run_cyrsync("restore", "--json", *words)
    assert done.returncode == expect, (done.stdout, done.stderr)
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def now() -> str:
    """This moment, to the nanosecond, as --as-of takes it; what is done next is later."""
    text = moment.iso(time.time_ns())
    assert text
    time.sleep(TICK)
    return text


class Past:
    """A replica of a server on which things happened, and when."""

    def __init__(self, root: Path) -> None:
        self.server = SampleServer(root / "server", messages=60, folder_count=4)
        self.replica = KeepingReplica(self.server, root / "replica", pack="gz")
        self.top, self.conf = self.replica.top, self.replica.conf
        self.joe = self.server.folder("user/joe")
        self.replica.sync()
        time.sleep(TICK)
        self.first = now()
        self.had = self.mails(self.joe)
        self.uids = {path.name[:-1] for path in self.joe.glob("[0-9]*.")}
        samplespool.expunge(self.joe, 3)
        self.gone = self.uids - {path.name[:-1] for path in self.joe.glob("[0-9]*.")}
        self.step()
        self.second = now()
        self.sent = self.mails(self.server.folder("user/joe/Sent"))
        samplespool.delete_folder(self.server.folder("user/joe/Sent"))
        self.server.record()
        self.step()

    def step(self) -> None:
        time.sleep(TICK)
        self.replica.sync()

    @staticmethod
    def mails(folder: Path) -> set[bytes]:
        return {path.read_bytes() for path in folder.glob("[0-9]*.")}


@pytest.fixture(scope="module")
def past(tmp_path_factory: pytest.TempPathFactory) -> Past:
    return Past(tmp_path_factory.mktemp("past"))


def restored(folder: Path) -> set[bytes]:
    return {path.read_bytes() for path in (folder / "cur").iterdir()}


def test_a_user_as_of_a_time(past: Past, tmp_path: Path) -> None:
    before = snapshot(past.top, skip_hidden=False)
    report = restore(past.top, "-C", past.conf, "--user", "joe", "--as-of", past.first, "--to", tmp_path / "mail")
    assert restored(tmp_path / "mail") == past.had and restored(tmp_path / "mail" / ".Sent") == past.sent
    assert report["errors"] == report["warnings"] == []
    assert snapshot(past.top, skip_hidden=False) == before


def test_a_folder_that_is_gone(past: Past, tmp_path: Path) -> None:
    restore(past.top, "-C", past.conf, "user/joe/Sent", "--as-of", past.second, "--to", tmp_path / "mail")
    assert restored(tmp_path / "mail") == past.sent
    done = run_cyrsync("restore", past.top, "-C", past.conf, "user/joe/Sent", "--as-of", "now", "-n")
    assert done.returncode == 3
    assert done.stderr.startswith("cyrsync: user/joe/Sent: no such mailbox as of 20")


def test_the_directory_as_it_was(past: Past, tmp_path: Path) -> None:
    words = ("user/joe", "--as-of", past.first, "--as", "cyrus", "--to", tmp_path / "mail")
    assert restore(past.top, "-C", past.conf, *words)["warnings"] == []
    done = run_cyrsync("verify", tmp_path / "mail", "--content")
    assert (done.returncode, done.stderr) == (0, "")
    assert {path.read_bytes() for path in (tmp_path / "mail").glob("[0-9]*.")} == past.had


def test_which_state_it_is(past: Past) -> None:
    report = restore(past.top, "-C", past.conf, "--user", "joe", "--as-of", past.second, "-n")
    found = {one["mailbox"]: one["since"] for one in report["mailboxes"]}
    assert found.keys() >= {"user/joe", "user/joe/Sent"}
    assert past.first < found["user/joe"] < past.second
    done = run_cyrsync("restore", past.top, "-C", past.conf, "--user", "joe", "--as-of", past.second, "-n")
    assert "As of" in done.stdout and moment.shown(moment.parse(found["user/joe"], time.time_ns())) in done.stdout


def test_a_time_before_all(past: Past, tmp_path: Path) -> None:
    words = ("--as-of", "2001-01-01", "--to", tmp_path / "mail")
    done = run_cyrsync("restore", past.top, "-C", past.conf, "--user", "joe", *words)
    assert done.returncode == 23
    assert (
        "user/joe: nothing is known of it as of 2001-01-01 00:00:00: the earliest that is kept is of 20" in done.stderr
    )


@pytest.mark.parametrize("text", ["soonish", "2062-01-01"])
def test_a_wrong_time(past: Past, tmp_path: Path, text: str) -> None:
    done = run_cyrsync(
        "restore", past.top, "-C", past.conf, "--user", "joe", "--as-of", text, "--to", tmp_path / "mail"
    )
    assert done.returncode == 2 and done.stderr.count("\n") == 1
    assert not (tmp_path / "mail").exists()


def test_a_replica_that_keeps_nothing(past: Past, tmp_path: Path) -> None:
    shutil.copytree(past.top, tmp_path / "tree", ignore=shutil.ignore_patterns(STORE))
    done = run_cyrsync("restore", tmp_path / "tree", "-C", past.conf, "--as-of", "now", "-n")
    assert done.returncode == 3 and "no history is kept in it" in done.stderr


def test_a_message_of_the_pool_that_is_damaged(past: Past, tmp_path: Path) -> None:
    top = tmp_path / "tree"
    shutil.copytree(past.top, top, symlinks=True)
    path = next(Path(f"{top}{past.server.spool}").glob(f"{STORE}/messages/*/*"))
    path.write_bytes(os.urandom(path.stat().st_size))
    words = (top, "-C", past.conf, "--user", "joe", "--as-of", past.first, "--to", tmp_path / "mail")
    report = restore(*words, expect=23)
    assert len(report["errors"]) == 1 and report["errors"][0].endswith("its SHA-1 is not its GUID")


def history(*words: str | Path, expect: int = 0) -> list[dict[str, Any]]:
    done = run_cyrsync("history", "--json", *words)
    assert (done.returncode, done.stderr) == (expect, ""), done
    return [json.loads(line) for line in done.stdout.splitlines()]


def test_versions_of_a_mailbox(past: Past) -> None:
    found = history(past.top, "-C", past.conf, "user/joe")
    versions = [one for one in found if "version" in one]
    had, has = len(past.uids), len(past.uids - past.gone)
    assert [(one["messages"], one["came"], one["went"], one["now"]) for one in versions] == [
        (had, 0, 0, False),
        (has, 0, 3, True),
    ]
    assert versions[0]["version"] < past.first < versions[1]["version"] < past.second
    removed = [one for one in found if "uid" in one and one["removed"]]
    assert {str(one["uid"]) for one in removed} == past.gone and not any(one["expunged"] for one in removed)
    shown = run_cyrsync("history", past.top, "-C", past.conf, "user/joe").stdout
    assert shown.count(" (now)") == 1 and shown.startswith("Version ")


def test_mailboxes_of_a_user(past: Past) -> None:
    found = history(past.top, "-C", past.conf, "--user", "joe")
    boxes = {one["mailbox"]: one for one in found if "versions" in one}
    assert [(one["versions"], one["deleted"]) for one in (boxes["user.joe"], boxes["user.joe.Sent"])] == [
        (1, False),
        (1, True),
    ]
    assert boxes["user.joe.Sent"]["messages"] == len(past.sent)
    assert past.second[:19] <= boxes["user.joe.Sent"]["removed"][:19] <= (moment.iso(time.time_ns()) or "")
    assert {one["mailbox"] for one in found if "version" in one} == boxes.keys()
    assert "Versions" in run_cyrsync("history", past.top, "-C", past.conf, "--user", "joe").stdout


def test_what_was_removed(past: Past) -> None:
    found = history(past.top, "-C", past.conf, "--user", "joe", "--deleted")
    assert [one["mailbox"] for one in found if "uid" not in one] == ["user.joe.Sent"]
    removed = {(one["mailbox"], str(one["uid"])): one for one in found if "uid" in one}
    assert removed.keys() == {("user.joe", uid) for uid in past.gone}
    assert all(past.first[:19] <= one["removed"][:19] <= past.second[:19] for one in removed.values())
    assert all(one["subject"].startswith("Message ") for one in removed.values())


def test_finding_what_is_in_the_pool_alone(past: Past, tmp_path: Path) -> None:
    """By its subject, and then by its GUID."""
    (one, *_) = history(past.top, "-C", past.conf, "--user", "joe", "--deleted")[1:]
    (by_subject,) = history(past.top, "-C", past.conf, "--message", one["subject"])
    assert by_subject == one
    report = restore(past.top, "-C", past.conf, "--message", one["guid"], "--to", tmp_path / "mail")
    assert (report["restored"], report["mailboxes"][0]["mailbox"]) == (1, "user/joe")
    (mail,) = restored(tmp_path / "mail")
    assert mail in past.had
    words = ("user/joe", "--message", str(one["uid"]), "--to", tmp_path / "by-uid")
    restore(past.top, "-C", past.conf, *words)
    assert restored(tmp_path / "by-uid") == {mail}
    done = run_cyrsync("restore", past.top, "-C", past.conf, "--message", "0" * 40, "-n")
    assert (done.returncode, done.stderr) == (3, f"cyrsync: {'0' * 40}: no such message\n")


def test_a_mailbox_that_is_gone(past: Past, tmp_path: Path) -> None:
    done = run_cyrsync("restore", past.top, "-C", past.conf, "user/joe/Sent", "--to", tmp_path / "mail")
    assert done.returncode == 3
    assert re.fullmatch(
        r"cyrsync: user/joe/Sent: no such mailbox; it was there until [-0-9 :]{19}: --as-of takes a time before\n",
        done.stderr,
    )
    found = history(past.top, "-C", past.conf, "user/joe/Sent", "--deleted")
    assert len(found) == len(past.sent)


def test_what_came_and_went_between_two_states(tmp_path: Path) -> None:
    """With --watch, not every state is kept, but every message is."""
    server = SampleServer(tmp_path / "server", messages=60, folder_count=4)
    replica = KeepingReplica(server, tmp_path / "replica")
    replica.sync()
    joe = server.folder("user/joe")
    samplespool.set_flags(joe)
    time.sleep(TICK)
    replica.sync()
    (uid,) = samplespool.deliver(joe, 1)
    data = (joe / f"{uid}.").read_bytes()
    index = (joe / "cyrus.index").read_bytes()
    mtime = (joe / "cyrus.index").stat().st_mtime_ns
    here = replica.here(joe)
    for name, content in ((f"{uid}.", data), ("cyrus.index", index)):
        (here / name).unlink(missing_ok=True)
        (here / name).write_bytes(content)
        os.utime(here / name, ns=(mtime, mtime))
    replica.keep_gone(Path("j/user/joe"), {uid})
    # The next state is not kept, as it is too near.
    (here / "cyrus.index").unlink()
    (joe / f"{uid}.").unlink()
    (joe / "cyrus.index").write_bytes(index)
    samplespool.expunge(joe, 0)
    raw = bytearray(index)
    last = len(raw) - 112
    sampleindex.set_record(raw, last, sampleindex.get(raw, last + 32) | sampleindex.GONE, 9999)
    sampleindex.write_index(joe, raw, 9999)
    time.sleep(TICK)
    replica.sync()
    found = history(replica.top, "-C", replica.conf, "--user", "joe", "--deleted")
    assert [(one["mailbox"], one["uid"]) for one in found] == [("user.joe", uid)]
    restore(replica.top, "-C", replica.conf, "--message", found[0]["guid"], "--to", tmp_path / "mail")
    assert restored(tmp_path / "mail") == {data}
    versions = [one for one in history(replica.top, "-C", replica.conf, "user/joe") if "version" in one]
    assert [(one["came"], one["went"]) for one in versions] == [(0, 0), (1, 1)]


def test_a_large_mailbox_in_pieces(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Each piece is read once, however many states it is of; what was removed is the same as without pieces."""
    server = SampleServer(tmp_path / "server", messages=400, folder_count=1)
    joe, top = server.folder("user/joe"), tmp_path / "replica"
    top.mkdir()
    sync_here("-C", server.conf, "--delete", "--history", str(top))
    for number in range(4):
        time.sleep(TICK)
        samplespool.expunge(joe, 3, rng=random.Random(number))
        sync_here("-C", server.conf, "--delete", "--history", str(top))
    words = (top, "-C", server.conf, "--user", "joe", "--deleted")
    whole = history(*words)
    root = Path(f"{top}{server.spool}")
    for path in root.rglob("cyrus.index.gz"):
        path.with_suffix("").write_bytes(gzip.decompress(path.read_bytes()))
        path.unlink()
        WrittenStore(bytes(root)).note(bytes(path.parent.relative_to(root / STORE)))
    monkeypatch.setattr(packed, "_LARGE", 1000)
    monkeypatch.setattr(packed, "_ENDS", packed._ENDS * 16)
    packed.Packer(bytes(root)).pack()
    assert len(list(root.rglob("cyrus.index.pieces"))) == 4
    assert history(*words) == whole and len(whole) == 12
    reads = []
    read = Store.read
    monkeypatch.setattr(Store, "read", lambda self, *path, **most: (reads.append(path), read(self, *path, **most))[1])
    kept = Kept(open_tree(bytes(top), str(server.conf)))
    (name,) = kept.mailboxes
    assert sum(one.count for one, _ in Removed(kept, name, kept.live[name], [].append).selections()) == 12
    pieces = [path for path in reads if b"pieces" in path]
    assert len(pieces) == len(set(pieces)) > 4
    # Nor is one read that is a piece of the mailbox as it is now.
    data = (root / joe.relative_to(server.spool) / "cyrus.index").read_bytes()
    live = {packed.name_of(piece) for piece in packed.cut_index(lambda at, size: data[at : at + size], len(data))}
    assert len(live) > 4
    assert not live & {b"/".join(path[-2:]) for path in pieces}
    # A message that is looked for is read with its piece alone.
    for one in whole:
        found = [index for state in kept.states(name) for index in state.with_guid(bytes.fromhex(one["guid"]))]
        assert found
        assert all(one["uid"] in records.read(index).uids and len(index) < len(data) // 4 for index in found)


def test_uids_that_were_given_later(tmp_path: Path) -> None:
    """A directory is as it was, and so is its last UID: that is said."""
    server = SampleServer(tmp_path / "server", messages=20, folder_count=2)
    replica = KeepingReplica(server, tmp_path / "replica")
    replica.sync()
    time.sleep(TICK)
    then = now()
    (*_, last) = samplespool.deliver(server.folder("user/joe"), 2)
    replica.sync()
    words = ("user/joe", "--as-of", then, "--as", "cyrus", "--to", tmp_path / "mail")
    (warning,) = restore(replica.top, "-C", replica.conf, *words)["warnings"]
    assert warning.startswith(f"user/joe: Cyrus gave UIDs {last - 1} to {last} later")
