"""The model that a command loads itself, and where it goes: as many layers onto the GPUs as they hold."""

from __future__ import annotations

import argparse
from pathlib import Path

from hoshikage import _libs
from hoshikage import settings as table
from hoshikage.cli import complain
from hoshikage.cli.parser import read_flags
from hoshikage.errors import NeverFitsError
from hoshikage.gguf import Wish
from hoshikage.manager.fit import fit, rooms
from hoshikage.manager.gpu import gpus
from hoshikage.manager.memory import host
from hoshikage.manager.shape import shape_of
from hoshikage.registry import Model, Registry


def loading_rows() -> list[table.Row]:
    """Where a model is found, what it is loaded with; where a request has an option of the name, it is its default."""
    return list(table.table("finding", "loading"))


def chosen_here(arguments: argparse.Namespace) -> tuple[Model, table.Settings]:
    """The model that is asked for, and what it is loaded with here, by the library that is named."""
    flags = read_flags(arguments, loading_rows())
    settings = table.read(flags)
    model = Registry.of(settings).choose(arguments.model)
    _libs.use(settings.lib_path)
    return model, placed(model.path, table.replaced(settings, {**model.settings, **flags}))


def placed(path: Path, settings: table.Settings) -> table.Settings:
    """The settings with the layers spread; as they are where there is no GPU, or where somebody has chosen.

    Memory of the host is no reason to refuse here: what is mapped may be larger, and who waits is the one who asked.
    """
    if settings.n_gpu_layers >= 0 or settings.device_preference == "cpu":
        return settings
    devices = gpus(settings.lib_path)
    if not devices:
        return settings
    now, ever = rooms(settings, host(), devices, 0)
    try:
        plans = fit(shape_of(path, Wish.of(settings)), settings, now, ever).plans
    except NeverFitsError as error:
        complain(str(error))
        return settings
    if not plans:
        complain("memory is short: no layer is put on a GPU")
        return table.replaced(settings, {"n_gpu_layers": 0})
    for note in plans[0].notes:
        complain(note)
    changes = plans[0].changes
    return table.replaced(settings, {name: changes[name] for name in ("n_gpu_layers", "tensor_split")})
