"""The start of `cyrsync`, and `python -m cyrsync`."""

import signal


def main() -> None:
    """Run the command line, and exit.

    Until its modules are loaded, SIGINT ends the process without a word: there is nothing to close.
    """
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, signal.SIG_DFL)
    from cyrsync.cli.app import main as run

    run()


if __name__ == "__main__":
    main()
