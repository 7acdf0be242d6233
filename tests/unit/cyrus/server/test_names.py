"""What a folder's path tells, for every layout that Cyrus has had."""

from __future__ import annotations

from base64 import b64encode

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from cyrsync.cyrus.mailbox.user import may_hold_user, user_of
from cyrsync.cyrus.server.names import decode_mutf7, mailbox_of

#: Path, user, name to show.
KNOWN = [
    # Found in spools of real servers, 2.3.12 to 3.13.7.
    (b"j/user/joe", "joe", "user/joe"),
    (b"j/user/joe/Entw&APw-rfe", "joe", "user/joe/Entwürfe"),
    (b"j/user/joe/v1^2 notes", "joe", "user/joe/v1.2 notes"),
    (b"b/user/bob^smith", "bob.smith", "user/bob.smith"),
    (b"a/user/ann/Archive/2023/Q1", "ann", "user/ann/Archive/2023/Q1"),
    (b"u/DELETED/user/joe/Drop/6B039B0C", "joe", "DELETED/user/joe/Drop/6B039B0C"),
    (b"l/shared/lists", None, "shared/lists"),
    (b"s/shared", None, "shared"),
    (b"R/shared/lists", None, "shared/lists"),
    (b"T/shared", None, "shared"),
    (b"J/user/zoe/Moved", "zoe", "user/zoe/Moved"),
    (b"domain/O/example.com/B/user/joe/#hash", "joe@example.com", "user/joe/#hash@example.com"),
    (b"domain/O/example.com/T/user/new/Sub", "new@example.com", "user/new/Sub@example.com"),
    (b"domain/O/sub.example.org/N/user/ann", "ann@sub.example.org", "user/ann@sub.example.org"),
    (
        b"domain/O/example.com/C/DELETED/user/joe/Redo/6B039B56",
        "joe@example.com",
        "DELETED/user/joe/Redo/6B039B56@example.com",
    ),
    (b"uuid/m/7/m7vofb1j6qvybvq9ch5tkb0j", None, "uuid/m/7/m7vofb1j6qvybvq9ch5tkb0j"),
    (b"uuid/6/9/69c5a3b0-0d0e-4730-b6ee-e055e7e08997", None, "uuid/6/9/69c5a3b0-0d0e-4730-b6ee-e055e7e08997"),
    # Not hashed.
    (b"user/joe", "joe", "user/joe"),
    (b"user/bob^smith/Sent", "bob.smith", "user/bob.smith/Sent"),
    (b"domain/example.com/user/jane", "jane@example.com", "user/jane@example.com"),
    (b"DELETED/user/joe/Sent/5F3A1B2C", "joe", "DELETED/user/joe/Sent/5F3A1B2C"),
    # A dotted user with fulldirhash: up to 2.5, from 3.0.
    (b"B/user/john^doe", "john.doe", "user/john.doe"),
    (b"K/user/john^doe", "john.doe", "user/john.doe"),
    # No letter to begin with.
    (b"q/user/7up", "7up", "user/7up"),
    (b"domain/e/example.com/j/user/jane/Sent", "jane@example.com", "user/jane/Sent@example.com"),
    # Folders that only look like it.
    (b"shared/user/joe", None, "shared/user/joe"),
    (b"a/user/joe", None, "a/user/joe"),
    (b"A/2023", None, "A/2023"),
    (b"x", None, "x"),
    (b"x/y/z", None, "x/y/z"),
    (b"u/user", None, "user"),
    (b"l/shared/user/joe", None, "l/shared/user/joe"),
    (b"domain/example.com/j/user/jane", None, "j/user/jane@example.com"),
    (b"domain/e/example.com/user/jane", None, "domain/e/example.com/user/jane"),
    (b"domain/x/example.com/j/user/jane", None, "domain/x/example.com/j/user/jane"),
    # Above the mailboxes.
    (b"", None, ""),
    (b"j", None, "j"),
    (b"j/user", None, "j/user"),
    (b"user", None, "user"),
    (b"domain/e/example.com", None, "domain/e/example.com"),
]


@pytest.mark.parametrize(("path", "user", "mailbox"), KNOWN)
def test_known_paths(path: bytes, user: str | None, mailbox: str) -> None:
    assert (user_of(path), mailbox_of(path)) == (user, mailbox)


