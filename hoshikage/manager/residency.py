"""Which models have to go so that another can come: a pure decision over what is in memory.

Never one that is pinned, and never one that serves somebody before its turn is over; then it is asked to finish what
it has begun, and goes when that is done. The least recently used goes first, and those who are idle stay as long as a
busy one has to be waited for.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    """A model that has memory, or is about to give it back."""

    label: str
    used_at: float
    since: float  # in memory since then
    n_bytes: int = 0
    busy: bool = False  # somebody is served by it or waits for it
    loading: bool = False
    leaving: bool = False
    asked: bool = False  # to make room, its turn being over; it leaves only as long as that is so
    pinned: bool = False


@dataclass(frozen=True, slots=True, kw_only=True)
class Want:
    """A model that somebody waits for."""

    since: float  # the longest of those who wait
    n_bytes_short: int = 0  # what its last look for room did not find


@dataclass(frozen=True, slots=True, kw_only=True)
class House:
    """The bounds."""

    n_max: int = 0  # models in memory; 0: as many as fit
    turn: float = 10.0  # seconds that a model may keep another waiting while it has work itself


@dataclass(frozen=True, slots=True)
class Come:
    """There is room: load it."""


@dataclass(frozen=True, slots=True)
class Go:
    """These have to leave first."""

    labels: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Wait:
    """Nothing can be done yet; look again when something changes, or at this time."""

    until: float = math.inf


@dataclass(frozen=True, slots=True)
class MakeDo:
    """Nothing is left that could leave: load it with what there is."""


@dataclass(frozen=True, slots=True)
class Refuse:
    """As many as may be here are, and none of them can leave."""


Decision: TypeAlias = Come | Go | Wait | MakeDo | Refuse


def decide(want: Want, holders: Sequence[Holder], house: House, now: float) -> Decision:
    """What to do for the one who has waited longest. One load at a time: two would count the same room twice."""
    staying = [holder for holder in holders if not holder.leaving]
    for holder in staying:
        if holder.loading:
            going = [other.label for other in staying if other.asked or (other is holder and not holder.busy)]
            return Go(tuple(going)) if going else Wait()
    n_over = len(holders) + 1 - house.n_max if house.n_max else 0
    n_short = want.n_bytes_short
    if n_over <= 0 and n_short <= 0:
        return Come()
    n_over -= len(holders) - len(staying)
    n_short -= sum(holder.n_bytes for holder in holders if holder.leaving)
    if n_over <= 0 and n_short <= 0:
        return Wait()  # the room comes with the end of those who leave
    movable = [holder for holder in staying if not holder.pinned]
    if not movable:
        return Wait() if len(staying) < len(holders) else Refuse() if n_over > 0 else MakeDo()
    turns = {
        holder: max(holder.since, want.since) + house.turn if holder.busy and not holder.asked else now
        for holder in movable
    }
    return choose(turns, n_over, n_short, now)


def choose(turns: Mapping[Holder, float], n_over: int, n_short: int, now: float) -> Decision:
    """Who goes, by the end of each one's turn: no more than needed, or all, where even that may not do."""
    going: list[Holder] = []
    for holder in sorted(turns, key=lambda holder: (holder.busy, holder.since if holder.busy else holder.used_at)):
        if len(going) >= n_over and sum(gone.n_bytes for gone in going) >= n_short:
            break
        if turns[holder] <= now:
            going.append(holder)
    enough = len(going) >= n_over and sum(gone.n_bytes for gone in going) >= n_short
    if enough or len(going) == len(turns):
        busy = [holder for holder in going if holder.busy]
        return Go(tuple(holder.label for holder in busy or going))
    return Wait(min(end for end in turns.values() if end > now))
