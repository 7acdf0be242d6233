"""One result model, and what a person or a machine is shown of it."""
