"""Answers, kept: bench/results/<machine>.csv gets a line for each, with the command that printed it."""

from __future__ import annotations

import csv
import platform
import re
from datetime import UTC, datetime
from pathlib import Path

RESULTS = Path(__file__).with_name("results")
COLUMNS = ("date", "question", "figure", "unit", "asked", "detail", "command")


def machine() -> str:
    """A name for this machine: its processor and how many of its cores are ours."""
    names = re.findall(r"model name\s*: (.+)", Path("/proc/cpuinfo").read_text(encoding="utf-8"))
    name = names[0] if names else platform.machine()
    return re.sub(r"[^a-z0-9]+", "-", f"{name} {len(names) or 1} cores".lower()).strip("-")


def record(question: str, figure: float, unit: str, *, asked: str, detail: str, command: str) -> None:
    """Print an answer and keep it."""
    print(f"\n{question}: {figure:.3g} {unit} (asked: {asked}); {detail}")
    RESULTS.mkdir(exist_ok=True)
    path = RESULTS / f"{machine()}.csv"
    is_new = not path.exists()
    with path.open("a", newline="", encoding="utf-8") as file:
        writer = csv.writer(file)
        if is_new:
            writer.writerow(COLUMNS)
        today = datetime.now(UTC).date().isoformat()
        writer.writerow([today, question, f"{figure:.4g}", unit, asked, detail, command])
