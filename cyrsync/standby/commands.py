"""The commands between a replica and a running server: which they are, and running them."""

from __future__ import annotations

import os
import shlex
import tempfile
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from cyrsync import process
from cyrsync.cyrus.mailbox import header, regular_file
from cyrsync.cyrus.server import layout
from cyrsync.cyrus.server.config import Config
from cyrsync.cyrus.server.server import Located
from cyrsync.far.finding import Problem
from cyrsync.standby import starting
from cyrsync.standby.ownership import Identity
from cyrsync.standby.sweep import Swept
from cyrsync.text import path_text, printable

#: Where distributions and Cyrus itself put its tools; its `quota` need not be the one in PATH.
_DIRECTORIES = (
    "/usr/lib/cyrus/bin",
    "/usr/libexec/cyrus-imapd",
    "/usr/lib/cyrus-imapd",
    "/usr/cyrus/bin",
    "/usr/cyrus/sbin",
    "/usr/local/cyrus/bin",
    "/usr/local/cyrus/sbin",
)
_FIRST = "ctl_cyrusdb"
#: Directories of configdirectory that Cyrus expects, and makes only some of.
_WORKING = (b"db", b"log", b"msg", b"proc", b"socket", b"sync")
#: What `reconstruct` mends. It makes a directory that is not there, too, with an empty mailbox in it (3.6.1).
DOUBTFUL = frozenset(["index", "header", "missing", "uniqueid", "no directory"])
_LOST = frozenset(["index", "header"])
#: Types of mailboxes, each of which has rows in its owner's dav.db: scripts, calendars, addressbooks.
_IN_DAV = frozenset("fca")


@dataclass(slots=True)
class Step:
    """One of the commands that are left until the server runs."""

    command: str  # for a shell; a comment where there is no command for it
    why: str
    words: tuple[str, ...] = ()  # none for what is the operator's
    exit: int | None = None  # None: not run


def tools() -> str | None:
    """Return the directory of Cyrus's tools, None where they are not installed."""
    places = (*_DIRECTORIES, *process.search_path())
    return next((one for one in places if os.access(os.path.join(one, _FIRST), os.X_OK)), None)


