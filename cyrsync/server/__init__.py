"""A whole server: the mailboxes in mailboxes.db, each of which is checked for changes."""
