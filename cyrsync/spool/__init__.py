"""`sync SRC DEST`: two listings, a plan for each folder, and rsync in steps; the drop-in."""
