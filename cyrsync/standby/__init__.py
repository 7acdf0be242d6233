"""A hot spare: `check` and `promote`."""
