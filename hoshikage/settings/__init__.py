"""Settings: one table of environment variable, type, default and meaning, merged once.

Defaults < `.env` files < environment < flags. `.env` is looked for in `~/.config/hoshikage` and in the working
directory (the latter wins), or only where `HOSHIKAGE_CONFIG_PATH` says.
"""

from __future__ import annotations

from hoshikage.envfile import config_folder
from hoshikage.settings.choices import ALGORITHMS, BLOCK_ENDS, PLANS, QUALITIES, SCHEDULES
from hoshikage.settings.reading import Found, found, misspelt, read, replaced
from hoshikage.settings.row import PARTS, Part, Row
from hoshikage.settings.table import Settings, table

__all__ = [
    "ALGORITHMS",
    "BLOCK_ENDS",
    "PARTS",
    "PLANS",
    "QUALITIES",
    "SCHEDULES",
    "Found",
    "Part",
    "Row",
    "Settings",
    "config_folder",
    "found",
    "misspelt",
    "read",
    "replaced",
    "table",
]
