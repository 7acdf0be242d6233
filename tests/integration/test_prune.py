"""`cyrsync prune`, `hold` and `forget` over the history that runs of `sync -C --history` have kept."""

from __future__ import annotations

import fcntl
import gzip
import hashlib
import json
import os
import re
import shlex
import shutil
import subprocess
import time
from pathlib import Path
from typing import Any

import pytest

import samplespool
from cyrsync.cyrus.mailbox import header, index
from cyrsync.cyrus.server.db import flat
from cyrsync.far import owner_file, versions
from cyrsync.far import packed as packing
from cyrsync.far.stored import StoreReader
from support.cyrusdb import Twoskip
from support.inside import sync_server_here
from support.made_store import ago
from support.servers import SampleServer, below
from support.sshd import Sshd
from support.tree import Entry, run_cyrsync, snapshot
from support.watcher import watching

HIDDEN = ".cyrsync-history"


class History:
    """A server whose replica has kept states of 40, 30, 20 and 10 days ago, of all mailboxes and of mailboxes.db."""

    def __init__(self, directory: Path, sshd: Sshd | None = None) -> None:
        self.server = SampleServer(directory / "server", messages=60, folder_count=6)
        with self.server.conf.open("a") as conf:
            conf.write("sync_log: yes\nsync_log_channels: cyrsync\n")  # for a watcher
        samplespool.deliver(samplespool.create_folder(self.server.spool, "user/zora"), 10)
        self.server.record()
        self.replica = directory / "replica"
        self.replica.mkdir()
        self.words = ("-e", sshd.rsh, sshd.at(self.replica)) if sshd else (str(self.replica),)
        self.folders = self.server.folders()
        #: Messages that were expunged after the states of so many days ago, by their names in the pool.
        self.lost: dict[int, dict[Path, set[str]]] = {}
        for age in (40, 30, 20, 10):
            self.write(f"user/{age}", age)
            self.dated(age)
            self.sync()
            self.lost[age] = {folder: self.expunge(folder, 1) for folder in self.folders}
        self.dated(1)
        self.write("user/1", 1)
        self.sync()

    def sync(self) -> None:
        time.sleep(0.03)
        sync_server_here(self.server.conf, "--delete", "--max-delete=100%", "--history", *self.words)

    def dated(self, age: float) -> None:
        """Have all indexes come to be so many days ago."""
        for folder in self.folders:
            os.utime(folder / "cyrus.index", ns=(ago(age), ago(age)))

    def write(self, text: str, age: float) -> None:
        """Write subscriptions of each user."""
        for user in self.users:
            file = self.server.root / "conf" / "user" / user[0] / f"{user}.sub"
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_text(text)
            os.utime(file, ns=(ago(age), ago(age)))

    @property
    def users(self) -> list[str]:
        return sorted({self.user(folder) for folder in self.folders})

    def user(self, folder: Path) -> str:
        return folder.relative_to(self.server.spool).parts[2]

    def expunge(self, folder: Path, count: int) -> set[str]:
        bodies = {path: path.read_bytes() for path in folder.glob("*[0-9].")}
        samplespool.expunge(folder, count)
        return {hashlib.sha1(body).hexdigest() for path, body in bodies.items() if not path.exists()}

    def run(self, command: str, *words: str, expect: int = 0) -> Any:
        done = self.printed(command, "--json", *words, expect=expect)
        return json.loads(done.stdout)

    def printed(self, command: str, *words: str, expect: int = 0) -> subprocess.CompletedProcess[str]:
        before, *after = words if command in ("hold", "forget") else ("", *words)
        done = run_cyrsync(command, *filter(None, [before]), "-C", self.server.conf, *after, *self.words)
        assert done.returncode == expect, (done.stdout, done.stderr)
        return done

    def keep(self, name: str, data: bytes, *, packed: bool = False) -> Path:
        """Keep a version of a file in the configdirectory, and return where it is."""
        versions = below(self.replica, self.server.root / "conf") / HIDDEN / "files" / f"{name}.versions"
        versions.mkdir(parents=True, exist_ok=True)
        path = versions / f"20200101T000000.000000000Z{'.gz' if packed else ''}"
        path.write_bytes(data)
        return path

    def prune(self, *words: str, expect: int = 0) -> Any:
        return self.run("prune", *words, expect=expect)

    @property
    def store(self) -> Path:
        return below(self.replica, self.server.spool) / HIDDEN

    def pool(self) -> set[str]:
        return {path.name for path in self.store.glob("messages/*/*")}

    def lost_at(self, *ages: int) -> set[str]:
        return {name for age in ages for names in self.lost[age].values() for name in names}

    def lost_of(self, folder: Path) -> set[str]:
        return {name for lost in self.lost.values() for name in lost[folder]}

    def states(self) -> int:
        return len(list(self.store.glob("mailboxes/*/2*")))

    def versions(self, user: str) -> int:
        store = below(self.replica, self.server.root / "conf") / HIDDEN
        return len(list((store / "files" / "user" / user[0] / f"{user}.sub.versions").glob("2*")))

    def live(self) -> dict[bytes, Entry]:
        """All that the replica has but the stores and the owner files."""
        found = snapshot(self.replica, skip_hidden=False)
        return {path: entry for path, entry in found.items() if b"/.cyrsync" not in path}

    def everything(self) -> dict[bytes, Entry]:
        return snapshot(self.replica, skip_hidden=False)


