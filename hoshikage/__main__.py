"""`python -m hoshikage`: the same as the command `hoshikage`."""

from hoshikage.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
