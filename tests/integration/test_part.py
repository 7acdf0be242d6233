"""`sync -C --user` and `--partition`: a part of a server is sent and deleted, and nothing is concluded of the rest."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from contextlib import closing
from pathlib import Path

import pytest

import samplespool
from cyrsync.far.hold import Holds
from cyrsync.server import ownership
from cyrsync.state.store import Store
from support.boxes import Box
from support.inside import sync_server_here
from support.replicas import Pair
from support.servers import SampleServer, assert_sound, below
from support.sshd import Sshd
from support.tree import cyrsync_argv, plain_env, run_cyrsync, snapshot

RICH = "3.6.1-rich"
JOE = ("--user", "joe")


class Server(Pair):
    """A server of two partitions, whose users have files of all kinds; joe's and ann's mail is on the first."""

    def __init__(self, directory: Path) -> None:
        super().__init__(directory)
        shutil.rmtree(self.server.root)
        self.server = SampleServer(directory / "server", messages=120, folder_count=24, partitions="default part2")
        with self.conf.open("a") as conf:
            conf.write(f"sievedir: {self.sieve}\n")
        for user in ("joe", "ann", "joe1"):
            for suffix in ("sub", "seen", "counters"):
                self.write(f"user/{user[0]}/{user}.{suffix}", user)
            self.write(f"quota/{user[0]}/user.{user}", "0\n100\n")
            self.write(self.sieve / user[0] / user / "default.script", user)
        for name in ("user_deny.db", "shared.counters", "quota/s/shared"):
            self.write(name)

    def of(self, user: str) -> set[str]:
        """The source's files of a user, without a slash in front."""
        found = set()
        for path in self.server.root.rglob("*"):
            parts = path.relative_to(self.server.root).parts
            if path.is_file() and (user in parts or path.name.startswith(f"{user}.") or path.name == f"user.{user}"):
                found.add(str(path).lstrip("/"))
        return found

    def files_there(self) -> set[str]:
        """The files that the replica has, but for owner files."""
        return {os.fsdecode(path) for path, entry in snapshot(self.replica).items() if entry.kind != "directory"}

    def folders(self, user: str) -> list[Path]:
        return [folder for folder in self.server.folders() if user in folder.parts]


@pytest.fixture
def pair(tmp_path: Path) -> Server:
    return Server(tmp_path)


@pytest.fixture
def box(tmp_path: Path) -> Box:
    """Directories by uniqueid, virtual domains, a metapartition and an archive."""
    return Box(RICH, tmp_path)


@pytest.fixture
def replica(tmp_path: Path) -> Path:
    path = tmp_path / "replica"
    path.mkdir()
    return path


def mailboxes_there(box: Box, replica: Path) -> set[str]:
    """The names of those that the replica has."""
    indexes = {one["name"]: box.root / one["metadir"] / "cyrus.index" for one in box.mailboxes}
    return {name for name, path in indexes.items() if below(replica, path).exists()}


def files_beside(box: Box, replica: Path) -> set[str]:
    """The files of configdirectory on the replica."""
    conf = below(replica, box.root / "conf")
    return {str(path.relative_to(conf)) for path in conf.rglob("*") if path.is_file() and path.name[0] != "."}


def is_complete(state_dir: Path) -> bool:
    """Whether the state says that it knows all that the replica has."""
    (path,) = (path for path in state_dir.glob("*.sqlite") if path.name != "runs.sqlite")
    with closing(Store(path, path.stem)) as store:
        return store.complete


def lose_state(state_dir: Path) -> None:
    for path in state_dir.glob("*.sqlite*"):
        path.unlink()


# --- What is sent


def test_a_user_has_mailboxes_and_files(pair: Server) -> None:
    report = pair.sync_only(*JOE)
    assert report["part"] == ["--user=joe"]
    assert report["folders"]["seen"] == report["folders"]["new"] == len(pair.folders("joe"))
    assert pair.files_there() == pair.of("joe")


