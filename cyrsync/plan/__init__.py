"""Comparing two listings: what to send, what to delete, and the guards on both."""
