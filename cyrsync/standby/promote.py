"""Promoting a replica: what `cyrsync promote` does, from its owner files to a server that can be started."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import partial

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.cyrus.server import layout
from cyrsync.cyrus.server.config import Config
from cyrsync.cyrus.server.server import Located
from cyrsync.cyrus.server.settings import differences, layout_settings
from cyrsync.errors import UnusableError
from cyrsync.far import at_work as tree_at_work
from cyrsync.far import owner_file
from cyrsync.far.audit_tree import audit_tree
from cyrsync.far.finding import Audited
from cyrsync.inspect.inspection import places
from cyrsync.server.mounted import lacking, unmounted
from cyrsync.server.roots import Roots
from cyrsync.standby import at_work, commands, leftovers, promotion_mark
from cyrsync.standby.ownership import identity
from cyrsync.standby.promotion import Promotion
from cyrsync.standby.promotion_mark import OwnerFiles
from cyrsync.standby.sweep import Swept, sweep
from cyrsync.sync.ownership import CUT_OFF
from cyrsync.text import path_text
from cyrsync.verify.server import audit_again, audit_server

#: Those that may have a directory, and therefore a root, of their own.
_DATABASES = ("annotation", "mboxlist", "quota", "userdeny", "zoneinfo")
Tick = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class Options:
    """What the user chose."""

    run: bool  # also the commands that need no decision
    content: bool  # read every message
    wait: float  # seconds, for a run that is writing


class UnfitError(UnusableError):
    """Cyrus here could not read the replica; `reasons` are lines."""

    def __init__(self, conf: str, reasons: list[str]) -> None:
        super().__init__(f"{conf}: set this as it is on the source, and promote again; nothing was changed")
        self.reasons = reasons


def promote_tree(tree: str, result: Promotion, options: Options, tick: Tick) -> None:
    """Promote the replica of one partition, without an imapd.conf."""
    root = os.path.realpath(os.fsencode(tree))
    if not os.path.isdir(root):
        raise UnusableError(f"{tree}: no such directory here")
    with promotion_mark.held([root], options.wait):
        _refuse_cyrus([root])
        found = promotion_mark.read([root])
        _refuse_what_is_above(tree, root, found)
        _mark(result, [root], found, options)
        swept = Swept()
        sweep(root, leftovers.in_partition, None, (), swept)
        result.take_swept(swept)
        _audit(result, audit_tree(root, options.content), tick)
        if result.audit.has_no_index:
            result.warnings.append("no cyrus.index in any folder: if metapartitions keep them apart, promote with -C")


def _refuse_what_is_above(tree: str, root: bytes, found: OwnerFiles) -> None:
    """Raise UnusableError for a directory that is no replica, but has one in it: that would not be marked."""
    below = None if found.owner_files else promotion_mark.replica_below(root)
    if below is not None:
        raise UnusableError(
            f"{tree}: the replica lies further down, in {path_text(below)}: give -C for a whole server, and the "
            "imapd.conf that leads there; nothing was changed"
        )


def promote_server(config: Config, result: Promotion, options: Options, tick: Tick) -> None:
    """Promote the replica that an imapd.conf of this machine leads to. Raise UnusableError where that cannot be."""
    server = _Server(config, result)
    if options.run and not commands.tools():
        raise UnusableError("Cyrus's programs are not installed here, or not in PATH: --run needs ctl_cyrusdb")
    with promotion_mark.held(server.roots, options.wait):
        found = server.check()
        _mark(result, server.roots, found, options)
        swept = server.sweep()
        result.take_swept(swept)
        _audit(result, audit_server(config, options.content), tick)
        result.steps = server.commands().steps(swept, result.audit.problems, result.source)
        if options.run:
            _run(config, result, options)


class _Server:
    """The server that a replica is to be."""

    def __init__(self, config: Config, result: Promotion) -> None:
        self._config = config
        self._conf = result.conf or ""
        self._result = result
        self._owner = identity(config)
        result.owner = f"{self._owner.user}:{self._owner.group}"
        home = os.path.realpath(config.configdirectory)
        if not os.path.isdir(home):
            raise UnusableError(f"{path_text(home)}: no such directory: is its disk mounted?")
        every = [root for partition in config.partitions.values() for root in Roots.of(partition).all()]
        self._partitions = _there(every)
        self._state = [home, *_outside(home, _there([config.userpath, config.sievedir]))]
        databases = [os.path.dirname(config.database(name)[1]) for name in _DATABASES]
        more = [path for path in _there([*self._state, *databases]) if _has_owner_file(path)]
        #: What owner files are looked for in, and written to.
        self.roots = list(dict.fromkeys([*self._partitions, home, *more]))
        self._places: list[Located] = []
        self._left_out: dict[bytes, str] = {}

    def check(self) -> OwnerFiles:
        """Return the owner files. Raise UnusableError where Cyrus is at work, or could not work with what is there."""
        pids = at_work.processes(self._config, os.fsencode(self._conf))
        if pids:
            raise UnusableError(f"{self._conf}: a Cyrus is using it, process {pids[0]}: stop it first")
        _refuse_cyrus(self.roots)
        self._places, self._left_out = places(self._config)
        for name in sorted({one.mailbox.partition for one in self._places if one.data}):
            roots = Roots.of(self._config.partitions[name])
            within = [one for one in self._places if one.mailbox.partition == name]
            for root in dict.fromkeys([roots.data, roots.homes[kinds.INDEX]]):
                if _is_missing(root):
                    raise UnusableError(f"{path_text(root)}: nothing of partition {name} is there: is it mounted?")
            if _is_missing(roots.archive):
                for root in lacking(roots, [one.files.index_path for one in within]):
                    raise unmounted(root, name)
        found = promotion_mark.read(self.roots)
        self._compare_settings(found)
        return found

    def _compare_settings(self, found: OwnerFiles) -> None:
        theirs = found.newest.settings if found.newest else ()
        differing = differences(theirs, layout_settings(self._config))
        fatal = [f"{self._conf}: {one.text}" for one in differing if one.fatal]
        if fatal:
            raise UnfitError(self._conf, fatal)
        self._result.warnings += [f"{self._conf}: {one.text}" for one in differing]

    def sweep(self) -> Swept:
        """Remove leftovers, and see who owns what."""
        swept = Swept()
        every = {*self._partitions, *self._state}
        for root in self._partitions:
            sweep(root, leftovers.in_partition, self._owner, every, swept)
        full = self._config.fulldirhash
        names = [*(one.mailbox.name for one in self._places), *self._left_out]
        no_leftovers = frozenset(layout.quota_file(name, full) for name in names if name.endswith(b".NEW"))
        for root in self._state:
            sweep(root, partial(leftovers.in_state, quota_files=no_leftovers), self._owner, every, swept)
        self._remove_status_cache(swept)
        return swept

    def _remove_status_cache(self, swept: Swept) -> None:
        """Remove what Cyrus answers STATUS from: it would not notice that an index is another one."""
        path = self._config.database("statuscache")[1]
        try:
            os.unlink(path)
            swept.removed += 1
        except FileNotFoundError:
            pass
        except OSError as error:
            swept.errors.append(f"{path_text(path)}: {error.strerror}")

    def commands(self) -> commands.Commands:
        """Return what makes commands for this server."""
        return commands.Commands(self._config, self._conf, self._owner, self._places)


def _refuse_cyrus(roots: Sequence[bytes]) -> None:
    """Raise UnusableError for roots that a Cyrus is at work on, by whatever imapd.conf."""
    for cyrus in tree_at_work.at_work(roots):
        if cyrus.directory:
            where, conf = path_text(cyrus.directory), path_text(cyrus.conf)
            raise UnusableError(f"{where}: a Cyrus is using it, process {cyrus.pid} with {conf}: stop it first")


def _there(paths: Iterable[bytes]) -> list[bytes]:
    """Return the directories of these, each once, links resolved."""
    return [path for path in dict.fromkeys(map(os.path.realpath, paths)) if os.path.isdir(path)]


def _outside(home: bytes, paths: Iterable[bytes]) -> list[bytes]:
    return [path for path in paths if not (path + b"/").startswith(home + b"/")]


def _is_missing(root: bytes) -> bool:
    """Tell whether this may be a disk that is not mounted; one with an owner file is."""
    if not os.path.isdir(root):
        return True
    return owner_file.is_bare(root) and not _has_owner_file(root)


def _has_owner_file(root: bytes) -> bool:
    return os.path.lexists(os.path.join(root, owner_file.NAME))


def _mark(result: Promotion, roots: Sequence[bytes], found: OwnerFiles, options: Options) -> None:
    """Mark the replica before anything else is done: from here on nothing overwrites it, however this ends."""
    newest = found.newest
    result.warnings += found.warnings
    result.roots = list(roots)
    result.again = any(one.promoted for one in found.owner_files.values())
    if newest:
        result.source, result.begun = newest.source, newest.begun
        result.complete, result.cut_off = found.complete, found.cut_off
    if not options.content:
        said = f"{CUT_OFF}: what it sent may be empty: give --content"
        result.warnings += [f"{path_text(root)}: {said}" for root in promotion_mark.doubtful(found)]
    result.promoted = promotion_mark.promote(roots, found, compared=options.content)


def _audit(result: Promotion, audits: Iterator[Audited], tick: Tick) -> None:
    began = time.monotonic()
    for audited in audits:
        result.audit.add(audited)
        tick(result.audit.mailboxes, result.audit.files)
    result.audit.seconds = time.monotonic() - began


def _run(config: Config, result: Promotion, options: Options) -> None:
    """Run the commands that need no decision, and check again what was wrong."""
    failure = commands.run(result.steps)
    if failure:
        result.errors.append(failure)
    else:
        result.foreign = 0
    wrong = {path for path, _ in result.audit.problems}
    again = audit_again(config, wrong, options.content)
    result.audit.problems = [(one.path, problem) for one in again for problem in one.problems]
    result.mended = len(wrong) - len({path for path, _ in result.audit.problems})