def test_several_users(pair: Server) -> None:
    pair.sync_only(*JOE, "--user", "joe1")
    assert pair.files_there() == pair.of("joe") | pair.of("joe1")


@pytest.mark.parametrize(
    ("user", "domain", "uniqueid"),
    [
        ("joe@example.com", "example.com!", "69r5plrh41y7a0kdsic52tze"),
        ("ann@sub.example.org", "sub.example.org!", "vmb9t1pueicqnej28sivcdal"),
        ("zoe", "", "eits0li4gh6opo0hhq2r5jke"),
        ("zoe@default.example", "", "eits0li4gh6opo0hhq2r5jke"),
    ],
)
def test_a_user_of_a_domain_with_directories_by_uniqueid(
    box: Box, replica: Path, user: str, domain: str, uniqueid: str
) -> None:
    local = user.partition("@")[0]
    whose = {
        one["name"]
        for one in box.mailboxes
        if f"{one['name']}.".startswith((f"{domain}user.{local}.", f"{domain}DELETED.user.{local}."))
    }
    sync_server_here(box.conf, "--user", user, replica)
    assert mailboxes_there(box, replica) == whose
    conf = box.root / "conf"
    kept = {
        f"user/uuid/{uniqueid[0]}/{uniqueid[1]}/{uniqueid}/{path.name}"
        for path in (conf / "user/uuid" / uniqueid[0] / uniqueid[1] / uniqueid).iterdir()
    }
    quota = {"domain/O/example.com/quota/B/user.joe"} if local == "joe" else set()
    assert files_beside(box, replica) == kept | quota


def test_a_partition_has_mailboxes_and_the_files_of_those_whose_inbox_it_has(box: Box, replica: Path) -> None:
    sync_server_here(box.conf, "--partition", "part2", replica)
    there = {one["name"] for one in box.mailboxes if one["partition"] == "part2"}
    assert "user.zoe.Moved" in there  # her INBOX, and so her files, are elsewhere
    assert mailboxes_there(box, replica) == there
    assert {path.split("/")[-2] for path in files_beside(box, replica)} == {"vmb9t1pueicqnej28sivcdal"}


def test_a_user_on_a_partition(box: Box, replica: Path) -> None:
    sync_server_here(box.conf, "--user", "zoe", "--partition", "part2", replica)
    assert mailboxes_there(box, replica) == {"user.zoe.Moved"}
    assert files_beside(box, replica) == set()


def test_without_the_files_beside_the_partitions(pair: Server) -> None:
    pair.sync_only(*JOE, "--no-config")
    assert pair.files_there() == {name for name in pair.of("joe") if "/spool-" in name}


def test_the_walk_has_no_partitions(pair: Server) -> None:
    done = run_cyrsync("sync", "--partition", "default", pair.server.spool, pair.replica)
    assert (done.returncode, done.stdout) == (2, "")
    assert "-C" in done.stderr


# --- Part and whole


@pytest.mark.parametrize("words", [JOE, ("--partition", "part2"), (*JOE, "--user", "ann")])
def test_all_after_a_part_is_sent_once(pair: Server, state_dir: Path, words: tuple[str, ...]) -> None:
    part = pair.sync(*words)
    assert not is_complete(state_dir)
    whole = pair.sync()
    assert part["messages"]["send"] > 0
    assert part["messages"]["send"] + whole["messages"]["send"] == 120
    assert whole["messages"]["present"] == part["messages"]["send"]
    pair.assert_same()
    assert_sound(pair.conf, pair.replica)
    assert is_complete(state_dir)
    assert pair.sync()["files"]["planned"] == 0


def test_all_after_a_part_with_directories_by_uniqueid(box: Box, replica: Path) -> None:
    sends = [sync_server_here(box.conf, "--user", "joe@example.com", replica), sync_server_here(box.conf, replica)]
    there = [m for one in box.mailboxes for m in one["messages"] if m["state"] in ("visible", "expunged")]
    assert sum(report["messages"]["send"] for report in sends) == len(there)
    assert_sound(box.conf, replica)