@pytest.fixture(scope="module")
def original(tmp_path_factory: pytest.TempPathFactory) -> History:
    return History(tmp_path_factory.mktemp("original"))


@pytest.fixture
def kept(original: History, tmp_path: Path) -> History:
    """A history of this test's own."""
    copy = History.__new__(History)
    copy.__dict__.update(original.__dict__)
    copy.replica = tmp_path / "replica"
    shutil.copytree(original.replica, copy.replica, symlinks=True)
    copy.words = (str(copy.replica),)
    return copy


def test_what_is_outdated_is_removed_with_its_messages(kept: History) -> None:
    live, states = kept.live(), kept.states()
    assert kept.pool() == kept.lost_at(40, 30, 20, 10)
    planned = kept.prune("--keep-within", "15d", "--grace", "0d", "-n")
    assert (kept.states(), kept.pool()) == (states, kept.lost_at(40, 30, 20, 10))
    report = kept.prune("--keep-within", "15d", "--grace", "0d")
    assert {**planned, "dry_run": False} == report
    # That of 20 days ago held until 10 days ago, and is the last one to have what was expunged then.
    assert kept.pool() == kept.lost_at(20, 10)
    number = len(kept.folders)
    assert report["states"] == {"removed": 2 * number, "kept": 2 * number}
    assert report["messages"]["removed"] == len(kept.lost_at(40, 30))
    assert report["messages"]["kept"] == len(kept.pool())
    assert kept.versions(kept.users[0]) == 2
    assert (report["errors"], report["exit"]) == ([], 0)
    assert kept.live() == live
    assert kept.prune("--keep-within", "15d", "--grace", "0d")["states"]["removed"] == 0


def test_over_ssh(sshd: Sshd, tmp_path: Path) -> None:
    kept = History(tmp_path, sshd)
    live = kept.live()
    assert kept.prune("--keep-within", "15d", "--grace", "0d")["messages"]["removed"] == len(kept.lost_at(40, 30))
    assert kept.pool() == kept.lost_at(20, 10)
    user, *_ = kept.users
    kept.printed("hold", user)
    kept.run("forget", user, "--yes", expect=4)
    kept.printed("hold", user, "--release")
    assert kept.run("forget", user, "--yes")["messages"]["removed"]
    assert kept.live() == live


def test_messages_have_a_day_of_grace(kept: History) -> None:
    report = kept.prune("--keep-within", "15d")
    number = len(kept.lost_at(40, 30))
    assert (report["messages"]["removed"], report["messages"]["unnamed"]) == (0, number)
    assert kept.pool() == kept.lost_at(40, 30, 20, 10)
    assert kept.prune("--keep-within", "15d")["messages"]["unnamed"] == number


def test_without_options_the_usual_stays(kept: History) -> None:
    number = len(kept.folders)
    # Those of 40, 30, 20 and 10 days ago, for a month's, a week's or a day's end each held.
    assert kept.prune()["states"]["kept"] == 4 * number
    assert kept.prune("--keep-last", "1")["states"]["kept"] == number


def test_options_that_keep_nothing_or_are_none(kept: History) -> None:
    before = kept.everything()
    for words in (["--keep-hourly", "0"], ["--keep-within", "0d"], ["--keep-within", "1w"], ["--keep-daily", "-1"]):
        kept.prune(*words, expect=2) if words[1] != "-1" else kept.printed("prune", *words, expect=2)
    assert kept.everything() == before


