"""Mail goes and comes, and folders change places, while a run is under way: the replica is of one moment afterwards."""

from __future__ import annotations

import json
import signal
from pathlib import Path
from typing import Any

import pytest

import samplespool
from support.races import Races
from support.sshd import Sshd
from support.tree import assert_same_tree, run_cyrsync, sync

SENT, TRASH = "j/user/joe/Sent", "j/user/joe/Trash"


class Case:
    """A spool, its replica, and the way between them; the rsyncs of cyrsync can be told what happens before them."""

    def __init__(self, directory: Path, sshd: Sshd | None, direction: str) -> None:
        self.source, self.replica = directory / "source", directory / "replica"
        self.races = Races(directory / "races")
        samplespool.make(self.source, messages=120, folder_count=4)
        source, replica = f"{self.source}/", f"{self.replica}/"
        if direction == "push":
            replica = sshd.at(replica) if sshd else replica
        elif direction == "pull":
            source = sshd.at(source) if sshd else source
        self.arguments = ["--delete", *(["-e", sshd.rsh] if sshd else []), source, replica]

    def sync(self, *words: str, expect: tuple[int, ...] = (0,)) -> dict[str, Any]:
        self.races.forget()
        return self._sync(*words, expect=expect)

    def race(self, number: int, script: str, expect: tuple[int, ...] = (0,)) -> dict[str, Any]:
        """Run, and have this happen before the rsync of this number, with `folder("j/user/joe")` for a folder."""
        self.races.forget()
        start = "import samplespool, pathlib\n"
        folder = f"folder = lambda name: pathlib.Path({str(self.source)!r}, name)\n"
        self.races.before(number, start + folder + script)
        return self._sync(expect=expect)

    def _sync(self, *words: str, expect: tuple[int, ...]) -> dict[str, Any]:
        return sync(*words, *self.arguments, env=self.races.env, expect=expect)

    def race_and_die(self, number: int) -> None:
        """Run, and kill the run before the rsync of this number."""
        self.races.forget()
        self.races.before(number, f"os.kill(os.getppid(), {signal.SIGKILL}); os._exit(1)")
        done = run_cyrsync("sync", *self.arguments, env=self.races.env)
        assert done.returncode == -signal.SIGKILL

    def folder(self, name: str) -> Path:
        return self.source / name

    def problems(self) -> list[dict[str, Any]]:
        """What `verify` finds on the replica."""
        done = run_cyrsync("verify", "--content", "--json", self.replica)
        found: list[dict[str, Any]] = json.loads(done.stdout)["problems"]
        return found

    def assert_whole(self) -> None:
        """The replica is what the source is by now."""
        assert self.problems() == []
        assert_same_tree(self.source, self.replica)


@pytest.fixture(params=["local", "push", "pull"])
def case(request: pytest.FixtureRequest, tmp_path: Path) -> Case:
    sshd = None if request.param == "local" else request.getfixturevalue("sshd")
    return Case(tmp_path, sshd, request.param)


@pytest.fixture
def here(tmp_path: Path) -> Case:
    return Case(tmp_path, None, "local")


def metadata_runs(races: Races) -> list[Any]:
    return [run for run in races.runs() if any(entry.endswith(b"/cyrus.index") for entry in run.listed)]


def adds_up(report: dict[str, Any]) -> bool:
    files = report["files"]
    return bool(files["planned"] == files["sent"] + files["vanished"] + files["failed"])


def test_mail_that_goes_on_the_way(case: Case) -> None:
    """All of it, what was there before and what was to be sent: the folder is taken again in this very run."""
    case.sync()
    samplespool.deliver(case.folder(SENT), 20)
    samplespool.deliver(case.folder(TRASH), 5)
    report = case.race(0, f"samplespool.expunge(folder({SENT!r}), 10**6)")
    assert report["files"]["vanished"] >= 20
    case.assert_whole()
    assert case.sync()["rsync_runs"] == 0
    assert case.races.runs() == []


def test_mail_that_goes_and_mail_that_comes(case: Case) -> None:
    case.sync()
    samplespool.deliver(case.folder(SENT), 20)
    report = case.race(0, f"samplespool.deliver(folder({SENT!r}), 4); samplespool.expunge(folder({SENT!r}), 30)")
    assert report["files"]["vanished"]
    case.assert_whole()
    sent = [entry for run in case.races.runs() for entry in run.listed if entry.endswith(b".")]
    assert len(sent) == len(set(sent)), "what had been sent was sent again"


