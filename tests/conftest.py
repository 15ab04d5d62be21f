"""Shared by all tests: hypothesis profiles, and the tiny models, each written once per session."""

from __future__ import annotations

from hypothesis import HealthCheck, settings

settings.register_profile("default", deadline=None, suppress_health_check=[HealthCheck.too_slow], derandomize=True)
settings.register_profile("quick", parent=settings.get_profile("default"), max_examples=50)
settings.register_profile("wide", parent=settings.get_profile("default"), max_examples=1000, derandomize=False)
settings.load_profile("quick")
