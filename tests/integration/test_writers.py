"""One writer at a time: whoever writes to a replica has it alone, whatever it is called and wherever it is known."""

from __future__ import annotations

import json
import os
import pty
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Iterator
from contextlib import closing, contextmanager, suppress
from pathlib import Path

import pytest

import samplespool
from cyrsync.far import owner_file
from cyrsync.far.hold import Holds
from cyrsync.far.owner_file import UNOWNED, OwnerFile, boot_id
from support.boxes import Box
from support.meanwhile import launch
from support.replicas import Pair
from support.spool import leaves
from support.sshd import Sshd
from support.tools import wait_for
from support.tree import assert_same_tree, cyrsync_argv, plain_env, run_cyrsync, snapshot, sync

#: An rsync that stands still before it sends anything, as long as there is a gate.
WAITING = """\
#!/bin/sh
case "$*" in *--dry-run*) ;; *--files-from=*|*"--filter=. "*)
    : >{gate}.reached
    while [ -e {gate} ]; do sleep 0.02; done ;;
esac
exec {rsync} "$@"
"""


#: The same before a part of a stream.
WAIT = """\
import os, time
open({gate!r} + ".reached", "w").close()
while os.path.exists({gate!r}):
    time.sleep(0.02)
"""


class Gate:
    """Runs that are stopped where they write."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory / "bin"
        self.directory.mkdir()
        self.gate = directory / "gate"
        wrapper = self.directory / "rsync"
        wrapper.write_text(WAITING.format(gate=self.gate, rsync=shutil.which("rsync")))
        wrapper.chmod(0o755)

    @contextmanager
    def writing(self, *words: str | Path, state: str = "") -> Iterator[subprocess.Popen[bytes]]:
        """A run that is writing; it goes on to its end afterwards."""
        self.gate.touch()
        reached = self.gate.with_name("gate.reached")
        reached.unlink(missing_ok=True)
        env = {"PATH": f"{self.directory}:{os.environ['PATH']}"}
        if state:
            env["CYRSYNC_STATE"] = state
        argv = launch(WAIT.format(gate=str(self.gate)), *words)
        with subprocess.Popen(argv, env=plain_env(env), stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL) as run:
            try:
                wait_for(lambda: reached.exists() or run.poll() is not None, name="what it sends")
                assert run.poll() is None
                yield run
            finally:
                self.gate.unlink()


@pytest.fixture
def gate(tmp_path: Path) -> Gate:
    return Gate(tmp_path)


@pytest.fixture
def pair(tmp_path: Path) -> Pair:
    """A server whose replica was up to date, with a new mailbox."""
    pair = Pair(tmp_path)
    pair.sync()
    samplespool.deliver(samplespool.create_folder(pair.server.spool, "user/ann/New"), 3)
    pair.server.record()
    return pair


def walk_words(pair: Pair) -> tuple[str, ...]:
    return f"{pair.server.spool}/", f"{pair.there(pair.server.spool)}/"


def commands(pair: Pair) -> dict[str, tuple[str | Path, ...]]:
    """What writes to the replica."""
    return {
        "walk": ("sync", "--delete", *walk_words(pair)),
        "index": ("sync", "-C", pair.conf, "--delete", pair.replica),
        "drop-in": ("rsync", "-a", "--delete", *walk_words(pair)),
        "handed over": ("rsync", "-a", "--delete", "-u", *walk_words(pair)),
        "handed over late": ("rsync", "-a", "--delete", "--max-delete=0", *walk_words(pair)),
        "promote": ("promote", pair.there(pair.server.spool)),
    }


ALL = ["walk", "index", "drop-in", "handed over", "handed over late", "promote"]


def said(code: int, *words: str | Path, **env: str) -> str:
    """Run, and return what it printed."""
    done = run_cyrsync(*words, env=env or None)
    assert done.returncode == code, done
    return done.stdout + done.stderr


# --- Two at once


@pytest.mark.parametrize("second", ["walk", "index", "drop-in"])
def test_nobody_is_told_who_does_not_watch_but_it_is_counted(pair: Pair, gate: Gate, second: str) -> None:
    words = commands(pair)[second]
    with gate.writing(*commands(pair)["walk"], state=str(gate.directory / "other")):
        assert said(75, *words) == ""
        assert "has been working on it since " in at_terminal(75, *words)
    (told,) = (json.loads(line) for line in said(0, "status", "--json", words[-1]).splitlines())
    assert told["skipped"] == 2


def at_terminal(code: int, *words: str | Path) -> str:
    """Run, and return what was printed on a terminal."""
    ours, its = pty.openpty()
    done = subprocess.run(cyrsync_argv(*words), env=plain_env(), stdin=its, stdout=its, stderr=its, check=False)
    os.close(its)
    assert done.returncode == code
    with suppress(OSError):  # there is nothing more
        return os.read(ours, 10_000).decode()
    return ""


@pytest.mark.parametrize("second", ALL)
@pytest.mark.parametrize("first", ["walk", "index", "drop-in"])
def test_the_second_is_kept_out(pair: Pair, gate: Gate, tmp_path: Path, first: str, second: str) -> None:
    """Each has a state of its own: nothing but the replica tells them of one another."""
    (tmp_path / "spare").mkdir()
    with gate.writing(*commands(pair)[first], state=str(tmp_path / "other")) as run:
        before = pair.everything()
        done = run_cyrsync(*commands(pair)[second], "-v")
        assert done.returncode == 75
        text = done.stderr
        assert pair.everything() == before
        assert f"process {run.pid} has been working on it since " in text
        # The first time that a line is left to plain rsync, one line more says so.
        assert len([line for line in text.splitlines() if "plain rsync runs: " not in line]) == 1
    assert run.returncode == 0
    assert_same_tree(pair.server.spool, pair.there(pair.server.spool), dir_mtimes=False)


def test_it_waits_for_the_first(pair: Pair, gate: Gate, tmp_path: Path) -> None:
    with gate.writing(*commands(pair)["index"], state=str(tmp_path / "other")):
        argv = cyrsync_argv("sync", "--delete", "--wait", "100", *walk_words(pair))
        waiting = subprocess.Popen(argv, env=plain_env(), stdin=subprocess.DEVNULL)
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(1)
    assert waiting.wait(100) == 0
    pair.assert_same()


def test_a_host_by_two_names(pair: Pair, gate: Gate, sshd: Sshd, tmp_path: Path) -> None:
    there = pair.there(pair.server.spool)
    words = ("sync", "--delete", "-e", sshd.rsh, f"{pair.server.spool}/")
    with gate.writing(*words, f"localhost:{there}/"):
        before = pair.everything()
        text = said(75, *words, "-v", f"127.0.0.1:{there}/")
        assert "on 127.0.0.1 has been working on it since" in text
        said(75, "sync", "-C", pair.conf, pair.replica)
        assert pair.everything() == before
    assert_same_tree(pair.server.spool, there, dir_mtimes=False)
    said(0, *words, f"127.0.0.1:{there}/")


def test_two_sources(pair: Pair, gate: Gate, tmp_path: Path) -> None:
    box = Box("3.6.1-rich", tmp_path / "second")
    with gate.writing(*commands(pair)["index"]):
        said(75, "sync", f"{box.root}/spool/", walk_words(pair)[1])
    pair.assert_same()


def test_a_first_copy_in_the_same_place(pair: Pair, gate: Gate, tmp_path: Path) -> None:
    """There was nothing yet that could have been held."""
    new = tmp_path / "new"
    with gate.writing("sync", f"{pair.server.spool}/", f"{new}/", state=str(tmp_path / "other")):
        said(75, "sync", f"{pair.server.spool}/", f"{new}/")
        said(75, "promote", new)
        said(75, "rsync", "-a", f"{pair.server.spool}/", f"{new}/")
    assert_same_tree(pair.server.spool, new, dir_mtimes=False)


def test_what_lies_below_is_held_too(pair: Pair, gate: Gate, tmp_path: Path) -> None:
    above = tmp_path / "above"
    (above / "cur").mkdir(parents=True)
    with gate.writing("sync", f"{pair.server.spool}/", f"{above}/cur/"):
        said(75, "sync", f"{pair.server.spool}/", f"{above}/")


def test_it_is_held_while_it_is_looked_at(pair: Pair, tmp_path: Path) -> None:
    """A run that is stopped anywhere else than where it writes."""
    with closing(Holds()) as holds:
        assert holds.hold([os.fsencode(pair.there(pair.server.spool))]) is None
        for name in ALL:
            assert f"process {os.getpid()} has been working on it since " in said(75, *commands(pair)[name], "-v")
        for name in ("walk", "index", "drop-in"):
            command, *words = commands(pair)[name]
            said(0, command, "-n", *words)


def test_an_rsync_that_outlives_its_run_keeps_the_replica(pair: Pair, gate: Gate, tmp_path: Path) -> None:
    wrapper = gate.directory / "rsync"
    # One that was stopped would be sent on by the kernel, when its process group is orphaned.
    wrapper.write_text(wrapper.read_text().replace("#!/bin/sh\n", "#!/bin/sh\ntrap '' TERM HUP\n"))
    with gate.writing(*commands(pair)["walk"], state=str(tmp_path / "other")) as run:
        run.send_signal(signal.SIGSTOP)  # who is stopped cannot wait for its children
        orphan = next(int(pid) for pid in os.listdir("/proc") if pid.isdigit() and _is_child(int(pid), run.pid, gate))
        run.kill()
        run.wait()
        said(75, *commands(pair)["walk"])
        os.kill(orphan, signal.SIGKILL)
        wait_for(lambda: not os.path.exists(f"/proc/{orphan}"), name="its end")
    said(0, *commands(pair)["walk"])
    assert_same_tree(pair.server.spool, pair.there(pair.server.spool), dir_mtimes=False)


def _is_child(pid: int, parent: int, gate: Gate) -> bool:
    try:
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        return int(fields[1]) == parent and str(gate.directory).encode() in Path(f"/proc/{pid}/cmdline").read_bytes()
    except OSError:
        return False


def test_parts_that_are_no_spool_may_be_written_side_by_side(tmp_path: Path) -> None:
    """As any two lines of rsync's."""
    for name in ("a", "b", "all"):
        (tmp_path / name).mkdir()
    (tmp_path / "a/file").touch()
    with closing(Holds()) as holds:
        assert holds.hold([os.fsencode(tmp_path / "all")]) is None
        said(0, "rsync", "-a", f"{tmp_path}/a/", f"{tmp_path}/all/")
    assert [path.name for path in (tmp_path / "all").iterdir()] == ["file"]


