"""The rsync driver: one list, one rsync, and the options that both ends know."""

from __future__ import annotations

import math
import os
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager
from copy import copy
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import IO

from cyrsync import process
from cyrsync.errors import CONNECTION_CODES, ConnectionFailed, Exit, InterruptedRun, RsyncFailed
from cyrsync.rsync import asked, full_daemon, list_file, messages, options, sizes
from cyrsync.rsync import outcome as outcomes
from cyrsync.rsync.asked import Piece
from cyrsync.rsync.features import Features
from cyrsync.rsync.jobs import Jobs
from cyrsync.rsync.messages import Complaint, Kind
from cyrsync.rsync.outcome import Outcome

_TRIAL = 600.0  # seconds for an rsync that has nothing to do
_OUT_FORMAT = "--out-format=%i %l %n"
#: A line of that for what is no directory.
_ITEM = re.compile(rb"[<>ch.][fLDS][^ ]+ \d+ ")
_FROM, _RULES = "--files-from=", "--filter=. "
#: Who writes to the replica has the rights to make what lends them: a far end must not choose.
_LENDS_NO_RIGHTS = "--chmod=Fug-s"
#: Where a file was asked for, no device is made, nor a link that leads out; rsync says so on standard output.
_FILES_ALONE = ("--safe-links", "--no-devices")
_TELL = "--info=name1"
#: What a directory of ours lacked.
_EMPTIED = "its staged copy is gone: exclude /dev/shm from RemoveIPC (logind.conf) and from cleaners of temporary files"


def await_orphans(directory: Path) -> None:
    """Wait until no rsync is left that a killed run with this directory has started."""
    process.await_orphans(f"{_FROM}{directory}/", f"{_RULES}{directory}/")


@dataclass(slots=True)
class Ends:
    """Both ends in rsync's words: operands, roots as its messages show them, and the way there."""

    source: str
    destination: str
    roots: tuple[bytes, ...]
    below: bytes = b""  # where the tree is below the source's operand
    name: bytes = b""  # what it is called below that, and below the destination's: so rsync prints it
    rsh: str | None = None
    pull: bool = False
    silence: float = 0.0  # seconds after which a far end that sends nothing is lost, 0 for never


