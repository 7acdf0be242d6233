"""What a replica says of itself: written whole, read back as it was, and never believed where it is damaged."""

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

from cyrsync.errors import UnusableError
from cyrsync.tree import agent, token
from cyrsync.tree.side import Status, resolve_here, token_of
from cyrsync.tree.token import NAME, Token
from support.tree import plain_env

TOKEN = Token("0123abcd", "host:/etc/imapd.conf", 7, 1000.5, 1001.5, 1000.5, "", (("hashimapspool", "on"),))

times = st.one_of(st.just(0.0), st.floats(0, 2e9, allow_nan=False))
tokens = st.builds(
    Token,
    replica=st.text(),
    source=st.binary().map(os.fsdecode),
    run=st.integers(0, 1 << 31),
    begun=times,
    ended=times,
    complete=times,
    promoted=st.text(),
    settings=st.lists(st.tuples(st.text(), st.text())).map(tuple),
)


@given(tokens)
def test_it_is_read_as_it_was_written(written: Token) -> None:
    assert token.from_json(written.to_json()) == written
    assert token.from_json(written.to_json().encode()) == written
    assert written.to_json().isascii()


def test_one_of_before_there_were_settings_or_promotions() -> None:
    record = json.loads(TOKEN.to_json())
    del record["settings"], record["promoted"]
    assert token.from_json(json.dumps(record)) == TOKEN._replace(settings=())


def changed(**words: Any) -> str:
    return json.dumps({**json.loads(TOKEN.to_json()), **words})


@pytest.mark.parametrize(
    "text",
    [
        *["", "{}", "[]", "null", "7", '"text"', "{", "\0" * 100, "[" * 60_000, '{"a":' * 10_000, b"\xff\xfe"],
        *[TOKEN.to_json()[:-1], TOKEN.to_json() + "}", changed(more=1), changed(replica=None), changed(source=7)],
        *[changed(run="7"), changed(run=7.5), changed(run=True), changed(run=-1), changed(run=1 << 70)],
        *[changed(begun="1000"), changed(begun=None), changed(ended=-1.0), changed(complete=float("nan"))],
        *[changed(ended=float("inf")), changed(begun=1e300), changed(promoted=False), changed(promoted=["x"])],
        *[changed(settings=7), changed(settings=[["one"]]), changed(settings=[7]), changed(settings=None)],
        *[
            json.dumps({k: v for k, v in json.loads(TOKEN.to_json()).items() if k != gone})
            for gone in TOKEN._fields[:6]
        ],
    ],
)
def test_damaged(text: str | bytes) -> None:
    with pytest.raises(ValueError):  # noqa: PT011 - json has many words for it
        token.from_json(text)


def test_damage_anywhere(tmp_path: Path) -> None:
    """A byte that was changed makes another token, or none; nothing else comes of it."""
    rng = random.Random(1)
    whole = TOKEN.to_json().encode()
    for place in range(len(whole)):
        data = bytearray(whole)
        data[place] = rng.choice(b'\0 "{}[]:,0a\xff')
        try:
            found = token.from_json(bytes(data))
        except ValueError:
            continue
        assert token.from_json(found.to_json()) == found


# --- In a directory


def test_written_and_read(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path)
    assert token.read(root) is None
    for run in (1, 2):
        token.write(root, TOKEN._replace(run=run))
        assert token.read(root) == TOKEN._replace(run=run)
    assert os.listdir(root) == [NAME]
    assert token.read(os.path.join(root, b"missing")) is None


def test_the_directory_keeps_its_times(tmp_path: Path) -> None:
    os.utime(tmp_path, ns=(1, 1_234_567_891))
    token.write(os.fsencode(tmp_path), TOKEN)
    assert tmp_path.stat().st_mtime_ns == 1_234_567_891


#: Writes a token, and is killed where it would put it in its place.
KILLED = """\
import os, signal, sys
from cyrsync.tree import token
os.rename = lambda *words: os.kill(os.getpid(), signal.SIGKILL)
token.write(os.fsencode(sys.argv[1]), token.from_json(sys.argv[2]))
"""


@pytest.mark.parametrize("old", [None, TOKEN])
def test_killed_on_the_way(tmp_path: Path, old: Token | None) -> None:
    root = os.fsencode(tmp_path)
    if old:
        token.write(root, old)
    argv = [sys.executable, "-c", KILLED, tmp_path, TOKEN._replace(run=8).to_json()]
    assert subprocess.run(argv, env=plain_env(), check=False).returncode == -signal.SIGKILL
    assert token.read(root) == old
    token.write(root, TOKEN._replace(run=9))
    assert token.read(root) == TOKEN._replace(run=9)
    assert os.listdir(root) == [NAME]


