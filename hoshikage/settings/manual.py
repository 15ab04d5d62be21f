"""Texts made from the table: `.env.example` and the tables of the manual.

`python -m hoshikage.settings.manual` writes both into a checkout; a test holds them to what stands here.
"""

from __future__ import annotations

import re
import textwrap
from collections.abc import Iterator
from pathlib import Path

from hoshikage.checks import Choice
from hoshikage.envfile import quoted
from hoshikage.settings.row import PARTS, Part, Row
from hoshikage.settings.table import table

ROOT = Path(__file__).resolve().parents[2]
EXAMPLE, MANUAL = ROOT / ".env.example", ROOT / "docs" / "settings.md"
TABLES = re.compile(r"(?<=<!-- tables -->\n).*(?=<!-- end of tables -->\n)", re.DOTALL)
NOT_OF_A_FILE = ("config_path",)  # it says which file is read
OPENING = """\
# Hoshikage's settings, with their defaults. Copy this to ~/.config/hoshikage/.env, or to .env in the folder that
# hoshikage is started in, and take the # from the lines that are to hold. The environment and flags are stronger.
"""


def env_example() -> str:
    """A `.env` file that changes nothing and names everything that one may set."""
    return OPENING + "".join(example_lines())


def example_lines() -> Iterator[str]:
    for part, title in PARTS.items():
        yield f"\n# --- {title} ---\n"
        for row in table(part):
            if row.name in NOT_OF_A_FILE:
                continue
            yield "\n" + textwrap.indent(textwrap.fill(row.meaning, 110), "# ") + "\n"
            yield f"#{row.variable}={quoted(row.spelled(row.default))}\n"


def manual_tables() -> str:
    """What stands in the manual between its two marks."""
    return "\n".join(manual_table(part, title) for part, title in PARTS.items()) + "\n"


def manual_table(part: Part, title: str) -> str:
    head = "| variable | flag | default | meaning |\n|---|---|---|---|\n"
    return f"## {title[0].upper()}{title[1:]}\n\n{head}{''.join(map(manual_line, table(part)))}"


def manual_line(row: Row) -> str:
    default = row.spelled(row.default)
    flag = f"--{row.name.replace('_', '-')}"
    return f"| `{row.variable}` | `{flag}` | {f'`{default}`' if default else ''} | {row.meaning}{choices_of(row)} |\n"


def choices_of(row: Row) -> str:
    """What it can be, where its meaning does not name all of that."""
    names = list(dict.fromkeys(row.check.names.values())) if isinstance(row.check, Choice) else []
    if all(name in row.meaning for name in names):
        return ""
    return f" ({', '.join(names)})"


def main() -> None:
    """Bring the checkout's files up to date."""
    EXAMPLE.write_text(env_example(), encoding="utf-8")
    page = MANUAL.read_text(encoding="utf-8")
    MANUAL.write_text(TABLES.sub(lambda _: manual_tables(), page), encoding="utf-8")


if __name__ == "__main__":
    main()
