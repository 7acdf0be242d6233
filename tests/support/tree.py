"""Trees as values, and the command under test run on them."""

from __future__ import annotations

import hashlib
import json
import os
import stat
import subprocess
import sys
import tarfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any, NamedTuple

import cyrsync
from cyrsync.cli.exit_codes import codes_of
from support import warm
from support.environment import BYTE_CODE
from support.tools import unprivileged

#: What may be in the environment of a run for which no interpreter has to be started: all else might change that.
_WARM = frozenset({"CYRSYNC_PASSWORD", "CYRSYNC_STATE", "CYRUS_GROUP", "CYRUS_USER", "PATH"})
DATA = Path(__file__).parent.parent / "data"


class Entry(NamedTuple):
    """One entry of a tree, with all that `rsync -a` carries over."""

    kind: str
    mode: int
    size: int
    mtime_ns: int
    content: bytes
    uid: int
    gid: int


def snapshot(
    root: Path, *, skip_hidden: bool = True, dir_mtimes: bool = True, whole_seconds: bool = False
) -> dict[bytes, Entry]:
    """Everything below `root` by relative path, for comparing two trees.

    Left out with `skip_hidden`: what cyrsync leaves alone, that is dotfiles and Cyrus's transient entries.
    With `whole_seconds` the times of directories count only to the second, as rsync compares them without
    `--modify-window=-1`.
    """
    grain = (10**9 if whole_seconds else 1) if dir_mtimes else 0
    top = os.fsencode(root)
    return {
        path: _entry(os.path.join(top, path), grain)
        for path in _walk(top, b"")
        if not (skip_hidden and is_left_alone(path))
    }


def is_left_alone(path: bytes) -> bool:
    """Whether cyrsync never replicates this path: hidden or transient, it or a directory above it."""
    parts = path.split(b"/")
    if parts[0] in (b"stage.", b"sync.", b"lost+found"):
        return True
    return any(part.startswith(b".") or (part.startswith(b"cyrus.") and part.endswith(b".NEW")) for part in parts)


def messages(root: Path) -> dict[bytes, bytes]:
    """The bytes of every message file below `root`, by relative path.

    What vanishes meanwhile is left out, and what lies in a hidden directory.
    """
    top = os.fsencode(root)
    found = {}
    for path in filter(is_message, _walk(top, b"")):
        if b"/." in b"/" + path:
            continue  # Cyrus does not look there
        with suppress(FileNotFoundError), open(os.path.join(top, path), "rb") as file:
            found[path] = file.read()
    return found


def is_message(path: bytes) -> bool:
    """Whether the last part is digits and a dot."""
    name = path.rpartition(b"/")[2]
    return name.endswith(b".") and name[:-1].isdigit()


def differences(left: Mapping[bytes, Any], right: Mapping[bytes, Any]) -> list[str]:
    """What differs, one line each, for a message that can be read."""
    lines = [f"only left: {path!r}" for path in sorted(left.keys() - right.keys())]
    lines += [f"only right: {path!r}" for path in sorted(right.keys() - left.keys())]
    both = sorted(left.keys() & right.keys())
    return lines + [f"{path!r}: {left[path]} != {right[path]}" for path in both if left[path] != right[path]]


def assert_same_tree(left: Path, right: Path, **options: bool) -> None:
    """Both trees are equal in all that `rsync -a` carries over; `options` are those of `snapshot`."""
    found = differences(snapshot(left, **options), snapshot(right, **options))
    assert not found, "\n".join(found[:20])


def unpack_spool(name: str, dest: Path) -> Path:
    """Unpack `tests/data/cyrus-NAME.tar.xz` below `dest`; the directory that holds `spool/` and `conf/`."""
    with tarfile.open(DATA / f"cyrus-{name}.tar.xz") as archive:
        trusted: dict[str, Any] = {"filter": "fully_trusted"} if hasattr(tarfile, "fully_trusted_filter") else {}
        archive.extractall(dest, numeric_owner=True, **trusted)
    return dest / f"cyrus-{name}"


def cyrsync_argv(*args: str | Path | bytes) -> list[str]:
    """The command line of cyrsync under this very interpreter."""
    return [sys.executable, "-m", "cyrsync", *(os.fsdecode(arg) for arg in args)]


