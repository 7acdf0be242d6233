"""Below which root each file of a mailbox lies."""

from __future__ import annotations

from pathlib import Path

import pytest

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.cyrus.server import config
from cyrsync.server.roots import Roots

PLAIN = "partition-p: /data\n"
META = PLAIN + "metapartition-p: /meta\n"
ARCHIVE = "archive_enabled: yes\narchivepartition-p: /archive\n"
ALL = "header index cache expunge squat annotations dav"


@pytest.fixture
def roots(tmp_path: Path) -> object:
    def make(text: str) -> Roots:
        conf = tmp_path / "imapd.conf"
        conf.write_text(f"configdirectory: {tmp_path}\n{text}")
        return Roots.of(config.read(str(conf)).partitions["p"])

    return make


def moved(found: Roots) -> dict[bytes, bytes]:
    """The files that are not with the messages."""
    return {name: root for name, root in found.homes.items() if root != found.data}


@pytest.mark.parametrize(
    ("text", "all_roots", "elsewhere", "archive", "archive_cache"),
    [
        (PLAIN, (b"/data",), {}, b"/data", b"/data"),
        (META, (b"/data",), {}, b"/data", b"/data"),
        (META + "metapartition_files: index\n", (b"/meta", b"/data"), {kinds.INDEX: b"/meta"}, b"/data", b"/data"),
        (
            META + "metapartition_files: header expunge annotations\n",
            (b"/meta", b"/data"),
            dict.fromkeys([kinds.HEADER, kinds.EXPUNGE, kinds.ANNOTATIONS], b"/meta"),
            b"/data",
            b"/data",
        ),
        (PLAIN + ARCHIVE, (b"/data", b"/archive"), {}, b"/archive", b"/archive"),
        (
            META + ARCHIVE + f"metapartition_files: {ALL} archivecache\n",
            (b"/meta", b"/data", b"/archive"),
            dict.fromkeys([b"cyrus." + word.encode() for word in ALL.split()], b"/meta"),
            b"/archive",
            b"/meta",
        ),
        (
            META + ARCHIVE + "metapartition_files: index archivecache\n",
            (b"/meta", b"/data", b"/archive"),
            {kinds.INDEX: b"/meta"},
            b"/archive",
            b"/meta",
        ),
        (PLAIN + "archivepartition-p: /archive\n", (b"/data",), {}, b"/data", b"/data"),
        (PLAIN + "metapartition_files: index\n", (b"/data",), {}, b"/data", b"/data"),
        (
            PLAIN + "metadir-index-p: /fast\nmetadir-cache-p: /big\n",
            (b"/big", b"/fast", b"/data"),
            {kinds.INDEX: b"/fast", kinds.ANNOTATIONS: b"/fast", kinds.CACHE: b"/big"},
            b"/data",
            b"/data",
        ),
    ],
)
def test_where_files_lie(
    roots: object,
    text: str,
    all_roots: tuple[bytes, ...],
    elsewhere: dict[bytes, bytes],
    archive: bytes,
    archive_cache: bytes,
) -> None:
    found = roots(text)  # type: ignore[operator]
    assert (found.all(), moved(found)) == (all_roots, elsewhere)
    assert (found.data, found.archive, found.archive_cache) == (b"/data", archive, archive_cache)


def test_loose_are_files_that_cyrus_can_make_anew(roots: object) -> None:
    found = roots(META + ARCHIVE + "metapartition_files: index cache\n")  # type: ignore[operator]
    assert sorted(found.derived()) == [
        (b"/archive", b"cyrus.cache"),
        (b"/data", b"cyrus.dav"),
        (b"/data", b"cyrus.squat"),
        (b"/meta", b"cyrus.cache"),
    ]


def test_the_cache_is_not_named_twice(roots: object) -> None:
    found = roots(PLAIN).derived()  # type: ignore[operator]
    assert sorted(found) == [(b"/data", b"cyrus.cache"), (b"/data", b"cyrus.dav"), (b"/data", b"cyrus.squat")]
