"""Audits: of one tree, and of a replica beside its source."""
