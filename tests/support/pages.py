"""The documents of the project: their blocks, the commands in these, and what the text names."""

from __future__ import annotations

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

PROJECT = Path(__file__).resolve().parents[2]
#: What a user reads, by its path in the project.
PAGES = ("README.md", *sorted(f"docs/{path.name}" for path in (PROJECT / "docs").glob("*.md")))
#: What ends a command for a shell, and what redirects it.
_ENDS, _REDIRECTIONS = re.compile(r"[|&;()]+"), re.compile(r"[<>&]*[<>][<>&]*")


class Line(NamedTuple):
    """A command of a block, whole, without a prompt."""

    text: str
    #: Whether the block also shows what commands print.
    shows_output: bool


def text_of(page: str) -> str:
    """The page as it is written."""
    return (PROJECT / page).read_text("utf-8")


def blocks(text: str) -> Iterator[list[str]]:
    """Blocks of code, without their indentation, without empty lines."""
    lines: list[str] = []
    for line in [*text.splitlines(), "end"]:
        if re.match(r" {4}", line) and not re.match(r" {4,5}(?! )[*-] ", line):
            lines.append(line.strip())
        elif lines and line:
            yield lines
            lines = []


def prose(text: str) -> str:
    """The page without its blocks of code."""
    return "\n".join(line for line in text.splitlines() if not line.startswith("    "))


def code_spans(text: str) -> list[str]:
    """What the text, wrapped as it is, sets as code."""
    return re.findall(r"`([^`]+)`", " ".join(prose(text).split()))


def anchors(text: str) -> set[str]:
    """What links into the page may name."""
    heads = re.findall(r"^#+ (.*)$", prose(text), re.MULTILINE)
    return {re.sub(r"[^\w -]", "", head).replace(" ", "-").lower() for head in heads}


def broken_links(path: Path) -> list[str]:
    """Return what the page of this file links to or shows, and what is not there."""
    text, broken = path.read_text("utf-8"), []
    for name, anchor in re.findall(r"\]\((?!https?:)([^)#\s]*)(?:#([\w-]+))?\)", text):
        target = path.parent / name if name else path
        if not target.exists() or (anchor and anchor not in anchors(target.read_text("utf-8"))):
            broken.append(f"{name}#{anchor}")
    return broken + [
        name for name in re.findall(r'(?:src|srcset)="([^"]+)"', text) if not (path.parent / name).exists()
    ]


def commands(lines: list[str]) -> Iterator[Line]:
    """The commands of a block, each with all of its lines.

    Where a block shows output, its commands stand behind a prompt.
    """
    prompts = ("# cyrsync ", "# join ")
    shows_output = any(line.startswith(prompts) for line in lines)
    text = ""
    for line in lines:
        if shows_output and not text and not line.startswith(prompts):
            continue
        text += line.removeprefix("# ") + "\n"
        if shell_words(text) is not None and not text.rstrip().endswith("|"):
            yield Line(text.strip(), shows_output)
            text = ""
    assert not text


def shell_words(text: str) -> list[str] | None:
    """Words and operators as a shell has them; None where a quote is open still."""
    lexer = shlex.shlex(text, posix=True, punctuation_chars=True)
    lexer.whitespace_split = True
    try:
        return list(lexer)
    except ValueError:
        return None


def cyrsyncs(text: str) -> Iterator[list[str]]:
    """The words of each `cyrsync ...` in a command, without its redirections."""
    words = shell_words(text) or []
    while "cyrsync" in words:
        words = words[words.index("cyrsync") + 1 :]
        command: list[str] = []
        for number, word in enumerate(words):
            if _ENDS.fullmatch(word):
                break
            if _REDIRECTIONS.fullmatch(word):
                if command and command[-1].isdigit():
                    command.pop()
            elif not (number and _REDIRECTIONS.fullmatch(words[number - 1])):
                command.append(word)
        if command:
            yield command
