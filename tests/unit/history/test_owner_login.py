"""Logins in place of a mailbox's owner, and the names that they give to mailboxes."""

from __future__ import annotations

from typing import Any

import pytest

from cyrsync.history.imap_server import CommandRefused
from cyrsync.history.owner_login import OwnerLogins


class Login:
    """A login on a server whose users have their folders beside INBOX; it may refuse to say so."""

    def __init__(self, user: str, refusals: list[str]) -> None:
        self.user = user
        self._refusals = refusals

    def command(self, *_words: bytes) -> list[bytes]:
        if self._refusals:
            raise CommandRefused("NO", self._refusals.pop())
        return [b'NAMESPACE (("" "/")) (("Other Users/" "/")) (("Shared Folders/" "/"))']

    def close(self) -> None:
        pass


def logins(refusals: list[str]) -> OwnerLogins:
    def log_in(user: str) -> Any:
        return Login(user, refusals)

    return OwnerLogins(log_in)


def test_a_name_as_its_owner_writes_it() -> None:
    assert logins([]).of(b"user.joe.Plans.a^b")[1] == b'"Plans/a.b"'
    assert logins([]).of(b"user.joe")[1] == b'"INBOX"'


def test_no_name_is_guessed_where_the_server_did_not_say_how_it_is_written() -> None:
    """Else the next mailbox of the user would be restored as `Plans.2023`, a folder that nobody ever had."""
    tried = logins(["try again later"])
    with pytest.raises(CommandRefused, match="try again later"):
        tried.of(b"user.joe.Plans")
    assert tried.of(b"user.joe.Plans.2023")[1] == b'"Plans/2023"'


def test_no_login_of_another_user_is_used_after_one_that_was_refused() -> None:
    refusals: list[str] = []
    tried = logins(refusals)
    tried.of(b"user.joe")
    refusals.append("try again later")
    with pytest.raises(CommandRefused, match="try again later"):
        tried.of(b"user.zoe")
    login: Any = tried.of(b"user.joe.Plans")[0]
    assert login.user == "joe"
