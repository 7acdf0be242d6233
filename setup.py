"""What setup.cfg cannot say: a description that needs no other file."""

import re
from pathlib import Path

from setuptools import setup


def description() -> str:
    """Return the README, as text by itself: with the names of files for links, without pictures."""
    text = (Path(__file__).parent / "README.md").read_text("utf-8")
    text = re.sub(r"<picture>.*?</picture>\n+", "", text, flags=re.DOTALL)
    text = re.sub(r"\[([^]]+)\]\(\1\)", r"\1", text)
    text = re.sub(r"\[([^]]+)\]\((?!https?:)([^)#]+)[^)]*\)", r"\1 (\2)", text)
    return f"{text}\nFiles named here are in `share/doc/cyrsync`, below where cyrsync is installed.\n"


setup(long_description=description())
