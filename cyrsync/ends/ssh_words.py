"""What ssh says before it gives up, with what to do about it."""

from __future__ import annotations

import re

_UNVERIFIED = "Host key verification failed."
#: A key that is another one than before, and one that is of no known host.
_CHANGED = "REMOTE HOST IDENTIFICATION HAS CHANGED"
_WHERE = re.compile(r"^Offending .*key(?: for IP)? in (.+:\d+)\s*$", re.MULTILINE)


def last_words(said: str) -> str:
    """Return the last line that a remote shell has printed, "" for none; after one about a host's key, what to do."""
    last = said.strip().rpartition("\n")[2].strip()
    if last != _UNVERIFIED:
        return last
    if _CHANGED not in said:
        return f"{last} The host is not known: log in there once by ssh, as this user, and compare its key"
    where = _WHERE.search(said)
    place = f" in {where[1]}" if where else ""
    return (
        f"{last} The host's key has CHANGED from the one{place}: another machine answers, unless the host was set up "
        "anew; then remove the old key by ssh-keygen -R"
    )
