"""Checking what is there: every record of an index has its message, and nothing lies about that no index names."""
