"""The sync log of Cyrus, which tells at once what has changed."""
