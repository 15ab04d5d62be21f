"""The command `hoshikage`, and `python -m hoshikage`. Its modules are imported where Ctrl-C is waited for already."""

import os
import signal

FIRST = 1  # of a container


def main() -> int:
    """Run one command; returns its exit code."""
    try:
        if os.getpid() == FIRST:  # which the kernel gives no signal that it does not wait for; a server waits later
            signal.signal(signal.SIGTERM, signal.default_int_handler)
        from hoshikage.cli import main as command

        return command()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
