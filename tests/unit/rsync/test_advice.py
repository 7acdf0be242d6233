"""What is said of a line that plain rsync has to run."""

from __future__ import annotations

import pytest

from cyrsync.rsync import options
from cyrsync.rsync.advice import with_advice


@pytest.mark.parametrize(
    ("words", "says"),
    [
        (["-a", "--link-dest=/x"], "--link-dest looks into a third tree; without it cyrsync does"),
        (
            ["-ac"],
            "--checksum compares the contents of every file; without it cyrsync does; `cyrsync verify --content`",
        ),
        (["-a", "--inplace"], "; without it cyrsync does, and no file is ever half there"),
        (["-t"], "without --recursive or --archive rsync does not walk the tree"),
    ],
)
def test_an_option_is_named_that_could_be_left_out(words: list[str], says: str) -> None:
    reason = options.unfit(options.parse([*words, "/a", "/b"]))
    assert reason
    assert says in with_advice(reason)


def test_operands_are_told_how_they_are_to_be() -> None:
    assert with_advice("cyrsync needs one source and one destination").endswith(
        ": give a line of its own to each source"
    )
    assert with_advice("/a/.. needs a slash behind it").endswith(": put a slash behind it")
    assert with_advice("/a is not a Cyrus spool") == "/a is not a Cyrus spool"