def test_it_is_on_disk_when_it_counts(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """First the content, then the name, then the directory."""
    order: list[str] = []
    fsync, rename = os.fsync, os.rename

    def note_fsync(descriptor: int) -> None:
        order.append(os.path.basename(os.readlink(f"/proc/self/fd/{descriptor}")))
        fsync(descriptor)

    def note_rename(one: bytes, other: bytes) -> None:
        order.append("rename")
        rename(one, other)

    monkeypatch.setattr(os, "fsync", note_fsync)
    monkeypatch.setattr(os, "rename", note_rename)
    token.write(os.fsencode(tmp_path), TOKEN)
    assert order == [f"{NAME.decode()}.new", "rename", tmp_path.name]


def test_no_link_is_followed(tmp_path: Path) -> None:
    root, other = tmp_path / "root", tmp_path / "other"
    root.mkdir()
    other.write_text(TOKEN.to_json())
    (root / os.fsdecode(NAME)).symlink_to(other)
    with pytest.raises(OSError, match="symbolic links"):
        token.read(os.fsencode(root))
    (root / os.fsdecode(NAME + b".new")).symlink_to(other)
    with pytest.raises(OSError, match="symbolic links"):
        token.write(os.fsencode(root), TOKEN._replace(run=8))
    assert other.read_text() == TOKEN.to_json()


@pytest.mark.parametrize(
    ("names", "bare"),
    [([], True), (["lost+found"], True), ([".cyrsync-replica"], True), (["a"], False), ([".hidden"], False)],
)
def test_what_a_disk_that_is_not_mounted_looks_like(tmp_path: Path, names: list[str], bare: bool) -> None:
    for name in names:
        (tmp_path / name).touch()
    assert token.is_bare(os.fsencode(tmp_path)) == bare


# --- As a run sees it


def test_what_stands_at_a_root(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path)
    assert resolve_here(root) == Status(root, True, True, True, "", True)
    (tmp_path / "j").mkdir()
    assert resolve_here(root) == Status(root, True, True, True, "", False)
    token.write(root, TOKEN)
    assert token_of(resolve_here(root)) == TOKEN
    assert token_of(resolve_here(os.path.join(root, b"missing"))) is None


@pytest.mark.parametrize("kind", ["empty", "scribble", "link", "directory"])
def test_a_token_that_cannot_be_read_is_not_taken_for_none(tmp_path: Path, kind: str) -> None:
    """It may be that of a replica that was promoted."""
    place = tmp_path / os.fsdecode(NAME)
    if kind == "link":
        place.symlink_to("nowhere")
    elif kind == "directory":
        place.mkdir()
    else:
        place.write_bytes(b"" if kind == "empty" else b"\xff\0scribble")
    status = Status(*agent.resolve(os.fsencode(tmp_path)))
    with pytest.raises(UnusableError, match="damaged: if this is the right replica, remove the file"):
        token_of(status)


# --- Held


def test_runs_share_a_root_and_who_promotes_has_it_alone(tmp_path: Path) -> None:
    root = os.fsencode(tmp_path)
    with token.held(root, exclusive=False) as first, token.held(root, exclusive=False) as second:
        assert first and second
        with token.held(root, exclusive=True) as alone:
            assert not alone
    with token.held(root, exclusive=True) as alone:
        assert alone
        for exclusive in (False, True):
            with token.held(root, exclusive=exclusive) as another:
                assert not another
    with token.held(root, exclusive=False) as again:
        assert again


def test_what_is_held_is_let_go_of_by_who_is_killed(tmp_path: Path) -> None:
    script = "import os, sys\nfrom cyrsync.tree import token\n"
    script += "with token.held(os.fsencode(sys.argv[1]), exclusive=True) as held:\n print(held, flush=True)\n input()"
    argv = [sys.executable, "-c", script, tmp_path]
    with subprocess.Popen(argv, env=plain_env(), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        assert process.stdout and process.stdout.readline() == b"True\n"
        with token.held(os.fsencode(tmp_path), exclusive=False) as held:
            assert not held
        process.kill()
        process.wait()
        with token.held(os.fsencode(tmp_path), exclusive=False) as held:
            assert held
