"""`cyrsync rsync LINE` leaves what `rsync LINE` leaves, and ends as that does."""

from __future__ import annotations

import json
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from random import Random

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

import samplespool
from cyrsync.errors import Exit
from cyrsync.rsync import options as rsync_options
from support.campaign import amount
from support.memory import in_memory
from support.random_tree import RandomTree
from support.spool import everything_happens
from support.sshd import Sshd
from support.tree import Entry, assert_same_tree, messages, plain_env, run_cyrsync, snapshot, start_cyrsync

#: What `-v` says when rsync itself takes over.
PLAIN = "cyrsync: plain rsync runs: "
FIRST = ["-a", "-a", "-rt", "-r -v", "-rlptgoDi"]
WALKED = [
    *("-l -p -t -g -o -D -tpl -ogD -H -z -v -vi -W -S -O -y -q -hh --stats --numeric-ids --no-i-r --force".split()),
    *("--delete --delete --delete --del --delete-before --delete-after --delete-delay --max-delete=1000".split()),
    *("--no-perms --no-o --no-times --no-D --no-links --chmod=F640,D750 -E --delay-updates".split()),
    *("--exclude=user --exclude=*.cache --exclude=.* --exclude=/b --exclude=a/ --include=joe".split()),
    *("--filter=-_/user/joe --exclude=cyrus.odd -P --partial -x --ignore-errors --info=del".split()),
]
if os.geteuid() == 0:
    WALKED.append("--chown=1:1")
HANDED_ON = [
    *("-c -I -u -m --existing --ignore-existing --exclude=1. --inplace --no-r --max-delete=2".split()),
    *("--delete-excluded --exclude=/user/** --exclude=[a-z] --filter=P_x".split()),
]


#: Done first in a run: many of the folders lack what a writer at work would still bring, and he is not waited for.
NOBODY_WRITES = "from cyrsync.far import locked_folder; locked_folder._PAUSE = locked_folder._LONG_PAUSE = 0"


def plain_rsync(*words: str | Path, cwd: Path | None = None) -> subprocess.CompletedProcess[bytes]:
    """What rsync does in the environment that cyrsync has here: the locale decides how it prints names."""
    argv = ["rsync", *map(str, words)]
    return subprocess.run(argv, cwd=cwd, env=plain_env(), stdin=subprocess.DEVNULL, capture_output=True, check=False)


# --- Random lines


@settings(max_examples=amount(10, long=100))
@given(
    first=st.sampled_from(FIRST),
    others=st.lists(st.sampled_from(2 * WALKED + HANDED_ON), max_size=6),
    last=st.sampled_from(["", "", "", "-n"]),
    slash=st.sampled_from(["/", "/", ""]),
    seed=st.integers(0, 2**32 - 1),
)
@example(first="-a", others=["--delete", "-v"], last="", slash="/", seed=1667)
def test_random_lines(first: str, others: list[str], last: str, slash: str, seed: int) -> None:
    words = [*first.split(), *others]
    with in_memory() as directory:
        source, ours, theirs = directory / "source", directory / "ours", directory / "theirs"
        # Times that differ by whole seconds: rsync looks no closer by itself.
        tree = RandomTree(os.fsencode(source), Random(seed), hidden=False, grain=10**9)
        for line in (words, [*words, *last.split()]):
            tree.change(15)
            with start_cyrsync("rsync", *line, f"{source}{slash}", ours, first=NOBODY_WRITES) as run:
                mine = run.complete(timeout=120)
            rsyncs = plain_rsync(*line, f"{source}{slash}", theirs)
            assert mine.returncode == rsyncs.returncode, (mine, rsyncs)
            if mine.returncode == 23:
                return  # a folder that lacks a message keeps its other files, too, where rsync would go on
            code = mine.returncode
            assert comparable(ours, line, code) == comparable(theirs, line, code)
            assert told_of_deletions(mine.stdout) == told_of_deletions(rsyncs.stdout.decode())


def comparable(root: Path, words: list[str], code: int) -> dict[bytes, Entry]:
    """What is there, without the times that rsync was not asked to keep: those are the moment of the run.

    So are those of the directories in which it stopped to delete. And without the modes of indexes that it was not
    asked to keep: one that is taken away before its folder's messages are replaced comes back as a new file.
    """
    kept = rsync_options.settings(rsync_options.parse(words)).preserve
    found = snapshot(root, dir_mtimes=kept.dir_times and code != Exit.WITHHELD)
    if not kept.times:
        found = {path: entry._replace(mtime_ns=0) for path, entry in found.items()}
    if not kept.perms:
        found.update({path: one._replace(mode=0) for path, one in found.items() if path.endswith(b"cyrus.index")})
    return found


