"""How long a run waits for others: for writers that keep a lock, and for mailboxes that are being renamed."""

from __future__ import annotations

from cyrsync.cyrus.mailbox import snapshot

#: Seconds that a watcher waits for a writer, and for each other one after it has waited for one in vain. Cyrus's own
#: locks last milliseconds.
_FIRST, _OTHERS = 0.5, 0.05


class RunPatience:
    """The patience of a run.

    A watcher is not `patient`: all that changes meanwhile would wait, too, and what it leaves it tries again soon. A
    process that stands still may hold many locks.
    """

    def __init__(self, *, patient: bool = True) -> None:
        self.patient = patient
        #: Seconds that the next writer is waited for.
        self.seconds = snapshot.PATIENCE if patient else _FIRST

    def was_in_vain(self) -> None:
        """Note that a writer was waited for in vain."""
        if not self.patient:
            self.seconds = _OTHERS