def test_the_policy_of_a_job(kept: History, tmp_path: Path) -> None:
    config = tmp_path / "cyrsync.toml"
    config.write_text(
        f'[standby]\nsource = "{kept.server.conf}"\ndestination = "{kept.replica}"\n'
        'delete = true\nhistory = true\nkeep-last = 1\ngrace = "0d"\n'
    )
    done = run_cyrsync("prune", "--config", config, "--json", "@standby")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout)["states"]["kept"] == len(kept.folders)
    assert kept.pool() == kept.lost_at(10)
    assert run_cyrsync("run", "--config", config, "standby").returncode == 0
    assert run_cyrsync("config", "--config", config).returncode == 0
    config.write_text(config.read_text().replace('"0d"', '"soon"'))
    done = run_cyrsync("config", "--config", config)
    assert (done.returncode, "grace" in done.stderr) == (3, True)


def test_a_held_user_is_left_alone(kept: History) -> None:
    user, *others = kept.users
    kept.printed("hold", user)
    [listed] = [json.loads(line) for line in kept.printed("hold", "--list", "--json").stdout.splitlines()]
    assert listed["user"] == user
    assert listed["since"] and listed["by"]
    assert user in kept.printed("hold", "--list").stdout
    mine = {name for folder in kept.folders if kept.user(folder) == user for name in kept.lost_of(folder)}
    report = kept.prune("--keep-last", "1", "--grace", "0d")
    assert report["held"] == [user]
    assert kept.pool() == mine | kept.lost_at(10)
    assert (kept.versions(user), kept.versions(others[0])) == (4, 1)
    before = kept.everything()
    done = kept.printed("forget", user, "--yes", expect=4)
    assert "held" in done.stderr
    assert kept.everything() == before
    kept.printed("hold", user, "--release")
    assert not kept.printed("hold", "--list").stdout
    assert kept.prune("--keep-last", "1", "--grace", "0d")["held"] == []
    assert kept.pool() == kept.lost_at(10)
    kept.printed("hold", user, "--release", expect=3)


def test_where_it_cannot_be_read_who_is_held_nothing_is_done(kept: History) -> None:
    (kept.store / "held").symlink_to("/etc")
    before = kept.everything()
    for command, *words in (["prune", "--keep-last", "1"], ["forget", "joe", "--yes"], ["hold", "--list"]):
        done = kept.printed(command, *words, expect=3)
        assert "who is held" in done.stderr and len(done.stderr.splitlines()) == 1
    assert kept.everything() == before


def test_every_store_knows_who_is_held(kept: History) -> None:
    user, *_ = kept.users
    kept.printed("hold", user)
    roots = (kept.server.spool, kept.server.root / "conf")
    assert all((below(kept.replica, root) / HIDDEN / "held" / user).exists() for root in roots)


def test_names_of_users_that_are_no_file_names(kept: History) -> None:
    for user in ("..", ".", "joe%2F..", "jane@example.com", "j\u00f6rg", "a b\nc"):
        kept.printed("hold", user)
    listed = {json.loads(line)["user"] for line in kept.printed("hold", "--list", "--json").stdout.splitlines()}
    assert listed == {"..", ".", "joe%2F..", "jane@example.com", "j\u00f6rg", "a b\nc"}
    assert "check the name" in kept.printed("hold", "jeo").stderr
    assert kept.printed("hold", kept.users[0]).stderr == ""
    for user in ("a/b", "x" * 300):
        kept.printed("hold", user, expect=2)


def test_forgetting_a_user(kept: History) -> None:
    user, other, *_ = kept.users
    live = kept.live()
    mine = {folder for folder in kept.folders if kept.user(folder) == user}
    lost = {name for lost in kept.lost.values() for folder in mine for name in lost[folder]}
    done = kept.printed("forget", user, expect=2)
    assert "--yes" in done.stderr
    report = kept.run("forget", user, "--yes")
    assert report["states"]["removed"] == 4 * len(mine)
    assert (report["files"]["removed"], report["messages"]["removed"]) == (4, len(lost))
    assert kept.pool() == kept.lost_at(40, 30, 20, 10) - lost
    assert (kept.versions(user), kept.versions(other)) == (0, 4)
    assert kept.live() == live
    record = json.loads((kept.store / "forgotten").read_text())
    assert (record["user"], record["states"], record["messages"]) == (user, 4 * len(mine), len(lost))
    assert record["by"] and record["when"] and record["complete"]
    again = kept.run("forget", user, "--yes")
    assert (again["states"]["removed"], len(again["warnings"])) == (0, 1)
    assert "stays" in kept.printed("forget", other, "--yes", "-v").stdout


