"""What happens on the source just before an rsync starts, and what each rsync was asked for."""

from __future__ import annotations

import json
import os
import shutil
from dataclasses import dataclass
from pathlib import Path

import samplespool
from support.tools import python_words, write_program

#: Python that stands for rsync in PATH. Transfers count, by a list or by rules: not the questions what it can do.
WRAPPER = """\
import json, os, shutil, sys
from pathlib import Path

here, words = Path({directory!r}), sys.argv[1:]

def claim(number):
    # Several may start at once: each takes the next that nobody has.
    try:
        (here / f"{{number}}.words").touch(exist_ok=False)
    except FileExistsError:
        return claim(number + 1)
    return number

marks = ("--files-from=", "--filter=. ")
listed = [word[len(mark):] for word in words for mark in marks if word.startswith(mark)]
# A trial of rsync's words brings nothing, nor does a question of what differs.
listed = [path for path in listed if os.path.basename(path) not in ("nothing", "asked")]
if listed and "--server" not in words:
    number = claim(0)
    shutil.copy(listed[0], here / f"{{number}}.list")
    (here / f"{{number}}.words").write_text(json.dumps(words))
    sys.path.insert(0, {scripts!r})
    for name in (f"{{number}}.py", "each.py"):
        if (here / name).exists():
            exec((here / name).read_text())
os.execv({rsync!r}, ["rsync", *words])
"""


@dataclass
class Rsync:
    """One rsync that ran: its words, and its list."""

    words: list[str]
    listed: list[bytes]

    @property
    def source(self) -> str:
        return self.words[-2]


class Races:
    """An rsync in PATH that lets something happen first: Python, in which `samplespool` can be imported."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        program = shutil.which("rsync")
        assert program
        programs = directory / "bin"
        programs.mkdir(parents=True)
        script = directory / "wrapper"
        scripts = str(Path(samplespool.__file__).parent)
        script.write_text(WRAPPER.format(directory=str(directory), scripts=scripts, rsync=program))
        # Not Python's own #! line: in that, a path has no blanks, and is short.
        write_program(programs / "rsync", f'exec {python_words("-IS", script)} "$@"')
        self.env = {"PATH": os.pathsep.join([str(programs), os.environ["PATH"]])}

    def before(self, number: int, script: str) -> None:
        """Have this happen before the rsync of this number, from 0."""
        (self.directory / f"{number}.py").write_text(script)

    def before_each(self, script: str) -> None:
        """Have this happen before every rsync."""
        (self.directory / "each.py").write_text(script)

    def runs(self) -> list[Rsync]:
        """The rsyncs so far."""
        numbers = range(len(list(self.directory.glob("*.words"))))
        return [Rsync(json.loads(self._read(f"{n}.words")), self._read(f"{n}.list").split(b"\0")[:-1]) for n in numbers]

    def forget(self) -> None:
        """Begin anew: nothing ran, and nothing happens."""
        for path in [*self.directory.glob("*.words"), *self.directory.glob("*.list"), *self.directory.glob("*.py")]:
            path.unlink()

    def _read(self, name: str) -> bytes:
        return (self.directory / name).read_bytes()
