"""An rsync command line is read as popt reads it, and sorted into what the walk engine can honour and what not."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrsync.rsync.option_table import KNOWN, LONG, SHORT, Known, Takes
from cyrsync.rsync.options import RsyncLine, parse, settings, unfit, unfit_extra


def named(line: RsyncLine) -> list[str]:
    """Show the options as short text: the name, or name=value."""
    return [o.name if o.value is None else f"{o.name}={o.value}" for o in line.options]


def rebuilt(line: RsyncLine) -> list[str]:
    return [word for option in line.options for word in option.words]


@pytest.mark.parametrize(
    ("words", "options", "operands"),
    [
        (["-avz", "a", "b"], ["archive", "verbose", "compress"], ["a", "b"]),
        (["-essh"], ["rsh=ssh"], []),
        (["-e=ssh"], ["rsh=ssh"], []),
        (["-e==ssh"], ["rsh==ssh"], []),
        (["-e="], ["rsh="], []),
        (["-e", "ssh"], ["rsh=ssh"], []),
        (["-e", ""], ["rsh="], []),
        (["-ave", "ssh -p 22", "a"], ["archive", "verbose", "rsh=ssh -p 22"], ["a"]),
        (["--rsh=ssh", "--rsh", "rsh"], ["rsh=ssh", "rsh=rsh"], []),
        (["--rsh="], ["rsh="], []),
        (["--exclude", "-n", "-a"], ["exclude=-n", "archive"], []),
        (["--exclude", "--"], ["exclude=--"], []),
        (["-T", "-v"], ["temp-dir=-v"], []),
        (["-@-1"], ["modify-window=-1"], []),
        (["a", "-a", "b"], ["archive"], ["a", "b"]),
        (["-", "a"], [], ["-", "a"]),
        (["", "a"], [], ["", "a"]),
        (["-a", "--", "-v", "--delete"], ["archive"], ["-v", "--delete"]),
        (["--max-delete=", "--max-delete", "-1"], ["max-delete=", "max-delete=-1"], []),
        (["--no-D", "--no-r", "--no-o", "--no-i-d"], ["no-D", "no-recursive", "no-owner", "no-implied-dirs"], []),
        (["--del", "--i-r", "--old-d"], ["delete-during", "inc-recursive", "old-dirs"], []),
        (["--secluded-args", "-s", "--no-s"], ["protect-args", "protect-args", "no-protect-args"], []),
        (["--zc=zstd", "--zl=3", "--zt=2"], ["compress-choice=zstd", "compress-level=3", "compress-threads=2"], []),
        (["--log-format=%i", "--time-limit=1"], ["out-format=%i", "stop-after=1"], []),
        (["-DFP"], ["D", "F", "P"], []),
    ],
)
def test_reads_words(words: list[str], options: list[str], operands: list[str]) -> None:
    line = parse(words)
    assert line.unknown is None
    assert named(line) == options
    assert list(line.operands) == operands


@pytest.mark.parametrize(
    "word",
    [
        "--verb",  # no abbreviations
        "--no-delete",  # not every option has a negation
        "--no-archive",
        "--archive=yes",  # a value where none belongs
        "--archive=",
        "-av=1",
        "-a!",
        "-aé",
        "---v",
        "--=v",
        "-=v",
        "--D",  # -D has no long name
        "--rsh",  # no value
        "-ae",
        "--max-delete=1k",  # not a number to strtoll
        "--max-delete=08",
        "--max-delete=0x",
        "--max-delete=1_0",
        "--max-delete=7 ",
        "--max-delete= ",
        "--max-delete=2147483648",
        "-@",
        "-@1.5",
    ],
)
def test_stops_at_a_word_that_rsync_refuses(word: str) -> None:
    line = parse(["-a", "x", word])
    assert line.unknown == word
    assert named(line) == ["archive"]
    assert line.operands == ("x",)
    reason = unfit(line)
    assert reason is not None
    assert word in reason


def test_a_short_option_with_a_value_takes_the_rest_of_its_word() -> None:
    # -a -r -c -h -i -v, and nothing left for -e.
    assert named(parse(["-archive", "a"]))[-2:] == ["verbose", "rsh=a"]
    assert named(parse(["-aev", "a"])) == ["archive", "rsh=v"]


@pytest.mark.parametrize(
    ("value", "limit"),
    [("", 0), ("5", 5), (" +7", 7), ("0x10", 16), ("010", 8), ("0", 0), ("-0", 0), ("-5", 0), ("-2147483648", None)],
)
def test_max_delete_is_read_as_strtoll_does(value: str, limit: int | None) -> None:
    assert settings(parse(["-a", "--delete", f"--max-delete={value}"])).max_delete == limit


@pytest.mark.parametrize(
    ("words", "expected"),
    [
        ("-a", {"recursive", "perms", "owner", "group", "times", "dir_times", "links", "devices", "own_quick_check"}),
        ("-r", {"recursive", "own_quick_check"}),
        ("-a --no-o --no-D --no-r", {"perms", "group", "times", "dir_times", "links", "own_quick_check"}),
        ("--no-o -o", {"owner", "own_quick_check"}),
        ("-D --no-devices", {"devices", "own_quick_check"}),
        ("-D --no-devices --no-specials", {"own_quick_check"}),
        ("-tO", {"times", "own_quick_check"}),
        ("-tO --no-O", {"times", "dir_times", "own_quick_check"}),
        ("-A", {"perms", "acls"}),
        ("-A --no-A", {"perms", "own_quick_check"}),
        ("-A --no-p", {"acls"}),
        ("-X", {"xattrs"}),
        ("--chown=u", {"owner"}),
        ("--chown=:g", {"group"}),
        ("--chown=u:g --no-g", {"owner"}),
        ("--usermap=a:b --groupmap=a:b", {"owner", "group"}),
        ("--super", set()),
        ("--no-super", set()),
        ("-P", {"progress", "own_quick_check"}),
        ("-qin --stats --numeric-ids", {"quiet", "itemize", "dry_run", "stats", "numeric_ids", "own_quick_check"}),
        ("-i --no-i", {"own_quick_check"}),
        *[(f"--{name}", {"delete", "own_quick_check"}) for name in ("del", "delete", "delete-before", "delete-delay")],
        ("-z", {"compress", "own_quick_check"}),
        ("-z --no-z", {"own_quick_check"}),
        ("-z --zl=0", {"own_quick_check"}),
        ("-z --zc=none", {"own_quick_check"}),
        ("--zl=3", {"compress", "own_quick_check"}),
        ("--zc=zstd", {"compress", "own_quick_check"}),
        ("--zc=auto", {"own_quick_check"}),
        ("--old-compress", {"compress", "own_quick_check"}),
    ],
)
def test_settings(words: str, expected: set[str]) -> None:
    found = settings(parse(words.split()))
    on = {name for name in found.__slots__ if getattr(found, name) is True}
    on |= {name for name, is_kept in found.preserve._asdict().items() if is_kept}
    assert on == expected


def test_settings_with_values() -> None:
    words = ["-vv", "--no-v", "-v", "-essh", "-e", "ssh -p 1", "--rsync-path=r", "--out-format=%n", "--log-format=%i"]
    found = settings(parse(words))
    assert (found.verbose, found.rsh, found.rsync_path, found.out_format) == (1, "ssh -p 1", "r", "%i")
    assert settings(parse(["-a"])).max_delete is None


@pytest.mark.parametrize(
    ("words", "passed", "connection"),
    [
        ("-a --delete --max-delete=3 -n", "--archive", ""),
        # With --files-from, -a does not recurse, but -r does.
        ("-rlptH --no-i-r", "--links --perms --times --hard-links", ""),
        # --files-from implies -R, -d and implied directories, which these would undo.
        ("-a --no-R --no-d --no-implied-dirs -0 --no-from0", "--archive", ""),
        ("-aDP --partial-dir=.p", "--archive -D -P --partial-dir=.p", ""),
        ("-az -essh --port=1 -4", "--archive --compress --rsh=ssh --port=1 --ipv4", "--rsh=ssh --port=1 --ipv4"),
        ("-as --no-motd", "--archive --protect-args --no-motd", "--protect-args --no-motd"),
        ("--timeout=9 --no-timeout", "--timeout=9 --no-timeout", "--timeout=9 --no-timeout"),
        ("--no-iconv --no-c", "--no-iconv --no-checksum", ""),
        # What is left out is not listed, and no path needs the far shell.
        ("-a --exclude=x --filter=-_y --old-args -x --size-only --ignore-errors", "--archive", ""),
        # No part of a file is left under its final name; rsync takes "" and "." for no directory at all.
        ("-aP", "--archive -P --partial-dir=.~tmp~", ""),
        ("-a --partial-dir=", "--archive --partial-dir= --partial-dir=.~tmp~", ""),
        ("-a --partial-dir=./", "--archive --partial-dir=./ --partial-dir=.~tmp~", ""),
        ("-a --partial --delay-updates", "--archive --partial --delay-updates", ""),
        ("-a --partial --no-partial", "--archive --partial --no-partial", ""),
    ],
)
def test_words_for_the_rsync_runs_of_its_own(words: str, passed: str, connection: str) -> None:
    found = settings(parse(words.split()))
    assert " ".join(found.passed) == passed
    assert " ".join(found.connection) == connection


@pytest.mark.parametrize(
    "words",
    [
        "-a",
        "-r",
        "-avz --delete",
        "-aHAXSWvqi --stats --progress --info=stats2 --log-file=x --bwlimit=9 --timeout=9 --numeric-ids",
        "-a --chmod=F600 --chown=u:g --temp-dir=t --fuzzy --delay-updates --force --fsync --super",
        "-a -P --partial-dir=.rp",
        "-a --partial --delay-updates",
        "-a --partial --no-partial",
        "-ac --no-c",
        "-ab --no-backup",
        "-aR --no-R",
        "-ax --no-x",
        "-a --inplace --no-inplace",
        "-a --iconv=utf8 --no-iconv",
        "-a --iconv=-",
        "-a --no-implied-dirs -0",
        "-a --no-r -r",
        "-a --del --delete-delay",  # rsync keeps both in one variable
        "-a --exclude=cyrus.squat --exclude *.tmp --exclude=a?b",
        "-a --delete --exclude=.* --exclude=/stage.* --exclude=user/joe/ --exclude=joe/*** --filter=-_x --include=a",
        "-aP",
        "-ax --size-only --ignore-errors --old-args --partial-dir=",
    ],
)
def test_fit(words: str) -> None:
    assert unfit(parse([*words.split(), "a/", "b/"])) is None


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("-v", "without --recursive"),
        ("-a --no-r", "without --recursive"),
        ("-ac", "--checksum compares the contents of every file"),
        ("-a --inplace", "--inplace leaves a cut-off file"),
        ("-a --append-verify", "--append-verify leaves"),
        ("-a --iconv=utf8", "--iconv renames"),
        ("-a --delete-before --delete-after", "rsync takes only one of"),
        ("-a --password-file=-", "--password-file=- can be read once"),
        ("-aF", "-F reads rules"),
        ("-a --exclude=*", "--exclude=* is about messages"),
        ("-a --exclude=cyrus.*", "--exclude=cyrus.* leaves out what"),
        ("-a --filter=P_x", "--filter=P_x is a rule that only rsync"),
        ("-a --delete --out-format=%n%C", "--out-format: only rsync knows what %C is"),
        ("-aM--fake-super", "--remote-option gives"),
        ("--help", "--help asks"),
        ("-aVV", "--version asks"),
        *[(f"-a{flag}", f"--{SHORT[flag].name} ") for flag in "RdbuILkKmCU"],
        *[
            (f"-a --{name}", f"--{LONG[name].name} ")
            for name in (
                "list-only existing ignore-non-existing ignore-existing remove-source-files "
                "copy-unsafe-links safe-links munge-links delete-excluded delete-missing-args ignore-missing-args "
                "fake-super old-dirs copy-devices write-devices server sender daemon no-detach"
            ).split()
        ],
        *[
            (f"-a --{name}=1", f"--{LONG[name].name} ")
            for name in (
                "files-from max-size min-size backup-dir suffix compare-dest copy-dest link-dest copy-as stop-after "
                "stop-at time-limit read-batch write-batch only-write-batch exclude-from include-from"
            ).split()
        ],
    ],
)
def test_unfit(words: str, reason: str) -> None:
    found = unfit(parse([*words.split(), "a/", "b/"]))
    assert found is not None
    assert found.startswith(reason)


@pytest.mark.parametrize("pattern", ["", "/", "[ab]", "a\\*", "!", "!a", "*.", "1?", "/a/*", "a/**", "??", "cyrus.h*"])
def test_unfit_exclude(pattern: str) -> None:
    assert unfit(parse(["-a", "--exclude", pattern, "a/", "b/"])) is not None


@pytest.mark.parametrize("pattern", ["a", "-a", "+", "a b", "*.tmp", "?", "a!", "#", "-", "a/", "a**b", "- a", "+ 1."])
def test_excludes_of_whole_names_fit(pattern: str) -> None:
    assert unfit(parse(["-a", "--delete", "--exclude", pattern, "--exclude=b", "a/", "b/"])) is None


@pytest.mark.parametrize("words", [["-h"], ["-avh"], ["--human-readable"]])
def test_h_with_nothing_else_is_help(words: list[str]) -> None:
    assert unfit(parse(words)) == "-h with nothing else asks for rsync's help"
    assert unfit(parse(["-ah", "a/", "b/"])) is None
    assert unfit_extra(parse(words)) is None


@pytest.mark.parametrize("words", ["", "-r", "-a", "-zH --bwlimit=9", "-h", "--no-o --numeric-ids"])
def test_fit_extra(words: str) -> None:
    assert unfit_extra(parse(words.split())) is None


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        ("x", "x is no option"),
        ("-- -v", "-v is no option"),
        ("--del", "give --delete to cyrsync itself, before --"),
        ("--delete-after", "give --delete to cyrsync itself, before --"),
        ("--max-delete=3", "give --max-delete to cyrsync itself, before --"),
        ("-n", "give --dry-run to cyrsync itself, before --"),
        ("--no-r", "without --recursive"),
        ("-c", "--checksum compares"),
        ("--delete-excluded", "--delete-excluded deletes"),
        ("--nonsense", "--nonsense is no option"),
    ],
)
def test_unfit_extra(words: str, reason: str) -> None:
    found = unfit_extra(parse(words.split()))
    assert found is not None
    assert found.startswith(reason)


VALUES = {
    Takes.NOTHING: st.none(),
    Takes.TEXT: st.text(max_size=8) | st.sampled_from(["--", "-v", "--delete", "=", "", "-"]),
    Takes.NUMBER: st.integers(-(2**31), 2**31 - 1).map(str) | st.just(""),
}
#: An option and its value.
GIVEN = st.sampled_from(list(KNOWN.values())).flatmap(lambda known: st.tuples(st.just(known), VALUES[known.takes]))
LETTER = {known.name: letter for letter, known in SHORT.items()}
SPELLINGS = {name: [s for s, known in LONG.items() if known.name == name] for name in KNOWN}


def spell(data: st.DataObject, given: list[tuple[Known, str | None]]) -> list[str]:
    """Spell the options anyhow: short or long, clustered or not, the value in the word or after it."""
    words: list[str] = []
    open_cluster = False
    for known, value in given:
        letter, longs = LETTER.get(known.name), SPELLINGS[known.name]
        apart = value is not None and data.draw(st.booleans())
        if letter is not None and (not longs or data.draw(st.booleans())):
            if open_cluster and data.draw(st.booleans()):
                words[-1] += letter
            else:
                words.append(f"-{letter}")
            open_cluster = value is None
            if value is not None:
                apart = apart or not value
                joint = "=" if value.startswith("=") or data.draw(st.booleans()) else ""
                words[-1] += "" if apart else joint + value
        else:
            open_cluster = False
            words.append(f"--{data.draw(st.sampled_from(longs))}")
            if value is not None:
                words[-1] += "" if apart else f"={value}"
        if value is not None and apart:
            words.append(value)
    return words


@given(st.lists(GIVEN, max_size=8), st.data())
def test_any_spelling_of_the_same_options_reads_the_same(
    given: list[tuple[Known, str | None]], data: st.DataObject
) -> None:
    line = parse(spell(data, given))
    assert line.unknown is None
    assert line.operands == ()
    assert [(o.name, o.value) for o in line.options] == [(known.name, value) for known, value in given]
    assert parse(rebuilt(line)) == line


def spell_plainly(known: Known, value: str | None) -> list[str]:
    dashed = f"--{known.name}" if known.name in LONG else f"-{known.name}"
    return [dashed] if value is None else [dashed, value]


@given(st.lists(GIVEN, max_size=8))
def test_what_is_passed_reads_back_as_the_same_settings(given: list[tuple[Known, str | None]]) -> None:
    line = parse([word for known, value in given for word in spell_plainly(known, value)])
    found = settings(line)
    again = settings(parse(found.passed))
    assert again.passed == found.passed
    assert again.connection == found.connection
    assert again.preserve == found.preserve
    assert (again.compress, again.own_quick_check) == (found.compress, found.own_quick_check)
    assert not again.delete
    assert not again.dry_run


@given(st.lists(st.text(max_size=6) | st.sampled_from(["-a", "-e", "--", "--rsh", "--max-delete", "--delete"])))
def test_any_words_can_be_judged(words: list[str]) -> None:
    line = parse(words)
    settings(line)
    assert unfit(line) is None or line.unknown is None or line.unknown in words
    if line.unknown is not None:
        assert unfit(line) is not None
        assert unfit_extra(line) is not None
