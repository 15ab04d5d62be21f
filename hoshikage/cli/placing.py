"""Where a model goes that a command loads itself: as many layers onto the GPUs as they hold."""

from __future__ import annotations

from pathlib import Path

from hoshikage import settings as table
from hoshikage.cli import complain
from hoshikage.errors import NeverFitsError
from hoshikage.gguf import Wish
from hoshikage.manager.fit import fit, rooms
from hoshikage.manager.gpu import gpus
from hoshikage.manager.memory import host
from hoshikage.manager.shape import shape_of


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
