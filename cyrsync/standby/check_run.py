"""Whether a run would be refused: a dry run tells, so that the same code decides."""

from __future__ import annotations

import os
from dataclasses import replace
from pathlib import Path

from cyrsync.ends.address import Address
from cyrsync.errors import Exit, UnusableError
from cyrsync.server.run import ServerRun
from cyrsync.standby.check import Findings, Source, fail, ok
from cyrsync.sync.options import Options
from cyrsync.sync.session import Session

_REFUSED = frozenset({Exit.UNUSABLE, Exit.REFUSED, Exit.WITHHELD})


def run_findings(replica: Address, options: Options, source: Source, directory: Path, *, with_conf: bool) -> Findings:
    """Do all of `sync -C --delete` that changes nothing; `directory` is for temporary files."""
    if not source.config:
        return
    where = os.path.realpath(os.fsencode(source.conf))
    state = options.state if options.state.exists() else directory / "state"  # a run would make it
    options = replace(options, dry_run=True, delete=True, retries=0, state=state, with_conf=with_conf)
    try:
        session = Session(Address(source.conf, where), replica, options, engine="index")
        result = session.execute(ServerRun(session, source.config, looks=True).attempt)
    except UnusableError as error:
        yield fail("run", str(error), f"sync would end there (exit {error.code})")
        return
    if result.exit in _REFUSED:
        for message in result.errors:
            yield fail("run", message, f"sync would end there (exit {result.exit})")
    else:
        yield ok("run", "it would not be refused")
