"""`cyrsync verify` finds what is wrong with real servers' files, and nothing else."""

from __future__ import annotations

import fcntl
import json
import os
import shutil
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

import samplespool
from cyrsync.ends.agent_tree import AgentTree
from cyrsync.ends.bundle import BOOTSTRAP, program
from cyrsync.ends.link import Link
from cyrsync.far.audit_tree import audit_tree
from support.boxes import NAMES, Box
from support.servers import SampleServer
from support.spool import leaves
from support.sshd import Sshd
from support.tools import oldest_python, requires_root
from support.tree import run_cyrsync, sync

PLAIN = "3.4.9-plain"


@pytest.fixture
def box(tmp_path: Path) -> Box:
    """A server whose metadata lies beside its messages."""
    return Box(PLAIN, tmp_path)


def verify(*words: str | Path, code: int, **options: Any) -> dict[str, Any]:
    """Run with --json and return the result."""
    done = run_cyrsync("verify", "--json", *words, **options)
    assert (done.returncode, done.stderr) == (code, ""), done
    found: dict[str, Any] = json.loads(done.stdout)
    assert found["exit"] == code
    return found


def problems(found: dict[str, Any]) -> list[tuple[str, str, list[int]]]:
    """Kind, last part of the folder's name, UIDs."""
    return sorted((one["kind"], one["folder"].rpartition("/")[2], one["uids"]) for one in found["problems"])


@pytest.mark.parametrize("name", NAMES)
def test_real_servers(tmp_path: Path, name: str) -> None:
    """All that truth knows to lie about is found, and nothing else is wrong."""
    box = Box(name, tmp_path)
    orphans = [
        (
            "orphan",
            mailbox["datadir"].rpartition("/")[2],
            [m["uid"] for m in mailbox["messages"] if m["state"] == "orphan"],
        )
        for mailbox in box.mailboxes
        if mailbox["n_orphan"]
    ]
    lost = [("no mailbox", path.rpartition("/")[2], []) for path in box.truth["orphan_dirs"]]
    done = run_cyrsync("verify", "-C", box.conf, "--content", "--json")
    found = json.loads(done.stdout)
    assert problems(found) == sorted([*orphans, *lost])
    assert found["mailboxes"] == len(box.mailboxes)
    kept = [m for mailbox in box.mailboxes for m in mailbox["messages"] if m["state"] in ("visible", "expunged")]
    assert found["messages"] == len(kept)
    assert found["bytes_read"] == sum(m["size"] for m in kept)


def first_message(folder: Path) -> Path:
    return min(folder.glob("[0-9]*."), key=lambda path: int(path.name[:-1]))


def flip(path: Path, at: int) -> None:
    content = bytearray(path.read_bytes())
    content[at] ^= 1
    path.write_bytes(content)


def remove(folder: Path) -> None:
    first_message(folder).unlink()


def cut(folder: Path) -> None:
    os.truncate(first_message(folder), 10)


def alter(folder: Path) -> None:
    flip(first_message(folder), 20)


def add(folder: Path) -> None:
    (folder / "999.").write_text("junk")


def hurt_index(folder: Path) -> None:
    flip(folder / "cyrus.index", 170)


def cut_index(folder: Path) -> None:
    os.truncate(folder / "cyrus.index", 200)


def lose_index(folder: Path) -> None:
    (folder / "cyrus.index").unlink()


def lose_header(folder: Path) -> None:
    (folder / "cyrus.header").unlink()


def cut_cache(folder: Path) -> None:
    os.truncate(folder / "cyrus.cache", (folder / "cyrus.cache").stat().st_size - 1)


def empty_cache(folder: Path) -> None:
    os.truncate(folder / "cyrus.cache", 0)


def lose_all_but_messages(folder: Path) -> None:
    for path in folder.glob("cyrus.*"):
        path.unlink()


def other_header(folder: Path) -> None:
    shutil.copy(folder.parent / "cyrus.header", folder / "cyrus.header")


def lose_folder(folder: Path) -> None:
    shutil.rmtree(folder)


def double(folder: Path) -> None:
    shutil.copytree(folder, folder.parent / "Copy")


