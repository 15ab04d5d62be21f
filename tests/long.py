"""Whether tests run with the full numbers that the project promises (`HOSHIKAGE_TEST_LONG=1`), or with fewer."""

from __future__ import annotations

import os

LONG = bool(os.environ.get("HOSHIKAGE_TEST_LONG"))