@pytest.mark.parametrize("packed", ["no", "gz", "pieces"])
def test_names_of_a_forgotten_user_are_erased_from_kept_lists(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, packed: str
) -> None:
    kept = History(tmp_path)
    user, other, *_ = kept.users
    for folder in [one for one in kept.folders if kept.user(one) == user][::-1]:
        samplespool.delete_folder(folder)
        kept.server.record()
        kept.sync()
    conf = below(kept.replica, kept.server.root / "conf")
    versions = conf / HIDDEN / "files" / "mailboxes.db.versions"
    if packed != "no":
        monkeypatch.setattr(packing, "_LARGE", 100 if packed == "pieces" else 1 << 20)
        packing.Packer(bytes(conf)).pack()
    before = {name.split(b"Z")[0]: names(conf, name) for name in sorted(map(os.fsencode, os.listdir(versions)))}
    assert len(before) > 1 and any(f"user.{user}" in name for some in before.values() for name in some)
    report = kept.run("forget", user, "--yes")
    assert report["rewritten"] == sum(any(is_of(user, name) for name in some) for some in before.values()) > 0
    after = {name.split(b"Z")[0]: names(conf, name) for name in sorted(map(os.fsencode, os.listdir(versions)))}
    assert after == {name: [one for one in some if not is_of(user, one)] for name, some in before.items()}
    assert any(is_of(other, name) for some in after.values() for name in some)
    for path in (conf / HIDDEN).rglob("*"):
        if path.is_file() and path.name != "forgotten":
            data = path.read_bytes()
            assert f"user.{user}".encode() not in (gzip.decompress(data) if path.suffix == ".gz" else data)
    assert json.loads((conf / HIDDEN / "forgotten").read_text())["rewritten"] == report["rewritten"]
    assert kept.run("forget", user, "--yes")["rewritten"] == 0
    # What is left is a list of mailboxes as of then.
    when = min(before).decode().replace("T", " ")
    asked = f"{when[:4]}-{when[4:6]}-{when[6:8]} {when[9:11]}:{when[11:13]}:{when[13:15]}"
    done = run_cyrsync("history", kept.replica, "-C", kept.server.conf, "--as-of", f"{asked}+00:00", "--json")
    assert (done.returncode, f"user.{other}" in done.stdout, f"user.{user}" in done.stdout) == (0, True, False)


def test_annotations_of_a_forgotten_user_are_erased_from_kept_databases(tmp_path: Path) -> None:
    """Those of the user's mailboxes, by name or by uniqueid, and the user's own ones of others' mailboxes."""
    kept = History(tmp_path)
    user, other, *_ = kept.users
    mine = next(one for one in kept.folders if kept.user(one) == user)
    uniqueid = header.read((kept.server.spool / mine / "cyrus.header").read_bytes()).uniqueid
    stay = [
        (b"", b"/motd", b""),
        (f"user.{other}".encode(), b"/comment", other.encode()),
        (b"other-uniqueid", b"/c", b""),
    ]
    lost = [(f"user.{user}.Gone".encode(), b"/comment", b""), (uniqueid.encode(), b"/c", b"[.OwNeR.]")]
    lost += [(b"other-uniqueid", b"/comment", user.encode()), (f"DELETED.user.{user}.x.5".encode(), b"/comment", b"")]
    database = kept.server.root / "conf" / "annotations.db"

    def write(value: bytes) -> None:
        pairs = [(b"".join(part + b"\0" for part in key), value) for key in [*stay, *lost]]
        database.write_bytes(flat.written(pairs))
        kept.sync()

    for number in range(3):
        write(bytes(8) + b"\n%d" % number)
    conf = below(kept.replica, kept.server.root / "conf")
    directory = b"files/annotations.db.versions"

    def keys() -> list[list[bytes]]:
        reader = StoreReader(bytes(conf))
        names = reader.shown(*directory.split(b"/"))
        found = [versions.read(reader, directory + b"/" + name) for name in names]
        return [sorted(key for key, _ in flat.records(data)) for data in found]

    assert [len(some) for some in keys()] == [7, 7]
    assert kept.run("forget", user, "--yes")["rewritten"] >= 2
    assert keys() == 2 * [sorted(b"".join(part + b"\0" for part in key) for key in stay)]
    assert kept.run("forget", other, "--yes")["errors"] == []
    assert kept.run("forget", user, "--yes")["rewritten"] == 0


