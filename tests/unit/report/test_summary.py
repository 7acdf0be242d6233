"""Reports for people: complete, short, and never speaking with a mail user's voice."""

from __future__ import annotations

import io
from dataclasses import replace

import pytest
from rich.console import Console

from cyrsync.report.summary import render_dry_run, render_run
from cyrsync.sync.result import (
    ConfigCounts,
    FileCounts,
    FolderCounts,
    FolderWork,
    MessageCounts,
    MetadataCounts,
    RunResult,
)

HOSTILE = [
    b"j/user/joe/[red]x[/]",
    b"j/user/joe/\x1b[31mred",
    b"j/user/joe/a\nProblems: 0",
    b"j/user/joe/:smile:",
]


def result() -> RunResult:
    return RunResult(
        source="/var/spool/cyrus",
        destination="replica:/var/spool/cyrus",
        engine="walk",
        dry_run=False,
        started="2024-01-01T00:00:00Z",
        seconds=125,
        folders=FolderCounts(seen=1000, new=15, changed=2, recreated=1, gone=1),
        messages=MessageCounts(seen=60_100, present=60_000, send=100, delete=7),
        metadata=MetadataCounts(seen=2000, send=30),
        files=FileCounts(planned=130, sent=129, vanished=1, deleted=7),
        bytes_sent=1536,
        rsync_runs=2,
        work=[
            *(FolderWork(b"n/user/n%d" % number, "new", number, 0) for number in range(15)),
            FolderWork(b"j/user/joe/Entw&APw-rfe", "changed", 40, 0),
            FolderWork(b"domain/e/example.com/j/user/jane", "recreated", 5, 6),
            FolderWork(b"l/shared/lists", "gone", 0, 1),
            FolderWork(b"", "changed", 0, 0),
        ],
    )


def run(outcome: RunResult, *, verbose: bool = False, width: int = 80) -> str:
    console = Console(file=io.StringIO(), width=width)
    render_run(outcome, console, verbose)
    return _text(console)


def dry_run(outcome: RunResult, *, verbose: bool = False, width: int = 80, terminal: bool = False) -> str:
    console = Console(file=io.StringIO(), width=width, force_terminal=terminal)
    render_dry_run(outcome, console, verbose)
    return _text(console)


def _text(console: Console) -> str:
    assert isinstance(console.file, io.StringIO)
    return console.file.getvalue()


def section(text: str, title: str) -> list[str]:
    """Return the lines from a title to the next empty line."""
    lines = text.splitlines()
    start = next(number for number, line in enumerate(lines) if line.startswith(title))
    return lines[start : [*lines, ""].index("", start)]


def test_run_in_a_few_lines() -> None:
    outcome = result()
    outcome.other_files, outcome.config = 3, ConfigCounts(seen=11, send=2)
    assert run(outcome).splitlines() == [
        "Source       /var/spool/cyrus",
        "Replica      replica:/var/spool/cyrus",
        "Folders      1,000 seen, 15 new, 2 changed, 1 recreated, 1 gone",
        "Messages     60,100 seen, 60,000 present, 100 new, 7 gone",
        "Metadata     2,000 seen, 30 changed",
        "Config       11 seen, 2 changed",
        "Other files  3",
        "Files        130 planned, 129 sent, 1 vanished, 7 deleted",
        "Transfer     1.5 KiB in 2 min 05 s, 2 rsync runs",
    ]


def test_a_run_for_a_part_says_so() -> None:
    part = replace(result(), part=["--user=joe", "--user=\x1b[31m"])
    for text in (run(part), dry_run(part)):
        assert "Part         --user=joe --user=\\x1b[31m\n" in text
        assert "Part" not in text.replace("Part  ", "", 1)


def test_verbose_run_lists_every_folder() -> None:
    rows = section(run(result(), verbose=True), "Folders with something to do")
    assert len(rows) == 3 + len(result().work)


def test_withheld_deletions_and_how_many_problems_come_last() -> None:
    """The error that says why they are withheld is none of the problems. Standard error has what these are."""
    outcome = result()
    outcome.withheld = 1234
    withheld = "\n1,234 deletions withheld: the replica keeps these for now.\n"
    outcome.errors = ["too many"]
    for text in (run(outcome, verbose=True), dry_run(outcome, verbose=True)):
        assert text.endswith(withheld)
    outcome.errors += [f"j/user/joe/{number}.: Permission denied" for number in range(20)]
    for text in (run(outcome, verbose=True), dry_run(outcome, verbose=True)):
        assert text.endswith(f"{withheld}\n20 problems: see standard error\n")
        assert "j/user/joe/" not in text