@pytest.mark.parametrize(
    ("harm", "kinds", "by_content"),
    [
        (remove, ["missing"], ["missing"]),
        (cut, [], ["size"]),
        (alter, [], ["content"]),
        (add, ["orphan"], ["orphan"]),
        (hurt_index, ["index"], ["index"]),
        (cut_index, ["index"], ["index"]),
        (lose_index, ["index"], ["index"]),
        (lose_header, ["header"], ["header"]),
        (lose_all_but_messages, ["header", "index"], ["header", "index"]),
        (cut_cache, ["cache"], ["cache"]),
        (empty_cache, ["cache"], ["cache"]),
        (other_header, ["header", "uniqueid"], ["header", "uniqueid"]),
        (lose_folder, ["no directory"], ["no directory"]),
        (double, ["no mailbox"], ["no mailbox"]),
    ],
)
def test_harm(box: Box, harm: Callable[[Path], None], kinds: list[str], by_content: list[str]) -> None:
    folder = box.root / box.mailbox("user.joe.Sent")["datadir"]
    before = verify("-C", box.conf, "--content", code=0)
    uid = int(first_message(folder).name[:-1])
    harm(folder)
    for words, expected in (((), kinds), (("--content",), by_content)):
        found = verify("-C", box.conf, *words, code=1 if expected else 0)
        assert [kind for kind, *_ in problems(found)] == expected
    name = "Copy" if harm is double else "Sent"
    for kind, where, uids in problems(found):
        assert where == name
        assert uids == ({"orphan": [999]}.get(kind, [uid]) if kind in ("missing", "size", "content", "orphan") else [])
    assert before["mailboxes"] == found["mailboxes"]


def test_a_tree_without_its_configuration(box: Box) -> None:
    spool = box.root / "spool"
    assert verify(spool, "--content", code=0)["messages"] == 144
    remove(box.root / box.mailbox("user.joe.Sent")["datadir"])
    found = verify(spool, code=1)
    assert [(kind, name) for kind, name, _ in problems(found)] == [("missing", "Sent")]


@pytest.mark.parametrize(
    ("harm", "kinds"),
    [
        (lose_all_but_messages, ["header", "index"]),
        (cut_cache, ["cache"]),
        (lose_index, ["index"]),
        (lambda folder: (folder / "cyrus.cache").unlink(), []),  # as --skip-derived leaves a replica
        (lambda folder: flip(folder / "cyrus.cache", 3), []),  # of another generation: Cyrus makes it again
    ],
)
def test_harm_to_a_tree(box: Box, harm: Callable[[Path], None], kinds: list[str]) -> None:
    harm(box.root / box.mailbox("user.joe.Sent")["datadir"])
    found = verify(box.root / "spool", code=1 if kinds else 0)
    assert problems(found) == [(kind, "Sent", []) for kind in kinds]


@pytest.mark.parametrize("tree", ["source", "replica"])
def test_empty_directories_of_the_uniqueid_layout(tmp_path: Path, tree: str) -> None:
    """Cyrus leaves those above a mailbox that is gone, and so do runs of a server."""
    samplespool.make(tmp_path / "source", messages=30, folder_count=3)
    sync(tmp_path / "source", tmp_path / "replica")
    (tmp_path / tree / "uuid/4/5/45ab").mkdir(parents=True)
    verify(tmp_path / "source", tmp_path / "replica", code=0)
    (tmp_path / tree / "uuid/4/5/45ab/1.").write_text("mail")
    assert len(verify(tmp_path / "source", tmp_path / "replica", code=1)["problems"]) == 1


@pytest.mark.parametrize("part", ["spool", "archive"])
def test_a_tree_whose_indexes_are_elsewhere(tmp_path: Path, part: str) -> None:
    """One line says what to do, not two a folder; one index, and the others are missed as ever."""
    box = Box("3.6.1-rich", tmp_path)
    done = run_cyrsync("verify", "--json", box.root / part)
    assert (done.returncode, len(done.stderr.splitlines())) == (3, 1)
    assert json.loads(done.stdout) == {"errors": [done.stderr.removeprefix("cyrsync: ").rstrip()], "exit": 3}
    assert "with -C IMAPD_CONF" in done.stderr
    folders = sorted({path.parent for path in (box.root / part).rglob("1.")})
    meta = box.root / "meta" / folders[0].relative_to(box.root / part)
    shutil.copytree(meta, folders[0], dirs_exist_ok=True)
    found = problems(verify(box.root / part, code=1))
    assert {name for kind, name, _ in found if kind == "index"} >= {folder.name for folder in folders[1:]}


def test_over_ssh(box: Box, sshd: Sshd) -> None:
    """The far end says the same, and has nothing installed."""
    add(box.root / box.mailbox("user.joe.Sent")["datadir"])
    near = verify(box.root / "spool", "--content", code=1)
    far = verify("-e", sshd.rsh, sshd.at(box.root / "spool"), "--content", code=1)
    for once in (near, far):
        del once["tree"], once["started"], once["seconds"]
    assert near == far


