"""The configuration file: a table for each job, with the options that `cyrsync sync` is to have."""