def test_a_part_after_all_sends_what_is_new_of_it(synced: Server, state_dir: Path) -> None:
    """And the list of mailboxes is left to the next run for all."""
    before = synced.files_there()
    for user in ("joe", "ann"):
        samplespool.deliver(synced.folders(user)[0], 2)
        samplespool.deliver(samplespool.create_folder(synced.server.spool, f"user/{user}/New"), 3)
        synced.write(f"user/{user[0]}/{user}.sub", f"{user} New")
    synced.server.record()
    listed = synced.there(synced.server.database).read_bytes()
    report = synced.sync(*JOE)
    assert (report["messages"]["send"], report["config"]["send"]) == (5, 1)
    assert synced.files_there() == before | synced.of("joe")
    assert synced.there(synced.server.database).read_bytes() == listed
    assert is_complete(state_dir)  # nothing is in doubt
    assert synced.sync(*JOE)["files"]["planned"] == 0
    assert synced.sync()["messages"]["send"] == 5
    synced.assert_same()


def test_a_mailbox_that_came_to_the_user_is_linked(synced: Server) -> None:
    """From where the replica has it of another; that stays until a run for all."""
    old = synced.folders("ann")[-1]
    new = synced.server.folder("user/joe/From ann")
    count = len(list(old.glob("[0-9]*.")))
    old.rename(new)
    synced.server.record()
    report = synced.sync(*JOE)
    assert (report["messages"]["send"], report["messages"]["present"]) == (0, report["messages"]["seen"])
    assert len(list(synced.there(new).glob("[0-9]*."))) == count > 0
    assert synced.there(old).exists()
    synced.sync()
    synced.assert_same()


# --- What is deleted


def test_only_what_is_gone_of_the_part_is_deleted(synced: Server) -> None:
    """Be it a mailbox, a message or a file."""
    gone = {user: synced.folders(user)[-1] for user in ("joe", "ann", "joe1")}
    for user, folder in gone.items():
        synced.server.delete(folder)
        (synced.home / f"user/{user[0]}/{user}.seen").unlink()
        shutil.rmtree(synced.sieve / user[0] / user)
        samplespool.expunge(synced.folders(user)[0], 1)
    before = {name for name in synced.files_there() if name not in synced.of("joe")}
    report = synced.sync(*JOE)
    assert (report["folders"]["gone"], report["config"]["delete"]) == (1, 2)
    left = synced.files_there()
    assert not synced.there(gone["joe"]).exists()
    assert not synced.there(synced.sieve / "j/joe").exists()
    assert synced.there(synced.sieve / "j/joe1").exists()
    assert {name for name in left if "/ann/" in name or "/joe1/" in name} == {
        name for name in before if "/ann/" in name or "/joe1/" in name
    }
    assert synced.there(gone["ann"]).exists()
    assert synced.there(gone["joe1"]).exists()
    synced.sync()
    synced.assert_same()


def delete_user(server: Server, user: str) -> None:
    """What Cyrus does when it deletes one at once."""
    for name in server.of(user):
        Path("/", name).unlink()
    for folder in (server.server.spool / user[0] / "user" / user, server.sieve / user[0] / user):
        shutil.rmtree(folder, ignore_errors=True)
    server.server.record()


@pytest.mark.parametrize("lost", [False, True])
def test_a_user_who_was_deleted(synced: Server, state_dir: Path, lost: bool) -> None:
    """And with him all others whose names begin so: of them nothing is deleted."""
    samplespool.deliver(samplespool.create_folder(synced.server.spool, "user/jim"), 1)
    synced.write(synced.sieve / "j/jim/default.script")
    synced.server.record()
    synced.sync()
    there, his = synced.files_there(), synced.of("joe")
    for user in ("joe", "jim"):
        delete_user(synced, user)
    shutil.rmtree(synced.server.spool / "j", ignore_errors=True)
    if lost:
        lose_state(state_dir)
    done = run_cyrsync("sync", "-C", synced.conf, *JOE, synced.replica)
    assert (done.returncode, done.stdout) == (3, "")
    assert len(done.stderr.splitlines()) == 1
    assert "mailboxes.db has no mailbox of joe" in done.stderr
    assert synced.files_there() == there
    report = synced.sync(*JOE)
    assert report["files"]["deleted"] > 0
    assert synced.files_there() == there - his
    again = run_cyrsync("sync", "-C", synced.conf, *JOE, "--delete", synced.replica)
    assert again.returncode == 3
    assert "neither mailboxes.db nor the replica has anything of joe" in again.stderr
    assert synced.sync()["messages"]["send"] == 0
    synced.assert_same()