class Rsync:
    """Runs rsync over lists, with the words the user gave and the options that both ends know."""

    def __init__(
        self,
        ends: Ends,
        features: Features,
        words: tuple[str, ...],
        directory: Path,
        verbatim: bool,
        jobs: Jobs | None = None,
    ) -> None:
        """`words` are for every run; `verbatim`: the user gets what rsync prints, and nothing is read from it."""
        self._jobs = jobs or Jobs(1)
        self.ends = ends
        self.features = features
        self.directory = directory
        self.verbatim = verbatim
        self.words_given = words
        self.words = [*(words if verbatim else options.for_reading(words)), *self._own_words()]
        self.runs = 0
        self.codes: set[int] = set()

    @contextmanager
    def job(self, number: int) -> Iterator[Rsync]:
        """Give one that may run while others do: with lists and outputs of its own."""
        one = copy(self)
        one.directory = self.directory / f"job{number}"
        one.directory.mkdir(exist_ok=True)
        one.runs = 0
        try:
            yield one
        finally:
            self.runs += one.runs

    def try_words(self, line: tuple[str, ...]) -> None:
        """See that both rsyncs accept the words of `line`: they are given nothing to do, and nothing is written.

        Raise RsyncFailed or ConnectionFailed if they do not.
        """
        nothing = self.directory / "nothing"
        nothing.touch()
        # The user's own log would report a run that was none.
        log = ["--log-file=/dev/null"] if any(word.startswith("--log-file=") for word in line) else []
        words = ["rsync", *line, *self._own_words(), "--dry-run", *log, "-0", f"{_FROM}{nothing}"]
        words += [self.ends.source, self.ends.destination]
        finished = full_daemon.wait_for_place(
            lambda: process.capture(words, _TRIAL), lambda ended: ended.err.splitlines()
        )
        code, said = finished.code, finished.err.splitlines()
        if code == Exit.DONE:
            return
        reason = f"rsync gave up with code {code}, and nothing was done: {messages.general_reason(said)}"
        if code in (Exit.INTERRUPTED, -2, -15):
            raise InterruptedRun("rsync was interrupted")
        if code in CONNECTION_CODES and not messages.refused(said):
            raise ConnectionFailed(reason, code)
        raise RsyncFailed(reason, code if code > 0 else 128 - code)

    def accepts(self, line: tuple[str, ...]) -> bool:
        """Return whether both rsyncs accept the words of `line`."""
        try:
            self.try_words(line)
        except (RsyncFailed, ConnectionFailed):
            return False
        return True

    def differing(self, entries: Iterable[bytes], extra: tuple[str, ...]) -> set[bytes]:
        """Return the paths of what rsync would send, give other attributes, or cannot look at, directories left out.

        Nothing is written. Raise what `transfer` does, RsyncFailed also where rsync says nothing: that is no answer.
        """
        found: set[bytes] = set()
        asks = copy(self)
        asks.verbatim = False
        asks.words = [*options.for_reading(self.words_given), *asks._own_words()]
        asks.words += ["--dry-run", "--log-file=/dev/null"]
        for piece in self._pieces(entries, None):
            before = asks.runs
            try:
                outcome = asks._run_over(piece, extra, name="asked")
            finally:
                self.runs = asks.runs
            if asks.runs == before:
                continue
            with open(self.directory / "rsync.out", "rb") as said:
                answer = said.readlines()
            if not any(map(outcomes.TOTAL.match, answer)):
                raise RsyncFailed("rsync did not say what differs, though it was asked to", Exit.STREAM)
            lines = filter(_ITEM.match, answer)
            found.update(self._without_name(messages.unescape(line.split(b" ", 2)[2].rstrip(b"\n"))) for line in lines)
            found.update(outcome.failed, outcome.vanished, outcome.attributes)
        return found

    def sizes(self, folder: bytes, names: Sequence[bytes]) -> list[int]:
        """Return the sizes of files in a folder of the replica, as far as rsync can tell."""
        listed = self.directory / "asked"
        list_file.write(listed, [folder + b"/" if folder else list_file.ROOT], b"", self.ends.name)
        words = [*options.to_reach(self.words_given), *self._words_of_shell(), "-0", f"{_FROM}{listed}"]
        return sizes.listed(words, self.ends.destination, self.directory, names)

    def transfer(
        self,
        entries: Iterable[bytes],
        extra: tuple[str, ...] = (),
        tick: Callable[[int, int], None] | None = None,
        instead: Path | None = None,
    ) -> Outcome:
        """Run over the entries, if there are any. `tick` gets the files done and their bytes.

        They are taken from a directory here `instead` of from the source, if there is one: that is ours, and what it
        lacks has failed; its name is the tree's, if that has one. Raise ConnectionFailed when the far end is lost,
        RsyncFailed when rsync gave up as a whole.
        """
        total = _Total(tick) if tick else None
        outcome = Outcome()
        try:
            for piece in self._pieces(entries, instead):
                outcome.add(self._run_over(piece, extra, total.of_next_run() if total else None, instead))
        except RsyncFailed:
            if instead is None or instead.is_dir():
                raise
            outcome = Outcome(Exit.PARTIAL, vanished={b""})
        if instead:
            outcome.failed.update((path, Complaint(Kind.FAILED, path, _EMPTIED)) for path in outcome.vanished)
            outcome.vanished.clear()
        return outcome

    def transfer_all(self, rules: Iterable[str], tick: Callable[[int, int], None] | None) -> Outcome:
        """Run over the whole source, without a list, by rsync's filter `rules`. Raise what `transfer` does."""
        merged = self.directory / "rules"
        merged.write_text("".join(f"{rule}\n" for rule in rules))
        whole = self.ends.source + os.fsdecode(self.ends.name)
        return self._run([*self._files_alone(), f"{_RULES}{merged}", whole], tick)

    def _files_alone(self) -> list[str]:
        """Return the words by which nothing but files and directories is pulled; a line of the user's is rsync's."""
        if self.verbatim or not self.ends.pull:
            return []
        return [*_FILES_ALONE, *([_TELL] if "--info" in self.features.options else [])]

    def _pieces(self, entries: Iterable[bytes], instead: Path | None) -> Iterator[Piece]:
        pulled = self.ends.pull and instead is None
        return asked.pieces(entries, self.ends.name) if pulled else iter([Piece(entries)])

    def _run_over(
        self,
        piece: Piece,
        extra: tuple[str, ...],
        tick: Callable[[int, int], None] | None = None,
        instead: Path | None = None,
        name: str = "entries",
    ) -> Outcome:
        listed = self.directory / name
        entries, below = chain(piece.entries, piece.aliases), b"" if instead else self.ends.below
        pulled = self.ends.pull and instead is None
        if not list_file.write(listed, entries, below, self.ends.name, pulled=pulled):
            return Outcome()
        words = [*extra, *piece.words, "-0"]
        if piece.files:
            words += self._files_alone()
        if piece.rules:
            merged = self.directory / "rules"
            merged.write_bytes(b"".join(rule + b"\0" for rule in piece.rules))
            words.append(f"{_RULES}{merged}")
        words.append(f"{_FROM}{listed}")
        if instead is None:
            return self._run([*words, self.ends.source], tick, aliases=piece.aliases)
        operand = instead.parent if self.ends.name else instead
        return self._run([*words, f"{operand}/"], tick, os.fsencode(instead))

    def _run(
        self,
        words: list[str],
        tick: Callable[[int, int], None] | None,
        instead: bytes | None = None,
        aliases: Sequence[bytes] = (),
    ) -> Outcome:
        self.runs += 1
        command = ["rsync", *self.words, *words, self.ends.destination]
        out_path, err_path = self.directory / "rsync.out", self.directory / "rsync.err"
        with open(out_path, "w+b") as out, open(err_path, "w+b") as err, open(out_path, "rb") as growing:
            watch = self._jobs.watched(_Counter(growing, tick) if tick else None)

            def run() -> tuple[int, list[bytes]]:
                out.truncate(0)
                err.truncate(0)
                err.seek(0)
                if self.verbatim:  # names and times as the user has them
                    code = process.run(command, None, err, watch, env=dict(os.environ))
                else:
                    code = process.run(command, out, err, watch)
                err.seek(0)
                return outcomes.without(aliases, code, err.readlines())

            with self._jobs.aside():
                code, said = full_daemon.wait_for_place(run, lambda ended: ended[1], self._jobs.others_run)
            if self.verbatim:
                _repeat(said)
            self.codes.add(code)
            roots = self.ends.roots if instead is None else (*self.ends.roots, instead)
            outcome = outcomes.read(code, said, roots, self._without_name)
            outcomes.read_totals(out, outcome, "received" if self.ends.pull else "sent")
        return outcome

    def _own_words(self) -> list[str]:
        words = [] if self.verbatim else [_OUT_FORMAT, "--stats", "-8"]
        words += self._words_of_shell()
        if self.features.nanoseconds and not any(word.startswith("--modify-window") for word in self.words_given):
            # rsync's quick check compares whole seconds otherwise.
            words.append("--modify-window=-1")
        if self.ends.silence and not self.verbatim and not any(map(_is_time_limit, self.words_given)):
            words.append(f"--timeout={math.ceil(self.ends.silence)}")
        if self.ends.pull and not self.verbatim:
            words.append(_LENDS_NO_RIGHTS)
        return words

    def _words_of_shell(self) -> list[str]:
        """Return the words by which no byte of a path is left to the far shell, if there is one."""
        return [] if self.ends.rsh is None else ["-s", f"--rsh={self.ends.rsh}"]

    def _without_name(self, path: bytes) -> bytes:
        """Return a path below the tree's root, from one below the operand."""
        name = self.ends.name
        return b"" if name and path == name else path.removeprefix(name + b"/") if name else path


