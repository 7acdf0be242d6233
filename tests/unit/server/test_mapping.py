"""Directories that have their replicas elsewhere: which maps can be, and where they lead."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from cyrsync.errors import UsageError
from cyrsync.server import mapping

SPOOL, ARCHIVE, CONF = b"/var/spool/imap", b"/var/spool/imap/archive", b"/var/lib/imap"
ROOTS = (SPOOL, ARCHIVE, CONF)


def refusal(*texts: str, prefix: bytes = b"/srv/replica", local: bool = False) -> str:
    try:
        mapping.check(mapping.parse(texts), prefix, ROOTS, local=local)
    except UsageError as error:
        return str(error)
    return ""


@pytest.mark.parametrize(
    "text", ["", "/a", "/a=", "=/b", "a=/b", "/a=b", "/a=./b", "/=/b", "/a=/", "/a=//", "/a/..=/b", "/a=/b/.."]
)
def test_what_is_no_map(text: str) -> None:
    with pytest.raises(UsageError, match=r"^--map "):
        mapping.parse([text])


def test_one_directory_has_one_replica() -> None:
    assert mapping.parse(["/a=/b", "/a/=//b/x/.."]) == ((b"/a", b"/b"),)
    with pytest.raises(UsageError, match="/a is mapped to /b already"):
        mapping.parse(["/a=/b", "/a=/c"])


def test_where_things_lie() -> None:
    maps = mapping.parse(["/var/spool/imap=/srv/mail", "/var/spool/imap/archive=/slow", "/x=/y=z"])
    lies = {
        b"/var/spool/imap": b"/srv/mail",
        b"/var/spool//imap/": b"/srv/mail",
        b"/var/spool/imap/j/user": b"/srv/mail/j/user",
        b"/var/spool/imap/archive/a": b"/slow/a",
        b"/var/spool/imap2": None,
        b"/var/lib/imap": None,
        b"/x/1": b"/y=z/1",
    }
    assert {path: mapping.mapped(maps, path) for path in lies} == lies
    assert mapping.mapped((), b"/var//x") is None


@pytest.mark.parametrize(
    ("texts", "said"),
    [
        (["/var/spool/imap=/srv/mail"], ""),
        (["/var/spool/imap=/srv/mail", "/var/lib/imap=/srv/conf"], ""),
        # What lies in it on the server lies in it on the replica, unless it has its own map.
        (["/var/spool/imap=/srv/mail", "/var/spool/imap/archive=/slow"], ""),
        (["/var/spool/imap=/srv/mail", "/var/spool/imap/archive=/srv/mail/archive"], ""),
        (["/var/spool/imap=/srv/replica/mail"], ""),
        (["/var/spool=/srv"], "has no such directory"),
        (["/var/spool/imap/j=/srv"], "has no such directory"),
        (["/var/spool/imap=/srv/mail", "/var/lib/imap=/srv/mail"], "lies in /srv/mail,"),
        (["/var/spool/imap=/srv/mail", "/var/lib/imap=/srv/mail/conf"], "lies in /srv/mail,"),
        (["/var/spool/imap=/srv/mail", "/var/spool/imap/archive=/srv/mail/old"], "lies in /srv/mail,"),
        (["/var/spool/imap=/srv"], "/srv/replica/var/lib/imap, for /var/lib/imap, lies in /srv,"),
        (["/var/spool/imap=/srv/replica/var/lib/imap/x"], "lies in /srv/replica/var/lib/imap,"),
        (["/var/spool/imap=/srv/replica/var/lib/imap"], "lies in /srv/replica/var/lib/imap,"),
    ],
)
def test_what_can_be(texts: list[str], said: str) -> None:
    refused = refusal(*texts)
    assert (said in refused) and bool(said) == bool(refused)


def test_not_into_the_server_itself(tmp_path: Path) -> None:
    for place in ("/var/spool/imap", "/var/spool/imap/x", "/var/lib/imap/new", "/var/spool", "/var/lib"):
        assert refusal(f"/var/spool/imap={place}", local=True)
    (tmp_path / "link").symlink_to("/var/lib/imap")
    assert "that is the server itself: /var/lib/imap" in refusal(f"/var/spool/imap={tmp_path}/link/x", local=True)
    # On another machine the same paths are other directories.
    assert not refusal("/var/spool/imap=/var/spool", prefix=b"/", local=False)


def test_links_there_count(tmp_path: Path) -> None:
    """What the paths hide, links resolved show."""
    maps = mapping.parse(["/var/spool/imap=/srv/mail"])
    mapping.refuse_overlaps(maps, [(SPOOL, b"/disk/1"), (CONF, b"/disk/2"), (ARCHIVE, b"/disk/1/archive")])
    with pytest.raises(UsageError, match="lies in /disk/1,"):
        mapping.refuse_overlaps(maps, [(SPOOL, b"/disk/1"), (CONF, b"/disk/1/conf")])


NAMES = st.lists(st.sampled_from([b"a", b"b", b"c"]), min_size=1, max_size=3).map(lambda names: b"/" + b"/".join(names))


@given(st.dictionaries(NAMES, NAMES, max_size=3), st.sets(NAMES, min_size=1, max_size=4), NAMES)
def test_nothing_is_in_two_places_and_no_place_has_two_things(
    maps: dict[bytes, bytes], roots: set[bytes], path: bytes
) -> None:
    """Whatever lies below a place is the replica of just one path of the server."""
    found = tuple(maps.items())
    try:
        mapping.check(found, b"/prefix", roots | set(maps), local=False)
    except UsageError:
        return
    leads: dict[bytes, bytes] = {}
    for root in roots | set(maps):
        for below in (root, root + path):
            place = mapping.mapped(found, below) or b"/prefix" + below
            assert leads.setdefault(place, below) == below