def test_a_kept_list_of_mailboxes_that_cannot_be_read_is_named(kept: History) -> None:
    """What to do about it is said, and after that nothing is left."""
    path = kept.keep("mailboxes.db", b"no gzip file", packed=True)
    report = kept.run("forget", kept.users[0], "--yes", expect=23)
    assert [error.startswith(f"{path}: it may still name {kept.users[0]}: ") for error in report["errors"]] == [True]
    assert report["errors"][0].endswith("remove it, and run `cyrsync forget` again")
    assert not json.loads((kept.store / "forgotten").read_text())["complete"]
    path.unlink()
    assert kept.run("forget", kept.users[0], "--yes")["errors"] == []


def test_a_record_that_cannot_be_read_does_not_save_the_others(kept: History) -> None:
    user, other, *_ = kept.users
    mine, theirs = f"user.{user}".encode(), f"user.{other}".encode()
    good = f"0 default {user}\tlrs\t{other}\tlr\t".encode()
    pairs = [(mine, good), (theirs, good), (theirs + b".A", b"%(A %(" + user.encode()), (theirs + b".B", b"%(A %(x")]
    path = kept.keep("mailboxes.db", flat.written(pairs))
    report = kept.run("forget", user, "--yes")
    assert report["errors"] == []
    assert [f"{path}: " in line and f"user.{other}.A" in line for line in report["warnings"]] == [True]
    left = dict(flat.records(gzip.decompress(path.with_name(f"{path.name}.gz").read_bytes())))
    found = {key: value for key, value in left.items() if not key.startswith(b"$")}
    assert found == {theirs: f"0 default {other}\tlr\t".encode(), theirs + b".B": b"%(A %(x"}


def test_what_a_kept_database_has_deleted_is_erased_too(kept: History) -> None:
    """Twoskip only appends: the record of a mailbox that was deleted long ago is still in the file."""
    user, other, *_ = kept.users
    database = Twoskip({f"user.{other}".encode(): b"0 default x\tl\t", f"user.{user}".encode(): b"0 default x\tl\t"})
    database.change({f"user.{user}".encode(): None})
    database.commit()
    path = kept.keep("mailboxes.db", bytes(database.data))
    kept.run("forget", user, "--yes")
    data = gzip.decompress(path.with_name(f"{path.name}.gz").read_bytes())
    assert (user.encode() in data, f"user.{other}".encode() in data) == (False, True)


def test_reminders_that_may_name_the_user_are_named(kept: History) -> None:
    user, other, *_ = kept.users
    path = kept.keep("caldav_alarm.sqlite3", b"SQLite format 3\0" + f"user.{user}.#calendars".encode())
    report = kept.run("forget", user, "--yes", expect=23)
    assert [str(path) in error and "remove it" in error for error in report["errors"]] == [True]
    assert kept.run("forget", other, "--yes")["errors"] == []


@pytest.mark.parametrize("packed", ["no", "gz", "pieces"])
def test_rights_in_kept_headers_of_others_are_erased(
    kept: History, monkeypatch: pytest.MonkeyPatch, packed: str
) -> None:
    user, other, *_ = kept.users
    acl = f"{other}\tlrs\t{user}\tlr\t-{user}\tw\t".encode()
    states = [path for path in kept.store.glob("mailboxes/*/2*") if f"/{other}" in os.readlink(path / "folder")]
    for state in states:
        file, listed = state / "cyrus.header", state / "cyrus.index"
        before = file.read_bytes()
        lines = f"\t{header.uniqueid(before)}\n$Work \n".encode() + acl + b"\n"
        after = before[: header.PREAMBLE_SIZE] + lines
        file.unlink()  # it is the replica's, too
        file.write_bytes(after)
        data = listed.read_bytes()
        listed.unlink()
        listed.write_bytes(index.with_header_file(data, before, after) or data)
    if packed != "no":
        monkeypatch.setattr(packing, "_LARGE", 100 if packed == "pieces" else 1 << 20)
        packing.Packer(bytes(below(kept.replica, kept.server.spool))).pack()
    kept.run("forget", user, "--yes")
    assert states
    for state in states:
        assert dict(header.read((state / "cyrus.header").read_bytes()).acl) == {other.encode(): b"lrs"}
        assert bool(list(state.glob("cyrus.index.*"))) is (packed != "no")
    done = run_cyrsync("verify", "--history", kept.replica, "-C", kept.server.conf, "--content")
    assert (done.returncode, done.stderr) == (0, "")


