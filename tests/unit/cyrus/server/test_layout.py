"""Names lead to the directories that real servers gave them, and back."""

from __future__ import annotations

import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any, NamedTuple, cast

import pytest
from hypothesis import assume, given
from hypothesis import strategies as st

from cyrsync.cyrus.mailbox.user import user_of
from cyrsync.cyrus.server import layout
from cyrsync.cyrus.server.config import Config, Version, read
from support.tree import DATA

SPOOLS = sorted(path.name.removeprefix("cyrus-").removesuffix(".tar.xz") for path in DATA.glob("cyrus-*.tar.xz"))
OLD, NEW = (2, 5), (3, 0)
UUID = b"3f1d0cb8-0d0e-4730-b6ee-e055e7e08997"


class Box(NamedTuple):
    """A real server: its configuration, its live mailboxes, and all paths in it."""

    config: Config
    root: bytes
    mailboxes: list[dict[str, Any]]
    paths: frozenset[bytes]


@pytest.fixture(scope="module")
def open_box(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Box]:
    def opener(name: str) -> Box:
        top = f"cyrus-{name}/"
        conf = tmp_path_factory.mktemp("box") / "imapd.conf"
        with tarfile.open(DATA / f"cyrus-{name}.tar.xz") as archive:
            conf.write_bytes(cast(IO[bytes], archive.extractfile(top + "imapd.conf")).read())
            truth = json.load(cast(IO[bytes], archive.extractfile(top + "truth.json")))
            paths = frozenset(path.removeprefix(top).encode() for path in archive.getnames())
        config = read(str(conf), version=tuple(map(int, truth["version"].split("."))))
        mailboxes = [mailbox for mailbox in truth["mailboxes"] if not mailbox["tombstone"]]
        assert len(mailboxes) >= 20
        return Box(config, truth["root"].encode(), mailboxes, paths)

    return opener


def is_legacy(config: Config, mailbox: dict[str, Any]) -> bool:
    return config.version < (3, 6) or "l" in mailbox["mbtype"]


def directories(config: Config, name: bytes, partition: str, uniqueid: bytes, legacy: bool) -> tuple[bytes, ...]:
    roots, path = config.partitions[partition], layout.mailbox_path(config, name, uniqueid, legacy)
    return tuple(root + b"/" + path for root in (roots.data, roots.meta, roots.archive))


def internal(name: bytes, separator: bytes, domains: bool = False) -> bytes:
    """Cyrus's own name for one as administrators write it."""
    local, _, domain = name.rpartition(b"@") if domains and b"@" in name else (name, b"", b"")
    if separator == b"/":
        local = local.replace(b".", b"^").replace(b"/", b".")
    return domain + b"!" + local if domain else local


@pytest.mark.parametrize("spool", SPOOLS)
def test_real_directories(spool: str, open_box: Callable[[str], Box]) -> None:
    box = open_box(spool)
    for mailbox in box.mailboxes:
        found = directories(
            box.config,
            mailbox["name"].encode(),
            mailbox["partition"],
            mailbox["uniqueid"].encode(),
            is_legacy(box.config, mailbox),
        )
        archive = mailbox["archivedir"] or mailbox["datadir"]
        expected = [mailbox["datadir"], mailbox["metadir"], archive]
        assert found == tuple(box.root + b"/" + path.encode() for path in expected)
        # There may be no data directory where there was never a message.
        assert mailbox["metadir"].encode() in box.paths


@pytest.mark.parametrize("spool", SPOOLS)
def test_real_names(spool: str, open_box: Callable[[str], Box]) -> None:
    box = open_box(spool)
    config = box.config
    for mailbox in box.mailboxes:
        name, shown = mailbox["name"].encode(), mailbox["admin_name"].encode()
        assert layout.external(name, config.separator) == shown
        assert internal(shown, config.separator, config.virtdomains != "off") == name
        assert layout.is_deleted(name, config.deletedprefix) is mailbox["deleted"]
        path = layout.legacy_path(name, config.hashimapspool, config.fulldirhash, config.version)
        assert layout.name_of_legacy(path, config.hashimapspool) == name
        user = layout.user_of_name(name, config.deletedprefix)
        assert (user.decode() if user else None) == user_of(path)