# --- Promoted


@pytest.mark.parametrize("name", ["walk", "index", "drop-in", "handed over", "handed over late"])
@pytest.mark.parametrize("held", [False, True], ids=["promoted", "being promoted"])
def test_nobody_writes_to_what_is_promoted(pair: Pair, name: str, held: bool) -> None:
    for root in pair.roots:
        pair.forge(root, promoted="2026-01-01T00:00:00+00:00")
    before = pair.everything()
    with closing(Holds()) as holds:
        if held:
            assert holds.hold([os.fsencode(pair.there(pair.server.spool))]) is None
        assert "it was promoted at 2026-01-01" in said(4, *commands(pair)[name])
    assert pair.everything() == before


#: Promotes, and stands still after the mark until a line is read.
STOPPED = """\
import sys
from cyrsync.standby import promote
audit = promote._audit
def stopped(*words):
    print("marked", flush=True)
    sys.stdin.readline()
    audit(*words)
promote._audit = stopped
from cyrsync.cli.app import main
main()
"""


def test_nobody_writes_while_it_is_promoted(pair: Pair) -> None:
    argv = [sys.executable, "-c", STOPPED, *map(str, commands(pair)["promote"]), "-q"]
    with subprocess.Popen(argv, env=plain_env(), stdin=subprocess.PIPE, stdout=subprocess.PIPE) as promoting:
        assert promoting.stdout and promoting.stdout.readline() == b"marked\n"
        before = pair.everything()
        for name in ALL:
            said(75 if name == "promote" else 4, *commands(pair)[name])
        assert pair.everything() == before
        promoting.communicate(b"\n")
    assert promoting.returncode == 0


