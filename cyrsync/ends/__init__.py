"""The other end of a run: its address, the way there, and what it can do."""
