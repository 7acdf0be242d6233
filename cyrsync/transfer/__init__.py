"""From a plan to bytes on the replica: lists, the rsync driver, deletions."""
