"""Which exit codes a command can end with, and what each means there: one table for `--help` and the man pages."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NamedTuple

from cyrsync.errors import CONNECTION_CODES, Exit

_EVERY = "sync run rsync list verify config inspect check promote status history restore prune hold forget"
_RUNS = "sync run rsync"


class Code(NamedTuple):
    """Codes of one meaning, and by which commands they are used; no codes: all others, which are rsync's."""

    codes: tuple[int, ...]
    meaning: str
    commands: Mapping[str, str]  # each with what it means there, if that can be said better

    @property
    def name(self) -> str:
        """The codes, as a person reads them."""
        return ", ".join(str(int(code)) for code in self.codes) or "others"

    def meaning_for(self, command: str) -> str:
        """Return what it means for a command, or for any for ""."""
        return self.commands.get(command) or self.meaning


def _of(*groups: str, **better: str) -> Mapping[str, str]:
    """Return the commands of these groups, and those with a meaning of their own."""
    return {**dict.fromkeys(" ".join(groups).split(), ""), **better}


_GONE = "done; files that vanished from the source meanwhile are no failure"
_UNREAD = "some mailboxes or messages could not be read; each is named"
_TREE = "TREE or the target cannot be used, or has no such mailbox or message"

TABLE = (
    Code((Exit.DONE,), "done", _of(_EVERY, sync=_GONE, run=_GONE)),
    Code(
        (Exit.UNSOUND,),
        "verify, check, promote: something is wrong; status: the last success is older than --max-age",
        _of(
            verify="something is wrong, or differs",
            check="something would make a run fail",
            promote="the replica is promoted, but something is wrong with it",
            status="the last success is older than --max-age, or there was none",
        ),
    ),
    Code((Exit.USAGE,), "the command line is wrong, or asks for something impossible", _of(_EVERY)),
    Code(
        (Exit.UNUSABLE,),
        "the source, the destination or the configuration file cannot be used",
        _of(
            _EVERY,
            config="the configuration file cannot be used",
            check="the configuration file cannot be used",
            status="the configuration file, or a file of --from, cannot be used, or no run is known",
            verify="TREE, SRC, DEST or the configuration file cannot be used",
            inspect="imapd.conf or mailboxes.db cannot be read, or there is no such mailbox",
            promote="the replica cannot be used, a Cyrus is using it, or Cyrus could not read it",
            history="TREE cannot be used, or has no such mailbox",
            restore=_TREE,
        ),
    ),
    Code(
        (Exit.REFUSED,),
        "the replica was promoted, is another server's, or a Cyrus is using it; or the source is a replica; or a "
        "server refused the login; or a user is held",
        _of(
            restore="the server refused the login, or the user is no administrator there",
            prune="the replica was promoted",
            hold="the replica was promoted",
            forget="the user is held, or the replica was promoted",
            **dict.fromkeys(
                _RUNS.split(),
                "the replica was promoted, is another server's, or a Cyrus is using it; or the source is a replica",
            ),
        ),
    ),
    Code(
        tuple(sorted(CONNECTION_CODES)),
        "the connection failed, after all retries; 12: or the other end sent a wrong answer",
        _of(_RUNS, "list verify restore prune hold forget"),
    ),
    Code((Exit.FILE_IO,), "reading or writing failed, as on a full disk", _of(_EVERY)),
    Code((Exit.INTERRUPTED,), "SIGINT, SIGTERM or SIGHUP ended it", _of(_EVERY)),
    Code(
        (Exit.PARTIAL,),
        "some files, folders, mailboxes or messages failed; each is named",
        _of(
            _RUNS,
            list="some folders could not be read; each is named",
            inspect=_UNREAD,
            history=_UNREAD,
            restore=_UNREAD,
            promote="a command of --run failed, or something could not be removed; it is named",
            prune="some kept states could not be read or removed; each is named, and messages that they may need stay",
            forget="something may still name the user, or could not be removed; it is named",
        ),
    ),
    Code((Exit.VANISHED,), "rsync: files vanished from the source meanwhile", _of("rsync")),
    Code((Exit.WITHHELD,), "deletions were withheld; everything else is done", _of(_RUNS)),
    Code((Exit.FAULT,), "a fault of cyrsync itself; the message names a file with its traceback", _of(_EVERY)),
    Code(
        (Exit.LOCKED,),
        "another run holds the lock, or is writing to the replica",
        _of(
            _RUNS,
            promote="a run is writing to the replica",
            prune="a run is writing to the replica",
            hold="a run is writing to the replica",
            forget="a run is writing to the replica",
            restore="another restore is writing to the same directory",
        ),
    ),
    Code((), "rsync's own", _of(_RUNS)),
)


def rows(command: str = "") -> list[tuple[str, str]]:
    """Return codes and meanings: those that a command can end with, or all for ""."""
    return [(one.name, one.meaning_for(command)) for one in TABLE if not command or command in one.commands]


def codes_of(command: str) -> set[int]:
    """Return the codes that a command can end with, but for those of rsync."""
    return {int(code) for one in TABLE if command in one.commands for code in one.codes}


def epilogue(command: str = "") -> str:
    """Return what `--help` says of the codes."""
    return "Exit codes:\n" + "\n".join(f"{name}: {meaning}" for name, meaning in rows(command))