@pytest.mark.parametrize("content", [False, True])
@pytest.mark.parametrize("name", NAMES)
def test_an_agent_under_an_old_python(tmp_path: Path, name: str, content: bool) -> None:
    """It is sent all that it needs, and finds what this Python finds."""
    root = os.fsencode(Box(name, tmp_path).root)
    link = Link([oldest_python(), "-I", "-S", "-c", BOOTSTRAP], "an old Python")
    link.send(program())
    tree = AgentTree(lambda: link, compressed=True)
    found = list(tree.audit(root, content))
    tree.close()
    assert found == list(audit_tree(root, content))
    assert len(found) > 5


def test_a_far_end_without_python(box: Box, sshd_without_python: Sshd) -> None:
    done = run_cyrsync("verify", "-e", sshd_without_python.rsh, sshd_without_python.at(box.root / "spool"))
    assert (done.returncode, "python3" in done.stderr) == (2, True)


def test_source_and_replica(tmp_path: Path) -> None:
    source, replica = tmp_path / "source", tmp_path / "replica"
    samplespool.make(source, messages=300, folder_count=12)
    sync(source, replica)
    assert verify(source, replica, code=0)["messages"] == 300

    folders = sorted(path.parent for path in source.rglob("cyrus.index"))
    there = [replica / folder.relative_to(source) for folder in folders]
    remove(there[0])
    (there[1] / "4000000000.").write_text("x")
    flip(there[2] / "cyrus.cache", 9)
    shutil.rmtree(there[3])
    (replica / "extra").mkdir()
    found = verify(source, replica, code=1)
    names = [folder.name for folder in folders]
    kinds = {(one["kind"], one["folder"].rpartition("/")[2]) for one in found["problems"]}
    assert {("lacks", names[0]), ("extra", names[1]), ("lacks folder", names[3]), ("extra folder", "extra")} <= kinds
    assert ("metadata", names[2]) in kinds


def test_recreated_on_the_source(tmp_path: Path) -> None:
    source, replica = tmp_path / "source", tmp_path / "replica"
    samplespool.make(source, messages=60, folder_count=4)
    sync(source, replica)
    first, second = sorted(path.parent for path in source.rglob("cyrus.index") if list(path.parent.glob("[0-9]*.")))[:2]
    for name in ("cyrus.header", "cyrus.index"):
        shutil.copy2(second / name, first / name)
    assert "other mailbox" in [one["kind"] for one in verify(source, replica, code=1)["problems"]]


@pytest.fixture
def writer(box: Box) -> Iterator[subprocess.Popen[bytes]]:
    """Somebody who holds the lock of a mailbox's index, as Cyrus does while it writes."""
    index = box.root / box.mailbox("user.joe.Sent")["datadir"] / "cyrus.index"
    program = "import fcntl,sys; f=open(sys.argv[1],'r+b'); fcntl.lockf(f,fcntl.LOCK_EX); print(flush=True); input()"
    process = subprocess.Popen(
        [sys.executable, "-c", program, str(index)], stdin=subprocess.PIPE, stdout=subprocess.PIPE
    )
    assert process.stdout
    process.stdout.readline()
    yield process
    process.kill()
    process.wait()
    for stream in (process.stdin, process.stdout):
        if stream:
            stream.close()


def test_a_writer_that_does_not_end(box: Box, writer: subprocess.Popen[bytes]) -> None:
    """We wait for some seconds, tell which mailbox it is, and go on with the others."""
    found = verify(box.root / "spool", code=1)
    assert [(kind, name) for kind, name, _ in problems(found)] == [("unreadable", "Sent")]
    assert "locked by a writer" in found["problems"][0]["detail"]


def test_no_lock_is_left(box: Box) -> None:
    verify(box.root / "spool", code=0)
    for index in box.root.glob("spool/**/cyrus.index"):
        with index.open("r+b") as stream:
            fcntl.lockf(stream, fcntl.LOCK_EX | fcntl.LOCK_NB)


def test_nothing_is_written(box: Box) -> None:
    def times() -> dict[Path, int]:
        return {path: path.stat().st_mtime_ns for path in box.root.rglob("*")}

    before = times()
    verify("-C", box.conf, "--content", code=0)
    assert times() == before


def test_what_cannot_be_read(box: Box) -> None:
    requires_root()
    folder = box.root / box.mailbox("user.joe.Sent")["datadir"]
    for path in (box.root, *box.root.parents):
        path.chmod(path.stat().st_mode | 0o055)
    for path in box.root.rglob("*"):
        path.chmod(0o755 if path.is_dir() else 0o644)
    folder.chmod(0)
    found = verify(box.root / "spool", code=1, user=True)
    assert [(kind, name) for kind, name, _ in problems(found)] == [("unreadable", "Sent")]


