"""The jobs of a configuration file, or all that is wrong with it."""

from __future__ import annotations

import difflib
import os
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Any, NamedTuple

from cyrsync.errors import ConfigurationError, UsageError
from cyrsync.jobs import toml
from cyrsync.jobs.keys import Key, shown, value_of
from cyrsync.jobs.source import is_imapd_conf
from cyrsync.text import path_text

#: The table with the values of all jobs that have none of their own.
DEFAULTS = "defaults"
#: Names that are safe in a shell, as a systemd instance and in a file's name.
_NAME = re.compile(r"[A-Za-z0-9_][A-Za-z0-9_.-]*\Z", re.ASCII)
_SHOWN_NAME = 40  # characters


class Job(NamedTuple):
    """What one table says, with the defaults of the file; `values` are by key, checked."""

    name: str
    values: Mapping[str, Any]

    @property
    def conf(self) -> str | None:
        """The imapd.conf of the server that is the source; None for a spool."""
        source = self.values.get("source")
        found: str | None = source if source and is_imapd_conf(source) else self.values.get("conf")
        return found

    @property
    def source(self) -> str | None:
        """The spool that is the source; None where it is a whole server."""
        source: str | None = self.values.get("source")
        return source if source and not is_imapd_conf(source) else None

    @property
    def destination(self) -> str:
        """The replica, or what the paths of the server begin with there."""
        return str(self.values["destination"])


class Jobs(NamedTuple):
    """The jobs of a configuration file without errors."""

    path: str
    jobs: Mapping[str, Job]

    def select(self, names: Iterable[str]) -> list[Job]:
        """Return the jobs with these names, each once, or all. Raise UsageError if there is none of a name."""
        wanted = list(dict.fromkeys(name.removeprefix("@") for name in names))
        for name in wanted:
            if name not in self.jobs:
                known = ", ".join(self.jobs) or "none"
                raise UsageError(f"{self.path} has no job {name}{_nearest(name, self.jobs)} (jobs: {known})")
        return [self.jobs[name] for name in wanted] if wanted else list(self.jobs.values())


def parse(path: str, text: str, keys: Mapping[str, Key], one_run: Iterable[str] = ()) -> Jobs:
    """Return the jobs that a file's text has. Raise ConfigurationError with a line for each thing that is wrong.

    `one_run` are the options that are for one run, and for no file.
    """
    shown_path = path_text(os.fsencode(path))
    try:
        tables = toml.parse(text)
    except toml.NotToml as error:
        place = f"{shown_path}:{error.line}" if error.line else shown_path
        raise ConfigurationError([f"{place}: {error}"]) from None
    reader = _Reader(keys, frozenset(one_run))
    jobs = reader.jobs(tables)
    if reader.wrong:
        lines = toml.lines_of(text)
        wrong = sorted((_line(lines, at), what) for at, what in reader.wrong)
        raise ConfigurationError([f"{shown_path}:{line}: {what}" for line, what in wrong])
    return Jobs(path, jobs)


def _line(lines: toml.Lines, at: tuple[str, ...]) -> int:
    """Return the line of a key, which may stand among the defaults, or of its table."""
    return lines.get(at) or lines.get((DEFAULTS, *at[1:])) or lines.get(at[:1]) or 1


class _Reader:
    """Reads tables, and notes what is wrong, each with its table and key."""

    def __init__(self, keys: Mapping[str, Key], one_run: frozenset[str]) -> None:
        self._keys, self._one_run = keys, one_run
        self.wrong: list[tuple[tuple[str, ...], str]] = []

    def jobs(self, tables: Mapping[str, Any]) -> dict[str, Job]:
        for name, table in tables.items():
            if not isinstance(table, dict):
                self._wrong(f"{_cut(name)} is in no table: [{DEFAULTS}] is for all jobs, [NAME] for one", name)
            elif not _NAME.match(name):
                self._wrong(f"[{_cut(name)}]: the name of a job has letters, digits, _, - and . only", name)
        defaults = self._values(DEFAULTS, tables.get(DEFAULTS, {}))
        found = {}
        for name, table in tables.items():
            if name != DEFAULTS and isinstance(table, dict):
                found[name] = Job(name, {**defaults, **self._values(name, table)})
                self._check_job(found[name], {**tables.get(DEFAULTS, {}), **table} if defaults else table)
        self._check_metrics(found.values())
        return found

    def _wrong(self, what: str, *at: str) -> None:
        self.wrong.append((at, what))

    def _values(self, name: str, table: Any) -> dict[str, Any]:
        """Return the values of a table that are right."""
        values = {}
        for word, value in table.items() if isinstance(table, dict) else ():
            key = self._keys.get(word)
            if key is None:
                self._wrong(f"[{_cut(name)}] {_cut(word)}: {self._unknown(word)}", name, word)
                continue
            try:
                values[word] = value_of(key, value)
            except ValueError as error:
                self._wrong(f"[{_cut(name)}] {word} = {shown(value)}: {error}", name, word)
        return values

    def _unknown(self, word: str) -> str:
        if word in self._one_run:
            return f"this is for one run, not for all: give --{word} to `cyrsync run`"
        return "no such key" + (_nearest(word, self._keys) or f"; there are {', '.join(self._keys)}")

    def _check_job(self, job: Job, given: Mapping[str, Any]) -> None:
        """Note what a job lacks; `given` has also what is wrong in itself, which is there nevertheless."""
        if not ("source" in given or "conf" in given):
            self._wrong(f"[{_cut(job.name)}] has no source", job.name)
        if "destination" not in given:
            self._wrong(f"[{_cut(job.name)}] has no destination", job.name)
        source, conf = job.values.get("source"), job.values.get("conf")
        if conf and source:
            self._wrong(f"[{_cut(job.name)}] has source and conf: leave out one", job.name, "conf")

    def _check_metrics(self, jobs: Iterable[Job]) -> None:
        first: dict[str, Job] = {}
        for job in jobs:
            path = job.values.get("metrics")
            if path is None:
                continue
            other = first.setdefault(path, job)
            if _pair(other) != _pair(job):
                self._wrong(
                    f"[{_cut(job.name)}] metrics = {shown(path)}: [{_cut(other.name)}] writes the same file; "
                    "give each its own",
                    job.name,
                    "metrics",
                )


def _pair(job: Job) -> tuple[Any, ...]:
    return job.conf, job.source, job.values.get("destination")


def _nearest(word: str, words: Iterable[str]) -> str:
    known = list(words)
    alike = word.lower().replace("_", "-")
    near = difflib.get_close_matches(word, known, n=1) or difflib.get_close_matches(alike, known, n=1)
    return f": did you mean {near[0]}?" if near else ""


def _cut(name: str) -> str:
    return name if len(name) <= _SHOWN_NAME else f"{name[: _SHOWN_NAME - 3]}..."


def names_in(tables: Mapping[str, Any]) -> Iterator[str]:
    """Yield the names of jobs, whatever else is wrong."""
    yield from (name for name, table in tables.items() if name != DEFAULTS and isinstance(table, dict))
