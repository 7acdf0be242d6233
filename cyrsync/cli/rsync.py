"""`cyrsync rsync`: the drop-in: do what rsync does with the same words."""

from __future__ import annotations

import os
import re
from dataclasses import replace
from functools import partial
from typing import NoReturn

from cyrsync import process
from cyrsync.cli.output import complain, complain_of_run
from cyrsync.cli.settings import patience_of, policy_of
from cyrsync.ends import address
from cyrsync.ends.address import Address, identity
from cyrsync.ends.link import HURRIED
from cyrsync.errors import UsageError
from cyrsync.rsync import options as rsync_options
from cyrsync.rsync.advice import with_advice
from cyrsync.rsync.options import RsyncLine, Settings
from cyrsync.spool import hand_over
from cyrsync.spool.drop_in import Deletions, DropIn, NotForUs
from cyrsync.state import handed_over
from cyrsync.state.lock import run_key, state_path
from cyrsync.sync.guard import MaxDelete
from cyrsync.sync.options import Options
from cyrsync.sync.session import Session
from cyrsync.text import printable

#: What a far rsync expands, and what no shell reads in any other way.
_WILD = re.compile(rb"[*?\[]")
_PLAIN = re.compile(rb"[\w./:@%+=,-]*\Z", re.ASCII)


def drop_in(words: list[str]) -> int:
    """Do what `rsync WORDS` would, and return its exit code; where that is not ours to do, run or become rsync."""
    if os.environ.get(process.STARTED_RSYNCS):
        _become_rsync(words)  # we started a wrapper named rsync, and that has called us
    line = rsync_options.parse(words)
    settings = rsync_options.settings(line)

    def report(reason: str) -> None:
        advised = with_advice(reason)
        if _is_news(words, line, settings, advised) or settings.verbose:
            complain(f"plain rsync runs: {advised}")

    def plain_rsync(reason: str, owned: bool) -> int:
        report(reason)
        return hand_over.plain_rsync(words, owned=owned)

    try:
        reason = rsync_options.unfit(line)
        if reason or os.environ.get("RSYNC_ICONV"):
            raise NotForUs(reason or "RSYNC_ICONV changes names")
        source, replica, below = _addresses(line, settings)
        session = Session(source, replica, _options(line, settings, below))
        run = DropIn(session, _deletions(settings, below), plain_rsync)
        result = run.execute()
    except (NotForUs, UsageError) as refusal:
        become_rsync, reported = partial(_become_rsync, words), partial(report, str(refusal))
        has_agent = not (isinstance(refusal, NotForUs) and refusal.no_agent)
        return hand_over.hand_over(words, line, settings, become_rsync, reported, has_agent=has_agent)
    if run.handed_over:
        return result.exit
    handed_over.forget(session.options.state, session.key)
    from cyrsync.cli import aftermath  # SQLite is not loaded to become rsync

    aftermath.finish(session, aftermath.Wanted())
    complain_of_run(result, verbose=settings.verbose > 0)
    return result.exit


def _is_news(words: list[str], line: RsyncLine, settings: Settings, reason: str) -> bool:
    """Tell whether a line that copies a spool is handed over for the first time, and keep that."""
    if len(line.operands) != 2 or settings.dry_run or line.unknown or "list-only" in reason:
        return False
    try:
        source, replica = (address.parse(operand) for operand in line.operands)
    except UsageError:
        return False
    # What rsync refuses it says itself.
    if (
        "not a Cyrus spool" in reason
        or reason.startswith("rsync gave up")
        or (source.local and not handed_over.may_be_spool(source.path))
        or (replica.local and not os.path.isdir(os.path.dirname(os.path.abspath(replica.path))))
    ):
        return False
    key = run_key(identity(source), identity(replica))
    texts = (printable(address.absolute(source)), printable(address.absolute(replica)), printable(reason))
    return handed_over.note(state_path(), key, *texts, words)


def _addresses(line: RsyncLine, settings: Settings) -> tuple[Address, Address, bytes]:
    """Return the source, whose contents are meant, the place they are sent to, and how their names begin for rsync."""
    if len(line.operands) != 2:
        raise NotForUs("cyrsync needs one source and one destination")
    source, replica = (address.parse(operand) for operand in line.operands)
    for end in (source, replica):
        _check_path(end, settings)
    if source.path.endswith((b"/", b"/.")) or source.path == b"." or (source.daemon and b"/" not in source.path):
        return source, replica, b""
    if source.local and os.path.islink(source.path):
        raise NotForUs(f"{source.text} without a slash behind it is the link, not the directory")
    # Without a slash at its end, the directory itself is sent into the destination.
    name = source.path.rpartition(b"/")[2]
    if name == b"..":
        raise NotForUs(f"{source.text} needs a slash behind it")
    if settings.rules.excludes_directory(name):
        raise NotForUs(f"{source.text} itself is excluded")
    return source, replica._replace(path=replica.path.rstrip(b"/") + b"/" + name), name


def _check_path(end: Address, settings: Settings) -> None:
    """See that a far path means the same to us as to a shell, or to a far rsync, that reads it."""
    if end.local:
        return
    if _WILD.search(end.path) or end.path.startswith(b"~"):
        raise NotForUs(f"{end.text}: only the far end knows which path that is")
    old = settings.old_args or os.environ.get("RSYNC_OLD_ARGS", "0") != "0"
    if old and not end.daemon and not settings.protect_args and not _PLAIN.match(end.path):
        raise NotForUs(f"{end.text}: with --old-args the far shell reads that in its own way")


def _options(line: RsyncLine, settings: Settings, below: bytes) -> Options:
    limit = settings.max_delete
    policy = replace(policy_of(settings, skip_derived=False), deletes=settings.delete)
    return Options(
        delete=settings.delete,
        max_delete=MaxDelete(limit, percent=False) if limit is not None else None,
        dry_run=settings.dry_run,
        policy=replace(policy, rules=replace(policy.rules, below=below)),
        rsh=settings.rsh,
        rsync_path=settings.rsync_path,
        bwlimit=settings.bwlimit,
        words=(*settings.passed, *(["--dry-run"] if settings.dry_run else [])),
        # Paths are protected from the far shell: both at once rsync refuses.
        trial=tuple(word for option in line.options if option.name != "old-args" for word in option.words),
        one_file_system=settings.one_file_system,
        connection=settings.connection,
        patience=patience_of(settings, answer=HURRIED),
        retries=0,
    )


def _deletions(settings: Settings, below: bytes) -> Deletions:
    locale = os.environ.get("LC_ALL") or os.environ.get("LC_CTYPE") or os.environ.get("LANG") or ""
    utf8 = "utf-8" in locale.lower() or "utf8" in locale.lower()
    return Deletions(
        lines=settings.deletions._replace(as_they_are=settings.deletions.as_they_are or utf8),
        below=below,
        after_errors=settings.ignore_errors,
        last=settings.delete_after,
        quiet=settings.quiet,
    )


def _become_rsync(words: list[str]) -> NoReturn:
    rsync = process.program("rsync")
    os.execve(rsync, ["rsync", *words], process.environment_of(rsync, os.environ))
