"""The routes of this door."""

from __future__ import annotations

from hoshikage.server.door import Line
from hoshikage.server.reynard import admin, generate, tables
from hoshikage.server.shell.keys import Access

USER, ADMIN = Access.USER, Access.ADMIN
BASE = "/api/diffusion"

_LINES: list[Line] = [
    ("POST", "/generate", generate.generate, USER, "Continue a text", {"table": tables.GENERATE}),
    ("POST", "/generate/stream", generate.generate_stream, USER, "Continue a text, streamed",
     {"table": tables.GENERATE}),
    ("POST", "/infill", generate.infill, USER, "Fill a gap", {"table": tables.INFILL}),
    ("POST", "/infill/stream", generate.infill_stream, USER, "Fill a gap, streamed", {"table": tables.INFILL}),
    ("POST", "/batch/generate", generate.generate_batch, USER, "Continue up to 50 texts",
     {"table": tables.MANY_TEXTS}),
    ("POST", "/batch/infill", generate.infill_batch, USER, "Fill up to 50 gaps", {"table": tables.MANY_GAPS}),
    ("GET", "/models", admin.models, USER, "List the diffusion models", {}),
    ("GET", "/config", admin.config, USER, "What holds for these routes", {}),
    ("POST", "/config", admin.change_config, ADMIN, "Change it until the server ends", {"table": tables.CONFIG}),
    ("GET", "/admin/stats", admin.stats, ADMIN, "What was asked of these routes", {}),
    ("GET", "/admin/health", admin.health, ADMIN, "Whether these routes serve", {}),
    ("GET", "/admin/models", admin.models_in_detail, ADMIN, "The diffusion models in detail", {}),
    ("POST", "/admin/models/{model_id}/reload", admin.reload, ADMIN, "Load a model anew", {}),
    ("POST", "/admin/cleanup", admin.cleanup, ADMIN, "Unload the diffusion models that nobody uses", {}),
]  # fmt: skip
LINES: list[Line] = [
    (method, BASE + path, answer, access, about, more) for method, path, answer, access, about, more in _LINES
]
