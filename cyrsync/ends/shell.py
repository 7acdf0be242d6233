"""The remote shell: ssh, or what the user's -e says, with one connection for all that a run does."""

from __future__ import annotations

import os
import shlex
from pathlib import Path

from cyrsync.errors import UsageError

#: The far end says which it has, and goes on as that. The script holds no single quote, so any login
#: shell takes it as one word. With -I, no module is loaded from the directory that the login leads to.
_PROBE = (
    'if command -v python3 >/dev/null 2>&1 && python3 -I -c "import sys;sys.exit(sys.version_info<(3,6))"; '
    'then echo {python}; exec python3 -I -c "{bootstrap}"; else echo {posix}; exec sh; fi'
)
HAS_PYTHON = b"cyrsync-python"
HAS_POSIX = b"cyrsync-posix"
#: A connection that dies without a word is noticed after two minutes.
_KEEPALIVE = ["-o", "ServerAliveInterval=30", "-o", "ServerAliveCountMax=4"]


class RemoteShell:
    """How to run something at `host`, as rsync itself would call its remote shell."""

    def __init__(self, host: str, rsh: str | None, directory: Path) -> None:
        """Take the user's -e (or RSYNC_RSH) and a private directory for the connection's socket."""
        try:
            self._words = shlex.split(rsh or os.environ.get("RSYNC_RSH") or "ssh")
        except ValueError as error:
            raise UsageError(f"-e {rsh}: {error}") from None
        if not self._words:
            raise UsageError("-e is empty: name the remote shell")
        user, _, machine = host.rpartition("@")
        self._target = [*(["-l", user] if user else []), machine.strip("[]")]
        self._socket: str | None = None
        if self._is_ssh() and not self._shares_already():
            self._socket = str(directory / "ssh")

    def words(self, command: str, *, first: bool = False) -> list[str]:
        """Return the command line that runs `command` there; the `first` one opens the shared connection."""
        return [*self._words, *self._sharing(first), *self._target, command]

    def for_rsync(self) -> str:
        """Return the value of -e for an rsync that is to use the same connection."""
        return shlex.join([*self._words, *self._sharing(first=False)])

    def is_logged_in(self) -> bool:
        """Tell whether ssh has a connection to share, which it makes when the login has succeeded."""
        return self._socket is not None and os.path.exists(self._socket)

    def _sharing(self, first: bool) -> list[str]:
        if self._socket is None:
            return _KEEPALIVE if self._is_ssh() else []
        mode = "yes" if first else "no"
        return [*_KEEPALIVE, "-o", f"ControlMaster={mode}", "-o", f"ControlPath={self._socket}"]

    def _is_ssh(self) -> bool:
        return os.path.basename(self._words[0]) == "ssh"

    def _shares_already(self) -> bool:
        """Tell whether the user's words have connection sharing of their own."""
        return any(word.startswith(("-S", "-M")) or "control" in word.lower() for word in self._words[1:])


def agent_command(bootstrap: str) -> str:
    """Return the command that starts the agent's bootstrap there, or a shell where python3 is missing."""
    script = _PROBE.format(python=HAS_PYTHON.decode(), posix=HAS_POSIX.decode(), bootstrap=bootstrap)
    return f"sh -c '{script}'"