def told_of_deletions(printed: str) -> list[str]:
    """What is said of deletions, each once (rsync may repeat itself), in any order: none promises one."""
    told = ("deleting ", "*deleting ", "cannot delete ")
    looked = "deleting in "  # where rsync is about to look, with -vv
    return sorted({line for line in printed.splitlines() if line.startswith(told) and not line.startswith(looked)})


# --- Which way it goes


@pytest.fixture
def source(tmp_path: Path) -> Path:
    """A small spool."""
    samplespool.make(tmp_path / "source", messages=300, folder_count=20)
    return tmp_path / "source"


@pytest.fixture
def replica(tmp_path: Path, source: Path) -> Path:
    """Its replica, up to date."""
    plain_rsync("-a", "-@-1", f"{source}/", tmp_path / "replica")
    return tmp_path / "replica"


@pytest.mark.parametrize("line", ["-rt", "-r --chmod=D700", "-rtog", "-a"])
@pytest.mark.parametrize("slash", ["/", ""])
def test_makes_the_root_as_rsync_does(tmp_path: Path, source: Path, line: str, slash: str) -> None:
    source.chmod(0o750)
    above = {who: tmp_path / who for who in ("ours", "theirs")}
    roots = {who: path / "root" if slash else path / "source" for who, path in above.items()}
    for path in above.values():
        path.mkdir()
    to = {who: roots[who] if slash else path for who, path in above.items()}
    plain_rsync(*line.split(), f"{source}{slash}", to["theirs"])
    done = run_cyrsync("rsync", *line.split(), f"{source}{slash}", to["ours"])
    assert (done.returncode, done.stderr) == (0, "")
    assert (roots["ours"] / ".cyrsync-replica").exists()
    assert roots["ours"].stat().st_mode == roots["theirs"].stat().st_mode
    assert messages(roots["ours"]) == messages(source)


@pytest.mark.parametrize(
    "line",
    [
        "-av {src}/ {dst}/",
        "-av {src}/ {dst}",
        "-av --delete -- {src}/ {dst}",
        "{src}/ -vrlptgoD {dst} --numeric-ids",
        "-aHvz --delete-delay --max-delete=10000 {src}/ {dst}",
        "-av --exclude=*.NEW --exclude lost+found {src}/ {dst}",
        "-av -essh --rsync-path=/usr/bin/rsync {src}/. {dst}",
        "-av --bwlimit 9999 --partial-dir=.partial -T . {src}/ {dst}",
        "-avP --delete --exclude=.* --exclude=/stage.* --exclude=cyrus.squat --exclude=*.tmp {src}/ {dst}",
        "-avx --delete --ignore-errors --old-args --partial --progress -f '- lost+found' {src}/ {dst}",
    ],
)
def test_walks(source: Path, replica: Path, line: str) -> None:
    samplespool.change(source, new=0.1, expunged=0.1, flags=0.5)
    words = [word.format(src=source, dst=replica) for word in shlex.split(line)]
    done = run_cyrsync("rsync", *words, cwd=replica)
    assert (done.returncode, done.stderr) == (0, "")
    assert messages(source).items() <= messages(replica).items()
    if "--del" in line:
        assert_same_tree(source, replica)


@pytest.mark.parametrize(
    ("line", "reason"),
    [
        ("-a {src}/ {src}/j {dst}", "one source"),
        ("-a {src}/", "one source"),
        ("-a {strange}/ {dst}", "not a Cyrus spool"),
        ("-a --checksum {src}/ {dst}", "--checksum"),
        ("-ac {src}/ {dst}", "--checksum"),
        ("-a --delete --exclude=* {src}/ {dst}", "--exclude"),
        ("-a -f 'H *.NEW' {src}/ {dst}", "--filter"),
        ("-a --exclude=source {src} {dst}", "itself is excluded"),
        ("-a --delete --exclude=cyrus.* {src}/ {dst}", "--exclude"),
        ("-a --files-from={list} {src}/ {dst}", "--files-from"),
        ("-a --inplace {src}/ {dst}", "--inplace"),
        ("-a --list-only {src}/", "--list-only"),
        ("-a --delete --max-delete=1 {src}/ {dst}", "--max-delete"),
        ("-t {src}/j/user/joe/cyrus.index {dst}", "--recursive"),
        ("-a --bogus {src}/ {dst}", "--bogus"),
        ("-a {link} {dst}", "link"),
        ("-a {src}/ {dst}/not/there", "directory above it"),
    ],
)
def test_hands_on_to_rsync(source: Path, replica: Path, tmp_path: Path, line: str, reason: str) -> None:
    """What it cannot honour rsync does, with the same words; a line tells of it, without -v the first time."""
    (tmp_path / "strange").mkdir()
    (tmp_path / "strange/file").write_text("no mail")
    (tmp_path / "link").symlink_to(source)
    os.utime(tmp_path / "link", (1e9, 1e9), follow_symlinks=False)
    (tmp_path / "list").write_text("j/user/joe/cyrus.index\n")
    reference = tmp_path / "reference"
    plain_rsync("-a", f"{replica}/", reference)
    samplespool.change(source, new=0.1, expunged=0.1)

    def words(destination: Path) -> list[str]:
        places = {"src": source, "dst": destination, "strange": "strange", "link": "link", "list": "list"}
        return [word.format_map(places) for word in shlex.split(line)]

    silent = run_cyrsync("rsync", *words(replica), cwd=tmp_path)
    rsyncs = plain_rsync(*words(reference), cwd=tmp_path)
    assert silent.returncode == rsyncs.returncode
    # rsync takes times of one second for equal, and leaves a new folder the time of its making then.
    assert_same_tree(reference, replica, dir_mtimes=False)
    assert PLAIN not in run_cyrsync("rsync", *words(replica), cwd=tmp_path).stderr
    told = [
        text for text in run_cyrsync("rsync", "-v", *words(replica), cwd=tmp_path).stderr.splitlines() if PLAIN in text
    ]
    assert len(told) == 1
    assert reason in told[0]


