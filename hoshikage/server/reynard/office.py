"""What Reynard's routes remember between requests: what an owner has changed, who is at work, and what was done.

Belongs to the event loop. What is changed holds until the server ends.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from hoshikage.manager.queue import Gate
from hoshikage.server.reynard.turns import Turns
from hoshikage.settings import Row, Settings, table

NAMES = {  # Reynard's: ours
    "default_model": "reynard_default_model",
    "device_preference": "reynard_device_preference",
    "max_concurrent_requests": "reynard_max_requests",
    "memory_threshold": "reynard_memory_threshold",
    "timeout_seconds": "reynard_timeout",
    "max_length": "reynard_max_length",
    "temperature": "reynard_temperature",
    "top_p": "reynard_top_p",
    "top_k": "reynard_top_k",
    "repetition_penalty": "reynard_repetition_penalty",
}


def rows() -> dict[str, Row]:
    """The settings that can be changed while the server runs, by Reynard's names."""
    known = {row.name: row for row in table("reynard")}
    return {name: known[ours] for name, ours in NAMES.items()}


@dataclass(slots=True)
class Statistics:
    """What was asked of these routes since the server began."""

    n_well: int = 0
    n_failed: int = 0
    seconds: float = 0.0  # of those that went well
    n_tokens: int = 0
    models: Counter[str] = field(default_factory=Counter)
    devices: Counter[str] = field(default_factory=Counter)

    def well(self, model: str, device: str, seconds: float, n_tokens: int) -> None:
        """One went well."""
        self.n_well += 1
        self.seconds += seconds
        self.n_tokens += n_tokens
        self.models[model] += 1
        self.devices[device] += 1

    def told(self) -> dict[str, Any]:
        """As its document shows them."""
        n = self.n_well + self.n_failed
        return {
            "total_requests": n,
            "successful_requests": self.n_well,
            "failed_requests": self.n_failed,
            "average_processing_time": round(self.seconds / self.n_well, 3) if self.n_well else 0.0,
            "total_tokens_generated": self.n_tokens,
            "model_usage": dict(self.models),
            "device_usage": dict(self.devices),
            "error_rate": round(100 * self.n_failed / n, 2) if n else 0.0,
        }


class Office:
    """One server's."""

    def __init__(self, settings: Settings) -> None:
        self.enabled = settings.reynard_enabled
        self._gpu_share = settings.gpu_share
        self.config: dict[str, Any] = {name: getattr(settings, ours) for name, ours in NAMES.items()}
        self.statistics = Statistics()
        self.turns = Turns(self.config["max_concurrent_requests"], Gate(settings.max_waiting, settings.max_per_key))

    def change(self, values: Mapping[str, Any]) -> None:
        """Hold these from now on."""
        self.config.update(values)
        self.turns.allow(self.config["max_concurrent_requests"])

    @property
    def load_settings(self) -> dict[str, Any]:
        """What a load that these routes begin is wanted with: of a GPU no more than is the owner's to give."""
        device = self.config["device_preference"]
        preference = {} if device is None else {"device_preference": device}
        return {"gpu_share": min(self.config["memory_threshold"], self._gpu_share), **preference}
