"""What Cyrus IMAPd puts on disk, read-only: bytes in, values out."""