@pytest.mark.parametrize(
    "word", ["--bwlimit=abc", "--info=nosuch", "--outbuf=x", "--chmod=zz", "--temp-dir=/not/there", "--port=x -essh"]
)
def test_what_rsync_refuses_has_touched_nothing(source: Path, replica: Path, word: str) -> None:
    """Not even the index of a mailbox that was made anew."""
    samplespool.change(source, new=0.1, expunged=0.1)
    shutil.copy(source / "a/user/ann/cyrus.header", source / "j/user/joe/cyrus.header")
    before = snapshot(replica, skip_hidden=False)
    line = ("-a", "--delete", *word.split(), f"{source}/", replica)
    refused = run_cyrsync("rsync", *line)
    plain = plain_rsync(*line)
    assert plain.returncode != 0
    assert (refused.returncode, refused.stderr) == (plain.returncode, plain.stderr.decode())
    assert snapshot(replica, skip_hidden=False) == before
    told = run_cyrsync("sync", "--delete", f"{source}/", replica, "--", word.split()[0])
    assert told.returncode in (plain.returncode, 2)
    assert told.stderr.count("\n") == 1
    assert snapshot(replica, skip_hidden=False) == before


def test_messages_of_a_folder_with_an_arrow_in_its_name_are_compared(source: Path, replica: Path) -> None:
    folder = (source / "j/user/joe/Sent").rename(source / "j/user/joe/a -> b")
    assert run_cyrsync("rsync", "-a", "--delete", f"{source}/", replica).returncode == 0
    samplespool.deliver(folder, 2)
    os.truncate(sorted((replica / folder.relative_to(source)).glob("*."))[0], 3)
    folder.chmod(0o750)  # so messages are compared
    done = run_cyrsync("rsync", "-a", f"{source}/", replica)
    assert (done.returncode, done.stderr) == (0, "")
    assert_same_tree(source, replica)


def test_the_first_time_is_told_of(source: Path, replica: Path, tmp_path: Path) -> None:
    """A line that is handed over says so once, without -v; `status` knows of it until the line is ours again."""
    line = ("-ac", f"{source}/", replica)
    told = [run_cyrsync("rsync", *line).stderr for _ in range(3)]
    change = "without it cyrsync does; `cyrsync verify --content` reads every message, now and then"
    assert told == [f"{PLAIN}--checksum compares the contents of every file; {change}\n", "", ""]
    assert f"{PLAIN}--checksum" in run_cyrsync("rsync", "--checksum", *line).stderr  # another line
    shown = run_cyrsync("status", replica)
    assert (shown.returncode, "--checksum compares the contents" in shown.stdout) == (0, True)
    known = [json.loads(line) for line in run_cyrsync("status", "--json", replica).stdout.splitlines()]
    (plain,) = (one for one in known if "plain_rsync" in one)
    assert (plain["source"], plain["destination"]) == (f"{source}/", str(replica))
    assert plain["plain_rsync"].startswith("--checksum compares")
    (tmp_path / "no spool").mkdir()
    assert run_cyrsync("rsync", "-ac", f"{tmp_path}/no spool/", tmp_path / "copy").stderr == ""
    assert run_cyrsync("rsync", "-a", f"{source}/", replica).returncode == 0
    assert "--checksum" not in run_cyrsync("status", replica).stdout


def test_a_line_that_rsync_refuses_makes_no_replica(source: Path, tmp_path: Path) -> None:
    done = run_cyrsync("rsync", "-a", f"{source}/", tmp_path / "misspelled/no/where")
    assert done.returncode == 11
    assert "plain rsync runs" not in done.stderr
    assert run_cyrsync("status").returncode == 3


