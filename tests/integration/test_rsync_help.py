"""The option table, what is made of it, and filter rules, against the rsync that is installed."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import pytest

from cyrsync.rsync import filters
from cyrsync.rsync.filters import Rules
from cyrsync.rsync.option_table import LONG, SHORT, Takes
from cyrsync.rsync.options import parse, settings


def rsync(*words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(["rsync", *words], capture_output=True, text=True, check=False)


def helped() -> list[str]:
    """List the options of the left column of `rsync --help`: "--rsh=COMMAND, -e", once "-e, --rsh=COMMAND"."""
    columns = re.findall(r"^ *(-\S.*?)(?:  |$)", rsync("--help").stdout, re.MULTILINE)
    return [option for column in columns for option in re.findall(r"(?<!\S)--?\w[\w-]*=?", column)]


def test_knows_every_option_of_rsync_help() -> None:
    options = helped()
    assert len(options) > 150
    for option in options:
        name = option.strip("-=")
        if option.startswith("--"):
            assert name == "no-OPTION" or (LONG[name].takes is not Takes.NOTHING) == option.endswith("=")
        else:
            assert name in SHORT


def test_knows_every_alias_of_rsync_help() -> None:
    text = rsync("--help").stdout
    assert set(re.findall(r"\(aka --([\w-]+)\)", text)) <= LONG.keys()


@pytest.mark.parametrize(
    "words",
    [
        ["-avz"],
        ["-e=ssh"],
        ["--rsh", "--"],
        ["--exclude", "-n"],
        ["x", "-a", "y"],
        ["--max-delete=0x10", "--max-delete=", "--max-delete= +010"],
        ["--no-i-d", "--no-D", "--del", "--old-d", "-s", "--protect-args"],
        ["--no-archive"],
        ["--no-delete"],
        ["--verb"],
        ["--verbose="],
        ["-av=1"],
        ["-=v"],
        ["---v"],
        ["--D"],
        ["--max-delete=08"],
        ["--max-delete=1k"],
        ["--max-delete=7 "],
        ["--max-delete=2147483648"],
        ["--max-delete", "-n", "-1"],
    ],
)
def test_takes_and_refuses_the_words_that_rsync_does(words: list[str]) -> None:
    # rsync judges all words before it shows its version.
    assert (parse(words).unknown is None) == (rsync(*words, "--version").returncode == 0)


@pytest.mark.parametrize(
    "words",
    [
        "-a",
        "-a --no-o --no-D",
        "-D --no-devices -r",
        "-a --no-r -r -tO",
        "-aA --no-A",
        "--no-p -rA --no-A",
        "-r --chown=u:g --no-g",
        "-r --usermap=a:b",
        "-rn --numeric-ids --no-numeric-ids",
        "-rzz --no-z --zl=3",
        "-rz --no-z",
        "-a --delete-delay --del --max-delete=5 --max-delete=0x11",
    ],
)
def test_settings_are_those_that_rsync_tells_its_far_end(words: str, tmp_path: Path) -> None:
    shell = tmp_path / "shell"
    shell.write_text('#!/bin/sh\nprintf "%s\\n" "$@" >&2\n')
    shell.chmod(0o700)
    told = rsync(*words.split(), "-e", str(shell), f"{tmp_path}/", "far:/x").stderr.splitlines()
    told = told[told.index("--server") + 1 : told.index(".")]
    flags = "".join(word.partition("e.")[0] for word in told if not word.startswith("--"))
    found = settings(parse(words.split()))
    kept = found.preserve
    letters = {
        "r": found.recursive,
        "l": kept.links,
        "p": kept.perms,
        "t": kept.times,
        "g": kept.group,
        "o": kept.owner,
        "n": found.dry_run,
        "O": kept.times and not kept.dir_times,
    }
    assert {letter for letter in letters if letter in flags} == {letter for letter, on in letters.items() if on}
    assert kept.devices == ("D" in flags or "--specials" in told)
    assert found.compress == ("z" in flags or any(word.startswith("--compress-level") for word in told))
    assert found.delete == any(word.startswith("--delete") for word in told)
    assert kept.numeric_ids == ("--numeric-ids" in told)
    assert found.max_delete is None or f"--max-delete={found.max_delete}" in told


NAMES = [b"a", b"b", b"ab", b"a.b", b".a", b"12.", b"7", b"x\ny"]


def test_rsync_leaves_out_the_same(tmp_path: Path) -> None:
    """One tree, many rules: rsync lists what it would send."""
    tree = tmp_path / "tree"
    paths = {b"": True}
    for depth in range(3):
        for parent in [
            path for path, directory in paths.items() if directory and path.count(b"/") + bool(path) == depth
        ]:
            for name in NAMES:
                path = parent + b"/" + name if parent else name
                paths[path] = depth < 2 and name in (b"a", b"ab", b".a")
    del paths[b""]
    tree.mkdir()
    for path, directory in paths.items():
        place = bytes(tree) + b"/" + path
        Path(place.decode()).mkdir() if directory else Path(place.decode()).write_bytes(b"")
    for words in (
        "exclude=a", "exclude=/a", "exclude=a/", "exclude=a/b", "exclude=/a/b", "exclude=a*", "exclude=.*",
        "exclude=a**b", "exclude=/a/**", "exclude=a/***", "exclude=**/b", "exclude=?b", "exclude=*/ab", "exclude=**",
        "include=ab exclude=a*", "exclude=a/a/ include=*", "exclude=- a", "exclude=+ ab filter=-_a?", "exclude=ab/**/b",
        "filter=exclude_/.a", "filter=+_.a exclude=.*", "exclude=/*/a", "exclude=a/*", "exclude=b/", "exclude=12.",
    ):  # fmt: skip
        given = re.findall(r"(?:exclude|include|filter)=(?:[-+] )?\S+", words)
        rules = Rules(tuple(filter(None, (filters.parse(*word.split("=", 1)) for word in given))))
        argv = ["rsync", "-r8", "--list-only", "--out-format=%n", *(f"--{word}" for word in given), f"{tree}/"]
        listed = subprocess.run(argv, capture_output=True, check=True, env={"LC_ALL": "C", "PATH": "/usr/bin:/bin"})
        shown = {line.split(b" ")[-1].replace(b"\\#012", b"\n") for line in listed.stdout.splitlines()} - {b"."}
        assert {p for p, directory in paths.items() if not rules.excludes(p, directory=directory)} == shown, words
