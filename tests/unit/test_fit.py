"""Plans: whatever the machine and the model, what is planned fits, and no better one was passed over."""

from __future__ import annotations

from itertools import pairwise
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoshikage.errors import NeverFitsError, ParameterError
from hoshikage.manager.fit import LEAST_CTX, Gpu, Plan, Room, filled, fit, halves, proportional, rooms
from hoshikage.manager.memory import Host
from hoshikage.manager.need import MIB, Setup, need_of, size_of
from hoshikage.manager.shape import Shape
from hoshikage.settings import Settings

GIB = 1 << 30
PLENTY = Room(1 << 50)


def shape_with(n_layer: int = 32, layer: int = 200 * MIB, **numbers: Any) -> Shape:
    """About an 8 B model at 8 bits."""
    given: dict[str, Any] = {
        "kind": "causal", "input": 500 * MIB, "output": 500 * MIB, "repacked": 0, "is_native": False,
        "is_private": False, "n_ctx_train": 32_768, "n_vocab": 126_464, "n_embd": 4096, "n_head": 32, "n_q": 4096,
        "n_ff": 12_288, "n_used": 1, "operand": 13_056, "n_params": 8_000_000_000,
    }  # fmt: skip
    rest = {"n_layer": n_layer, "layers": (layer,) * n_layer, "kv": ((1024, 1024),) * n_layer, "states": (0,) * n_layer}
    return Shape(**given | rest | {"data": n_layer * layer + 1000 * MIB} | numbers)


SHAPES = st.builds(
    shape_with,
    st.integers(1, 60),
    st.integers(1, 800).map(lambda n: n * MIB),
    kind=st.sampled_from(["causal", "masked"]),
    n_ctx_train=st.sampled_from([0, 512, 4096, 131_072]),
    n_vocab=st.sampled_from([1000, 126_464]),
)
SIZES = st.integers(0, 96 * 1024).map(lambda n: n * MIB)
ROOMS = st.builds(Room, SIZES, st.lists(SIZES, max_size=4).map(tuple))
SETTINGS = st.builds(
    Settings,
    n_ctx=st.sampled_from([0, 256, 5000, 131_072]),
    n_seq=st.sampled_from([1, 4, 8]),
    n_gpu_layers=st.sampled_from([-1, 0, 1, 7, 1000]),
    device_preference=st.sampled_from(["auto", "cpu"]),
    split_mode=st.sampled_from(["layer", "none"]),
    tensor_split=st.sampled_from([None, (3.0, 1.0)]),
    cfg_scale=st.sampled_from([0.0, 1.5]),
)


def setup_of(settings: Settings) -> Setup:
    return Setup(type_k=settings.type_k, type_v=settings.type_v, flash_attn=settings.flash_attn)


def most_layers(shape: Shape, settings: Settings, room: Room, plan: Plan) -> int:
    """How many layers of a first plan one GPU holds, by trying all numbers."""
    size = size_of(shape, plan.n_ctx, plan.n_seq)
    fitting = (n for n in range(shape.n_layer + 1, 0, -1) if room.holds(need_of(shape, size, setup_of(settings), (n,))))
    return next(fitting, 0)


@given(SHAPES, SETTINGS, ROOMS)
def test_what_is_planned_fits_and_no_plan_comes_twice(shape: Shape, settings: Settings, room: Room) -> None:
    try:
        plans = fit(shape, settings, room, room).plans
    except NeverFitsError as error:
        assert error.least > room.host - 1 or settings.device_preference == "cpu" or room.host < error.least + GIB
        return
    assert plans
    assert len({plan.need for plan in plans}) == len(plans)
    for plan in plans:
        assert room.holds(plan.need)
        n_streams = 2 if settings.cfg_scale and shape.kind == "masked" else 1
        size = size_of(shape, plan.n_ctx, plan.n_seq, n_streams)
        assert plan.need == need_of(shape, size, setup_of(settings), plan.spread)
        assert len(plan.spread) == len(room.gpus)
        assert sum(plan.spread) <= shape.n_layer + 1
        assert not sum(plan.spread) or (settings.n_gpu_layers and settings.device_preference == "auto")
        assert 0 < plan.n_ctx <= (settings.n_ctx or shape.n_ctx_train or plan.n_ctx)
        if settings.n_gpu_layers >= 0:
            assert sum(plan.spread) <= settings.n_gpu_layers
        if settings.split_mode == "none":
            assert sum(n > 0 for n in plan.spread) <= 1


@given(SHAPES, SIZES, SIZES)
def test_one_gpu_gets_as_many_layers_as_it_holds(shape: Shape, host: int, gpu: int) -> None:
    settings, room = Settings(n_ctx=2048), Room(host, (gpu,))
    try:
        first = fit(shape, settings, room, room).plans[0]
    except NeverFitsError:
        return
    if first.spread[0] and first.n_ctx == 2048:
        assert first.spread[0] == most_layers(shape, settings, room, first)


@given(SHAPES, SETTINGS, ROOMS, ROOMS)
def test_what_is_missing_is_what_the_best_plan_lacks(shape: Shape, settings: Settings, now: Room, ever: Room) -> None:
    n_gpus = min(len(now.gpus), len(ever.gpus))
    now = Room(min(now.host, ever.host), tuple(map(min, now.gpus[:n_gpus], ever.gpus[:n_gpus])))
    ever = Room(ever.host, ever.gpus[:n_gpus])
    try:
        best = fit(shape, settings, ever, ever).plans[0]
    except NeverFitsError:
        with pytest.raises(NeverFitsError):
            fit(shape, settings, now, ever)
        return
    found = fit(shape, settings, now, ever)
    if found.n_bytes_short == 0:
        assert found.plans
        assert sum(found.plans[0].spread) == sum(best.spread)
    else:
        assert not found.plans or found.plans[0].rank < best.rank