def test_what_cannot_be_read_on_a_server_costs_itself_alone(tmp_path: Path) -> None:
    server = SampleServer(tmp_path / "mail")
    closed, *others = [folder for folder in leaves(server.spool) if any(folder.glob("*."))]
    lost = next(others[0].glob("*."))
    lost.unlink()
    closed.chmod(0)
    found = verify("-C", server.conf, code=1, user=True)
    closed.chmod(0o755)
    named = {(one["kind"], one["folder"]) for one in found["problems"]}
    assert named == {("unreadable", str(closed)), ("missing", str(others[0]))}


def test_many_problems_of_one_kind_are_few_lines(tmp_path: Path) -> None:
    server = SampleServer(tmp_path / "mail")
    folders = server.folders()
    for folder in folders:
        (folder / "99999.").write_bytes(b"")
    next(leaves(server.spool)[0].glob("[1-9].")).unlink()
    done = run_cyrsync("verify", server.spool)
    lines = done.stderr.splitlines()
    assert (done.returncode, done.stdout, len(lines)) == (1, "", 7)
    assert lines[-1] == f"cyrsync: ... and {len(folders) - 5} more: orphan: a message file that the index does not name"
    assert sum(": missing: UID" in line for line in lines) == 1


@pytest.mark.parametrize(
    ("words", "code", "said"),
    [
        (("-C", "/nonexistent/imapd.conf"), 3, "/nonexistent/imapd.conf"),
        (("/nonexistent",), 3, "no such directory"),
        (("/tmp", "-C", "x"), 2, "either TREE or -C"),
        (("/tmp", "/tmp", "--content"), 2, "--content"),
        (("rsync://localhost:1/x",), 10, "localhost"),
    ],
)
def test_wrong_usage(words: tuple[str, ...], code: int, said: str) -> None:
    done = run_cyrsync("verify", *words)
    assert (done.returncode, said in done.stderr) == (code, True), done
    assert len(done.stderr.splitlines()) == 1


def test_an_empty_tree_is_not_sound(tmp_path: Path) -> None:
    done = run_cyrsync("verify", tmp_path)
    assert (done.returncode, "no Cyrus folder" in done.stderr) == (3, True)


def test_for_people(box: Box) -> None:
    """Silent in cron when all is sound; a line a problem when not; tables where they are asked for."""
    assert run_cyrsync("verify", box.root / "spool").stdout == ""
    add(box.root / box.mailbox("user.joe.Sent")["datadir"])
    done = run_cyrsync("verify", box.root / "spool")
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr.splitlines() == ["cyrsync: user/joe/Sent: orphan: UID 999"]
    shown = run_cyrsync("verify", "-v", "--content", box.root / "spool").stdout
    assert all(text in shown for text in ("144 messages", "/s", "orphan", "user/joe/Sent", "Worst mailboxes"))
    assert run_cyrsync("verify", "-q", box.root / "spool").returncode == 1


def test_mailboxes_are_called_by_their_names_and_directories_too_with_v(tmp_path: Path) -> None:
    box = Box("3.6.1-rich", tmp_path)
    name = "example.com!user.joe.Entw&APw-rfe"
    folder = box.mailbox(name)["datadir"]
    add(box.root / folder)
    told = run_cyrsync("verify", "-C", box.conf).stderr.splitlines()
    assert "cyrsync: user/joe/Entwürfe@example.com: orphan: UID 999" in told
    shown = run_cyrsync("verify", "-v", "-C", box.conf, env={"COLUMNS": "300", "LC_ALL": "C.UTF-8"}).stdout
    assert f"user/joe/Entwürfe@example.com ({box.root / folder})" in shown
    found = json.loads(run_cyrsync("verify", "--json", "-C", box.conf).stdout)["problems"]
    assert [one["mailbox"] for one in found if one["uids"] == [999]] == [name]


def test_a_partition_whose_root_is_a_link(tmp_path: Path) -> None:
    """And mailboxes behind a link in it: Cyrus follows either."""
    server = SampleServer(tmp_path / "server", messages=60, folder_count=6)
    for path, moved in ((server.spool, tmp_path / "other disk"), (server.spool / "j", tmp_path / "third disk")):
        path.rename(moved)
        path.symlink_to(moved)
    for words in ((), ("--content",)):
        done = run_cyrsync("verify", "-C", server.conf, "--json", *words)
        report = json.loads(done.stdout)
        assert (done.returncode, report["problems"], report["mailboxes"], report["messages"]) == (0, [], 6, 60)
