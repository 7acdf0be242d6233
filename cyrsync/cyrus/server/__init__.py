"""The files of a whole server: imapd.conf, mailboxes.db and the other databases."""

#: Where Cyrus itself looks.
CONF = "/etc/imapd.conf"
