"""Keep a replica of a Cyrus IMAP spool: find out what changed for almost nothing, let rsync move it."""

__version__ = "0.1.0"