def test_what_a_killed_run_has_left_of_the_user_is_removed(kept: History) -> None:
    """Also the note of what it has not packed, whose name is that of the user's file."""
    user = kept.users[0]
    half = next(kept.store.glob("mailboxes/*")) / ".20200101T000000.000000000Z.0badcafe"
    half.mkdir()
    (half / "cyrus.header").write_bytes(user.encode())
    conf = below(kept.replica, kept.server.root / "conf") / HIDDEN
    assert [path for path in conf.glob("unpacked/*") if user in os.readlink(path)]
    kept.run("forget", user, "--yes")
    assert not half.exists()
    assert not [path for path in conf.glob("unpacked/*") if user in os.readlink(path)]


def names(conf: Path, version: bytes) -> list[str]:
    reader = StoreReader(bytes(conf))
    data = versions.read(reader, b"files/mailboxes.db.versions/" + version)
    return [key.decode() for key, _ in flat.records(data) if not key.startswith(b"$")]


def is_of(user: str, name: str) -> bool:
    return f"{name}.".startswith((f"user.{user}.", f"DELETED.user.{user}."))


@pytest.mark.parametrize("point", [True, False])
def test_files_of_a_user_that_cannot_be_looked_for(kept: History, tmp_path: Path, point: bool) -> None:
    """The user may still be named there, unless the replica never had these files."""
    home = below(kept.replica, kept.server.root / "conf")
    home.rename(tmp_path / "away")
    if point:
        home.mkdir()
    report = kept.run("forget", kept.users[0], "--yes", expect=23)
    assert report["states"]["removed"]
    assert [error.startswith(f"{home}: ") and "users' files" in error for error in report["errors"]] == [True]
    assert not json.loads((kept.store / "forgotten").read_text())["complete"]
    assert kept.run("forget", kept.users[1], "--yes", "--no-config")["errors"] == []


def test_deleted_mailboxes_are_forgotten_too(tmp_path: Path) -> None:
    kept = History(tmp_path)
    user = kept.users[0]
    folder = next(one for one in kept.folders if kept.user(one) == user)
    place = kept.server.spool / "u/DELETED/user" / user / "Old" / "6B039BC5"
    place.mkdir(parents=True)
    for file in folder.iterdir():
        if file.is_file():
            shutil.move(file, place / file.name)
    kept.server.record()
    kept.sync()
    shutil.rmtree(place)
    kept.server.record()
    kept.sync()
    kept.run("forget", user, "--yes")
    folders = [os.readlink(path / "folder") for path in kept.store.glob("mailboxes/*/2*")]
    assert folders
    assert not [path for path in folders if f"user/{user}" in path]


# --- What keeps it from removing


def test_a_damaged_state_keeps_the_messages_of_its_partition(kept: History) -> None:
    state = sorted(kept.store.glob("mailboxes/*/2*"))[3]
    (state / "cyrus.index").write_bytes(b"damaged")
    report = kept.prune("--keep-within", "15d", "--grace", "0d", expect=23)
    assert report["messages"]["removed"] == 0
    assert [str(state) in error for error in report["errors"]] == [True]
    assert kept.pool() == kept.lost_at(40, 30, 20, 10)
    report = kept.prune("--keep-within", "15d", "--grace", "0d", "--discard-damaged")
    assert (report["errors"], state.exists()) == ([], False)
    assert report["messages"]["removed"] >= len(kept.lost_at(40, 30))


