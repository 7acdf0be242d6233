"""The files of one mailbox. Also runs at the far end of a connection: standard library only, Python 3.6."""