@pytest.mark.parametrize("limit", ["1", "50%"])
def test_the_limit_is_of_the_part(synced: Server, limit: str) -> None:
    """Of all there is on the replica, joe's would be little."""
    before = synced.files_there()
    delete_user(synced, "joe")
    report = synced.sync(*JOE, f"--max-delete={limit}", expect=25)
    assert report["withheld"] > 0
    assert synced.files_there() == before


@pytest.mark.parametrize("lost", [False, True])
def test_a_deleted_user_with_directories_by_uniqueid(box: Box, replica: Path, state_dir: Path, lost: bool) -> None:
    """Whose they were the state remembers, and else the headers on the replica tell."""
    sync_server_here(box.conf, replica)
    listed = drop_records(box, b"ann")
    if lost:
        lose_state(state_dir)
    report = sync_server_here(box.conf, "--user", "ann@sub.example.org", "--delete", replica)
    assert report["folders"]["gone"] == listed
    assert {one["name"] for one in box.mailboxes if "!user.ann" in one["name"]} & mailboxes_there(box, replica) == set()
    assert not [path for path in files_beside(box, replica) if "vmb9t1pueicqnej28sivcdal" in path]
    assert "user.zoe.Moved" in mailboxes_there(box, replica)


def drop_records(box: Box, user: bytes) -> int:
    """Delete a user of sub.example.org with mailboxes and files; the database becomes one of text."""
    from cyrsync.cyrus.server.db import reader

    path = box.root / "conf/mailboxes.db"
    records = reader.read(os.fsencode(path))
    whose = b"Nsub.example.org\x1duser\x1f" + user
    gone = {key for key, _ in records if (key + b"\x1f").startswith(whose + b"\x1f")}
    ids = [value.split(b" I ")[1].split(b" ")[0] for key, value in records if key in gone]
    kept = [(key, value) for key, value in records if key not in gone and key[1:] not in ids]
    path.write_bytes(b"".join(b"%s\t%s\n" % one for one in sorted(kept)))
    with box.conf.open("a") as conf:
        conf.write("mboxlist_db: flat\n")
    for uniqueid in map(os.fsdecode, ids):
        for directory in box.root.rglob(uniqueid):
            shutil.rmtree(directory)
    return len(ids)


def test_who_was_renamed_is_not_deleted_yet(synced: Server) -> None:
    """Under the new name his mail is not of the part, so the replica would have it no more."""
    samplespool_ids(synced)
    synced.sync()
    before = synced.files_there()
    old = synced.server.spool / "j/user/joe"
    (synced.server.spool / "z/user").mkdir(parents=True, exist_ok=True)
    old.rename(synced.server.spool / "z/user/zoe2")
    samplespool_ids(synced)
    done = run_cyrsync("sync", "-C", synced.conf, *JOE, "--user", "ann", "--delete", synced.replica)
    assert done.returncode in (0, 3)
    mail = {name for name in before if "/spool-default/j/user/joe" in name}
    assert mail
    assert mail <= synced.files_there()
    report = synced.sync()
    assert report["messages"]["send"] == 0
    synced.assert_same()