def test_status_names_handed_over_lines_by_whole_paths(source: Path, replica: Path) -> None:
    """The line may have been given in another directory, as may DEST here."""
    words = ("-ac", f"{source.name}/", os.path.relpath(replica, source.parent))
    assert run_cyrsync("rsync", *words, cwd=source.parent).returncode == 0
    for where, name in ((replica.parent, str(replica)), (replica.parent, replica.name)):
        (plain,) = map(json.loads, run_cyrsync("status", "--json", name, cwd=where).stdout.splitlines())
        assert (plain["source"], plain["destination"]) == (f"{source}/", str(replica))
    assert run_cyrsync("status", "--forget", replica.name, cwd=replica.parent).returncode == 0
    assert run_cyrsync("status", replica).returncode == 3


def test_rsync_gets_the_words_as_they_are(source: Path, tmp_path: Path) -> None:
    fake_rsync(tmp_path, 'printf "<%s>" "$@"; exit 42')
    words = ["-aPc", "-e", "ssh -p 22", "--exclude=a b", "-f- *.x", "", f"{source}/", "--", "-x", "two words\n"]
    done = run_cyrsync("rsync", *words, env={"PATH": f"{tmp_path}:{os.environ['PATH']}"})
    assert (done.returncode, done.stdout, done.stderr) == (42, "".join(f"<{word}>" for word in words), "")


def fake_rsync(directory: Path, script: str) -> None:
    path = directory / "rsync"
    path.write_text(f"#!/bin/sh\n{script}\n")
    path.chmod(0o755)


@pytest.mark.parametrize("line", ["-a", "-a --checksum", "--server"])
def test_a_wrapper_in_the_path_is_not_called_again(source: Path, tmp_path: Path, line: str) -> None:
    """Whoever calls the wrapper, it gets to the next rsync in PATH."""
    real = tmp_path / "real"
    real.mkdir()
    fake_rsync(real, f'echo "$# words" >>{tmp_path}/log; exec {shutil.which("rsync")} "$@"')
    fake_rsync(tmp_path, f'{shlex.quote(sys.executable)} -m cyrsync rsync "$@"')
    (tmp_path / "replica").mkdir()
    path = {"PATH": f"{tmp_path}:{real}:{os.environ['PATH']}"}
    calls = subprocess.run(
        [tmp_path / "rsync", *line.split(), f"{source}/", tmp_path / "replica"],
        env=plain_env(path), stdin=subprocess.DEVNULL, capture_output=True, timeout=60, check=False,
    )  # fmt: skip
    assert (calls.returncode == 0) == (line != "--server")
    assert (tmp_path / "log").exists()
    if line != "--server":
        assert messages(source).items() <= messages(tmp_path / "replica").items()


def test_a_wrapper_without_an_rsync_behind_it_is_told_of(source: Path, tmp_path: Path) -> None:
    fake_rsync(tmp_path, f'exec {shlex.quote(sys.executable)} -m cyrsync rsync "$@"')
    (tmp_path / "sh").symlink_to("/bin/sh")
    done = run_cyrsync("rsync", "-ac", f"{source}/", tmp_path / "replica", env={"PATH": str(tmp_path)})
    assert done.returncode == 3
    *_, told = done.stderr.splitlines()
    assert told.startswith(f"cyrsync: {tmp_path}/rsync calls cyrsync")


def test_a_remote_shell_with_options(source: Path, tmp_path: Path) -> None:
    """`-e 'ssh -p 22'`: whatever the shell is, it gets its options, the host and the command."""
    shell, log = tmp_path / "remote shell", tmp_path / "log"
    shell.write_text(f'#!/bin/sh\necho "$1 $2 $3" >>{shlex.quote(str(log))}\nshift 3\nexec sh -c "$*"\n')
    shell.chmod(0o755)
    line = ["-av", "--delete", "-e", f"'{shell}' -p 22", f"{source}/", f"far:{tmp_path}/replica/"]
    done = run_cyrsync("rsync", *line)
    assert (done.returncode, done.stderr) == (0, "")
    assert set(log.read_text().splitlines()) == {"-p 22 far"}
    assert_same_tree(source, tmp_path / "replica")


def test_a_source_behind_two_dashes(source: Path, tmp_path: Path) -> None:
    source.rename(tmp_path / "-dash")
    assert run_cyrsync("rsync", "-a", "--", "-dash/", "--replica", cwd=tmp_path).returncode == 0
    assert_same_tree(tmp_path / "-dash", tmp_path / "--replica")


def test_on_a_terminal(source: Path, replica: Path) -> None:
    samplespool.change(source, new=0.1)
    script = "import pty, sys; sys.exit(pty.spawn(sys.argv[1:]) >> 8)"
    argv = [sys.executable, "-c", script, sys.executable, "-m", "cyrsync", "rsync", "-av", f"{source}/", str(replica)]
    done = subprocess.run(argv, stdin=subprocess.DEVNULL, capture_output=True, check=False)
    assert done.returncode == 0, done.stdout
    assert messages(source) == messages(replica)


