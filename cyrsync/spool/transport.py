"""The rsync that sends files from one side of a walk to the other."""

from __future__ import annotations

from cyrsync.ends.address import Address
from cyrsync.ends.tree_pair import TreePair
from cyrsync.rsync import features
from cyrsync.rsync.driver import Ends, Rsync
from cyrsync.sync.session import Session

_FSYNC = "--fsync"


def rsync_between(session: Session, trees: TreePair, *, verbatim: bool) -> Rsync:
    """Return what transfers from the source to the replica; `verbatim`: what it prints is for the user as it is."""
    options, source, replica = session.options, session.source, session.replica
    known = features.near()
    if trees.shell:
        known &= features.far(trees.shell.words, options.rsync_path, options.patience.silence)
    elif source.daemon or replica.daemon:
        known = features.Features(known.options - {"-@"})  # a daemon does not say what it can do
    source_root, replica_root = trees.source_status.root, trees.replica_status.root
    name = options.policy.rules.below
    top, below = source.split(_above(source_root, name))
    ends = Ends(
        source=source.for_rsync(top),
        below=below,
        name=name,
        destination=replica.for_rsync(_above(replica_root, name)),
        roots=(_as_told(source, source_root), _as_told(replica, replica_root)),
        rsh=trees.shell.for_rsync() if trees.shell else None,
        pull=not source.local,
        silence=0.0 if source.local and replica.local else options.patience.silence,
    )
    words = options.words_of_job()
    rsync = Rsync(ends, known, words, session.directory, verbatim=verbatim, jobs=session.jobs)
    if replica.daemon and "--fsync" in known.options and rsync.accepts((*words, _FSYNC)):
        # Nobody else is there to see that what has arrived is on the disk.
        rsync.words.append(_FSYNC)
    return rsync


def _above(root: bytes, name: bytes) -> bytes:
    """Return the directory that a root is in, under its name; without a name, the root."""
    return root.rstrip(b"/").removesuffix(b"/" + name) + b"/" if name else root


def _as_told(address: Address, root: bytes) -> bytes:
    """Return the root as rsync's messages have it: a daemon leaves its module's name out."""
    return b"/" + root.partition(b"/")[2].strip(b"/") if address.daemon else root
