"""What every sync shares: its result, the owner of the replica, the limit of deletions."""