def test_a_modify_window_of_the_users_own(source: Path, replica: Path) -> None:
    """A replica with coarse times: what differs by a second is the same."""
    index = source / "j/user/joe/cyrus.index"
    os.utime(index, (index.stat().st_mtime + 1,) * 2)
    line = ("-ai", "--modify-window=2", f"{source}/", replica)
    assert plain_rsync(*line).stdout == b""
    assert run_cyrsync("rsync", *line).stdout == ""


@pytest.mark.parametrize("word", ["-q", "--info=none", "--msgs2stderr", "--stderr=all", "-hhP", "--outbuf=B"])
@pytest.mark.parametrize("command", ["rsync", "sync"])
def test_words_about_output_do_not_keep_messages_back(source: Path, replica: Path, command: str, word: str) -> None:
    """What is compared under an index is asked of rsync, and its answer is read."""
    folder = source / "j/user/joe"
    folder.chmod(0o711)
    truncated = next((replica / "j/user/joe").glob("[0-9]*."))
    truncated.write_bytes(b"")
    ends = (f"{source}/", replica)
    line = ("rsync", "-a", word, *ends) if command == "rsync" else ("sync", *ends, "--", word)
    done = run_cyrsync(*line)
    assert done.returncode == 0, done
    assert truncated.read_bytes() == (folder / truncated.name).read_bytes()
    assert_same_tree(source, replica)


# --- Without a slash behind the source


@pytest.fixture
def below(source: Path, tmp_path: Path) -> list[Path]:
    """Two directories with a replica in them under the source's own name, with files that have to make way."""
    tops = [tmp_path / "ours", tmp_path / "theirs"]
    for top in tops:
        plain_rsync("-a", "-@-1", source, f"{top}/")
        for place in (top / "source/j/user/joe/odd", top / "source/gone"):
            shutil.rmtree(place, ignore_errors=True)
            place.mkdir()
            (place / "below").write_text("below")
    (source / "j/user/joe/odd").write_text("a file")
    samplespool.change(source, new=0.1, expunged=0.1, flags=0.5)
    (source / "new").mkdir()
    (source / "new/file").write_text("new")
    source.chmod(0o711)
    return tops


@pytest.mark.parametrize("form", ["-v", "-i", "--out-format=%n", "--info=name,del"])
@pytest.mark.parametrize("dry", ["", "-n"])
def test_names_begin_with_the_sources_own(source: Path, below: list[Path], form: str, dry: str, tmp_path: Path) -> None:
    """As with rsync: what is sent, deleted and makes way, on standard output and in a log."""
    ours, theirs = below
    words = ["-a", "--delete", "--force", *form.split(), *dry.split()]
    mine = run_cyrsync("rsync", *words, f"--log-file={tmp_path}/ours.log", source, ours)
    rsyncs = plain_rsync(*words, f"--log-file={tmp_path}/theirs.log", source, theirs)
    assert (mine.returncode, mine.stderr) == (rsyncs.returncode, "") == (0, "")
    named = names_told(rsyncs.stdout.decode())
    assert named == names_told(mine.stdout)
    assert all(name.startswith("source/") for name in named)
    if not dry:
        assert_same_tree(theirs, ours, dir_mtimes=False)
        assert names_told((tmp_path / "ours.log").read_text()) == names_told((tmp_path / "theirs.log").read_text())


#: What may stand before a name: when and who, in a log; what is done with it.
BEFORE_NAME = re.compile(r"(\S+ \S+ \[\d+\] )?(deleting |[.*<>c]\S{8,10} +)?")


def names_told(printed: str) -> set[str]:
    """What lines name, in any order; without directories that are there, of which each of our rsyncs speaks."""
    found = {BEFORE_NAME.sub("", line, count=1) for line in printed.splitlines()}
    named = {name for name in found if "/" in name and "bytes" not in name}
    return {name for name in named if not name.endswith("/") or "new" in name or "gone" in name or "odd" in name}


def test_a_source_of_any_name_without_a_slash(source: Path, tmp_path: Path) -> None:
    """Names that rsync's rules and lists read in another way."""
    for name in (".spool", "#spool", "cyrus.spool", "[a]*", "copy", "tree", "sp\\ool", "new\nline"):
        renamed = source.rename(source.parent / name)
        replica = tmp_path / "ours" / name
        replica.mkdir(parents=True)
        done = run_cyrsync("rsync", "-a", "--delete", renamed, replica.parent)
        assert (done.returncode, done.stderr) == (0, ""), name
        samplespool.change(renamed, new=0.05, expunged=0.05, flags=0.1)
        (renamed / "file").write_text(name)
        renamed.chmod(0o711 if renamed.stat().st_mode & 0o777 == 0o755 else 0o755)
        done = run_cyrsync("rsync", "-a", "--delete", renamed, replica.parent)
        assert (done.returncode, done.stderr) == (0, ""), name
        assert_same_tree(renamed, replica)
        renamed.rename(source)