class Commands:
    """Makes commands for one server."""

    def __init__(self, config: Config, conf: str, owner: Identity, places: Sequence[Located]) -> None:
        self._config = config
        self._conf = os.path.abspath(conf)
        self._owner = owner
        self._places = places
        self._tools = tools()

    def steps(self, swept: Swept, problems: Sequence[tuple[bytes, Problem]], source: str) -> list[Step]:
        """Return what is to do, in order."""
        reconstructing, home = list(self._reconstructing(problems)), os.fsdecode(self._config.configdirectory)
        quota = self._cyrus("counts again how much of the quotas is used", "quota", "-f")
        if not all(step.words for step in reconstructing):
            # It ends at a mailbox without a directory.
            quota = _operators(quota.command, "when the mailboxes above are well")
        return [
            *self._owning(swept.foreign_roots),
            *self._lacking(),
            *self._shutdown(),
            self._cyrus("recovers databases, and converts those of older versions", _FIRST, "-r"),
            *reconstructing,
            quota,
            *self._derived(),
            _operators(
                f"# see that the old master ({source}) cannot start: it would receive mail that is missing here"
            ),
            *(_operators(*one) for one in starting.commands(self._conf, home, self._tools)),
            _operators("# lead clients and mail here: DNS, or the address that the old master had"),
            *self._searching(),
        ]

    def _owning(self, roots: Sequence[bytes]) -> Iterator[Step]:
        if roots:
            paths = [os.fsdecode(root) for root in roots]
            owner = f"{self._owner.user}:{self._owner.group}"
            yield _step("Cyrus has to own what it works with", ["chown", "-R", owner, "--", *paths])
            yield _step("and must be able to write to it", ["chmod", "-R", "u+rwX", "--", *paths])

    def _lacking(self) -> Iterator[Step]:
        """Yield commands that make the directories that a server works in and no replica has."""
        home = self._config.configdirectory
        lacking = [os.path.join(home, name) for name in _WORKING if not os.path.lexists(os.path.join(home, name))]
        if lacking:
            how = ["install", "-d", "-m", "750", "-o", self._owner.user, "-g", self._owner.group, "--"]
            yield _step("what Cyrus works in", [*how, *map(os.fsdecode, lacking)])

    def _shutdown(self) -> Iterator[Step]:
        path = os.path.join(self._config.configdirectory, b"msg", b"shutdown")
        if os.path.lexists(path):
            yield _operators(shlex.join(["rm", "--", os.fsdecode(path)]), "with this file Cyrus refuses all logins")

    def _reconstructing(self, problems: Sequence[tuple[bytes, Problem]]) -> Iterator[Step]:
        """Yield a `reconstruct` for each mailbox that needs it.

        It makes mail of files that the index does not name, and an empty mailbox where the directory is another's:
        then somebody has to look before.
        """
        wrong: dict[bytes, list[Problem]] = {}
        for path, problem in problems:
            wrong.setdefault(path, []).append(problem)
        strays = {uniqueid_of(path): path for path, found in wrong.items() if found[0].kind == "no mailbox"}
        strays.pop("", None)
        for place in self._places:
            found = wrong.get(place.data, []) if place.data else []
            kinds = [problem.kind for problem in found]
            if not DOUBTFUL.intersection(kinds):
                continue
            name = os.fsdecode(layout.external(place.mailbox.name, self._config.separator))
            step = self._cyrus(", ".join(kinds), "reconstruct", name)
            stray = strays.get(place.mailbox.uniqueid) if "no directory" in kinds else None
            if stray:
                step = _operators(step.command, f"look first: its mail is in {path_text(stray)}")
            elif "orphan" in kinds and not _LOST.intersection(kinds):
                step = _operators(step.command, "look first: it makes mail of files that the index does not name")
            yield step

    def _derived(self) -> Iterator[Step]:
        """Yield commands that make the users' databases that were not copied, where they are in use."""
        users = sorted(self._users().items())
        if self._config.switch("conversations"):
            for user, (inbox, _) in users:
                if not self._has(inbox, b"conversations"):
                    # -R makes what there was, as the index has each message's conversation; -b does nothing for those.
                    yield self._cyrus("has no conversations", "ctl_conversationsdb", "-R", user)
        for user, (inbox, in_dav) in users:
            if in_dav and not self._has(inbox, b"dav"):
                yield self._cyrus("has no dav.db for scripts, calendars or contacts", "dav_reconstruct", user)

    def _users(self) -> dict[str, tuple[Located, bool]]:
        """Return the users with their INBOX, and whether they have mailboxes that dav.db has to know."""
        inboxes, in_dav = {}, set()
        for place in self._places:
            name = place.mailbox.name
            user = layout.user_of_name(name, self._config.deletedprefix)
            if user is None or layout.is_deleted(name, self._config.deletedprefix):
                continue
            if _IN_DAV.intersection(place.mailbox.kind):
                in_dav.add(user)
            if name.rpartition(b"!")[2].count(b".") == 1:
                inboxes[user] = place
        return {os.fsdecode(user): (inbox, user in in_dav) for user, inbox in inboxes.items()}

    def _has(self, inbox: Located, suffix: bytes) -> bool:
        uniqueid = b"" if inbox.mailbox.legacy else inbox.mailbox.uniqueid.encode()
        config = self._config
        path = layout.user_file(inbox.mailbox.name, suffix, config.fulldirhash, config.version, uniqueid)
        return os.path.exists(os.path.join(config.userpath, path))

    def _searching(self) -> Iterator[Step]:
        if self._config.text("search_engine") not in ("", "none"):
            yield _operators(self._cyrus("", "squatter", "-i").command, "finds mail faster; users need not wait for it")

    def _cyrus(self, why: str, tool: str, *words: str) -> Step:
        """Return one of Cyrus's own commands, as its user."""
        path = os.path.join(self._tools or "", tool)
        other = [] if os.geteuid() == self._owner.uid else ["runuser", "-u", self._owner.user, "--"]
        step = _step(why, [*other, path, "-C", self._conf, *words])
        # Distributions part Cyrus into packages: what is not there is for somebody to install.
        return step if os.access(path, os.X_OK) else _operators(step.command, f"{why}; {tool} is not installed here")


def uniqueid_of(directory: bytes) -> str:
    """Return which mailbox's directory it was, "" where its header does not tell."""
    try:
        start = regular_file.start(os.path.join(directory, b"cyrus.header"), header.READ_SIZE)
        return header.uniqueid(start) or ""
    except OSError:
        return ""


def run(steps: Iterable[Step]) -> str:
    """Run the commands that need no decision, up to the first that fails; return the error of that one, else ""."""
    for step in steps:
        if not step.words:
            continue
        with tempfile.TemporaryFile() as output:
            step.exit = process.run(step.words, output, output)
            if step.exit:
                output.seek(0)
                said = output.read().decode("utf-8", "backslashreplace").strip().rpartition("\n")[2]
                return f"{step.command}: exit {step.exit}{': ' + printable(said) if said else ''}"
    return ""


def _step(why: str, words: Sequence[str]) -> Step:
    return Step(printable(shlex.join(words)), why, tuple(words))


def _operators(command: str, why: str = "") -> Step:
    return Step(printable(command), why)
