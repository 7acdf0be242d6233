"""Why a full comparison doubts the messages of a mailbox whose index is right."""

from __future__ import annotations

import os

from cyrsync.cyrus.mailbox import entry as kinds
from cyrsync.far.folder import Folder
from cyrsync.far.walk import Reader
from cyrsync.spool.compare import with_other_attributes
from cyrsync.state.mailbox_row import Location
from cyrsync.sync.policy import Policy


def is_another_owners(location: Location, there: Folder, policy: Policy, reader: Reader) -> bool:
    """Tell whether owner or mode of a mailbox's directory, header or index differ on the replica.

    Owner and mode of messages are not looked at: they may differ, too, so messages are compared.
    """
    paths = {kinds.HEADER: location.header_path, kinds.INDEX: location.index_path}
    try:
        here = Folder(
            there.path,
            attributes=reader.entry(os.stat(os.path.dirname(location.index_path))),
            metadata={name: reader.entry(os.stat(path)) for name, path in paths.items()},
        )
    except OSError:
        return False  # whoever reads the mailbox will say why
    return bool(with_other_attributes(here, there, policy))