@pytest.mark.parametrize("spool", SPOOLS)
def test_real_files_of_users(spool: str, open_box: Callable[[str], Box]) -> None:
    """Every file in the users' and the quota's directories is one that a mailbox's user or name has."""
    box = open_box(spool)
    config = box.config
    expected = set()
    for mailbox in box.mailboxes:
        name, uniqueid = mailbox["name"].encode(), b"" if is_legacy(config, mailbox) else mailbox["uniqueid"].encode()
        expected.add(layout.quota_file(name, config.fulldirhash))
        for suffix in (b"sub", b"seen", b"conversations", b"counters"):
            expected.add(layout.user_file(name, suffix, config.fulldirhash, config.version, uniqueid))
            # What 2.3 wrote is still there.
            if "upgraded" in spool:
                expected.add(layout.user_file(name, suffix, config.fulldirhash, OLD))
    there = [
        path[len(b"conf/") :] for path in box.paths if path.startswith((b"conf/user/", b"conf/domain/", b"conf/quota/"))
    ]
    files = {path for path in there if not any(other.startswith(path + b"/") for other in there)}
    empty = {path for path in files if b"." not in path}
    assert len(files - empty) >= 5
    assert files - empty <= expected


@pytest.mark.parametrize(
    ("text", "full", "expected"),
    [
        (b"fred", False, b"f"),
        (b"Fred", False, b"f"),
        (b"7up", False, b"q"),
        (b"*U*joe", False, b"q"),
        (b"\xc3\xa4", False, b"q"),
        (b"{", False, b"q"),
        (b"`", False, b"q"),
        (b"a", False, b"a"),
        (b"Z", False, b"z"),
        (b"", False, b"q"),
        (b".x", False, b"q"),
        (b"joe", True, b"B"),
        (b"ann", True, b"N"),
        (b"zoe", True, b"J"),
        (b"user", True, b"C"),
        (b"shared", True, b"T"),
        (b"lists", True, b"R"),
        (b"example.com", True, b"O"),
        (b"john.doe", True, b"K"),
        (b"john", True, b"K"),
        (b"john^doe", True, b"B"),
        (b"", True, b"A"),
        # As the function in C says; with integers of 64 bits it says H.
        (b"a-rather-long-name", True, b"M"),
        (b"\xff\xfe", True, b"W"),
    ],
)
def test_letters(text: bytes, full: bool, expected: bytes) -> None:
    assert layout.letter(text, full) == expected


@pytest.mark.parametrize(
    ("name", "hashed", "plain"),
    [
        (b"user.fred", b"f/user/fred", b"user/fred"),
        (b"user.fred.Sent Items", b"f/user/fred/Sent Items", b"user/fred/Sent Items"),
        (b"user.7up", b"q/user/7up", b"user/7up"),
        (b"shared.news.a", b"n/shared/news/a", b"shared/news/a"),
        (b"shared", b"s/shared", b"shared"),
        (
            b"example.com!user.john^doe",
            b"domain/e/example.com/j/user/john^doe",
            b"domain/example.com/user/john^doe",
        ),
        (b"DELETED.user.fred.Sent.5F3A1B2C", b"u/DELETED/user/fred/Sent/5F3A1B2C", b"DELETED/user/fred/Sent/5F3A1B2C"),
        (
            b"example.com!DELETED.user.jane.5F3A1B2C",
            b"domain/e/example.com/u/DELETED/user/jane/5F3A1B2C",
            b"domain/example.com/DELETED/user/jane/5F3A1B2C",
        ),
        (b"domain", b"d/domain", b"domain"),
        (b"domain.x", b"x/domain/x", b"domain/x"),
        (b"uuid.a", b"a/uuid/a", b"uuid/a"),
        (b"a", b"a/a", b"a"),
    ],
)
@pytest.mark.parametrize("version", [OLD, NEW])
def test_legacy_paths(name: bytes, hashed: bytes, plain: bytes, version: Version) -> None:
    assert layout.legacy_path(name, True, False, version) == hashed
    assert layout.legacy_path(name, False, False, version) == plain
    assert layout.legacy_path(name, False, True, version) == plain
    assert layout.name_of_legacy(hashed, True) == name
    assert layout.name_of_legacy(plain, False) == name


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        (b"user.john^doe.Sent", b"B/user/john^doe/Sent", b"K/user/john^doe/Sent"),
        (b"user.joe.v1^2", b"B/user/joe/v1^2", b"B/user/joe/v1^2"),
        (b"shared^x", b"P/shared^x", b"T/shared^x"),
        (b"example.com!user.joe", b"domain/O/example.com/B/user/joe", b"domain/O/example.com/B/user/joe"),
    ],
)
def test_what_3_0_hashes_with_fulldirhash(name: bytes, old: bytes, new: bytes) -> None:
    assert layout.legacy_path(name, True, True, (2, 5, 17)) == old
    assert layout.legacy_path(name, True, True, (3, 0, 0)) == new
    assert layout.name_of_legacy(old, True) == layout.name_of_legacy(new, True) == name


