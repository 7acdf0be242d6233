"""Names that shells, lists, terminals and rich would make something else of: users choose them."""

from __future__ import annotations

import fcntl
import os
import pty
import struct
import subprocess
import termios
from collections.abc import Iterator
from pathlib import Path
from random import Random

import pytest

import samplespool
from support.random_tree import RandomTree
from support.tools import unprivileged
from support.tree import assert_same_tree, cyrsync_argv, plain_env, run_cyrsync, snapshot, sync

#: What a terminal would act on, or rich: none of it is to be seen but escaped.
SEQUENCES = {
    "colour": "\x1b[5;41mblink",
    "title": "\x1b]0;forged\x07",
    "eight bits": "\udc9b5m",
    "line": "one\ncyrsync: forged",
    "return": "one\rforged",
    "direction": "\u202eforged",
}
#: A slash here makes two folders, one in the other.
MARKUP = {"red": "[red]x[/red]", "link": "[link=a]x[/link]", "unopened": "[/b]", "emoji": ":warning:"}
FORGED = ("\x1b[5", "\x1b]0", "\x07", "\u202e", "\x9b", "\ncyrsync: forged", "\rforged")


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A small spool."""
    samplespool.make(tmp_path / "source", messages=60, folder_count=3)
    return tmp_path / "source"


@pytest.fixture
def replica(tmp_path: Path) -> Path:
    """Where the replica will be."""
    return tmp_path / "replica"


# --- Lists


def test_folders_at_the_root_with_any_name(source: Path, replica: Path) -> None:
    folders = [
        source / name for name in ("#calendars", ";x", "-e", "--delete", " ", "*", "~", "a -> b", "$(id)", "\\#012")
    ]
    for folder in folders:
        folder.mkdir()
        (folder / "1.").write_text("not yet a mailbox")
        (folder / "cyrus.header").write_text("its header")
        os.utime(folder, (0, 0))  # or one without an index might be a mailbox in the making
    sync("--delete", source, replica)
    assert_same_tree(source, replica)

    for folder in folders:
        (folder / "2.").write_text("another")
        (folder / "cyrus.header").write_text("its header, changed")
        (folder / "1.").unlink()
        os.utime(folder, (0, 0))
    sync("--delete", source, replica)
    assert_same_tree(source, replica)


@pytest.mark.parametrize("name", ["two\nlines", "two\rlines"])
def test_lines_cannot_name_everything(source: Path, replica: Path, name: str) -> None:
    (source / "j" / name).mkdir()
    (source / "j" / name / "1.").write_text("a message")
    replica.mkdir()
    done = run_cyrsync("list", source, replica)
    assert (done.returncode, done.stdout) == (2, "")
    assert f"j/{name!r}/1.".replace("'", "").replace("\\n", "\\x0a").replace("\\r", "\\x0d") in done.stderr
    assert done.stderr.count("\n") == 1
    assert f"./j/{name}/1." in list_of("-0", source, replica).split("\0")


def test_a_list_names_what_is_missing(source: Path, replica: Path) -> None:
    sync(source, replica)
    (folder,) = samplespool.folders(source)[:1]
    uids = samplespool.deliver(folder, 2)
    listed = list_of(source, replica).splitlines()
    below = folder.relative_to(source)
    assert [path for path in listed if "/cyrus." not in path] == [f"./{below}/{uid}." for uid in uids]
    assert len(listed) == 2 + 3 * 3


def test_a_list_without_a_replica_names_all(source: Path) -> None:
    every_file = {f"./{path.relative_to(source)}" for path in source.rglob("*") if path.is_file()}
    assert set(list_of(source).splitlines()) == every_file


def test_a_list_is_for_rsync(source: Path, replica: Path) -> None:
    replica.mkdir()
    for _ in range(2):
        listing = subprocess.Popen(cyrsync_argv("list", "-0", source, replica), env=plain_env(), stdout=subprocess.PIPE)
        copying = ["rsync", "-a", "--from0", "--files-from=-", f"{source}/", f"{replica}/"]
        with listing:
            assert subprocess.run(copying, stdin=listing.stdout, check=False).returncode == 0
        assert listing.returncode == 0
        # Where the seconds are equal, rsync leaves a new folder the time of its making.
        assert_same_tree(source, replica, dir_mtimes=False)
        samplespool.change(source, new=0.2, flags=1)


@pytest.mark.parametrize("seed", range(5))
def test_a_list_of_any_names_is_for_rsync(tmp_path: Path, replica: Path, seed: int) -> None:
    source = tmp_path / "source"
    RandomTree(os.fsencode(source), Random(seed)).change(60)
    replica.mkdir()
    listed = list_of("-0", source, replica)
    copying = ["rsync", "-a", "--from0", "--files-from=-", f"{source}/", f"{replica}/"]
    subprocess.run(copying, input=os.fsencode(listed), check=True)
    # A folder without a file in it has no entry.
    files = [{path: e for path, e in snapshot(root).items() if e.kind != "directory"} for root in (source, replica)]
    assert files[0] == files[1]


def list_of(*args: str | Path) -> str:
    """Where a line ends is not for Python to say: `run_cyrsync` makes LF of every CR."""
    done = subprocess.run(cyrsync_argv("list", *args), env=plain_env(), capture_output=True, check=True)
    assert not done.stderr
    return os.fsdecode(done.stdout)


def test_nobody_reads_the_list_to_its_end(source: Path) -> None:
    for number in range(3000):
        (source / f"a stray with a long name to fill the pipe {number}").touch()
    script = 'set -o pipefail; "$@" | head -n 1 >/dev/null; echo $?'
    argv = ["bash", "-c", script, "-", *cyrsync_argv("list", source)]
    done = subprocess.run(argv, env=plain_env(), capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("141\n", "")


# --- Roots


@pytest.mark.parametrize("slash", ["", "/"])
def test_roots_that_are_symlinks(source: Path, replica: Path, tmp_path: Path, slash: str) -> None:
    replica.mkdir()
    links = tmp_path / "links"
    links.mkdir()
    (links / "source").symlink_to(source)
    (links / "replica").symlink_to(replica)
    sync("--delete", f"{links}/source{slash}", f"{links}/replica{slash}")
    assert_same_tree(source, replica)
    assert (links / "replica").is_symlink()


def test_roots_below_symlinks(source: Path, replica: Path, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path)
    sync("--delete", tmp_path / "link/source", tmp_path / "link/replica")
    assert_same_tree(source, replica)


def test_roots_relative_to_the_working_directory(source: Path, replica: Path, tmp_path: Path) -> None:
    sync("--delete", "source/", "./replica", cwd=tmp_path)
    assert_same_tree(source, replica)


# --- What people see


@pytest.fixture
def named(source: Path, replica: Path) -> Iterator[Path]:
    """A spool with every awkward name, some folders that cannot be read, and some that are gone."""
    for name in (*SEQUENCES.values(), *MARKUP.values()):
        folder = source / "j/user/joe" / name
        folder.mkdir(parents=True)
        (folder / "1.").write_text("a message")
        (replica / "j/user/joe" / f"gone {name}").mkdir(parents=True)
    closed = [source / "j/user/joe" / f"closed {name}" for name in SEQUENCES.values()]
    for folder in closed:
        folder.mkdir(mode=0)
    yield source
    for folder in closed:
        folder.chmod(0o755)


COMMANDS = {
    "dry run": ("sync", "-n", "--delete"),
    "dry run of all": ("sync", "-nv", "--delete"),
    "run": ("sync", "--delete"),
    "run of all": ("sync", "-v", "--delete"),
    "quiet": ("sync", "-q"),
    "json": ("sync", "--json", "--delete"),
    "list": ("list",),
    "drop-in": ("rsync", "-av", "--delete"),
}


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_names_reach_no_terminal_raw(named: Path, replica: Path, command: tuple[str, ...]) -> None:
    code, seen = on_terminal(*command, f"{named}/", f"{replica}/")
    assert code == (2 if command[0] == "list" else 23)
    assert_harmless(seen, command)


@pytest.mark.parametrize("command", COMMANDS.values(), ids=COMMANDS)
def test_names_reach_no_log_raw(named: Path, replica: Path, command: tuple[str, ...]) -> None:
    argv = unprivileged(cyrsync_argv(*command, f"{named}/", f"{replica}/"))
    done = subprocess.run(argv, env=plain_env(), capture_output=True, check=False)
    seen = os.fsdecode(done.stdout + done.stderr)
    assert_harmless(seen, command)
    assert "\x1b" not in seen


@pytest.mark.parametrize("command", [("sync", "-nv", "--delete"), ("sync", "-v", "--delete")])
def test_markup_is_text(named: Path, replica: Path, command: tuple[str, ...]) -> None:
    _, seen = on_terminal(*command, f"{named}/", f"{replica}/")
    for name in MARKUP.values():
        assert f"user/joe/{name}" in seen


def test_a_terminal_gets_progress_and_a_table(source: Path, replica: Path) -> None:
    code, seen = on_terminal("sync", "-v", f"{source}/", f"{replica}/")
    assert code == 0
    assert "scanning" in seen
    assert "60 seen" in seen
    assert "user/joe" in seen


def assert_harmless(seen: str, command: tuple[str, ...]) -> None:
    """Nothing forged is to be seen; rsync's own words have what rsync takes for printable."""
    rsyncs = "\u202e" if command[0] == "rsync" else ""
    assert not [forged for forged in FORGED if forged in seen and forged != rsyncs]


def on_terminal(*args: str) -> tuple[int, str]:
    """Run cyrsync on a terminal, under the rules for ordinary users; return its exit code and what is to be seen."""
    ours, its = pty.openpty()
    fcntl.ioctl(its, termios.TIOCSWINSZ, struct.pack("4H", 50, 250, 0, 0))
    argv = unprivileged(cyrsync_argv(*args))
    process = subprocess.Popen(
        argv, env=plain_env({"TERM": "xterm-256color"}), stdin=its, stdout=its, stderr=its, start_new_session=True
    )
    os.close(its)
    seen = b""
    try:
        while part := os.read(ours, 1 << 16):
            seen += part
    except OSError:  # the other end is closed
        pass
    finally:
        os.close(ours)
    # The terminal ends its lines by CR and LF.
    return process.wait(), seen.decode("utf-8", "surrogateescape").replace("\r\n", "\n")
