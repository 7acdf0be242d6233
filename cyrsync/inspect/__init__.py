"""Mailboxes as Cyrus's own files have them."""