def test_a_root_that_is_not_there_keeps_the_messages_of_its_partition(kept: History) -> None:
    conf = kept.replica / "imapd.conf"
    conf.write_text(
        kept.server.conf.read_text() + "metapartition-default: /nowhere\nmetapartition_files: header index\n"
    )
    done = run_cyrsync("prune", "--json", "-C", conf, "--keep-last", "1", "--grace", "0d", kept.replica)
    report = json.loads(done.stdout)
    assert (done.returncode, report["messages"]["removed"]) == (23, 0)
    assert "/nowhere" in report["errors"][0]
    done = run_cyrsync("hold", "-C", conf, "joe", kept.replica)
    assert (done.returncode, "/nowhere" in done.stderr) == (3, True)


def test_after_a_power_cut_nothing_is_swept(kept: History) -> None:
    root = os.fsencode(below(kept.replica, kept.server.spool))
    found = owner_file.read(root)
    assert found
    owner_file.write(root, found._replace(writing="another boot"))
    report = kept.prune("--keep-within", "15d", "--grace", "0d", expect=23)
    assert (report["messages"]["removed"], "power cut" in report["errors"][0]) == (0, True)
    assert kept.pool() == kept.lost_at(40, 30, 20, 10)


def test_what_was_promoted_is_left_alone(kept: History) -> None:
    root = os.fsencode(below(kept.replica, kept.server.spool))
    found = owner_file.read(root)
    assert found
    owner_file.write(root, found._replace(promoted="2026-11-28T10:00:00+00:00"))
    before = kept.everything()
    for command, *words in (["prune", "--keep-last", "1"], ["hold", "joe"], ["forget", "joe", "--yes"]):
        done = kept.printed(command, *words, expect=4)
        assert "promoted" in done.stderr and len(done.stderr.splitlines()) == 1
    kept.prune("-n")
    assert kept.everything() == before


def test_a_run_that_is_at_work_is_waited_for(kept: History) -> None:
    root = os.open(below(kept.replica, kept.server.spool), os.O_RDONLY)
    fcntl.flock(root, fcntl.LOCK_EX)
    before = kept.everything()
    for command, *words in (["prune", "--keep-last", "1"], ["hold", "joe"], ["forget", "joe", "--yes"]):
        done = kept.printed(command, *words, "--wait", "0", expect=75)
        assert len(done.stderr.splitlines()) == 1
    assert kept.everything() == before
    kept.prune("-n", "--wait", "0")
    os.close(root)


def test_where_no_history_is(tmp_path: Path) -> None:
    server = SampleServer(tmp_path / "server", messages=10, folder_count=2)
    replica = tmp_path / "replica"
    done = run_cyrsync("prune", "-C", server.conf, replica)
    assert (done.returncode, done.stderr) == (3, f"cyrsync: {replica}: no such directory: is its disk mounted?\n")
    replica.mkdir()
    done = run_cyrsync("prune", "-C", server.conf, replica)
    assert (done.returncode, len(done.stderr.splitlines())) == (3, 1)
    sync_server_here(server.conf, replica)
    done = run_cyrsync("prune", "-C", server.conf, replica)
    assert (done.returncode, done.stdout, done.stderr) == (0, "", "")  # cron mails nothing: nothing was lost yet
    done = run_cyrsync("prune", "-v", "-C", server.conf, replica)
    assert "no history is kept there yet: `sync -C --history`" in done.stdout
    report = json.loads(run_cyrsync("prune", "--json", "-C", server.conf, replica).stdout)
    assert ["--history" in warning for warning in report["warnings"]] == [True]
    done = run_cyrsync("forget", "joe", "--yes", "-C", server.conf, replica)
    assert (done.returncode, "--history" in done.stderr) == (3, True)
    assert run_cyrsync("hold", "joe", "-C", server.conf, replica).returncode == 0
    assert json.loads(run_cyrsync("prune", "--json", "-C", server.conf, replica).stdout)["held"] == ["joe"]


def test_runs_go_on_keeping_after_a_prune(kept: History) -> None:
    kept.prune("--keep-last", "1", "--grace", "0d")
    folder = kept.folders[0]
    lost = kept.expunge(folder, 1)
    try:
        kept.sync()
        assert lost <= kept.pool()
        assert kept.prune("--keep-within", "15d", "--grace", "0d")["errors"] == []
        assert lost <= kept.pool()
    finally:
        os.utime(folder / "cyrus.index", ns=(ago(1), ago(1)))


