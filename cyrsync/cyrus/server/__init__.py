"""The files of a whole server: imapd.conf, mailboxes.db and the other databases."""