def test_a_replica_is_promoted_between_the_first_look_and_the_lock(pair: Pair, tmp_path: Path) -> None:
    """What counts is what is read when it is held."""
    argv = cyrsync_argv("sync", "--delete", "--wait", "100", *walk_words(pair))
    with closing(Holds()) as holds:
        assert holds.hold([os.fsencode(pair.there(pair.server.spool))]) is None
        waiting = subprocess.Popen(argv, env=plain_env(), stdin=subprocess.DEVNULL, stderr=subprocess.PIPE)
        with pytest.raises(subprocess.TimeoutExpired):
            waiting.wait(1)
        for root in pair.roots:
            pair.forge(root, promoted="2026-01-01T00:00:00+00:00")
        before = pair.everything()
    assert b"it was promoted" in waiting.communicate()[1]
    assert waiting.returncode == 4
    assert pair.everything() == before


def test_far_replicas_of_ours_are_not_overwritten_by_plain_rsync(pair: Pair, sshd: Sshd, tmp_path: Path) -> None:
    there = tmp_path / "far"
    words = ("-e", sshd.rsh, f"{pair.server.spool}/", f"127.0.0.1:{there}/")
    said(0, "rsync", "-a", *words)
    shutil.rmtree(leaves(there)[0])
    said(0, "rsync", "-a", "-u", "--delete", *words)
    assert_same_tree(pair.server.spool, there, dir_mtimes=False)
    assert owner_file.read(os.fsencode(there))
    owner_file.write(os.fsencode(there), UNOWNED._replace(promoted="2026"))
    before = snapshot(there, skip_hidden=False)
    shutil.rmtree(leaves(pair.server.spool)[0])
    said(4, "rsync", "-a", "-u", "--delete", *words)
    said(4, "rsync", "-a", "--delete", *words)
    assert snapshot(there, skip_hidden=False) == before


