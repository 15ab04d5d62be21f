"""The command `hoshikage`, and `python -m hoshikage`. Its modules are imported where Ctrl-C is waited for already."""


def main() -> int:
    """Run one command; returns its exit code."""
    try:
        from hoshikage.cli import main as command

        return command()
    except KeyboardInterrupt:
        return 130


if __name__ == "__main__":
    raise SystemExit(main())
