"""`cyrsync rsync`: stand in for rsync, word for word."""

from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import replace
from typing import NoReturn

from cyrsync import hand_over, process
from cyrsync.cli.options import patience_of, policy_of
from cyrsync.cli.output import complain, complain_of_all
from cyrsync.errors import UsageError
from cyrsync.plan.guard import MaxDelete
from cyrsync.rsync import options as rsync_options
from cyrsync.rsync.options import RsyncLine, Settings
from cyrsync.run import Options
from cyrsync.stand_in import NotForUs, StandIn
from cyrsync.tree import address
from cyrsync.tree.address import Address
from cyrsync.tree.link import HURRIED


def drop_in(words: list[str]) -> int:
    """Do what `rsync WORDS` would, and return its exit code; where that is not ours to do, run or become rsync."""
    if os.environ.get(process.STARTED_RSYNCS):
        _become_rsync(words)  # we started a wrapper named rsync, and that has called us
    line = rsync_options.parse(words)
    settings = rsync_options.settings(line)

    def tell(reason: str) -> None:
        if settings.verbose:
            complain(f"plain rsync runs: {reason}")

    def plain_rsync(reason: str, owned: bool) -> int:
        tell(reason)
        return hand_over.plain_rsync(words, owned=owned)

    try:
        reason = rsync_options.unfit(line)
        if reason or os.environ.get("RSYNC_ICONV"):
            raise NotForUs(reason or "RSYNC_ICONV changes names")
        source, replica = _addresses(line)
        run = StandIn(source, replica, _options(line, settings), settings.exclude, _announcer(settings), plain_rsync)
        result = run.execute()
    except (NotForUs, UsageError) as refusal:
        tell(str(refusal))
        if isinstance(refusal, NotForUs) and refusal.no_agent:
            _become_rsync(words)
        return hand_over.hand_over(words, line, settings, lambda: _become_rsync(words))
    if run.handed_over:
        return result.exit
    from cyrsync.cli import aftermath  # SQLite is not loaded to become rsync

    aftermath.finish(run, aftermath.Wanted())
    complain_of_all((*result.warnings, *result.errors))
    return result.exit


def _addresses(line: RsyncLine) -> tuple[Address, Address]:
    """Return the source, whose contents are meant, and the place they go to."""
    if len(line.operands) != 2:
        raise NotForUs("it takes one source and one destination")
    source, replica = (address.parse(operand) for operand in line.operands)
    if source.path.endswith((b"/", b"/.")) or source.path == b"." or (source.daemon and b"/" not in source.path):
        return source, replica
    if source.local and os.path.islink(source.path):
        raise NotForUs(f"{source.text} without a slash behind it is the link, not the directory")
    # Without a slash behind it, the directory itself goes into the destination.
    name = source.path.rpartition(b"/")[2]
    if name == b"..":
        raise NotForUs(f"{source.text} needs a slash behind it")
    return source, replace(replica, path=replica.path.rstrip(b"/") + b"/" + name)


def _options(line: RsyncLine, settings: Settings) -> Options:
    limit = settings.max_delete
    return Options(
        delete=settings.delete,
        max_delete=MaxDelete(limit, percent=False) if limit is not None else None,
        dry_run=settings.dry_run,
        policy=policy_of(settings, skip_derived=False),
        rsh=settings.rsh,
        rsync_path=settings.rsync_path,
        words=settings.passed,
        trial=tuple(word for option in line.options for word in option.words),
        connection=settings.connection,
        patience=patience_of(settings, answer=HURRIED),
        retries=0,
    )


def _announcer(settings: Settings) -> Callable[[str], None] | None:
    """Return what tells of a deletion in rsync's words; None if rsync would not tell of one."""
    if settings.quiet or not (settings.itemize or settings.out_format or settings.verbose):
        return None
    begins = "*deleting   " if settings.itemize or settings.out_format else "deleting "
    return lambda path: print(begins + path, flush=True)


def _become_rsync(words: list[str]) -> NoReturn:
    rsync = process.program("rsync")
    os.execve(rsync, ["rsync", *words], process.environment_of(rsync, os.environ))