def test_with_room_for_all_everything_is_as_wished() -> None:
    for room in (PLENTY, Room(1 << 50, (1 << 50,))):
        for settings in (Settings(), Settings(n_ctx=30_000)):
            plan = fit(shape_with(), settings, room, room).plans[0]
            assert plan.n_ctx == settings.n_ctx or plan.n_ctx == 32_768
            assert (sum(plan.spread), plan.notes) == (33 * len(room.gpus), ())


def test_less_and_less_is_taken_of_a_gpu_then_smaller_contexts_then_the_cpu() -> None:
    room = Room(64 * GIB, (5 * GIB,))
    plans = fit(shape_with(), Settings(n_ctx=16_384), room, room).plans
    layers = [plan.spread[0] for plan in plans]
    first = [plan.spread[0] for plan in plans if plan.n_ctx == 16_384 and plan.spread[0]]
    assert first == [int(first[0] * share) for share in (1, 0.75, 0.5, 0.25)]
    on_cpu = layers.index(0)
    assert layers[on_cpu:] == [0] * len(layers[on_cpu:])
    contexts = [plan.n_ctx for plan in plans[:on_cpu]]
    assert contexts == sorted(contexts, reverse=True)
    assert plans[0].notes == (f"{first[0]} of 33 layers are on the GPU: more do not fit",)
    assert plans[on_cpu].notes[0] == "it runs on the CPU: more do not fit"
    assert plans[-1].notes[-1].startswith("requests may have ")
    assert plans[0].changes == {"n_gpu_layers": first[0], "tensor_split": None, "n_ctx": 16_384, "n_seq": 8}


def test_layers_are_spread_evenly_and_told_to_llama_cpp() -> None:
    room = Room(64 * GIB, (12 * GIB, 6 * GIB))
    plan = fit(shape_with(), Settings(n_ctx=4096), room, room).plans[0]
    assert sum(plan.spread) == 33
    shares = [need / free for need, free in zip(plan.need.gpus, room.gpus, strict=True)]
    assert max(shares) - min(shares) < 0.15
    assert plan.changes["tensor_split"] == tuple(map(float, plan.spread))
    assert proportional(33, plan.changes["tensor_split"], 2) == plan.spread


def test_a_gpu_that_is_asked_for_has_to_be_there() -> None:
    with pytest.raises(ParameterError, match="finds no GPU; use auto"):
        fit(shape_with(), Settings(device_preference="cuda"), PLENTY, PLENTY)
    room = Room(64 * GIB, (100 * MIB,))
    with pytest.raises(NeverFitsError):
        fit(shape_with(), Settings(device_preference="cuda", n_ctx=32_768), room, room)


def test_what_can_never_fit_is_refused_with_the_figures() -> None:
    with pytest.raises(
        NeverFitsError, match=r"takes 8\.\d GB at least, and this machine has 4\.3 GB for it and 1\.1 GB"
    ):
        fit(shape_with(), Settings(), Room(GIB, (GIB,)), Room(4 * GIB, (GIB,)))


def test_a_model_that_would_fit_alone_waits_for_the_rest() -> None:
    found = fit(shape_with(), Settings(), Room(2 * GIB), Room(64 * GIB))
    assert found.plans == ()
    assert 6 * GIB < found.n_bytes_short < 8 * GIB


def test_rooms_leave_something_to_others_and_keep_to_the_budget() -> None:
    host, gpu = Host(10 * GIB, 32 * GIB), Gpu("CUDA0", "", 6 * GIB, 8 * GIB)
    now, ever = rooms(Settings(), host, [gpu], 0)
    assert GIB < host.available - now.host < 1.2 * GIB
    assert 0 < gpu.free - now.gpus[0] < GIB
    assert (ever.host, ever.gpus[0]) == (now.host + 22 * GIB, now.gpus[0] + 2 * GIB)
    now, _ = rooms(Settings(gpu_share=0.5), host, [gpu], 0)
    assert now.gpus[0] == max(0, gpu.free - gpu.total // 2), "the other half stays free, whoever has some of it"
    now, ever = rooms(Settings(), Host(0, 0), [Gpu("CUDA0", "", 0, MIB)], 0)
    assert now == ever == Room(0, (0,))
    now, ever = rooms(Settings(memory_budget=5 * GIB), host, [], 2 * GIB)
    assert (now.host, ever.host) == (3 * GIB, 5 * GIB)


@given(st.lists(st.integers(0, 50), min_size=1, max_size=5), st.integers(0, 90))
def test_layers_in_proportion_are_all_there(shares: list[int], n: int) -> None:
    counts = proportional(n, list(map(float, shares)), len(shares))
    assert sum(counts) == n
    total = sum(shares)
    assert not total or all(abs(count - n * share / total) <= 1 for count, share in zip(counts, shares, strict=True))


@given(
    st.lists(st.integers(1, 9), max_size=30), st.integers(0, 9), st.lists(st.integers(0, 60), min_size=1, max_size=4)
)
def test_filling_keeps_to_each_bound(costs: list[int], fixed: int, gpus: list[int]) -> None:
    spread = filled(costs, fixed, gpus, 1.0)
    if spread is None:
        assert sum(costs) > 0
        return
    assert sum(spread) == len(costs)
    rest = list(costs)
    for n, free in zip(spread, gpus, strict=True):
        assert n == 0 or sum(rest[:n]) + fixed <= free
        del rest[:n]


@given(st.integers(1, 2**24))
def test_halves_end_where_they_are_worth_nothing(n_ctx: int) -> None:
    found = list(halves(n_ctx))
    assert found[0] == n_ctx
    assert all(after == before // 2 >= LEAST_CTX for before, after in pairwise(found))
