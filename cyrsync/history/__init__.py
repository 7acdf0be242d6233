"""Finds mail in a tree that was kept, and restores it from there."""
