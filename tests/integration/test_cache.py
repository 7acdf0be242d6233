"""`cyrus.cache` on the replica is of the mailbox whose index is there, though it is sent from a spool that changes."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

import samplespool
from cyrsync.server import last_looks
from support.inside import sync_here, sync_server_here
from support.meanwhile import before_part
from support.races import Races
from support.servers import SampleServer, below
from support.spool import leaves


class Pair:
    """A server with its replica, made by either engine; of two mailboxes, one has the longer cache."""

    def __init__(self, directory: Path, engine: str) -> None:
        self.engine = engine
        self.server = SampleServer(directory / "server", messages=40, folder_count=6)
        self.short, *_, self.long = leaves(self.server.spool)
        samplespool.deliver(self.long, 20)
        self.races = Races(directory / "races")
        replica = directory / "replica"
        replica.mkdir()
        if engine == "walk":
            self.spool = replica
            self.sync: Callable[[], object] = lambda: sync_here(
                "--delete", f"{self.server.spool}/", replica, expect=(0, 23)
            )
        else:
            self.spool = below(replica, self.server.spool)
            self.sync = lambda: sync_server_here(self.server.conf, "--delete", replica, expect=(0, 23))
        self.engine = engine
        self.sync()

    def sync_while(self, monkeypatch: pytest.MonkeyPatch, script: str) -> None:
        """Sync, and let Python run before anything is sent."""
        if self.engine == "walk":
            self.races.before(0, script)
            self.sync()
            assert self.races.runs()
        else:
            assert before_part(monkeypatch, 0, lambda: exec(script, {"Path": Path})) == []
            self.sync()

    def there(self, folder: Path) -> Path:
        return self.spool / folder.relative_to(self.server.spool)

    def swap(self) -> str:
        """Python that swaps both mailboxes."""
        return f"import samplespool\nsamplespool.swap(Path({str(self.short)!r}), Path({str(self.long)!r}))"


@pytest.fixture(params=["walk", "index"])
def pair(tmp_path: Path, request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> Pair:
    pair = Pair(tmp_path, request.param)
    monkeypatch.setenv("PATH", pair.races.env["PATH"])
    return pair


def grow(cache: Path) -> None:
    """A record is added before the index has the message."""
    with open(cache, "ab") as stream:
        stream.write(bytes(40))


def assert_own_cache(pair: Pair) -> None:
    """On the replica, the cache is of the mailbox whose header and index are there."""
    there = pair.there(pair.long)
    header = (there / "cyrus.header").read_bytes()
    (whose,) = [folder for folder in (pair.short, pair.long) if (folder / "cyrus.header").read_bytes() == header]
    assert (there / "cyrus.cache").read_bytes() == (whose / "cyrus.cache").read_bytes()


def test_a_cache_that_was_another_mailboxs_is_sent_again(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """No message is sent."""
    samplespool.set_flags(pair.long)
    grow(pair.long / "cyrus.cache")
    pair.sync_while(monkeypatch, pair.swap())
    assert_own_cache(pair)


@pytest.mark.parametrize("pair", ["walk"], indirect=True)
def test_a_cache_that_alone_has_grown(pair: Pair, monkeypatch: pytest.MonkeyPatch) -> None:
    """-C looks at header and index, and leaves it."""
    grow(pair.long / "cyrus.cache")
    pair.sync_while(monkeypatch, pair.swap())
    assert_own_cache(pair)


def test_a_cache_of_another_mailbox_is_taken_away_where_its_own_does_not_come(
    pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What has the name now cannot be read: the replica's index stays."""
    monkeypatch.setattr(last_looks, "PAUSES", (0.0,) * len(last_looks.PAUSES))
    there = pair.there(pair.long)
    index = (there / "cyrus.index").read_bytes()
    samplespool.set_flags(pair.long)
    grow(pair.long / "cyrus.cache")
    cache = (there / "cyrus.cache").read_bytes()
    pair.sync_while(monkeypatch, f"{pair.swap()}\n(Path({str(pair.long)!r}) / 'cyrus.header').unlink()")
    assert (there / "cyrus.index").read_bytes() == index
    if pair.engine == "walk":
        assert not (there / "cyrus.cache").exists()
    else:
        assert (there / "cyrus.cache").read_bytes() == cache  # nothing of another one has taken its place
