"""The models that can be asked for by name: `model_map.json`, MODEL_DIR and the embedded ones. None is loaded here."""

from __future__ import annotations

from hoshikage.registry.entry import Model
from hoshikage.registry.facts import Facts
from hoshikage.registry.labels import check_label
from hoshikage.registry.registry import Catalogue, Registry

__all__ = ["Catalogue", "Facts", "Model", "Registry", "check_label"]
