"""What two servers have to agree on."""

from __future__ import annotations

from pathlib import Path

import pytest

from cyrsync.cyrus.server import config
from cyrsync.cyrus.server.settings import Difference, Settings, differences, layout_settings


def settings(directory: Path, *lines: str, root: str = "/srv") -> Settings:
    """Of a server with these lines in its imapd.conf, and its directories below `root`."""
    conf = directory / "imapd.conf"
    usual = [f"configdirectory: {root}/conf", f"partition-default: {root}/spool"]
    conf.write_text("".join(f"{line}\n" for line in (*usual, *lines)))
    return layout_settings(config.read(str(conf)))


def test_paths_are_no_difference(tmp_path: Path) -> None:
    lines = ["hashimapspool: yes", "metapartition_files: header index", "archive_enabled: yes"]
    here = settings(tmp_path, *lines, "metapartition-default: /a", "archivepartition-default: /b")
    there = settings(tmp_path, *lines, "metapartition-default: /c", "archivepartition-default: /d", root="/other")
    assert here == there
    assert ("archive-default", "on") in here
    assert ("metapartition_files-default", "header index") in here
    assert differences(there, here) == []


@pytest.mark.parametrize(
    ("theirs", "ours", "fatal", "named"),
    [
        (["hashimapspool: yes"], [], True, "hashimapspool: on on the source, off here"),
        ([], ["fulldirhash: yes"], True, "fulldirhash: off on the source, on here"),
        (["virtdomains: userid"], [], True, "virtdomains: userid on the source, off here"),
        (["virtdomains: userid"], ["virtdomains: on"], False, "virtdomains"),
        (["partition-two: /two"], [], True, "partition-two: the source has this partition, and it is not set here"),
        (["unixhierarchysep: no"], [], False, "unixhierarchysep: off on the source, on here"),
        (["altnamespace: no"], [], False, "altnamespace"),
        (["mailbox_legacy_dirs: yes"], [], False, "mailbox_legacy_dirs"),
        (["metapartition-default: /m", "metapartition_files: index"], [], True, "metapartition_files"),
        (["metapartition-default: /m", "metapartition_files: cache"], [], False, "metapartition_files"),
        (["metadir-header-default: /m"], [], True, "metapartition_files, with metapartition-default: header on"),
        ([], ["metapartition-default: /m", "metapartition_files: header"], True, "nothing on the source, header here"),
        (["archivepartition-default: /a", "archive_enabled: on"], [], True, "archive_enabled"),
        ([], ["archivepartition-default: /a", "archive_enabled: on"], False, "archive_enabled"),
    ],
)
def test_names_what_to_change(tmp_path: Path, theirs: list[str], ours: list[str], fatal: bool, named: str) -> None:
    (found,) = differences(settings(tmp_path, *theirs), settings(tmp_path, *ours))
    assert found.fatal is fatal
    assert named in found.text


def test_another_default_domain_takes_mail_for_others(tmp_path: Path) -> None:
    one, other = (settings(tmp_path, "virtdomains: on", f"defaultdomain: {name}") for name in ("a.org", "b.org"))
    assert differences(one, other) == [Difference("defaultdomain: a.org on the source, b.org here", fatal=True)]
    assert "defaultdomain" not in dict(settings(tmp_path, "defaultdomain: a.org"))


def test_a_partition_more_is_none_of_the_replicas_business(tmp_path: Path) -> None:
    assert differences(settings(tmp_path), settings(tmp_path, "partition-two: /two")) == []


def test_the_worst_comes_first(tmp_path: Path) -> None:
    found = differences(settings(tmp_path, "hashimapspool: yes", "altnamespace: no"), settings(tmp_path))
    assert [one.fatal for one in found] == [True, False]


def test_an_owner_file_without_settings_says_nothing(tmp_path: Path) -> None:
    assert differences((), settings(tmp_path, "hashimapspool: yes")) == []