def test_a_terminal_is_told(kept: History) -> None:
    done = kept.printed("prune", "--keep-within", "15d", "-v")
    first, second, third = done.stdout.splitlines()
    assert first.startswith("Removed: ")
    assert second.startswith("Kept: ")
    assert "grace" in third
    assert kept.printed("prune", "--keep-within", "15d", "-n").stdout.startswith("Would be removed: 0 states")
    assert kept.printed("prune", "--keep-within", "15d").stdout == ""


# --- The page


def test_every_command_of_the_page(kept: History, tmp_path: Path) -> None:
    page = (Path(__file__).resolve().parents[2] / "docs" / "history.md").read_text("utf-8")
    commands = re.findall(r"^ {4}# cyrsync ((?:prune|hold|forget) .*)$", page, re.MULTILINE)
    assert len(commands) == 6
    here = {"/etc/imapd.conf": str(kept.server.conf), "standby:/srv/replica": str(kept.replica), "joe": kept.users[0]}
    for command in commands:
        done = run_cyrsync(*(here.get(word, word) for word in shlex.split(command)))
        assert (done.returncode, done.stderr) == (0, ""), command
    assert kept.versions(kept.users[0]) == 0


def test_states_and_messages_of_a_partition_with_several_directories(tmp_path: Path) -> None:
    """The states lie with the indexes, the pool with the messages: a state here names messages there."""
    server = SampleServer(tmp_path / "server", messages=40, folder_count=3)
    meta, replica = tmp_path / "meta", tmp_path / "replica"
    replica.mkdir()
    folders = server.folders()
    for folder in folders:
        place = meta / folder.relative_to(server.spool)
        place.mkdir(parents=True)
        for name in ("cyrus.header", "cyrus.index"):
            shutil.move(folder / name, place / name)
            (folder / name).symlink_to(place / name)  # for those who change the mailbox here
    with server.conf.open("a") as conf:
        conf.write(f"metapartition-default: {meta}\nmetapartition_files: header index\n")
    folder, bodies = folders[0], {}
    for age in (30, 20, 10):
        for path in folders:
            os.utime(path / "cyrus.index", ns=(ago(age), ago(age)))
        sync_server_here(server.conf, "--delete", "--max-delete=100%", "--history", replica)
        before = {path: path.read_bytes() for path in folder.glob("*[0-9].")}
        samplespool.expunge(folder, 2)
        bodies[age] = {hashlib.sha1(body).hexdigest() for path, body in before.items() if not path.exists()}
    sync_server_here(server.conf, "--delete", "--max-delete=100%", "--history", replica)
    states = list((below(replica, meta) / HIDDEN).glob("mailboxes/*/2*"))
    pool = below(replica, server.spool) / HIDDEN / "messages"
    assert states
    assert {path.name for path in pool.glob("*/*")} == bodies[30] | bodies[20] | bodies[10]
    words = ("-C", server.conf, "--keep-within", "15d", "--grace", "0d", "--json")
    done = run_cyrsync("prune", *words, replica)
    assert done.returncode == 0, done.stderr
    assert {path.name for path in pool.glob("*/*")} == bodies[20] | bodies[10]
    # With the indexes' disk away, nothing tells what the messages are of.
    below(replica, meta).rename(tmp_path / "away")
    done = run_cyrsync("prune", *words, replica)
    assert (done.returncode, len(done.stderr.splitlines())) == (23, 1)
    below(replica, meta).mkdir()
    assert run_cyrsync("prune", *words, replica).returncode == 23
    assert {path.name for path in pool.glob("*/*")} == bodies[20] | bodies[10]


def test_beside_a_watcher(kept: History, tmp_path: Path) -> None:
    """It lets go of the replica between two sends, and goes on after a prune."""
    folder = kept.folders[0]
    words = ("--delete", "--max-delete=100%", "--history", "--pass-every", "1", *kept.words)
    with watching(kept.server.conf, *words, said=tmp_path / "said") as watcher:
        report = kept.prune("--keep-within", "15d", "--grace", "0d")
        assert report["messages"]["removed"] == len(kept.lost_at(40, 30))
        lost = kept.expunge(folder, 1)
        try:
            watcher.wait(lambda: lost <= kept.pool(), name="the next pass")
            assert kept.prune("--keep-within", "15d", "--grace", "0d")["errors"] == []
            assert lost <= kept.pool()
        finally:
            os.utime(folder / "cyrus.index", ns=(ago(1), ago(1)))