def _is_time_limit(word: str) -> bool:
    return word.partition("=")[0] in ("--timeout", "--no-timeout")


class _Counter:
    """Counts the files in rsync's output as it grows."""

    def __init__(self, stream: IO[bytes], report: Callable[[int, int], None]) -> None:
        self._stream = stream
        self._report = report
        self._files = 0
        self._bytes = 0
        self._rest = b""

    def __call__(self) -> None:
        lines = (self._rest + self._stream.read()).split(b"\n")
        self._rest = lines.pop()
        for line in lines:
            if line[1:2] == b"f":
                self._files += 1
                size = line.split(b" ", 2)[1]
                self._bytes += int(size) if size.isdigit() else 0
        self._report(self._files, self._bytes)


class _Total:
    """Adds up what is done by one rsync after the other."""

    def __init__(self, report: Callable[[int, int], None]) -> None:
        self._report = report
        self._before = self._now = (0, 0)

    def of_next_run(self) -> Callable[[int, int], None]:
        self._before = self._now
        return self._add

    def _add(self, files: int, size: int) -> None:
        self._now = (self._before[0] + files, self._before[1] + size)
        self._report(*self._now)


def _repeat(said: list[bytes]) -> None:
    sys.stderr.buffer.write(b"".join(said))
    sys.stderr.buffer.flush()