@pytest.mark.parametrize(
    "name", [b"", b"example.com!", b"user.a/b", b"a\0b", b"..!user.joe", b".!user.joe", b"a/b!user.c"]
)
@pytest.mark.parametrize("hashed", [True, False])
def test_names_that_have_no_directory(name: bytes, hashed: bool) -> None:
    with pytest.raises(ValueError, match="not a mailbox's name"):
        layout.legacy_path(name, hashed, False, NEW)


@pytest.mark.parametrize(
    ("path", "hashed"),
    [
        (b"", True),
        (b"", False),
        (b"j", True),
        (b"user/joe", True),
        (b"k/user/joe", True),
        (b"X/user/joe", True),
        (b"jj/user/joe", True),
        (b"domain/O/example.com", True),
        (b"domain/O/example.com/B", True),
        (b"domain/B/example.com/B/user/joe", True),
        (b"domain/O/example.com/user/joe", True),
        (b"domain/example.com/user/joe", True),
        (b"domain/example.com", False),
        (b"domain/a!b/user/joe", False),
        (b"domain//user/joe", False),
        (b"domain//example.com/B/user/joe", True),
        (b"domain/O//B/user/joe", True),
        (b"domain/O/example.com//user/joe", True),
        (b"/user/joe", True),
        (b"j/user//joe", True),
        (b"/user/joe", False),
        (b"user/joe/", False),
        (b"user/joe/1.", False),
        (b"user/joe/cyrus.header", False),
        (b"user/../joe", False),
        (b"user/a!b", False),
        (b"user/a\0b", False),
        (b"stage.", False),
        (b"uuid/3/f/" + UUID, False),
        (b"uuid/3/f/" + UUID, True),
    ],
)
def test_directories_that_have_no_name(path: bytes, hashed: bool) -> None:
    assert layout.name_of_legacy(path, hashed) is None


def test_a_mailbox_may_be_called_uuid() -> None:
    assert layout.name_of_legacy(b"uuid/3/f/x", False) == b"uuid.3.f.x"


@pytest.mark.parametrize(
    ("uniqueid", "expected"),
    [
        (UUID, b"uuid/3/f/" + UUID),
        (b"5bbd67166b039b05", b"uuid/5/b/5bbd67166b039b05"),
        (b"m7vofb1j6qvybvq9ch5tkb0j", b"uuid/m/7/m7vofb1j6qvybvq9ch5tkb0j"),
        (b"ab", b"uuid/a/b/ab"),
    ],
)
def test_uuid_paths(uniqueid: bytes, expected: bytes) -> None:
    assert layout.uuid_path(uniqueid) == expected


@pytest.mark.parametrize("uniqueid", [b"", b"a", b"..", b"../../etc", b"./x", b"a.", b"ab/c", b"a/b", b"ab\0", b"ab/"])
def test_no_uniqueids(uniqueid: bytes) -> None:
    with pytest.raises(ValueError, match="not a uniqueid"):
        layout.uuid_path(uniqueid)


@pytest.mark.parametrize(
    ("name", "user"),
    [
        (b"user.joe", b"joe"),
        (b"user.joe.Sent.2023", b"joe"),
        (b"user.john^doe.v1^2", b"john.doe"),
        (b"example.com!user.john^doe.Sent", b"john.doe@example.com"),
        (b"DELETED.user.joe.5F3A1B2C", b"joe"),
        (b"DELETED.user.joe.Sent.5F3A1B2C", b"joe"),
        (b"example.com!DELETED.user.joe.5F3A1B2C", b"joe@example.com"),
        (b"user", None),
        (b"shared.user.joe", None),
        (b"users.joe", None),
        (b"DELETED.shared.lists.5F3A1B2C", None),
        (b"DELETED.user.5F3A1B2C", None),
        (b"GONE.user.joe.5F3A1B2C", None),
        (b"example.com!", None),
        (b"", None),
    ],
)
def test_users(name: bytes, user: bytes | None) -> None:
    assert layout.user_of_name(name) == user


