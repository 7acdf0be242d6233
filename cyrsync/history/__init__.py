"""Mail looked for in a tree that was kept, and brought back from there."""