def test_dry_run_says_what_would_be_done_and_was_spared() -> None:
    text = " ".join(dry_run(result()).split())
    assert "Would send 100 messages and 30 metadata files, and delete 7 messages and 1 folder." in text
    assert "Spared 120,000 stats: plain rsync -a makes one on either side for each of the 60,000 mess" in text


def test_dry_run_with_nothing_to_do() -> None:
    text = dry_run(RunResult("/a", "/b", "walk", True, ""))
    assert text.endswith("\nWould send nothing, and delete nothing.\n")


def test_folders_with_most_to_do_come_first() -> None:
    rows = section(dry_run(result()), "Folders with most to do")
    assert rows[3].split() == ["user/joe/Entwürfe", "changed", "40", "0"]
    assert rows[4].split() == ["user/n14", "new", "14", "0"]
    assert rows[7].split() == ["user/jane@example.com", "recreated", "5", "6"]
    assert rows[-1] == "  ... and 9 more (--verbose shows all)"
    assert len(rows) == 3 + 10 + 1


def test_names_by_state() -> None:
    text = dry_run(result())
    assert section(text, "New folders (15)")[-1] == "  ... and 5 more (--verbose shows all)"
    assert section(text, "Recreated folders (1)") == ["Recreated folders (1)", "  user/jane@example.com"]
    assert section(text, "Gone folders (1)") == ["Gone folders (1)", "  shared/lists"]


def test_verbose_leaves_nothing_out() -> None:
    text = dry_run(result(), verbose=True)
    assert "more" not in text
    assert len(section(text, "New folders (15)")) == 16
    assert "(root of the partition)" in text


def test_users_where_the_path_tells() -> None:
    rows = [line.split() for line in section(dry_run(result(), verbose=True), "Users with most to do")]
    assert rows[3] == ["joe", "1", "40", "0"]
    assert ["jane@example.com", "1", "5", "6"] in rows
    assert len(rows) == 3 + 17


def test_no_users_no_table() -> None:
    outcome = result()
    outcome.work = [FolderWork(b"uuid/6/9/69r5", "new", 1, 0)]
    assert "Users" not in dry_run(outcome)


@pytest.mark.parametrize("terminal", [False, True])
@pytest.mark.parametrize("path", HOSTILE)
def test_names_are_shown_not_obeyed(path: bytes, terminal: bool) -> None:
    outcome = result()
    outcome.work = [FolderWork(path, "gone", 0, 1)]
    shown = path.partition(b"/")[2].decode().replace("\x1b", "\\x1b").replace("\n", "\\x0a")
    text = dry_run(outcome, terminal=terminal)
    assert text.count(shown) == 2  # in the table, and among the folders that are gone
    assert "\x1b[31m" not in text


def test_markup_in_paths_and_states_is_shown_not_obeyed() -> None:
    outcome = result()
    outcome.source = outcome.destination = "/[blink]\x1b]0;x\x07"
    outcome.work = [FolderWork(b"[b]", "[u]\x1b", 1, 0), FolderWork(b"user/[i]\x9b", "new", 1, 0)]
    for text in (run(outcome, verbose=True), dry_run(outcome)):
        assert text.count("/[blink]\\x1b]0;x\\x07") == 2
        assert "[u]\\x1b" in text
        assert "\x1b" not in text


def test_fits_80_columns_and_keeps_names_whole() -> None:
    outcome = result()
    outcome.folders = FolderCounts(*[1_234_567] * 6)
    outcome.work.append(FolderWork(b"j/user/joe/" + b"long folder/" * 9, "new", 10_000_000, 10_000_000))
    lines = dry_run(outcome).splitlines()
    name = "user/joe/" + "long folder/" * 9
    assert [line for line in lines if len(line) > 80] == [f"  {name}"]
    assert "1,234,567 unreadable" in " ".join(" ".join(lines).split())


def test_piped_without_colour() -> None:
    assert "\x1b" not in dry_run(result())
    assert "\x1b" in dry_run(result(), terminal=True)
