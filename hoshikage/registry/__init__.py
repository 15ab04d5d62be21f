"""The models that can be asked for by name: `model_map.json`, MODEL_DIR and the embedded ones. None is loaded here."""

from __future__ import annotations

from hoshikage.registry.entry import Model, rows_of_model
from hoshikage.registry.facts import Facts
from hoshikage.registry.labels import check_label
from hoshikage.registry.mapfile import as_json
from hoshikage.registry.registry import Catalogue, Registry

__all__ = ["Catalogue", "Facts", "Model", "Registry", "as_json", "check_label", "rows_of_model"]
