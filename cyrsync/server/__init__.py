"""A whole server: its mailboxes as mailboxes.db has them, asked one by one whether they have changed."""