def test_mail_that_comes_waits_for_the_next_run(here: Case) -> None:
    here.sync()
    samplespool.deliver(here.folder(SENT), 3)
    here.race(0, f"samplespool.deliver(folder({SENT!r}), 2)")
    assert here.problems() == []
    assert here.sync()["messages"]["send"] == 2
    here.assert_whole()


def test_mail_that_goes_when_the_metadata_does(here: Case) -> None:
    """The index that was taken names it, and it has arrived."""
    here.sync()
    samplespool.deliver(here.folder(SENT), 3)
    here.race(1, f"samplespool.expunge(folder({SENT!r}), 10)")
    assert here.problems() == []
    here.sync()
    here.assert_whole()


def test_mail_that_goes_in_every_round(here: Case) -> None:
    """Such a folder is left as it was, and told of; the others go."""
    here.sync()
    samplespool.deliver(here.folder(SENT), 30)
    samplespool.deliver(here.folder(TRASH), 3)
    here.races.forget()
    last = "uids = sorted(int(p.name[:-1]) for p in f.glob('[0-9]*.'))[-1:]"
    here.races.before_each(
        f"import samplespool, pathlib\nf = pathlib.Path({str(here.folder(SENT))!r})\n"
        # Another one comes, is taken with the next round, and goes then.
        f"{last}\n(f / f'{{uids[0]}}.').unlink()\nsamplespool.deliver(f, 1)\n"
    )
    report = here._sync(expect=(23,))
    assert [error.partition(":")[0] for error in report["errors"]] == [SENT]
    assert [one for one in here.problems() if one["kind"] != "orphan"] == []
    indexes = {entry for run in metadata_runs(here.races) for entry in run.listed if entry.endswith(b"cyrus.index")}
    assert indexes == {b"./" + TRASH.encode() + b"/cyrus.index"}


def test_metadata_comes_from_outside_the_spool(case: Case, state_dir: Path) -> None:
    case.sync()
    samplespool.change(case.source, new=0.1, flags=1)
    case.sync()
    (run,) = metadata_runs(case.races)
    staging = Path(run.source)
    assert not staging.is_relative_to(case.source)
    assert not staging.exists()
    assert not list(state_dir.rglob("cyrus.*"))
    case.assert_whole()


def test_the_source_stays_as_it_is(case: Case) -> None:
    case.sync()
    samplespool.change(case.source, new=0.1, expunged=0.1, flags=1)
    before = look(case.source)
    case.sync()
    assert look(case.source) == before


def look(root: Path) -> dict[Path, tuple[int, ...]]:
    """All that changes when a file or a directory is touched."""
    found = {}
    for path in [root, *root.rglob("*")]:
        status = path.lstat()
        found[path] = (*status[:8], status.st_mtime_ns, status.st_ctime_ns)
    return {path: (*values[:7], *values[8:]) for path, values in found.items()}  # without the time of access


def test_mail_that_goes_from_a_new_folder(case: Case) -> None:
    case.race(0, f"samplespool.expunge(folder({SENT!r}), 2)")
    assert case.problems() == []


def test_mail_that_comes_into_a_new_folder(here: Case) -> None:
    here.race(0, f"samplespool.deliver(folder({SENT!r}), 2)")
    assert here.problems() == []


@pytest.mark.parametrize("new", [True, False])
def test_folders_that_change_places_on_the_way(case: Case, new: bool) -> None:
    if not new:
        case.sync()
        samplespool.recreate_folder(case.folder(SENT), 30)
        samplespool.recreate_folder(case.folder(TRASH), 30)
    case.race(0, f"samplespool.swap(folder({SENT!r}), folder({TRASH!r}))")
    assert case.problems() == []


def test_a_folder_that_begins_anew_on_the_way(here: Case) -> None:
    here.sync()
    samplespool.deliver(here.folder(SENT), 3)
    last = max(int(path.name[:-1]) for path in here.folder(SENT).glob("[0-9]*."))
    here.race(0, f"samplespool.recreate_folder(folder({SENT!r}), {last})")
    assert here.problems() == []
    here.sync()
    here.assert_whole()


def test_a_folder_that_goes_on_the_way_is_accounted_for(here: Case) -> None:
    report = here.race(0, f"samplespool.delete_folder(folder({SENT!r}))")
    assert adds_up(report)


def test_killed_while_another_mailbox_takes_the_place_of_one(here: Case) -> None:
    here.sync()
    samplespool.swap(here.folder(SENT), here.folder(TRASH))
    here.race_and_die(1)
    harm = [one for one in here.problems() if one["kind"] != "orphan" and "there is none" not in one["detail"]]
    assert harm == []
