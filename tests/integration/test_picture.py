"""The pictures of a run that the README shows."""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path
from xml.etree import ElementTree

from support.tools import requires
from support.tree import plain_env

PROJECT = Path(__file__).resolve().parents[2]
NAMES = ("run-light.svg", "run-dark.svg")


def lines(picture: Path) -> list[str]:
    """What is to be read in it, line by line, numbers and their units left out."""
    shown: dict[float, str] = {}
    for element in ElementTree.parse(picture).iter("{http://www.w3.org/2000/svg}text"):
        at = float(element.attrib["y"])
        shown[at] = shown.get(at, "") + (element.text or "").replace("\N{NO-BREAK SPACE}", " ")
    words = (re.sub(r"[\d.,]+( (s|ms|[KM]iB|B)\b)?", "N", shown[at]) for at in sorted(shown))
    return [" ".join(line.split()) for line in words]


def test_the_pictures_show_what_a_run_prints(tmp_path: Path) -> None:
    requires("rsync")
    script = PROJECT / "scripts" / "picture"
    subprocess.run([sys.executable, script, tmp_path], env=plain_env(), check=True)
    for name in NAMES:
        assert lines(PROJECT / "docs" / name) == lines(tmp_path / name), "run scripts/picture"
        assert "user/joe/Projects new N N" in lines(tmp_path / name)


def test_the_pictures_load_nothing() -> None:
    for name in NAMES:
        text = (PROJECT / "docs" / name).read_text("utf-8")
        assert set(re.findall(r"https?://[^\"]*", text)) == {"http://www.w3.org/2000/svg"}
        assert set(re.findall(r"url\((?!#)", text)) == set()