def samplespool_ids(server: Server) -> None:
    """Write mailboxes.db with the uniqueids of the headers, as Cyrus 2.5 and newer have it."""
    from cyrsync.cyrus.mailbox import header

    server.server.record()
    lines = []
    for line in server.server.database.read_bytes().splitlines():
        name, value = line.split(b"\t")
        partition = value.split(b" P ")[1][:-1]
        folder = server.server.spools[partition.decode()] / name.decode().split(".")[1][:1]
        folder = folder.joinpath(*name.decode().split("."))
        uniqueid = header.uniqueid((folder / "cyrus.header").read_bytes())
        lines.append(b"%s\t%%(A %%() I %s P %s)\n" % (name, uniqueid.encode(), partition))
    fresh = server.server.database.with_suffix(".NEW")
    fresh.write_bytes(b"".join(lines))
    fresh.replace(server.server.database)


# --- What the state may say


def test_a_lost_state_is_made_anew_of_the_part_alone(synced: Server, state_dir: Path) -> None:
    lose_state(state_dir)
    samplespool.deliver(synced.folders("joe")[0], 2)
    report = synced.sync(*JOE)
    assert (report["messages"]["send"], report["folders"]["gone"]) == (2, 0)
    assert not is_complete(state_dir)
    assert synced.sync(*JOE)["messages"]["send"] == 0
    assert synced.sync()["messages"]["send"] == 0
    assert is_complete(state_dir)
    synced.assert_same()


def test_a_part_in_full_leaves_what_is_known_of_the_rest(synced: Server, state_dir: Path) -> None:
    report = synced.sync(*JOE, "--full")
    assert (report["messages"]["send"], report["warnings"]) == (0, [])
    assert is_complete(state_dir)
    samplespool.deliver(synced.folders("ann")[0], 2)
    assert synced.sync()["messages"]["send"] == 2


def test_the_rest_of_a_doubted_replica_is_compared_by_the_next_run_for_all(
    synced: Server, state_dir: Path, tmp_path: Path
) -> None:
    """The part's run has made the owner files its own, so nobody else would see that the replica was set back."""
    shutil.copytree(synced.replica, tmp_path / "snapshot", symlinks=True)
    for user in ("joe", "ann"):
        samplespool.deliver(synced.folders(user)[0], 3)
    synced.sync()
    shutil.rmtree(synced.replica)
    (tmp_path / "snapshot").rename(synced.replica)
    samplespool.deliver(synced.folders("joe")[0], 1)
    assert synced.sync(*JOE)["messages"]["send"] == 4
    assert not is_complete(state_dir)
    assert synced.sync()["messages"]["send"] == 3
    synced.assert_same()
    assert_sound(synced.conf, synced.replica)


@pytest.mark.parametrize("words", [JOE, ("--shard", "1/1")])
def test_what_a_power_cut_has_emptied_is_mended_in_the_part_and_then_in_all(
    synced: Server, words: tuple[str, ...]
) -> None:
    """A run for a part does not take the doubt from the rest."""
    emptied = [
        next(path for folder in synced.folders(user) for path in sorted(synced.there(folder).glob("[0-9]*.")))
        for user in ("joe", "ann")
    ]
    for path in emptied:
        os.truncate(path, 0)
    for root in synced.roots:
        synced.forge(root, writing="another boot")
    samplespool.deliver(synced.folders("joe")[0], 1)  # what has nothing to do does not look
    assert ("ended a run that was writing" in str(synced.sync(*words)["warnings"])) == (
        words is JOE
    )  # others always compare
    assert [path.stat().st_size > 0 for path in emptied] == [True, words is not JOE]
    assert all(owner_file and owner_file.doubtful for owner_file in synced.owner_files())
    synced.sync()
    synced.assert_same()
    assert not any(owner_file and owner_file.doubtful for owner_file in synced.owner_files())


def test_a_dry_run_does_nothing(synced: Server) -> None:
    before = synced.everything()
    delete_user(synced, "joe")
    samplespool.deliver(synced.folders("ann")[0], 3)
    report = synced.sync(*JOE, "-n")
    assert (report["messages"]["send"], report["folders"]["gone"] > 0) == (0, True)
    assert synced.everything() == before


# --- What is said


