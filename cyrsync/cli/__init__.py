"""A command asks for plans and hands them on: one module a command, no logic of its own."""
