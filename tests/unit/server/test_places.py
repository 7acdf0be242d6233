"""The mailboxes of mailboxes.db: read when it may have changed, and not otherwise."""

from __future__ import annotations

import os
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from cyrsync.cyrus.server import config
from cyrsync.cyrus.server.config import Config
from cyrsync.errors import UnusableError
from cyrsync.server import locations
from cyrsync.state.mailbox_row import Key
from cyrsync.state.store import Store
from support.cyrusdb import Twom

OLD = time.time_ns() - 3600 * 10**9


@pytest.fixture
def store(tmp_path: Path) -> Iterator[Store]:
    with closing(Store(tmp_path / "key.sqlite", "pair")) as found:
        yield found


class Server:
    """An imapd.conf and a mailboxes.db."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.database = root / "mailboxes.db"
        self.set("hashimapspool: yes\n")

    def set(self, text: str) -> None:
        (self.root / "imapd.conf").write_text(
            f"configdirectory: {self.root}\npartition-default: /data\npartition-other: /other\n{text}"
        )

    def config(self) -> Config:
        return config.read(str(self.root / "imapd.conf"))

    def write(self, *names: str, settled: bool = True, partition: str = "default") -> None:
        lines = [f"{name}\t%(A %() I id.{name} P {partition})\n" for name in sorted(names)]
        self.database.write_text("".join(lines))
        if settled:
            self.settle()

    def settle(self) -> None:
        os.utime(self.database, ns=(OLD, OLD))


@pytest.fixture
def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Server:
    """Its database was last written long ago."""
    # The change time of a file cannot be set: the clock is an hour ahead instead.
    monkeypatch.setattr(time, "time_ns", lambda: OLD + 7200 * 10**9)
    return Server(tmp_path)


def paths(store: Store) -> list[bytes]:
    return sorted(row[1] for row in store.files())


def test_where_mailboxes_lie(server: Server, store: Store) -> None:
    server.write("user.joe", "user.joe.Sent")
    assert locations.refresh(store, server.config())[0] == []
    assert paths(store) == [b"j/user/joe", b"j/user/joe/Sent"]
    found = store.locations.get(Key("default", b"j/user/joe/Sent"))
    assert (found.name, found.uniqueid) == (b"user.joe.Sent", "id.user.joe.Sent")
    assert found.index_path == b"/data/j/user/joe/Sent/cyrus.index"
    assert found.expunge_path == b"/data/j/user/joe/Sent/cyrus.expunge"
    assert found.name_lock.startswith(os.fsencode(server.root / "lock"))


@pytest.fixture
def reads(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """One element for each time that mailboxes.db was read."""
    found: list[int] = []
    located = locations.located

    def count(conf: Config, *more: Any) -> object:
        found.append(1)
        return located(conf, *more)

    monkeypatch.setattr(locations, "located", count)
    return found


def test_what_has_not_changed_is_not_read(server: Server, store: Store, reads: list[int]) -> None:
    server.write("user.joe")
    for _ in range(3):
        locations.refresh(store, server.config())
    assert len(reads) == 1
    assert paths(store) == [b"j/user/joe"]


def test_another_database_is_read(server: Server, store: Store, reads: list[int]) -> None:
    """Also one of the same size and time."""
    server.write("user.joe")
    locations.refresh(store, server.config())
    fresh = server.root / "fresh"
    fresh.write_text(server.database.read_text().replace("joe", "ann"))
    os.utime(fresh, ns=(OLD, OLD))
    fresh.replace(server.database)
    locations.refresh(store, server.config())
    assert (len(reads), paths(store)) == (2, [b"a/user/ann"])


def test_a_database_that_may_change_again_unseen_is_read(
    server: Server, store: Store, reads: list[int], monkeypatch: pytest.MonkeyPatch
) -> None:
    server.write("user.joe", settled=False)
    for wait, count in ((0, 1), (10**9, 2), (-(10**12), 3), (10**10, 4), (10**10, 4)):
        now = server.database.stat().st_ctime_ns + wait
        monkeypatch.setattr(time, "time_ns", lambda now=now: now)
        locations.refresh(store, server.config())
        assert len(reads) == count


@pytest.mark.parametrize("text", ["hashimapspool: no\n", "hashimapspool: yes\nmetapartition-default: /meta\n"])
def test_another_configuration_is_heeded(server: Server, store: Store, reads: list[int], text: str) -> None:
    server.write("user.joe")
    locations.refresh(store, server.config())
    server.set(text + "metapartition_files: index\n")
    locations.refresh(store, server.config())
    assert len(reads) == 2


def test_twom_is_always_read(server: Server, store: Store, reads: list[int]) -> None:
    """It is written through memory, and its times come late."""
    pairs = {b"Nuser\x1fjoe": b"%(T e I 0123456789abcdef0123 P default)"}
    server.database.write_bytes(bytes(Twom(pairs).data))
    server.settle()
    for _ in range(2):
        assert locations.refresh(store, server.config())[0] == []
    assert len(reads) == 2
    assert paths(store) == [b"uuid/0/1/0123456789abcdef0123"]


def test_a_partition_that_imapd_conf_lacks(server: Server, store: Store, reads: list[int]) -> None:
    """Told again every time: others are well."""
    server.write("user.joe")
    text = server.database.read_text()
    server.database.write_text(text + text.replace("joe", "zoe").replace("P default", "P lost"))
    server.settle()
    for _ in range(2):
        (error,), _ = locations.refresh(store, server.config())
        assert error == "user.zoe: imapd.conf has no partition lost"
        assert paths(store) == [b"j/user/joe"]
    assert len(reads) == 2


def test_two_mailboxes_of_one_directory(server: Server, store: Store) -> None:
    """A database that says so is wrong, but the first of them is sent, and nothing is deleted for it."""
    value = "\t%(T e I 0123456789abcdef0123 P default)\n"
    server.database.write_text(f"Nuser\x1fann{value}Nuser\x1fjoe{value}")
    server.settle()
    (error,), _ = locations.refresh(store, server.config())
    assert error == "user.joe: it has the same directory as user.ann"
    assert paths(store) == [b"uuid/0/1/0123456789abcdef0123"]


def test_a_database_that_cannot_be_read(server: Server, store: Store) -> None:
    server.write("user.joe")
    locations.refresh(store, server.config())
    server.database.write_bytes(b"user.joe\tcut sho")
    with pytest.raises(UnusableError, match=r"mailboxes\.db cannot be read: .*mailboxes\.db"):
        locations.refresh(store, server.config())
    server.database.unlink()
    with pytest.raises(UnusableError, match=r"mailboxes\.db cannot be read"):
        locations.refresh(store, server.config())
    assert paths(store) == [b"j/user/joe"]