def test_a_part_is_no_success_of_the_whole(pair: Server, tmp_path: Path) -> None:
    metrics = tmp_path / "cyrsync.prom"
    pair.sync_only(*JOE, "--partition", "default", "--metrics", metrics)
    assert "\ncyrsync_last_success_timestamp_seconds{" in metrics.read_text()
    (success,) = [
        line for line in metrics.read_text().splitlines() if line.startswith("cyrsync_last_success_timestamp")
    ]
    assert success.endswith(" 0.0")
    done = run_cyrsync("status", "--json", pair.replica)
    found = json.loads(done.stdout)
    assert found["last_success"] is None
    assert [(run["part"], run["users"], run["exit"]) for run in found["runs"]] == [
        (["--user=joe", "--partition=default"], ["joe"], 0)
    ]
    assert "Part" in run_cyrsync("status", pair.replica).stdout
    assert run_cyrsync("status", pair.replica, "--max-age", "1d").returncode == 1


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("--user", "jo"), 3, "mailboxes.db has no mailbox of jo: check the name"),
        ((*JOE, "--user", "jo"), 3, "mailboxes.db has no mailbox of jo: check the name"),
        (("--user", "jo", "--delete"), 3, "neither mailboxes.db nor the replica has anything of jo"),
        (("--user", ""), 2, "--user needs a name"),
        (("--partition", "p3"), 2, "has no such partition; it has default, part2"),
        ((*JOE, "--overwrite-replica"), 2, "--overwrite-replica"),
        (("--shard", "4/3"), 2, "there is no shard 4 of 3"),
    ],
)
def test_what_cannot_be(pair: Server, words: tuple[str, ...], code: int, said: str) -> None:
    done = run_cyrsync("sync", "-C", pair.conf, *words, pair.replica)
    assert (done.returncode, done.stdout) == (code, "")
    assert said in done.stderr
    assert len(done.stderr.splitlines()) == 1
    assert pair.files_there() == set()


def test_a_partition_that_is_not_mounted(synced: Server) -> None:
    spool = synced.server.spool
    spool.rename(spool.with_name("away"))
    spool.mkdir()
    done = run_cyrsync("sync", "-C", synced.conf, *JOE, "--delete", synced.replica)
    assert done.returncode == 3
    assert "is it mounted?" in done.stderr
    synced.sync("--user", "joe1")  # who is on the other one


def test_a_user_whose_directory_alone_is_not_there(synced: Server) -> None:
    """The partition is mounted: others are there."""
    before = synced.files_there()
    shutil.rmtree(synced.server.spool / "j/user/joe")
    report = synced.sync(*JOE, expect=23)
    assert len(report["errors"]) == len([1 for name in before if "/user/joe/" in name and name.endswith("cyrus.index")])
    assert "mounted" not in str(report["errors"])
    assert synced.files_there() == before


# --- Shards


SHARDS = [("--shard", f"{number}/3") for number in (1, 2, 3)]


def test_shards_and_a_run_for_all(pair: Server, state_dir: Path) -> None:
    """Each is a part with a state of its own; what no user owns is left to the run for all."""
    reports = [pair.sync(*words) for words in SHARDS]
    users = {name for user in ("joe", "ann", "joe1") for name in pair.of(user)}
    assert pair.files_there() >= users
    assert sum(report["messages"]["send"] for report in reports) == 120
    assert sum(report["folders"]["new"] for report in reports) == len(pair.server.folders())
    assert [report["part"] for report in reports] == [["--shard=1/3"], ["--shard=2/3"], ["--shard=3/3"]]
    whole = pair.sync("--full")
    assert (whole["messages"]["send"], whole["warnings"], whole["files"]["deleted"]) == (0, [], 0)
    pair.assert_same()
    assert_sound(pair.conf, pair.replica)
    assert pair.sync()["files"]["planned"] == 0
    assert [owner_file and bool(owner_file.ended) for owner_file in pair.owner_files()] == [True, True]


