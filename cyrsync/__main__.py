"""`python -m cyrsync`."""

from cyrsync.cli.app import main

main()
