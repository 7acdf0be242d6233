"""What to change in a line that plain rsync has to run, so that cyrsync can."""

from __future__ import annotations

#: Where it is not the option alone that has to be left out.
_OPTIONS = {
    "--checksum": "without it cyrsync does; `cyrsync verify --content` reads every message, now and then",
    "--inplace": "without it cyrsync does, and no file is ever half there",
    "--append": "without it cyrsync does, and no file is ever half there",
    "--append-verify": "without it cyrsync does, and no file is ever half there",
}
_OTHERS = (
    ("one source and one destination", "give a line of its own to each source"),
    ("without a slash behind it is the link", "put a slash behind it"),
    ("needs a slash behind it", "put a slash behind it"),
)


def with_advice(reason: str) -> str:
    """Return why plain rsync runs, with what to change, if there is anything."""
    option = reason.partition(" ")[0]
    if option.startswith("--"):
        return f"{reason}; {_OPTIONS.get(option, 'without it cyrsync does')}"
    for words, advice in _OTHERS:
        if words in reason:
            return f"{reason}: {advice}"
    return reason