def plain_env(extra: Mapping[str, str] | None = None) -> dict[str, str]:
    """An environment like cron's, in which this checkout's cyrsync is found."""
    kept = ("CYRSYNC_STATE", "HOME", "LOGNAME", "PATH", "TMPDIR", "USER", *BYTE_CODE)
    env = {name: value for name, value in os.environ.items() if name in kept or name.startswith("COV")}
    env["PYTHONPATH"] = str(Path(cyrsync.__file__).parent.parent)
    return {**env, **(extra or {})}


def start_cyrsync(
    *args: str | Path | bytes,
    env: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    own_group: bool = False,
    first: str = "",
) -> warm.Running:
    """Start `cyrsync ARGS`, in no new interpreter; what is in `env` must be nothing that one would heed."""
    words = cyrsync_argv(*args)[3:]
    return warm.python().start("cyrsync", words, env=plain_env(env), cwd=cwd, own_group=own_group, first=first)


def run_cyrsync(
    *args: str | Path | bytes,
    env: Mapping[str, str] | None = None,
    user: bool = False,
    timeout: float = 120,
    cwd: Path | None = None,
) -> subprocess.CompletedProcess[str]:
    """Run `cyrsync ARGS` to its end; with `user`, under the rules for ordinary users.

    It ends with a code that its `--help` names, whatever is tested.
    """
    argv = cyrsync_argv(*args)
    if not user and _WARM.issuperset(env or ()):
        with start_cyrsync(*args, env=env, cwd=cwd) as run:
            done = run.complete(timeout)
        assert may_end_with(argv[3:], done.returncode), done
        return done
    done = subprocess.run(
        unprivileged(argv) if user else argv,
        env=plain_env(env),
        cwd=cwd,
        stdin=subprocess.DEVNULL,
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",
        timeout=timeout,
        check=False,
    )
    assert may_end_with(argv[3:], done.returncode), done
    return done


def may_end_with(words: Sequence[str], code: int) -> bool:
    """Whether a command can end so: by a signal, with a code of its own, or with rsync's where it runs rsync."""
    command = words[0] if words else ""
    runs_rsync = command == "rsync" or (command in ("sync", "run") and not {"-C", "--conf"}.intersection(words))
    return code < 0 or runs_rsync or code in (codes_of(command) or {0, 2})


def sync(*args: str | Path | bytes, expect: tuple[int, ...] = (0,), **kwargs: Any) -> dict[str, Any]:
    """Run `cyrsync sync --json ARGS`, check its exit code, and return its report."""
    done = run_cyrsync("sync", "--json", *args, **kwargs)
    assert done.returncode in expect, f"exit {done.returncode}\n{done.stdout}\n{done.stderr}"
    report: dict[str, Any] = json.loads(done.stdout)
    return report


def rsync(*args: str | Path | bytes) -> None:
    """Plain rsync, the measure of all things."""
    argv: Sequence[str] = ["rsync", *(os.fsdecode(arg) for arg in args)]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def _walk(top: bytes, below: bytes) -> Iterator[bytes]:
    """Relative paths of everything in `top/below`, no symlink followed; a folder may vanish meanwhile."""
    try:
        entries = list(os.scandir(os.path.join(top, below)))
    except FileNotFoundError:
        return
    for entry in entries:
        path = os.path.join(below, entry.name)
        yield path
        if entry.is_dir(follow_symlinks=False):
            yield from _walk(top, path)


def _entry(path: bytes, dir_grain: int) -> Entry:
    status = os.lstat(path)
    mode, size, mtime, content = stat.S_IMODE(status.st_mode), status.st_size, status.st_mtime_ns, b""
    if stat.S_ISREG(status.st_mode):
        kind = "file"
        with open(path, "rb") as file:
            content = hashlib.sha1(file.read()).hexdigest().encode()
    elif stat.S_ISLNK(status.st_mode):
        kind, content = "symlink", os.readlink(path)
    elif stat.S_ISDIR(status.st_mode):
        kind, size, mtime = "directory", 0, dir_grain and mtime // dir_grain
    else:
        kind, size = f"special {stat.S_IFMT(status.st_mode):o}", 0
    return Entry(kind, mode, size, mtime, content, status.st_uid, status.st_gid)
