"""The history of a replica: its stores, read."""
