"""Looks at the manager's state from other threads: single fields, which may be a moment older or newer than others."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from hoshikage.errors import HoshikageError
from hoshikage.manager.place import Phase, Place
from hoshikage.manager.queue import Gate
from hoshikage.manager.state import ModelState, Pulse
from hoshikage.manager.steward import Steward
from hoshikage.registry import Catalogue, Facts, Model


def states_of(catalogue: Catalogue, places: Mapping[str, Place], now: float) -> Iterator[ModelState]:
    """Every model of the registry, those whose entry is broken, and those that have left it and still take memory."""
    for label, model in catalogue.models.items():
        yield state_of(model, places.get(label), now)
    for label, error in catalogue.broken.items():
        yield ModelState(label=label, state="failed", error=error)
    for label, place in places.items():
        takes_memory = place.phase is not Phase.COLD or place.staged
        if takes_memory and label not in catalogue.models and label not in catalogue.broken:
            yield state_of(place.model, place, now)


def state_of(model: Model, place: Place | None, now: float) -> ModelState:
    """One model; a place that holds an older description of it is shown all the same, for its memory is taken."""
    facts, error = facts_or_error(model)
    if place is None:
        return ModelState(label=model.label, state="cold", model=model, facts=facts, error=error)
    loaded, staged, timer, failure = place.loaded, place.staged, place.timer, place.failure
    return ModelState(
        label=model.label,
        state=place.state(),
        model=model,
        facts=facts,
        error=failure.error if failure else error,
        progress=place.progress if place.phase is Phase.LOADING else 0.0,
        n_active=len(place.running),
        n_waiting=len(place.line),
        n_bytes=loaded.n_bytes if loaded else 0,
        n_bytes_gpu=n_bytes_on_gpu(place),
        n_bytes_staged=staged.n_bytes if staged else 0,
        unloads_in=max(0.0, timer.when - now) if timer and place.phase is Phase.RESIDENT else None,
        pid=loaded.worker.pid if loaded else None,
        notes=loaded.notes if loaded else (),
    )


def n_bytes_on_gpu(place: Place | None) -> int:
    """Of its memory, what GPUs hold."""
    loaded = place.loaded if place is not None else None
    return loaded.n_bytes - loaded.n_bytes_host if loaded else 0


def facts_or_error(model: Model) -> tuple[Facts | None, HoshikageError | None]:
    try:
        return model.facts(), None
    except HoshikageError as error:
        return None, error


def pulse_of(steward: Steward, gate: Gate, hangs_since: float | None, now: float, limit: float) -> Pulse:
    """`hangs_since`: when the manager's thread began what it is doing; None while it waits for something to do."""
    places = list(steward.keeper.places.values())
    moved = {place: moved_at(place) for place in places}
    anywhere = max((*moved.values(), steward.moved_at))
    # One that waits for its turn moves with those that have theirs.
    since = [anywhere if place.phase is Phase.COLD else moved[place] for place in places if place.is_working]
    still_for = max(0.0, now - min([*since, now if hangs_since is None else hangs_since]))
    return Pulse(
        n_waiting=gate.n_waiting,
        n_active=sum(len(place.running) for place in places),
        n_loading=sum(place.phase is Phase.LOADING and not place.lost for place in places),
        still_for=still_for,
        stuck=bool(limit) and still_for > limit,
        counters=counters_of(steward, gate),
    )


def moved_at(place: Place) -> float:
    """When something last happened at a place."""
    loaded = place.loaded
    return max(place.moved_at, loaded.worker.last_step) if loaded and place.running else place.moved_at


def counters_of(steward: Steward, gate: Gate) -> dict[str, int]:
    """What has been counted since the start."""
    keeper = steward.keeper
    return {
        "begun": steward.n_begun,
        "done": steward.n_done,
        "failed": steward.n_failed,
        "cancelled": steward.n_cancelled,
        "refused": gate.n_refused,
        "loads": keeper.n_loads,
        "load_failures": keeper.n_failures,
        "unloads": keeper.n_unloads,
        "deaths": keeper.n_deaths,
    }