@pytest.mark.parametrize("way", ["push", "pull"])
@pytest.mark.parametrize("server", ["sshd", "sshd_without_python", "daemon"])
def test_without_a_slash_over_a_connection(
    request: pytest.FixtureRequest, source: Path, tmp_path: Path, server: str, way: str
) -> None:
    """Also where rsync itself deletes, and takes indexes away; all names that are told begin with the source's own."""
    far = request.getfixturevalue(server)
    shell = [] if server == "daemon" else ["-e", far.rsh]
    if server == "daemon":
        module = "rw" if way == "push" else "ro"
        there, operand = far.directory(module) / "below", far.url(module, "below")
        there.mkdir()
    else:
        there, operand = tmp_path / "far", far.at(tmp_path / "far")
        there.mkdir()
    if way == "pull":
        source = source.rename(there / "source")
        line = ("-avi", "--delete", *shell, f"{operand}/source", tmp_path / "replica")
        replica = tmp_path / "replica/source"
        replica.parent.mkdir()
    else:
        line = ("-avi", "--delete", *shell, source, operand)
        replica = there / "source"
    for change in range(3):
        done = run_cyrsync("rsync", *line)
        assert (done.returncode, done.stderr) == (0, ""), done
        assert_same_tree(source, replica, whole_seconds=True)
        told = re.findall(r"^(?:\*deleting  |[.<>c][fdL]\S{9}) (.*)", done.stdout, re.MULTILINE)
        assert told
        assert all(name.startswith("source/") for name in told), told
        if change == 0:
            everything_happens(source)
        else:
            samplespool.change(source, new=0.1, expunged=0.1)
            source.chmod(0o711)


def test_a_link_in_place_of_the_replica_is_replaced_as_by_rsync(source: Path, below: list[Path]) -> None:
    for top in below:
        (top / "source").rename(top / "elsewhere")
        (top / "source").symlink_to("elsewhere")
    ours, theirs = below
    mine = run_cyrsync("rsync", "-a", source, ours)
    assert mine.returncode == plain_rsync("-a", source, theirs).returncode
    assert not (ours / "source").is_symlink()
    assert messages(ours) == messages(theirs)


# --- What is left out


@pytest.mark.parametrize("slash", ["/", ""])
def test_what_is_left_out_is_neither_sent_nor_deleted(source: Path, replica: Path, slash: str) -> None:
    """A user's directory, a file in all folders, and what lies in a folder that is gone: as with rsync."""
    if not slash:
        (replica.parent / "top").mkdir()
        replica = replica.rename(replica.parent / "top/source").parent
    there = replica / ("" if slash else "source")
    for place in (source / "j/user/joe", there / "j/user/joe", there / "gone/below", there / "gone"):
        place.mkdir(parents=True, exist_ok=True)
        (place / "kept.tmp").write_text(str(place))
        (place / "cyrus.cache").write_text(str(place))
    (there / "gone/.hidden").write_text("kept")
    (there / "gone too").mkdir()
    for path in (there / "b", source / "b"):
        (path / "cyrus.squat").write_text(str(path))
    samplespool.change(source, new=0.2, expunged=0.2)
    (source / "a/user/ann").chmod(0o711)
    (source).chmod(0o711)
    reference = there.parent.parent / "reference"
    shutil.copytree(replica, reference, symlinks=True, copy_function=shutil.copy2)
    plain_rsync("-a", f"{replica}/", reference)
    anchor = "" if slash else "/source"
    line = f"-avi --delete --exclude=*.tmp --exclude={anchor}/b --exclude=joe/ --exclude=.* --exclude=cyrus.squat"
    mine = run_cyrsync("rsync", *line.split(), f"{source}{slash}", replica)
    rsyncs = plain_rsync(*line.split(), f"{source}{slash}", reference)
    assert (mine.returncode, mine.stderr) == (rsyncs.returncode, "") == (0, "")
    (there / ".cyrsync-replica").unlink()
    assert_same_tree(reference, replica, skip_hidden=False, dir_mtimes=False)
    assert told_of_deletions(mine.stdout) == told_of_deletions(rsyncs.stdout.decode())
    assert (there / "gone/below/kept.tmp").exists()
    again = run_cyrsync("rsync", *line.split(), f"{source}{slash}", replica)
    assert (again.returncode, told_of_deletions(again.stdout)) == (0, told_of_deletions(plain_rsync(
        *line.split(), f"{source}{slash}", reference).stdout.decode()))  # fmt: skip


