"""`cyrsync list`: print the list that an rsync of the user's own can read."""

from __future__ import annotations

import shutil
import sys
import tempfile
from pathlib import Path
from typing import Annotated

import typer

from cyrsync.cli import signals
from cyrsync.cli.operands import ConfigFile, Users, operand
from cyrsync.cli.options import Rsh, RsyncPath, SkipDerived, users_of
from cyrsync.cli.output import complain_of_all
from cyrsync.ends import address
from cyrsync.errors import UnreadableError, UsageError
from cyrsync.spool.listing import entries
from cyrsync.sync.options import Options
from cyrsync.sync.part import Part
from cyrsync.sync.policy import Policy
from cyrsync.text import path_text


def list_command(
    source: Annotated[str, operand("SRC|@JOB", "The spool; @JOB: the job's SRC and DEST.")],
    destination: Annotated[str | None, operand("[DEST|@JOB]", "The replica.")] = None,
    _config: ConfigFile = None,
    null: Annotated[bool, typer.Option("-0", "--from0", help="End each entry with NUL, for rsync's --from0.")] = False,
    rsh: Rsh = None,
    rsync_path: RsyncPath = None,
    user: Users = None,
    skip_derived: SkipDerived = False,
) -> None:
    """Print a list for rsync's --files-from: all metadata, and the messages that DEST lacks (or all).

    cyrsync list -0 SRC DEST | rsync -a --from0 --files-from=- SRC DEST
    """
    connection = (f"--rsync-path={rsync_path}",) if rsync_path else ()
    policy = Policy(skip_derived=skip_derived, one_by_one=True, own_quick_check=False)
    options = Options(part=Part(users_of(user)), policy=policy, rsh=rsh, connection=connection)
    replica = address.parse(destination) if destination else None
    # Only a whole list is printed: half of one would be half a copy.
    with tempfile.TemporaryFile() as listed, tempfile.TemporaryDirectory(prefix="cyrsync-") as directory:
        failure = None
        warnings: list[str] = []
        try:
            for entry in entries(address.parse(source), replica, options, Path(directory), warnings):
                if not null and (b"\n" in entry or b"\r" in entry):
                    raise UsageError(f"{path_text(entry)}: a name with a line break: use -0, and rsync's --from0")
                listed.write(b"./" + entry + (b"\0" if null else b"\n"))
        except UnreadableError as error:
            failure = error
        listed.seek(0)
        with signals.pipe_may_break():
            shutil.copyfileobj(listed, sys.stdout.buffer)
            sys.stdout.buffer.flush()
    complain_of_all(warnings)
    if failure:
        complain_of_all(failure.lines)
        raise typer.Exit(failure.code)
