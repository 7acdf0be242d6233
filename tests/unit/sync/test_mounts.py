"""Whether another file system may begin below a directory."""

from __future__ import annotations

import pytest

from cyrsync.sync.mounts import is_crossed

MOUNTS = b"""22 1 8:1 / / rw,relatime - ext4 /dev/sda1 rw
30 22 8:2 / /srv/mail rw,relatime shared:1 - xfs /dev/sdb1 rw
31 30 8:3 / /srv/mail/spool/a\\040b rw - ext4 /dev/sdc1 rw
32 22 0:40 / /pool rw - btrfs /dev/sdd rw
"""


@pytest.mark.parametrize(
    ("root", "crossed"),
    [
        (b"/var/spool", False),
        (b"/srv", True),
        (b"/srv/mail", True),
        (b"/srv/mail/spool", True),
        (b"/srv/mail/spool/a b", False),
        (b"/srv/mail/spool/a", False),
        (b"/", True),
        (b"/pool/x", True),
        (b"/pool2", False),
    ],
)
def test_what_is_mounted_below(root: bytes, crossed: bool) -> None:
    assert is_crossed(MOUNTS, root) == crossed
