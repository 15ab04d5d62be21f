"""What the server counts, in the format of Prometheus. Labels are routes, codes and names of models: few, and ours."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import get_args

from prometheus_client import CollectorRegistry, Counter, Histogram, generate_latest
from prometheus_client.core import GaugeMetricFamily, Metric
from prometheus_client.registry import Collector

from hoshikage.manager.state import ModelState, Pulse, State

SECONDS = (0.005, 0.02, 0.05, 0.1, 0.25, 0.5, 1, 2.5, 5, 10, 30, 60, 120, 300, 600)
TOKENS_A_PASS = (0.5, 1, 1.5, 2, 3, 4, 6, 8, 12, 16, 24, 32, 64)
METHODS = ("GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS")  # anybody can make up more
N_MODELS = 256  # that have a line of their own; the rest share one
STATES = get_args(State)


class Metrics:
    """One server's counters. Belongs to the event loop."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        self._models: set[str] = set()
        counter, histogram = self._counter, self._histogram
        self._requests = counter("requests", "Requests answered", ("path", "method", "status"))
        self._seconds = histogram("request_seconds", "Time of a whole request", ("path",))
        self._errors = counter("errors", "Requests that failed, by cause", ("cause",))
        self._gone = counter("clients_gone", "Clients that left before their answer was complete", ())
        self._prompt = counter("prompt_tokens", "Tokens of prompts", ("model",))
        self._settled = counter("settled_tokens", "Tokens of answers", ("model",))
        self._passes = counter("passes", "Forward passes that answers were part of", ("model",))
        self._rows = counter("rows", "Positions computed in them", ("model",))
        self._a_pass = histogram("tokens_per_pass", "Tokens that a pass settled", ("model",), TOKENS_A_PASS)
        self._first = histogram("first_token_seconds", "From the request to its first text", ("model",))
        self._stages = histogram("stage_seconds", "Time of a request in each of its stages", ("stage",))

    def watch(self, models: Callable[[], Sequence[ModelState]], pulse: Callable[[], Pulse]) -> None:
        """Show also what the manager knows, at the moment when somebody looks."""
        self.registry.register(ManagerCollector(models, pulse))

    def text(self) -> bytes:
        """The whole page."""
        return generate_latest(self.registry)

    # -- what happened

    def request(self, path: str, method: str, status: int, seconds: float) -> None:
        """A request was answered."""
        self._requests.labels(path, method if method in METHODS else "other", str(status)).inc()
        self._seconds.labels(path).observe(seconds)

    def error(self, cause: str) -> None:
        """It was answered with an error, or broke off with one."""
        self._errors.labels(cause).inc()

    def left(self) -> None:
        """A client left."""
        self._gone.inc()

    def stage(self, stage: str, seconds: float) -> None:
        """A request was so long in this stage."""
        self._stages.labels(stage).observe(seconds)

    def first_text(self, model: str, seconds: float) -> None:
        """The first text of an answer is there."""
        self._first.labels(self._label(model)).observe(seconds)

    def answer(self, model: str, counts: Mapping[str, float]) -> None:
        """An answer is complete."""
        label = self._label(model)
        n_passes = counts.get("n_passes", 0)
        self._prompt.labels(label).inc(counts.get("n_prompt", 0))
        self._settled.labels(label).inc(counts.get("n_tokens", 0))
        self._passes.labels(label).inc(n_passes)
        self._rows.labels(label).inc(counts.get("n_rows", 0))
        if n_passes:
            self._a_pass.labels(label).observe(counts.get("n_tokens", 0) / n_passes)

    # -- making them

    def _label(self, model: str) -> str:
        if model not in self._models and len(self._models) >= N_MODELS:
            return "others"
        self._models.add(model)
        return model

    def _counter(self, name: str, about: str, labels: Iterable[str]) -> Counter:
        return Counter(f"hoshikage_{name}", about, tuple(labels), registry=self.registry)

    def _histogram(self, name: str, about: str, labels: Iterable[str], buckets: Sequence[float] = SECONDS) -> Histogram:
        return Histogram(f"hoshikage_{name}", about, tuple(labels), registry=self.registry, buckets=buckets)


class ManagerCollector(Collector):
    """The manager's numbers."""

    def __init__(self, models: Callable[[], Sequence[ModelState]], pulse: Callable[[], Pulse]) -> None:
        self._models = models
        self._pulse = pulse

    def collect(self) -> Iterator[Metric]:
        pulse = self._pulse()
        for name, about, value in (
            ("queue", "Requests that wait", pulse.n_waiting),
            ("active", "Requests that are computed", pulse.n_active),
            ("loading", "Models that are being loaded", pulse.n_loading),
            ("still_seconds", "Time for which work has been there and nothing has moved", pulse.still_for),
        ):
            yield GaugeMetricFamily(f"hoshikage_{name}", about, value=value)
        counted = GaugeMetricFamily("hoshikage_manager", "What the manager has counted", labels=["what"])
        for name, number in pulse.counters.items():
            counted.add_metric([name], number)
        yield counted
        yield from models_as_metrics(self._models())


def models_as_metrics(models: Sequence[ModelState]) -> Iterator[Metric]:
    """How many models are in which state, and what each of them takes."""
    states = GaugeMetricFamily("hoshikage_models", "Models by state", labels=["state"])
    for state in STATES:
        states.add_metric([state], sum(model.state == state for model in models))
    yield states
    taken = GaugeMetricFamily("hoshikage_resident_bytes", "Memory that a model takes", labels=["model"])
    for model in [model for model in models if model.n_bytes][:N_MODELS]:
        taken.add_metric([model.label], model.n_bytes)
    yield taken
