"""The engines of Cyrus's key-value files: one module each, bytes in, pairs out; `reader.read` opens and locks."""
