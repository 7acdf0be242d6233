"""What a replica keeps of what it had: its stores, read."""
