"""The owner file: written in its place, read back as it was, and never believed where it is damaged."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrsync.ends.tree import Status, owner_file_of, resolve_here
from cyrsync.errors import DoubtfulError
from cyrsync.far import host, owner_file
from cyrsync.far.owner_file import NAME, OwnerFile
from support.tree import plain_env

TOKEN = OwnerFile("0123abcd", "host:/etc/imapd.conf", 7, 1000.5, 1001.5, 1000.5, "", (("hashimapspool", "on"),))

times = st.one_of(st.just(0.0), st.floats(0, 2e9, allow_nan=False))
owner_files = st.builds(
    OwnerFile,
    replica=st.text(),
    source=st.binary().map(os.fsdecode),
    run=st.integers(0, 1 << 31),
    begun=times,
    ended=times,
    complete=times,
    promoted=st.text(),
    settings=st.lists(st.tuples(st.text(), st.text())).map(tuple),
    writing=st.text(),
    doubtful=st.booleans(),
    more=st.dictionaries(st.text().filter(lambda name: name not in {*OwnerFile._fields, "version"}), st.text()).map(
        lambda found: tuple(sorted((name, json.dumps(value)) for name, value in found.items()))
    ),
)


@given(owner_files)
def test_it_is_read_as_it_was_written(written: OwnerFile) -> None:
    assert owner_file.from_json(written.to_json()) == written
    assert owner_file.from_json(written.to_json().encode()) == written
    assert written.to_json().isascii()


def test_one_of_before_there_were_settings_or_promotions() -> None:
    record = json.loads(TOKEN.to_json())
    del record["settings"], record["promoted"]
    assert owner_file.from_json(json.dumps(record)) == TOKEN._replace(settings=())


def changed(**words: Any) -> str:
    return json.dumps({**json.loads(TOKEN.to_json()), **words})


@pytest.mark.parametrize(
    "text",
    [
        *["", "{}", "[]", "null", "7", '"text"', "{", "\0" * 100, "[" * 60_000, '{"a":' * 10_000, b"\xff\xfe"],
        *[TOKEN.to_json()[:-1], TOKEN.to_json() + "}", changed(replica=None), changed(source=7)],
        *[changed(run="7"), changed(run=7.5), changed(run=True), changed(run=-1), changed(run=1 << 70)],
        *[changed(begun="1000"), changed(begun=None), changed(ended=-1.0), changed(complete=float("nan"))],
        *[changed(ended=float("inf")), changed(begun=1e300), changed(promoted=False), changed(promoted=["x"])],
        *[changed(writing=7), changed(doubtful="yes"), changed(doubtful=1)],
        *[changed(settings=7), changed(settings=[["one"]]), changed(settings=[7]), changed(settings=None)],
        *[
            json.dumps({k: v for k, v in json.loads(TOKEN.to_json()).items() if k != gone})
            for gone in TOKEN._fields[:6]
        ],
    ],
)
def test_damaged(text: str | bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - json has many words for it
        owner_file.from_json(text)


def test_damage_anywhere(tmp_path: Path) -> None:
    """A byte that was changed makes another owner file, or none; nothing else comes of it."""
    rng = random.Random(1)
    whole = TOKEN.to_json().encode()
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] = rng.choice(b'\0 "{}[]:,0a\xff')
        try:
            found = owner_file.from_json(bytes(data))
        except ValueError:
            continue
        assert owner_file.from_json(found.to_json()) == found


# --- In a directory


def test_written_and_read(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path)
    assert owner_file.read(root) is None
    for run in (1, 2):
        owner_file.write(root, TOKEN._replace(run=run))
        assert owner_file.read(root) == TOKEN._replace(run=run)
    assert os.listdir(root) == [NAME]
    assert owner_file.read(os.path.join(root, b"missing")) is None


def test_the_directory_keeps_its_times(tmp_path: Path) -> None:
    os.utime(tmp_path, ns=(1, 1_234_567_891))
    owner_file.write(os.fsencode(tmp_path), TOKEN)
    assert tmp_path.stat().st_mtime_ns == 1_234_567_891


def test_keys_that_are_not_known_are_kept(tmp_path: Path) -> None:
    """A newer cyrsync has written them."""
    found = owner_file.from_json(changed(region={"name": ["eu", 7]}, kept=None))
    assert found._replace(more=()) == TOKEN
    owner_file.write(os.fsencode(tmp_path), found._replace(run=8))
    again = owner_file.read(os.fsencode(tmp_path))
    assert again
    assert {"region": {"name": ["eu", 7]}, "kept": None}.items() <= json.loads(again.to_json()).items()


def test_one_of_a_version_that_cannot_be_understood(tmp_path: Path) -> None:
    owner_file.write(os.fsencode(tmp_path), TOKEN)
    place = tmp_path / os.fsdecode(NAME)
    place.write_bytes(place.read_bytes().replace(b"cyrsync-replica 2 ", b"cyrsync-replica 3 "))
    with pytest.raises(DoubtfulError, match=f"{place}: written by a newer cyrsync"):
        owner_file_of(resolve_here(os.fsencode(tmp_path)))


def test_one_of_before_there_were_slots_is_taken_over(tmp_path: Path) -> None:
    place = tmp_path / os.fsdecode(NAME)
    place.write_text(TOKEN.to_json())
    assert owner_file.read(os.fsencode(tmp_path)) == TOKEN
    owner_file.write(os.fsencode(tmp_path), TOKEN._replace(run=8))
    assert owner_file.read(os.fsencode(tmp_path)) == TOKEN._replace(run=8)
    assert place.read_bytes().startswith(b"cyrsync-replica 2 1 ")


def test_it_is_written_in_its_place(tmp_path: Path) -> None:
    """So it needs no room on a disk that is full."""
    root, place = os.fsencode(tmp_path), tmp_path / os.fsdecode(NAME)
    owner_file.write(root, TOKEN)
    before = place.stat()
    for run in range(8, 20):
        owner_file.write(root, TOKEN._replace(run=run, promoted="x" * run))
        now = place.stat()
        assert (now.st_ino, now.st_size, now.st_blocks) == (before.st_ino, before.st_size, before.st_blocks)
        assert owner_file.read(root) == TOKEN._replace(run=run, promoted="x" * run)


def test_a_longer_one_gets_a_larger_file(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path)
    owner_file.write(root, TOKEN)
    long = TOKEN._replace(settings=tuple((f"archive-p{number}", "off") for number in range(300)))
    for one in (long, TOKEN, long):
        owner_file.write(root, one)
        assert owner_file.read(root) == one
    with pytest.raises(OSError, match="too large"):
        owner_file.write(root, TOKEN._replace(promoted="x" * 100_000))
    assert owner_file.read(root) == long
    assert os.listdir(root) == [NAME]


@pytest.mark.parametrize("writings", [1, 2, 3])
def test_a_writing_that_was_torn_costs_only_itself(tmp_path: Path, writings: int) -> None:
    """Wherever the power failed, what was there before counts, or what was to be there."""
    root, place = os.fsencode(tmp_path), tmp_path / os.fsdecode(NAME)
    for run in range(writings):
        owner_file.write(root, TOKEN._replace(run=run))
    before = place.read_bytes()
    owner_file.write(root, TOKEN._replace(run=99, promoted="2026"))
    after = place.read_bytes()
    expected = {TOKEN._replace(run=writings - 1), TOKEN._replace(run=99, promoted="2026")}
    seen = set()
    for cut in range(0, len(after) + 1, 16):
        for torn in (after[:cut] + before[cut:], before[:cut] + after[cut:]):
            place.write_bytes(torn)
            seen.add(owner_file.read(root))
            owner_file.write(root, TOKEN._replace(run=100))
            assert owner_file.read(root) == TOKEN._replace(run=100)
    assert seen == expected


#: Writes an owner file, and is killed before a call of a function.
KILLED = """\
import os, signal, sys
from cyrsync.far import owner_file
setattr(os, sys.argv[3], lambda *words, **options: os.kill(os.getpid(), signal.SIGKILL))
owner_file.write(os.fsencode(sys.argv[1]), owner_file.from_json(sys.argv[2]))
"""


@pytest.mark.parametrize("call", ["write", "fsync", "rename"])
@pytest.mark.parametrize("old", [None, TOKEN])
def test_killed_on_the_way(tmp_path: Path, old: OwnerFile | None, call: str) -> None:
    root, new = os.fsencode(tmp_path), TOKEN._replace(run=8)
    if old:
        owner_file.write(root, old)
    argv = [sys.executable, "-c", KILLED, tmp_path, new.to_json(), call]
    done = subprocess.run(argv, env=plain_env(), check=False).returncode
    # What is written in its place needs no rename.
    assert done == (0 if old and call == "rename" else -signal.SIGKILL)
    assert owner_file.read(root) == (new if old and call != "write" else old)
    assert owner_file.is_bare(root)
    owner_file.write(root, TOKEN._replace(run=9))
    assert owner_file.read(root) == TOKEN._replace(run=9)
    assert os.listdir(root) == [NAME]


def test_it_is_on_disk_when_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """At first the content, then the name, then the directory; later the content."""
    order: list[str] = []
    fsync, rename = os.fsync, os.rename

    def note_fsync(descriptor: int) -> None:
        order.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    def note_rename(*words: Any, **options: Any) -> None:
        order.append("rename")
        rename(*words, **options)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "rename", note_rename)
    owner_file.write(os.fsencode(tmp_path), TOKEN)
    assert order == [f"{NAME.decode()}.new", "rename", tmp_path.name]
    order.clear()
    owner_file.write(os.fsencode(tmp_path), TOKEN)
    assert order == [NAME.decode()]


def in_the_way(place: Path, kind: str, other: Path) -> None:
    """Put something in the place of a file that is to be written."""
    if kind == "link":
        place.symlink_to(other)
    elif kind == "hard link":
        place.hardlink_to(other)
    elif kind == "FIFO":
        os.mkfifo(place)


@pytest.mark.parametrize("kind", ["link", "hard link", "FIFO"])
@pytest.mark.parametrize("name", [NAME, NAME + b".new"])
def test_nothing_in_its_place_is_followed_or_waited_for(tmp_path: Path, kind: str, name: bytes) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    root.mkdir()
    owner_file.write(os.fsencode(tmp_path), TOKEN)
    (tmp_path / os.fsdecode(NAME)).rename(other)
    before = other.read_bytes()
    in_the_way(root / os.fsdecode(name), kind, other)
    owner_file.write(os.fsencode(root), TOKEN._replace(run=8))
    assert other.read_bytes() == before
    assert owner_file.read(os.fsencode(root)) == TOKEN._replace(run=8)
    assert [path.name for path in root.iterdir()] == [os.fsdecode(NAME)]


@pytest.mark.parametrize(
    ("names", "bare"),
    [([], True), (["lost+found"], True), ([".cyrsync-replica"], True), (["a"], False), ([".hidden"], False)],
)
def test_what_a_disk_that_is_not_mounted_looks_like(tmp_path: Path, names: list[str], bare: bool) -> None:
    for name in names:
        (tmp_path / name).touch()
    assert owner_file.is_bare(os.fsencode(tmp_path)) == bare


# --- As a run sees it


def test_what_stands_at_a_root(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path)
    assert resolve_here(root) == Status(root, True, True, True, "", True, owner_file.boot_id())
    (tmp_path / "j").mkdir()
    assert resolve_here(root) == Status(root, True, True, True, "", False, owner_file.boot_id())
    owner_file.write(root, TOKEN)
    assert owner_file_of(resolve_here(root)) == TOKEN
    assert owner_file_of(resolve_here(os.path.join(root, b"missing"))) is None


@pytest.mark.parametrize("kind", ["empty", "scribble", "link", "directory", "FIFO", "sparse"])
def test_an_owner_file_that_cannot_be_read_is_not_taken_for_none(tmp_path: Path, kind: str) -> None:
    """It may be that of a replica that was promoted."""
    place = tmp_path / os.fsdecode(NAME)
    if kind == "link":
        place.symlink_to("nowhere")
    elif kind == "directory":
        place.mkdir()
    elif kind == "FIFO":
        os.mkfifo(place)
    elif kind == "sparse":
        place.touch()
        os.truncate(place, 1 << 40)
    else:
        place.write_bytes(b"" if kind == "empty" else b"\xff\0scribble")
    status = Status(*host.resolve(os.fsencode(tmp_path)))
    with pytest.raises(DoubtfulError, match="damaged: if this is the right replica, remove the file"):
        owner_file_of(status)