def test_a_shard_leaves_what_others_are_making(pair: Server) -> None:
    """Nobody tells what a killed run has left from it; a run for all does, as it is alone."""
    hidden = pair.there(pair.server.spool) / ".cyrsync-renamed"
    (hidden / "new.1").mkdir(parents=True)
    pair.sync("--shard", "1/3")
    assert (hidden / "new.1").exists()
    pair.sync("--full")
    assert not hidden.exists()
    pair.assert_same()


@pytest.mark.parametrize("over_ssh", [False, True])
def test_shards_side_by_side(pair: Server, request: pytest.FixtureRequest, over_ssh: bool) -> None:
    """The first says whose the replica is, and none keeps the others out."""
    where: tuple[str | Path, ...] = (pair.replica,)
    if over_ssh:
        sshd: Sshd = request.getfixturevalue("sshd")
        where = ("-e", sshd.rsh, sshd.at(pair.replica))
    commands = [cyrsync_argv("sync", "-C", pair.conf, *words, *where) for words in SHARDS]
    running = [subprocess.Popen(argv, env=plain_env(), stderr=subprocess.PIPE, text=True) for argv in commands]
    assert [(process.communicate()[1], process.returncode) for process in running] == [("", 0)] * 3
    first, second = pair.owner_files()
    assert first
    assert first == second
    assert not first.ended  # that is for the run for all to say
    assert pair.sync("--full")["messages"]["send"] == 0
    pair.assert_same()
    assert_sound(pair.conf, pair.replica)


def test_a_shard_that_is_run_again(pair: Server) -> None:
    for words in SHARDS:
        pair.sync(*words)
    samplespool.deliver(pair.folders("joe")[0], 2)
    samplespool.deliver(pair.folders("ann")[0], 3)
    assert sum(pair.sync(*words)["messages"]["send"] for words in SHARDS) == 5


def test_all_shards_after_a_run_for_all(synced: Server) -> None:
    """That run knows then that others have written there."""
    samplespool.deliver(synced.folders("joe")[0], 2)
    assert sum(synced.sync(*words)["messages"]["send"] for words in SHARDS) == 2
    report = synced.sync()
    assert report["messages"]["send"] == 0
    assert "something else has written there since the last run: all of it is compared" in str(report["warnings"])
    synced.assert_same()


def test_a_shard_waits_for_a_run_for_all_as_others_do(synced: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(ownership, "_BEGINNING", 0.3)
    with closing(Holds()) as holds:
        assert holds.hold([os.fsencode(synced.there(synced.server.spool))]) is None
        report = synced.sync(*SHARDS[0], expect=75)
        assert "has been working on it since" in report["errors"][0]
        assert holds.share() is None  # as a shard does that nobody has begun
        assert synced.sync(*SHARDS[0], expect=75)["errors"]
    synced.sync(*SHARDS[0])


def test_a_shard_is_kept_from_anothers_replica(synced: Server, tmp_path: Path) -> None:
    synced.forge(synced.home, source="other:/etc/imapd.conf")
    before = synced.everything()
    assert "it is the replica of other" in synced.sync(*SHARDS[0], expect=4)["errors"][0]
    assert synced.everything() == before


def test_runs_of_shards_are_of_one_pair(pair: Server) -> None:
    for words in SHARDS:
        pair.sync(*words)
    (found,) = [json.loads(line) for line in run_cyrsync("status", "--json", pair.replica).stdout.splitlines()]
    assert (found["last_success"], [run["part"] for run in found["runs"]]) == (
        None,
        [["--shard=3/3"], ["--shard=2/3"], ["--shard=1/3"]],
    )


def test_shards_with_directories_by_uniqueid(box: Box, replica: Path) -> None:
    for words in SHARDS:
        sync_server_here(box.conf, *words, replica)
    assert mailboxes_there(box, replica) == {one["name"] for one in box.mailboxes}
    assert sync_server_here(box.conf, "--full", "--delete", replica)["messages"]["send"] == 0
    assert_sound(box.conf, replica)