def test_the_roots_own_attributes_are_set(source: Path, replica: Path) -> None:
    """Also where nothing else is to be done."""
    source.chmod(0o700)
    os.utime(source, (1e9, 1e9))
    first = run_cyrsync("rsync", "-ai", "--exclude=.*", f"{source}/", replica)
    assert (first.returncode, first.stdout) == (0, ".d..tp..... ./\n")
    assert (replica.stat().st_mode & 0o777, replica.stat().st_mtime) == (0o700, 1e9)


@pytest.mark.parametrize("line", ["-rt", "-a --delete"])
def test_size_only_is_for_what_is_no_message(source: Path, replica: Path, line: str) -> None:
    quiet, busy = source / "j/user/joe", source / "a/user/ann"
    for path in (quiet / "cyrus.index", busy / "cyrus.index", quiet / "cyrus.cache"):
        content = path.read_bytes()
        path.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
        os.utime(path, (1e9, 1e9))
    (busy / "1.").unlink(missing_ok=True)
    reference = replica.parent / "reference"
    plain_rsync("-a", f"{replica}/", reference)
    done = run_cyrsync("rsync", *line.split(), "--size-only", f"{source}/", replica)
    assert (done.returncode, done.stderr) == (0, "")
    plain_rsync(*line.split(), "--size-only", f"{source}/", reference)
    ours, theirs = (snapshot(root, whole_seconds=True) for root in (replica, reference))
    index = b"a/user/ann/cyrus.index"
    if "--delete" in line:  # an index that names messages that are no more is no good
        assert ours.pop(index) == snapshot(source)[index] != theirs.pop(index)
    assert ours == theirs


# --- Telling of deletions


@pytest.mark.parametrize(
    "line",
    [
        *("-v", "-i", "-vq", "--out-format=%o=%-20n|%l|%f|%i", "--out-format=%f", "--info=del", "-v --info=del0", ""),
        *("-P", "--progress --info=name0", "-P --no-progress"),
    ],
)
def test_deletions_are_told_of_as_rsync_does(source: Path, replica: Path, line: str) -> None:
    """On standard output and in a log: one line a file, folders after what is in them."""
    shutil.rmtree(source / "j/user/joe")
    samplespool.change(source, expunged=0.2)
    (replica / "a/new\nl\xefne").write_text("odd")
    reference = replica.parent / "reference"
    plain_rsync("-a", f"{replica}/", reference)
    words = ["-a", "--delete", "--max-delete=1000", *line.split()]
    log = replica.parent / "log"
    mine = run_cyrsync("rsync", *words, f"--log-file={log}", f"{source}/", replica, env={"LC_ALL": "C.UTF-8"})
    plain_log = replica.parent / "plain log"
    theirs = subprocess.run(
        ["rsync", *words, f"--log-file={plain_log}", f"{source}/", reference],
        capture_output=True, check=True, env={**os.environ, "LC_ALL": "C.UTF-8"},
    )  # fmt: skip

    def deletions(text: str) -> list[str]:
        return [shown for shown in text.splitlines() if shown.startswith(("del", "*del"))]

    def logged(path: Path) -> list[str]:
        return [entry.split("] ", 1)[1] for entry in path.read_text().splitlines() if "deleting" in entry]

    assert deletions(mine.stdout) == deletions(theirs.stdout.decode())
    assert logged(log) == logged(plain_log) != []


def test_an_unreadable_folder_keeps_all_deletions_back(source: Path, replica: Path) -> None:
    """As with rsync; `--ignore-errors` deletes elsewhere."""
    (source / "a/user/ann/1.").unlink()
    unreadable = source / "j/user/joe"
    mode = unreadable.stat().st_mode
    unreadable.chmod(0)
    line = ("-a", "--delete", f"{source}/", replica)
    before = messages(replica)
    try:
        done = run_cyrsync("rsync", *line, user=True)
        kept = messages(replica)
        ignoring = run_cyrsync("rsync", "--ignore-errors", *line, user=True)
    finally:
        unreadable.chmod(mode)  # or nobody but root could remove it
    assert (done.returncode, done.stdout) == (23, "IO error encountered -- skipping file deletion\n")
    assert kept == before
    assert (ignoring.returncode, ignoring.stdout) == (23, "")
    assert messages(replica).keys() == before.keys() - {b"a/user/ann/1."}


def test_delete_after_waits_for_all_files(source: Path, replica: Path) -> None:
    (source / "a/user/ann/1.").unlink()
    (samplespool.folders(source)[-1] / f"{samplespool.deliver(samplespool.folders(source)[-1], 1)[0]}.").chmod(0)
    before = messages(replica)
    done = run_cyrsync("rsync", "-a", "--delete-after", f"{source}/", replica, user=True)
    assert (done.returncode, done.stdout) == (23, "IO error encountered -- skipping file deletion\n")
    assert messages(replica) == before


# --- What is ours to say