def test_plain_rsync_leaves_the_owner_file(pair: Pair) -> None:
    spool = pair.there(pair.server.spool)
    before = owner_file.read(os.fsencode(spool))
    for name in ("handed over", "handed over late"):
        samplespool.deliver(pair.server.folders()[0], 1)  # so that there is something to write
        said(0, *commands(pair)[name])
        after = owner_file.read(os.fsencode(spool))
        assert before and after
        assert (after.source, after.run, after.writing) == (before.source, before.run, "")
        assert after.replica != before.replica  # the state of sync -C does not speak of it any more
        before = after
    assert_same_tree(pair.server.spool, spool, dir_mtimes=False)
    (warning,) = pair.sync()["warnings"]
    assert "something else has written there since the last run" in warning


# --- What is said at the root


def of(root: Path) -> OwnerFile:
    found = owner_file.read(os.fsencode(root))
    assert found
    return found


@pytest.mark.parametrize("name", ["walk", "index", "drop-in"])
def test_it_is_said_as_long_as_a_run_is_writing(pair: Pair, gate: Gate, name: str) -> None:
    there = pair.there(pair.server.spool)
    with gate.writing(*commands(pair)[name]) as run:
        assert of(there).writing == boot_id()
    assert (run.returncode, of(there).writing) == (0, "")
    samplespool.deliver(samplespool.create_folder(pair.server.spool, "user/ann/Newer"), 3)
    pair.server.record()
    with gate.writing(*commands(pair)[name]) as run:
        run.kill()
        run.wait()
    assert of(there).writing == boot_id()
    said(0, *commands(pair)[name])
    assert (of(there).writing, of(there).doubtful) == ("", False)


@pytest.mark.parametrize("name", ["walk", "index", "drop-in"])
def test_a_power_cut_is_not_forgotten(pair: Pair, gate: Gate, name: str) -> None:
    """Not by a run that was killed before it had compared what was written."""
    for root in pair.roots:
        pair.forge(root, writing="another boot")
    there = pair.there(pair.server.spool)
    with gate.writing(*commands(pair)[name]) as run:
        run.kill()
        run.wait()
    assert (of(there).writing, of(there).doubtful) == (boot_id(), True)
    said(0, *commands(pair)[name])
    assert (of(there).writing, of(there).doubtful) == ("", False)


def test_the_walk_makes_an_owner_file_that_claims_nothing(pair: Pair, tmp_path: Path) -> None:
    new = tmp_path / "new"
    for words in (("sync", "--delete"), ("rsync", "-a", "--delete")):
        said(0, *words, f"{pair.server.spool}/", f"{new}/")
        assert (of(new).source, of(new).run, of(new).writing) == ("", 0, "")
        assert stat.S_IMODE((new / os.fsdecode(owner_file.NAME)).stat().st_mode) == 0o644
        assert_same_tree(pair.server.spool, new)
        assert new.stat().st_mtime_ns == pair.server.spool.stat().st_mtime_ns
        (new / os.fsdecode(owner_file.NAME)).unlink()
        shutil.rmtree(leaves(new)[0])


def test_sync_with_an_imapd_conf_takes_over_what_the_walk_has_made(pair: Pair, tmp_path: Path) -> None:
    second = tmp_path / "second"
    place = Path(f"{second}{pair.server.spool}")
    place.parent.mkdir(parents=True)
    sync(f"{pair.server.spool}/", f"{place}/")
    assert of(place).source == ""
    assert pair.sync(to=second)["warnings"] == []
    assert of(place).source


def test_a_root_that_is_not_ours_to_write_to(pair: Pair, tmp_path: Path) -> None:
    """The folders in it are: rsync could do without an owner file, and so does a run."""
    new = tmp_path / "new"
    sync(f"{pair.server.spool}/", f"{new}/")
    (new / os.fsdecode(owner_file.NAME)).unlink()
    samplespool.deliver(leaves(pair.server.spool)[0], 1)
    new.chmod(0o555)
    pair.server.spool.chmod(0o555)
    done = run_cyrsync("sync", "-q", f"{pair.server.spool}/", f"{new}/", user=True)
    assert done.returncode == 0, done
    assert "its owner file cannot be written: Permission denied: should the power fail there" in done.stderr
    assert_same_tree(pair.server.spool, new)
    for path in (new, pair.server.spool):
        path.chmod(0o755)


@pytest.mark.parametrize("name", [".cyrsync-replica", ".cyrsync-replica.new"])
def test_a_fifo_in_its_place_stops_nobody(pair: Pair, name: str) -> None:
    there = pair.there(pair.server.spool)
    (there / os.fsdecode(owner_file.NAME)).unlink()
    os.mkfifo(there / name)
    code = 3 if name == ".cyrsync-replica" else 0
    for command in ("walk", "index", "drop-in", "handed over"):
        text = said(code, *commands(pair)[command])
        assert not code or f"{there}/.cyrsync-replica: damaged" in text
    said(0, *commands(pair)["promote"])
    assert of(there).promoted
