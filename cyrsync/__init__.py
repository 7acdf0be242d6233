"""Keep a replica of a Cyrus IMAP spool: find what changed at almost no cost, and send only that."""

__version__ = "0.1.0"