def test_a_missing_source_ends_as_with_rsync(replica: Path, tmp_path: Path) -> None:
    before = snapshot(replica)
    line = ("-a", "--delete", f"{tmp_path}/missing/", replica)
    assert run_cyrsync("rsync", *line).returncode == plain_rsync(*line).returncode == 23
    assert snapshot(replica) == before


@pytest.mark.parametrize("option", ["--delete", "--delete-after", "--del"])
def test_an_unmounted_source_does_not_empty_a_spool(source: Path, replica: Path, option: str) -> None:
    before = snapshot(replica)
    source.rename(source.with_name("elsewhere"))
    source.mkdir()
    done = run_cyrsync("rsync", "-a", option, f"{source}/", replica)
    assert done.returncode == 3
    assert done.stderr.count("\n") == 1
    assert "mounted" in done.stderr
    assert snapshot(replica) == before


def test_mass_deletion_is_withheld(source: Path, replica: Path) -> None:
    _, expunged, _ = samplespool.change(source, expunged=0.6, seed=5)
    samplespool.change(source, new=0.1)
    done = run_cyrsync("rsync", "-a", "--delete", f"{source}/", replica)
    assert done.returncode == 25
    assert f"{expunged} of the replica's 300 messages" in done.stderr
    assert messages(source).items() < messages(replica).items()


def test_a_limit_on_the_line_allows_mass_deletion(source: Path, replica: Path) -> None:
    samplespool.change(source, expunged=0.6, seed=5)
    assert run_cyrsync("rsync", "-a", "--delete", "--max-delete=1000", f"{source}/", replica).returncode == 0
    assert_same_tree(source, replica)


@pytest.mark.parametrize("dry", ["-n", "--dry-run"])
def test_a_dry_run_changes_nothing_and_shows_all(source: Path, replica: Path, dry: str) -> None:
    samplespool.change(source, new=0.05, expunged=0.05, flags=0.5)
    before = snapshot(replica)
    line = ("-ai", "--delete", dry, f"{source}/", replica)
    done = run_cyrsync("rsync", *line)
    assert (done.returncode, done.stderr) == (0, "")
    assert snapshot(replica) == before

    def files(shown: str) -> list[str]:
        return sorted(text for text in shown.splitlines() if text.startswith(("*deleting", ">f")))

    assert files(done.stdout) == files(plain_rsync(*line).stdout.decode())


def test_messages_that_are_not_yet_in_the_index_wait(source: Path, replica: Path) -> None:
    (folder,) = samplespool.folders(source)[:1]
    uid = samplespool.deliver(folder, 1)[0] + 1
    (folder / f"{uid}.").write_text("appended, not yet recorded")
    assert run_cyrsync("rsync", "-a", f"{source}/", replica).returncode == 0
    copy = replica / folder.relative_to(source)
    assert (copy / f"{uid - 1}.").exists()
    assert not (copy / f"{uid}.").exists()


def test_what_cannot_be_sent_is_told_by_rsync(source: Path, replica: Path) -> None:
    folder = samplespool.folders(source)[0]
    uids = samplespool.deliver(folder, 2)
    (folder / f"{uids[0]}.").chmod(0)
    line = ("-a", f"{source}/", replica)
    done = run_cyrsync("rsync", *line, user=True)
    assert done.returncode == 23
    assert f'"{folder}/{uids[0]}."' in done.stderr
    assert "Permission denied" in done.stderr
    assert (replica / folder.relative_to(source) / f"{uids[1]}.").exists()


def test_hard_links_between_new_messages_stay_links(source: Path, replica: Path) -> None:
    """Mail to several users is one file."""
    left, right = samplespool.folders(source)[:2]
    (uid,), (other,) = samplespool.deliver(left, 1), samplespool.deliver(right, 1)
    (right / f"{other}.").unlink()
    os.link(left / f"{uid}.", right / f"{other}.")
    run_cyrsync("rsync", "-aH", f"{source}/", replica)
    copies = [replica / path.relative_to(source) for path in (left / f"{uid}.", right / f"{other}.")]
    assert copies[0].samefile(copies[1])


@pytest.mark.parametrize("remote", [False, True])
def test_a_replica_in_a_replica_is_held_with_it(source: Path, tmp_path: Path, sshd: Sshd, remote: bool) -> None:
    """By the name of the source, a line that plain rsync runs could write to either."""
    outer = tmp_path / "outer"
    there, rsh = (sshd.at(outer), ("-e", sshd.rsh)) if remote else (f"{outer}", ())
    for line in (("-a", *rsh, f"{source}/", f"{there}/"), ("-a", *rsh, source, f"{there}/")):
        assert run_cyrsync("rsync", *line).returncode == 0
    assert all((place / ".cyrsync-replica").exists() for place in (outer, outer / source.name))
    done = run_cyrsync("rsync", "-ac", *rsh, source, f"{there}/")
    assert done.returncode == 0, done