@pytest.mark.parametrize(
    ("name", "owner"),
    [
        (b"user.joe", b"user.joe"),
        (b"user.joe.Sent.2024", b"user.joe"),
        (b"user.john^doe.Sent", b"user.john^doe"),
        (b"example.com!user.joe.Sent", b"example.com!user.joe"),
        (b"GONE.user.joe.Sent.5F3A1B2C", b"user.joe"),
        (b"example.com!GONE.user.joe.5F3A1B2C", b"example.com!user.joe"),
        (b"shared.team.plans", b"shared"),
        (b"shared", b"shared"),
        (b"user", b"user"),
    ],
)
def test_whom_a_mailbox_belongs_to(name: bytes, owner: bytes) -> None:
    assert layout.owner_of_name(name, b"GONE") == owner
    assert layout.owner_of_name(layout.deleted_name(owner, b"GONE") + b".5F3A1B2C", b"GONE") == owner


def test_another_prefix_of_deleted_mailboxes() -> None:
    name = b"GONE.user.joe.5F3A1B2C"
    assert layout.user_of_name(name, b"GONE") == b"joe"
    assert (layout.is_deleted(name, b"GONE"), layout.is_deleted(name, b"DELETED")) == (True, False)
    assert not layout.is_deleted(b"DELETED.joe", b"DELETED")
    assert not layout.is_deleted(b"DELETEDX.user.joe.5F3A1B2C", b"DELETED")
    assert not layout.is_deleted(b"user.DELETED.joe.5F3A1B2C", b"DELETED")
    assert layout.is_deleted(b"example.com!GONE.user.joe.5F3A1B2C", b"GONE")


@pytest.mark.parametrize(
    ("name", "slashes", "dots"),
    [
        (b"user.john^doe.Sent", b"user/john.doe/Sent", b"user.john^doe.Sent"),
        (b"example.com!user.joe", b"user/joe@example.com", b"user.joe@example.com"),
        (b"example.com!user.joe.a@b", b"user/joe/a@b@example.com", b"user.joe.a@b@example.com"),
    ],
)
def test_names_for_people(name: bytes, slashes: bytes, dots: bytes) -> None:
    assert (layout.external(name, b"/"), layout.external(name, b".")) == (slashes, dots)
    assert internal(slashes, b"/", domains=True) == internal(dots, b".", domains=True) == name


def test_a_name_with_an_at_where_there_are_no_domains() -> None:
    assert internal(b"user/joe/a@b.c", b"/") == b"user.joe.a@b^c"
    assert internal(b"user/joe/a@b.c", b"/", domains=True) == b"b.c!user.joe.a"


@pytest.mark.parametrize(
    ("name", "full", "version", "expected"),
    [
        (b"user.fred", False, OLD, b"user/f/fred.sub"),
        (b"user.fred.Sent", False, NEW, b"user/f/fred.sub"),
        (b"user.john^doe", False, OLD, b"user/j/john^doe.sub"),
        (b"user.john^doe", False, NEW, b"user/j/john.doe.sub"),
        (b"user.john^doe", True, OLD, b"user/B/john^doe.sub"),
        (b"user.john^doe", True, NEW, b"user/K/john.doe.sub"),
        (b"example.com!user.joe", True, NEW, b"domain/O/example.com/user/B/joe.sub"),
        (b"example.com!user.joe", False, OLD, b"domain/e/example.com/user/j/joe.sub"),
        (b"shared.lists", False, NEW, b"shared.sub"),
        (b"user", False, NEW, b"shared.sub"),
        (b"example.com!lists", True, NEW, b"domain/O/example.com/shared.sub"),
    ],
)
def test_files_of_users(name: bytes, full: bool, version: Version, expected: bytes) -> None:
    assert layout.user_file(name, b"sub", full, version) == expected
    assert layout.user_file(name, b"sub", full, version, UUID) == b"user/uuid/3/f/" + UUID + b"/sub.db"


@pytest.mark.parametrize(
    ("root", "full", "expected"),
    [
        (b"user.fred", False, b"quota/f/user.fred"),
        (b"user.john^doe", True, b"quota/B/user.john^doe"),
        (b"user.joe.Sent", True, b"quota/B/user.joe.Sent"),
        (b"shared", False, b"quota/s/shared"),
        (b"example.com!user.jane", False, b"domain/e/example.com/quota/j/user.jane"),
        (b"example.com!", True, b"domain/O/example.com/quota/root"),
    ],
)
def test_quota_files(root: bytes, full: bool, expected: bytes) -> None:
    assert layout.quota_file(root, full) == expected


@pytest.mark.parametrize("root", [b"", b"user.a/../b", b"..!user.joe", b"..!"])
def test_no_quota_roots(root: bytes) -> None:
    with pytest.raises(ValueError, match="not a mailbox's name"):
        layout.quota_file(root, False)


