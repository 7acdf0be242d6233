"""Whose a kept state is, or a version of a file."""

from __future__ import annotations

from pathlib import Path

import pytest

from cyrsync.cyrus.server import config
from cyrsync.ends.stores import KeptState
from cyrsync.history.owners import UNKNOWN, Owners, plain_user

JOE = b"0123456789abcdef01234567"


def owners(tmp_path: Path, *lines: str) -> Owners:
    return Owners(read(tmp_path, *lines), {b"seen-alive": b"user.eve"}.get)


def read(tmp_path: Path, *lines: str) -> config.Config:
    conf = tmp_path / "imapd.conf"
    words = [f"configdirectory: {tmp_path}/conf", f"partition-default: {tmp_path}/spool", *lines]
    conf.write_text("\n".join([*words, ""]))
    return config.read(str(conf))


def state(folder: bytes, name: bytes = b"") -> KeptState:
    return KeptState(b"20261128T101500.123456789Z", folder, name)


@pytest.mark.parametrize(
    ("folder", "name", "owner"),
    [
        (b"j/user/joe/Sent", b"", "joe"),
        (b"j/user/john^doe", b"", "john.doe"),
        (b"u/DELETED/user/joe/Sent/5F3A1B2C", b"", "joe"),
        (b"domain/e/example.com/j/user/jane", b"", "jane@example.com"),
        (b"s/shared/user/joe", b"", None),
        (b"x/user/joe", b"", None),
        (b".", b"", None),
        (b"uuid/0/1/" + JOE, b"", UNKNOWN),
        (b"", b"", UNKNOWN),
        # The name that it had in that state, wherever it lay.
        (b"uuid/0/1/" + JOE, b"user.joe.Sent", "joe"),
        (b"uuid/0/1/" + JOE, b"DELETED.user.joe.Sent.5F3A1B2C", "joe"),
        (b"j/user/joe", b"user.eve", "eve"),
        (b"uuid/0/1/" + JOE, b"example.com!user.jane", "jane@example.com"),
        (b"uuid/0/1/" + JOE, b"shared.news", None),
    ],
)
def test_owners_of_states(tmp_path: Path, folder: bytes, name: bytes, owner: str | None) -> None:
    assert owners(tmp_path, "hashimapspool: yes").of_state(state(folder, name)) == owner


def test_without_letters_a_folder_of_one_letter_is_a_mailbox(tmp_path: Path) -> None:
    found = owners(tmp_path, "hashimapspool: no")
    assert found.of_state(state(b"j/user/joe")) is None
    assert found.of_state(state(b"user/joe")) == "joe"


def test_another_prefix_of_deleted_mailboxes(tmp_path: Path) -> None:
    found = owners(tmp_path, "deletedprefix: GONE")
    assert found.of_state(state(b"GONE/user/joe/5F3A1B2C")) == "joe"


@pytest.mark.parametrize(
    ("path", "owner"),
    [
        (b"user/j/joe.sub", "joe"),
        (b"user/j/john.doe.seen", "john.doe"),
        (b"domain/e/example.com/user/j/jane.sub", "jane@example.com"),
        (b"quota/j/user.joe", "joe"),
        (b"user/uuid/0/1/" + JOE + b"/sub.db", "joe"),
        (b"user/uuid/s/e/seen-alive/sub.db", "eve"),
        (b"user/uuid/n/o/nobody-knows/sub.db", UNKNOWN),
        (b"mailboxes.db", None),
        (b"annotations.db", None),
        (b"quota/s/shared.news", None),
        (b"user/j/x" + 40 * b"a", UNKNOWN),  # a name that was too long
    ],
)
def test_owners_of_files(tmp_path: Path, path: bytes, owner: str | None) -> None:
    found = owners(tmp_path)
    found.learn([state(b"uuid/0/1/" + JOE, b"user.joe"), state(b"uuid/0/1/other", b"user.joe.Sent")])
    assert found.of_file(str(tmp_path).encode() + b"/conf", path) == owner


def test_users_of_the_default_domain_have_none(tmp_path: Path) -> None:
    known = read(tmp_path, "virtdomains: userid", "defaultdomain: example.com")
    assert plain_user("joe@example.com", known) == "joe"
    assert plain_user("joe@example.org", known) == "joe@example.org"
    assert plain_user("joe@example.com", read(tmp_path)) == "joe@example.com"
