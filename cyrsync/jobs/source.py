"""What a source is: a spool, or the configuration of a server."""

from __future__ import annotations

import os


def is_imapd_conf(path: str) -> bool:
    """Tell whether a source here is an imapd.conf, and not a spool: a file, or named like one."""
    return path.startswith("/") and (os.path.isfile(path) or (path.endswith(".conf") and not os.path.isdir(path)))
