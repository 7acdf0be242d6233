"""Reading a tree of folders, here or at the far end."""
