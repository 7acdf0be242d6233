"""All that also runs at the far end of a connection: standard library only, Python 3.6."""