@pytest.mark.parametrize(
    ("name", "full", "expected"),
    [
        # All but the first as real servers made them: 3.4.9, 3.6.1 and 3.13.7 plain, 3.6.1 and 3.12.3 rich.
        (b"user.joe", True, b"B/user/joe.lock"),
        (b"user.joe.Projects.2025", False, b"j/user/joe/Projects/2025.lock"),
        (b"*U*bob^smith", False, b"q/*U*bob^smith.lock"),
        (b"*U*", False, b"q/*U*.lock"),
        (b"9qiludotf135i3bqe8718860", False, b"q/9qiludotf135i3bqe8718860.lock"),
        (b"*U*user.bob^smith", False, b"b/*U*user/bob^smith.lock"),
        (b"$GLOBAL", False, b"q/$GLOBAL.lock"),
        (b"*U*new@example^com", True, b"K/*U*new@example^com.lock"),
        (b"f4692n49tx768zv1wkqde6sw", True, b"G/f4692n49tx768zv1wkqde6sw.lock"),
        (b"*U*sub.example.org!user.joe", True, b"domain/S/*U*sub.example.org/B/user/joe.lock"),
    ],
)
def test_lock_files(name: bytes, full: bool, expected: bytes) -> None:
    assert layout.lock_file(name, True, full, (3, 6)) == expected


def test_the_partition_decides_where(tmp_path: Path) -> None:
    (tmp_path / "c").write_bytes(
        b"configdirectory: /conf\npartition-a: /a/\npartition-b: /b\nmetapartition-b: /meta\narchivepartition-b: /old\n"
        b"archive_enabled: yes\nhashimapspool: yes\n"
    )
    config = read(str(tmp_path / "c"))
    assert directories(config, b"user.joe", "a", UUID, True) == (b"/a/j/user/joe",) * 3
    below = b"/uuid/3/f/" + UUID
    assert directories(config, b"user.joe", "b", UUID, False) == (
        b"/b" + below,
        b"/meta" + below,
        b"/old" + below,
    )
    with pytest.raises(KeyError):
        directories(config, b"user.joe", "c", UUID, True)


components = st.binary(min_size=1, max_size=6).filter(lambda text: not set(text) & set(b"/.!\0@"))
locals_ = st.lists(components, min_size=1, max_size=4).map(b".".join)
domains = st.binary(min_size=1, max_size=9).filter(lambda text: not set(text) & set(b"/!\0@") and text.strip(b"."))
names = st.one_of(locals_, st.tuples(domains, locals_).map(b"!".join))
versions = st.sampled_from([(2, 3, 12), OLD, NEW, (3, 13)])


@given(name=names, hashed=st.booleans(), full=st.booleans(), version=versions)
def test_there_and_back(name: bytes, hashed: bool, full: bool, version: Version) -> None:
    # Without letters and domains, these look like something else.
    assume(name.split(b".")[0] not in (b"domain", b"uuid"))
    path = layout.legacy_path(name, hashed, full, version)
    assert layout.name_of_legacy(path, hashed) == name


@given(path=st.binary() | st.lists(st.sampled_from([b"domain", b"O", b"B", b"user", b"joe", b"."])).map(b"/".join))
def test_a_name_that_is_found_leads_back(path: bytes) -> None:
    for hashed in (True, False):
        name = layout.name_of_legacy(path, hashed)
        if name is not None and not hashed:
            assert layout.legacy_path(name, False, False, NEW) == path
        elif name is not None:
            ways = [(full, version) for full in (True, False) for version in (OLD, NEW)]
            without = {layout.legacy_path(name, True, full, version) for full, version in ways}
            # The letter may also be one of a 64-bit fulldirhash, or of another version for the domain.
            assert path.split(b"/")[-1] in {way.split(b"/")[-1] for way in without}
            assert len(path) in {len(way) for way in without}


@given(name=names, separator=st.sampled_from([b"/", b"."]))
def test_shown_and_back(name: bytes, separator: bytes) -> None:
    shown = layout.external(name, separator)
    assert internal(shown, separator, domains=b"!" in name) == name


@given(name=names, full=st.booleans(), version=versions)
def test_two_users_never_share_a_file(name: bytes, full: bool, version: Version) -> None:
    own = layout.user_file(b"user." + name.rpartition(b"!")[2], b"sub", full, version)
    assert own != layout.user_file(b"user.x" + name.rpartition(b"!")[2], b"sub", full, version)
    assert own == layout.user_file(b"user." + name.rpartition(b"!")[2] + b".Sent", b"sub", full, version)