@pytest.mark.parametrize(("path", "user"), [(path, user) for path, user, _ in KNOWN if user])
def test_walk_reaches_every_folder_of_a_user(path: bytes, user: str) -> None:
    parts = path.split(b"/")
    above = [b"/".join(parts[:depth]) for depth in range(len(parts) + 1)]
    assert [folder for folder in above if not may_hold_user(folder, frozenset([user, "nobody"]))] == []


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"", True),
        (b"j", True),
        (b"B", True),
        (b"j/user", True),
        (b"user", True),
        (b"DELETED", True),
        (b"u/DELETED/user", True),
        (b"domain", True),
        (b"k", False),
        (b"k/user", False),
        (b"u/user", False),
        (b"j/DELETED", False),
        (b"j/user/jane", False),
        (b"j/joe", False),
        (b"shared", False),
        (b"shared/user/joe", False),
        (b"domain/e", False),
        (b"domain/q", False),
        (b"domain/example.com", False),
        (b"domain/example.com/user/joe", False),
        (b"uuid", False),
        (b"uuid/6/9", False),
    ],
)
def test_walk_for_joe_is_pruned(path: bytes, expected: bool) -> None:
    assert may_hold_user(path, frozenset(["joe"])) is expected


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        (b"domain", True),
        (b"domain/e", True),
        (b"domain/O", True),
        (b"domain/x", False),
        (b"domain/e/example.com", True),
        (b"domain/e/example.org", False),
        (b"domain/e/example.com/j", True),
        (b"domain/e/example.com/k", False),
        (b"domain/O/example.com/C/DELETED", True),
        (b"domain/example.com/user", True),
        (b"domain/example.com/user/jane/Sent", True),
        (b"domain/example.com/user/joe", False),
        (b"j", False),
        (b"user", False),
    ],
)
def test_walk_for_a_user_of_a_domain_is_pruned(path: bytes, expected: bool) -> None:
    assert may_hold_user(path, frozenset(["jane@example.com"])) is expected


def test_fulldirhash_of_64_bits_is_known_too() -> None:
    # Some 2.4 builds: the letter differs once the name is longer than the shorter integer.
    letters = {chr(code) for code in range(ord("A"), ord("W") + 1)}
    name = b"maximilian-featherstonehaugh"
    found = {letter for letter in letters if user_of(letter.encode() + b"/user/" + name)}
    assert found == {"P", "R"}


def test_user_that_is_no_utf8_compares_equal_to_the_command_line() -> None:
    assert user_of(b"user/j\xf6rg") == "j\udcf6rg"
    assert may_hold_user(b"q", frozenset(["\udcf6rg"]))


@pytest.mark.parametrize(
    ("component", "text"),
    [
        (b"Sent Items", "Sent Items"),
        (b"R&-D", "R&D"),
        (b"&ZeVnLIqe-", "日本語"),
        (b"~peter/mail/&U,BTFw-", "~peter/mail/台北"),
        (b"&2D3eAA-", "\U0001f600"),
        (b"&AAo-", "\n"),
        # Not valid: as it is.
        (b"R&D", "R&D"),
        (b"&", "&"),
        (b"&APw", "&APw"),
        (b"&A-", "&A-"),
        (b"&AP0x-", "&AP0x-"),  # one and a half characters
        (b"&APx-", "&APx-"),  # bits left over
        (b"&AGE-", "&AGE-"),  # an "a" in disguise
        (b"&AC8-", "&AC8-"),  # a "/" in disguise
        (b"&2D0-", "&2D0-"),  # half a surrogate pair
        (b"&U,A-&U,A-", "&U,A-&U,A-"),  # shifted out and in again
        (b"a\x1b[31m", "a\x1b[31m"),
        (b"f\xfcr", "f\\xfcr"),
        ("für".encode(), "f\\xc3\\xbcr"),
    ],
)
def test_decode_mutf7(component: bytes, text: str) -> None:
    assert decode_mutf7(component) == text


def encode_mutf7(text: str) -> bytes:
    """Encode as RFC 3501, 5.1.3 has it, one character at a time."""
    out, waiting = b"", ""
    for char in [*text, ""]:
        if char and not " " <= char <= "~":
            waiting += char
            continue
        if waiting:
            code = b64encode(waiting.encode("utf-16-be")).rstrip(b"=").replace(b"/", b",")
            out, waiting = out + b"&" + code + b"-", ""
        out += b"&-" if char == "&" else char.encode()
    return out


@given(st.text())
@example("Entwürfe & 日本語\U0001f600&")
def test_decode_inverts_encode(text: str) -> None:
    assert decode_mutf7(encode_mutf7(text)) == text


@given(st.lists(st.sampled_from([b"&", b"-", b"A", b"P", b"w", b",", b"a", b"\xff", b" "])).map(b"".join))
def test_only_the_one_valid_form_is_decoded(component: bytes) -> None:
    text = decode_mutf7(component)
    assert encode_mutf7(text) == component or text == component.decode("ascii", "backslashreplace")


COMPONENT = st.one_of(
    st.sampled_from([b"domain", b"user", b"DELETED", b"uuid", b"j", b"O", b"q", b"example.com", b"joe", b""]),
    st.binary(max_size=8),
)


@given(st.lists(COMPONENT).map(b"/".join))
def test_no_path_raises(path: bytes) -> None:
    mailbox_of(path)
    user = user_of(path)
    if user is not None:
        assert may_hold_user(path, frozenset([user]))
        assert not may_hold_user(path, frozenset())


@given(st.lists(COMPONENT).map(b"/".join))
def test_pruning_never_cuts_off_a_user(path: bytes) -> None:
    user = user_of(path)
    # An `@` in a folder's own name cannot be told from the one before a domain.
    if user is not None and b"@" not in path:
        parts = path.split(b"/")
        above = [b"/".join(parts[:depth]) for depth in range(len(parts))]
        assert all(may_hold_user(folder, frozenset([user])) for folder in above)
