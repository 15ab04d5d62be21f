"""setuptools' build backend, which asks for cmake and ninja too where the machine has none."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from machine import missing_tools
from setuptools import build_meta
from setuptools.build_meta import *  # noqa: F403 - the hooks that we leave alone

Settings = Mapping[str, Any] | None


def get_requires_for_build_wheel(config_settings: Settings = None) -> list[str]:
    return [*build_meta.get_requires_for_build_wheel(config_settings), *missing_tools()]


def get_requires_for_build_editable(config_settings: Settings = None) -> list[str]:
    return [*build_meta.get_requires_for_build_editable(config_settings), *missing_tools()]
