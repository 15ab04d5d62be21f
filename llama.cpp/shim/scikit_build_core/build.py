"""The two questions that pip asks before it hands out a source archive."""

from __future__ import annotations

import tomllib
from pathlib import Path


def get_requires_for_build_wheel(_settings: object = None) -> list[str]:
    return []


def prepare_metadata_for_build_wheel(metadata_directory: str, _settings: object = None) -> str:
    """Writes a name and a version: all that pip checks. The working folder is the unpacked archive."""
    name = tomllib.loads(Path("pyproject.toml").read_text(encoding="utf-8"))["project"]["name"]
    version = next(
        line.removeprefix("Version:").strip()
        for line in Path("PKG-INFO").read_text(encoding="utf-8").splitlines()
        if line.startswith("Version:")
    )
    folder = Path(metadata_directory) / f"{name}-{version}.dist-info"
    folder.mkdir()
    (folder / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n", encoding="utf-8")
    return folder.name
