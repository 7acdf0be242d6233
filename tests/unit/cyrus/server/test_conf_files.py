"""Which files of a server's go to another one beside the partitions, and which stay where they are."""

from __future__ import annotations

import errno
import os
from pathlib import Path

import pytest

from cyrsync.cyrus.server import config
from cyrsync.cyrus.server.conf_files import ConfFiles, FileOwner, is_scratch
from support.boxes import NAMES, Box
from support.tools import requires_root


class Server:
    """A configdirectory, and an imapd.conf that tells of it."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.home = root / "conf"
        self.home.mkdir()
        self.options = {"sievedir": f"{root}/sieve"}

    def make(self, *names: str) -> None:
        for name in names:
            path = self.root / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(name)

    def files(self) -> ConfFiles:
        lines = [f"configdirectory: {self.home}\npartition-default: {self.root}/spool\n"]
        lines += [f"{option}: {value}\n" for option, value in self.options.items()]
        conf = self.root / "imapd.conf"
        conf.write_text("".join(lines))
        return ConfFiles(config.read(str(conf)))

    def listed(self, unreadable: dict[bytes, OSError] | None = None) -> list[str]:
        """The paths of the files, as they were made; each is listed once, and is where it says."""
        troubles: dict[bytes, OSError] = {} if unreadable is None else unreadable
        found = list(self.files().listed(troubles))
        for file in found:
            assert file.whole_path == os.path.join(file.root, file.path)
            assert file.status == os.lstat(file.whole_path) or os.path.islink(file.whole_path)
        assert unreadable is not None or not troubles
        return sorted(os.path.relpath(os.fsdecode(file.whole_path), self.root) for file in found)


@pytest.fixture
def server(tmp_path: Path) -> Server:
    return Server(tmp_path)


#: By hand, from the table of what a spare needs: no log-in cache, no lock, no sync log, no mailboxes.db.
UUIDS = {
    "69r5plrh41y7a0kdsic52tze": "conversations counters sub",
    "eits0li4gh6opo0hhq2r5jke": "conversations counters sub",
    "g8xoehyojutw9imbeb7pf09q": "conversations counters",
    "vmb9t1pueicqnej28sivcdal": "conversations counters sub",
    "b3f30992-2a2f-4a90-ae9a-233652eaa7c6": "conversations seen sub",
    "d1adf178-c197-4ff0-ab21-a459cda995dd": "conversations sub",
    "e5d51d50-e16f-4ee6-8df3-90972db550e4": "conversations",
}


def of_uuids(*beginnings: str) -> list[str]:
    return [
        f"user/uuid/{ident[0]}/{ident[1]}/{ident}/{word}.db"
        for ident, words in UUIDS.items()
        for word in words.split()
        if ident.startswith(beginnings)
    ]


OLD = "annotations.db quota/j/user.joe user/a/ann.seen user/a/ann.sub user/b/bob^smith.seen user/j/joe.seen".split()
EXPECTED = {
    "2.3.12-plain": [*OLD, "user/j/joe.sub"],
    "3.8.7-plain-upgraded-from-2.3.12": [*OLD, "user/j/joe.sub"],
    "3.4.9-plain": [
        *["annotations.db", "quota/j/user.joe", "user/b/bob.smith.conversations"],
        *["user/a/ann.conversations", "user/a/ann.seen", "user/a/ann.sub"],
        *["user/j/joe.conversations", "user/j/joe.sub"],
    ],
    "3.6.1-rich": [
        *["annotations.db", "domain/O/example.com/quota/B/user.joe", "shared.counters"],
        *of_uuids("6", "ei", "g", "v"),
    ],
    "3.13.7-plain": ["annotations.db", "quota/j/user.joe", "zoneinfo.db", *of_uuids("b", "d", "e5")],
}


@pytest.mark.parametrize("name", NAMES)
def test_real_servers(name: str, tmp_path: Path) -> None:
    box = Box(name, tmp_path)
    unreadable: dict[bytes, OSError] = {}
    files = ConfFiles(config.read(str(box.conf)))
    found = [os.path.relpath(os.fsdecode(file.whole_path), box.root / "conf") for file in files.listed(unreadable)]
    assert (sorted(found), unreadable) == (sorted(EXPECTED[name]), {})
    assert files.mailbox_list == os.fsencode(box.root / "conf/mailboxes.db")
    assert files.roots() == (os.fsencode(box.root / "conf"), os.fsencode(box.root / "sieve"))


def test_all_there_is_to_take(server: Server) -> None:
    wanted = [
        *["conf/annotations.db", "conf/user_deny.db", "conf/zoneinfo.db", "conf/caldav_alarm.sqlite3"],
        *["conf/fetchnews.db", "conf/newsrc.db", "conf/msg/motd", "conf/shared.counters", "conf/zoneinfo/Europe/Rome"],
        *["conf/user/j/joe.sub", "conf/user/j/joe.seen", "conf/user/j/joe.mboxkey", "conf/user/j/joe.counters"],
        *["conf/user/j/joe.dav", "conf/user/j/joe.conversations", "conf/user/uuid/a/b/ab/sub.db"],
        *["conf/quota/j/user.joe", "conf/domain/e/example.com/user/j/joe.sub", "conf/domain/e/example.com/quota/root"],
        *["conf/domain/e/example.com/quota/j/user.joe", "conf/domain/e/example.com/shared.counters"],
        *["sieve/j/joe/default.script", "sieve/j/joe/defaultbc", "sieve/domain/e/example.com/j/joe/a.bc"],
    ]
    server.make("conf/mailboxes.db", *wanted)
    assert server.listed() == sorted(wanted)


def test_nothing_that_is_of_this_machine_alone(server: Server) -> None:
    server.make(
        *["conf/proc/1234", "conf/socket/imap-0.lock", "conf/log/joe/1", "conf/sync/log", "conf/db/skipstamp"],
        *["conf/msg/shutdown", "conf/deliver.db", "conf/tls_sessions.db", "conf/statuscache.db", "conf/lock/j/a.lock"],
        *["conf/ptclient/ptscache.db", "conf/db.backup1/mailboxes.db", "conf/mailboxes.db", "conf/quotas.db"],
        *["conf/annotations.db.OLD", "conf/mupdate.db", "conf/backups.db", "conf/other", "spool/j/user/joe/1."],
    )
    assert server.listed() == []


@pytest.mark.parametrize(
    "name",
    [
        *[
            "conf/user/j/joe.sub.NEW",
            "conf/user/j/joe.dav-journal",
            "conf/user/j/joe.dav-wal",
            "conf/user/j/joe.dav-shm",
        ],
        *["conf/user/j/joe.xapianactive", "conf/user/uuid/a/b/ab/xapianactive.db", "conf/user/j/joe.lock"],
        *["conf/user/.cyrsync-replica", "conf/user/j/.joe.sub.Xy12", "conf/quota/j/user.joe.NEW", "conf/user/.old/x"],
        *["conf/annotations.db.NEW", "conf/shared.counters.NEW", "sieve/j/joe/a.script.NEW", "sieve/lost+found/#1"],
    ],
)
def test_scratch(server: Server, name: str) -> None:
    server.make(name, "conf/user/j/joe.sub")
    assert server.listed() == ["conf/user/j/joe.sub"]


@pytest.mark.parametrize(
    "name",
    [
        *["conf/quota/j/user.joe.lock", "conf/domain/e/example.com/quota/j/user.joe.a-journal"],
        *["sieve/j/joe.lock/a.script", "sieve/j/lost+found/a.script", "conf/user/x/xapianactive.sub"],
    ],
)
def test_users_may_choose_such_names(server: Server, name: str) -> None:
    server.make(name)
    assert server.listed() == [name]
    assert not is_scratch(os.fsencode(server.root / name))


def test_a_mailbox_may_be_called_new(server: Server) -> None:
    """A quota that is being written has such a name for a moment."""
    server.make("conf/quota/j/user.joe.NEW")
    assert server.listed() == []
    os.utime(server.root / "conf/quota/j/user.joe.NEW", (1e9, 1e9))
    assert server.listed() == ["conf/quota/j/user.joe.NEW"]


def test_names_are_bytes(server: Server) -> None:
    server.make("sieve/j/joe/a")
    name = os.fsencode(server.root / "sieve/j/joe") + b"/\xff\n\x1b[31m.script"
    os.rename(server.root / "sieve/j/joe/a", name)
    (file,) = server.files().listed({})
    assert (file.whole_path, file.path) == (name, b"j/joe/\xff\n\x1b[31m.script")


# --- Where else things may be


def test_paths_of_their_own(server: Server) -> None:
    for name in ("annotation", "userdeny", "zoneinfo", "caldav_alarm", "mboxlist"):
        server.options[f"{name}_db_path"] = f"{server.root}/fast/{name}.db"
    server.make(*(f"fast/{name}.db" for name in ("annotation", "userdeny", "zoneinfo", "caldav_alarm", "mboxlist")))
    server.make("conf/annotations.db", "conf/caldav_alarm.sqlite3", "conf/mailboxes.db", "fast/other")
    assert server.listed() == [f"fast/{name}.db" for name in ("annotation", "caldav_alarm", "userdeny", "zoneinfo")]
    assert os.fsencode(server.root / "fast") in server.files().roots()
    assert server.files().mailbox_list == os.fsencode(server.root / "fast/mboxlist.db")


def test_the_users_files_elsewhere(server: Server) -> None:
    server.options["mboxname_userpath"] = f"{server.root}/users"
    here = ["users/user/j/joe.sub", "users/domain/e/example.com/user/j/joe.sub", "users/shared.counters"]
    server.make("conf/user/j/joe.sub", "conf/quota/j/user.joe", "conf/domain/e/example.com/quota/j/user.joe", *here)
    assert server.listed() == sorted(
        [*here, "conf/quota/j/user.joe", "conf/domain/e/example.com/quota/j/user.joe"],
    )
    assert os.fsencode(server.root / "users") in server.files().roots()


def test_quotas_are_beside_their_database(server: Server) -> None:
    """As quotalegacy has it, which strips the last part of the path."""
    server.options["quota_db_path"] = f"{server.root}/fast/quotas.db"
    server.make(
        "conf/quota/j/user.joe", "fast/quota/j/user.joe", "fast/domain/e/example.com/quota/root", "fast/quotas.db"
    )
    assert server.listed() == ["fast/domain/e/example.com/quota/root", "fast/quota/j/user.joe"]


def test_quotas_in_a_database(server: Server) -> None:
    server.options["quota_db"] = "twoskip"
    server.make("conf/quotas.db")
    assert server.listed() == ["conf/quotas.db"]


def test_a_database_within_a_tree_is_listed_once(server: Server) -> None:
    server.options |= {
        "annotation_db_path": f"{server.home}/user/annotations.db",
        "mboxlist_db_path": f"{server.home}/user/mailboxes.db",
        "sievedir": f"{server.home}/user/sieve",
    }
    server.make("conf/user/annotations.db", "conf/user/mailboxes.db", "conf/user/sieve/j/joe/a.script")
    assert server.listed() == ["conf/user/annotations.db", "conf/user/sieve/j/joe/a.script"]


def test_a_linked_directory_has_a_root_of_its_own(server: Server) -> None:
    server.make("big/j/joe.sub", "conf/quota/j/user.joe")
    (server.home / "user").symlink_to(server.root / "big")
    found = {os.fsdecode(file.path): file.root for file in server.files().listed({})}
    user, home = os.fsencode(server.home / "user"), os.fsencode(server.home)
    assert found == {"j/joe.sub": user, "quota/j/user.joe": home}
    assert set(server.files().roots()) == {user, home}


def test_a_linked_database_is_the_file(server: Server) -> None:
    server.make("big/annotations.db")
    (server.home / "annotations.db").symlink_to(server.root / "big/annotations.db")
    (file,) = server.files().listed({})
    assert (file.root, file.path) == (os.fsencode(server.home), b"annotations.db")
    assert file.status == os.stat(server.root / "big/annotations.db")


def test_links_among_users_files_are_links(server: Server) -> None:
    server.make("sieve/j/joe/a.bc")
    (server.root / "sieve/j/joe/defaultbc").symlink_to("a.bc")
    os.mkfifo(server.root / "sieve/j/joe/fifo")
    assert server.listed() == ["sieve/j/joe/a.bc", "sieve/j/joe/defaultbc"]


# --- What cannot be read, and what is not there


def test_a_link_to_nowhere_is_no_file_that_is_gone(server: Server) -> None:
    """As on a disk that is not mounted."""
    (server.home / "annotations.db").symlink_to(server.root / "unmounted/annotations.db")
    unreadable: dict[bytes, OSError] = {}
    assert server.listed(unreadable) == []
    assert list(unreadable) == [os.fsencode(server.home / "annotations.db")]


def test_what_cannot_be_read_is_told_of(server: Server, monkeypatch: pytest.MonkeyPatch) -> None:
    server.make("conf/user/j/joe.sub", "conf/user/a/ann.sub", "conf/quota/j/user.joe")
    closed = os.fsencode(server.home / "user/j")
    scandir = os.scandir

    def refuse(path: bytes) -> object:
        if path == closed:
            raise PermissionError(errno.EACCES, "no", path)
        return scandir(path)

    monkeypatch.setattr(os, "scandir", refuse)
    unreadable: dict[bytes, OSError] = {}
    assert server.listed(unreadable) == ["conf/quota/j/user.joe", "conf/user/a/ann.sub"]
    assert list(unreadable) == [closed]


def test_a_directory_that_names_but_does_not_open(open_dir: Path) -> None:
    """Mode r--: its files can be listed, and not be looked at."""
    requires_root()
    server = Server(open_dir)
    server.make("conf/user/j/joe.sub", "fast/annotations.db")
    server.options["annotation_db_path"] = f"{server.root}/fast/annotations.db"
    for name in ("conf/user/j", "fast"):
        (server.root / name).chmod(0o444)
    files, unreadable = server.files(), dict[bytes, OSError]()
    os.seteuid(65534)
    try:
        assert list(files.listed(unreadable)) == []
    finally:
        os.seteuid(0)
    names = (server.home / "user/j/joe.sub", server.root / "fast/annotations.db")
    assert sorted(unreadable) == sorted(map(os.fsencode, names))


def test_where_to_look_whether_a_file_is_gone(server: Server) -> None:
    server.options["userdeny_db_path"] = f"{server.root}/fast/user_deny.db"
    expected = {
        "conf/user/j/joe.sub": "conf/user",
        "sieve/j/joe/a.script": "sieve",
        "conf/annotations.db": "conf",
        "conf/shared.counters": "conf",
        "fast/user_deny.db": "fast",
        "conf/msg/motd": "conf",
        "old-sieve/j/joe/a.script": None,
        "conf/user_deny.db": None,
        "conf/userx": None,
    }
    for name, above in expected.items():
        found = server.files().above(os.fsencode(server.root / name))
        assert found == (os.fsencode(server.root / above) if above else None), name


# --- Whose they are


@pytest.mark.parametrize(
    ("name", "user", "uniqueid"),
    [
        ("conf/user/j/joe.sub", "joe", ""),
        ("conf/user/j/john.doe.conversations", "john.doe", ""),
        ("conf/user/j/john^doe.seen", "john.doe", ""),
        ("conf/user/B/joe.mboxkey", "joe", ""),
        ("conf/user/uuid/a/b/ab/sub.db", "", "ab"),
        ("conf/user/uuid/a/b/ab", "", "ab"),
        ("conf/domain/e/example.com/user/j/jane.sub", "jane@example.com", ""),
        ("conf/domain/e/example.com/quota/j/user.jane", "jane@example.com", ""),
        ("conf/quota/j/user.joe", "joe", ""),
        ("conf/quota/j/user.joe.Sent", "joe", ""),
        ("conf/quota/j/user.john^doe", "john.doe", ""),
        ("sieve/j/joe", "joe", ""),
        ("sieve/j/joe/default.script", "joe", ""),
        ("sieve/domain/e/example.com/j/jane/defaultbc", "jane@example.com", ""),
        ("sieve/uuid/a/b/ab/defaultbc", "", "ab"),
    ],
)
def test_whose_a_file_is(server: Server, name: str, user: str, uniqueid: str) -> None:
    assert server.files().owner(os.fsencode(server.root / name)) == FileOwner(user, uniqueid)


@pytest.mark.parametrize(
    "name",
    [
        *["conf/user/j", "conf/user/uuid/a/b", "conf/quota/s/shared", "conf/quota/j", "conf/shared.counters"],
        *["conf/domain/e/example.com/quota/root", "conf/domain/e/example.com/shared.counters", "conf/domain/e"],
        *[
            "sieve/global/x.script",
            "sieve/j",
            "sieve/domain/e/example.com/j",
            "conf/annotations.db",
            "conf/zoneinfo/x/y",
        ],
    ],
)
def test_nobodys_files(server: Server, name: str) -> None:
    assert server.files().owner(os.fsencode(server.root / name)) is None


def test_only_some_users_files(server: Server) -> None:
    mine = ["conf/user/j/joe.sub", "conf/quota/j/user.joe", "sieve/j/joe/a.script"]
    server.make(*mine, "conf/user/j/jim.sub", "conf/user_deny.db", "conf/shared.counters", "sieve/j/jim/a.script")
    unreadable: dict[bytes, OSError] = {}
    found = server.files().listed(unreadable, lambda owner: owner is not None and owner.user == "joe")
    assert sorted(os.path.relpath(os.fsdecode(file.whole_path), server.root) for file in found) == sorted(mine)
    assert not unreadable
