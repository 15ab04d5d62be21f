"""Settings: one table of environment variable, type, default and meaning, merged once.

Defaults < `.env` files < environment < flags. `.env` is looked for in `~/.config/hoshikage` and in the
working directory (the latter wins), or only where `HOSHIKAGE_CONFIG_PATH` says. Nothing but the
variables of this table is read from such a file, and nothing is written to the environment.
"""

from __future__ import annotations

import os
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, fields, replace
from pathlib import Path
from typing import Any, NamedTuple

from hoshikage.checks import Check, Choice, Number, Numbers, Place, Whole, nearest
from hoshikage.errors import ParameterError

# The numbers and names that people know for the algorithms and schedules, and ours for each. They stand here
# and not in `strategies` because a process that only reads settings loads no compiled module.
ALGORITHMS = {
    "origin": "origin",
    "0": "origin",
    "entropy": "entropy",
    "entropy_based": "entropy",
    "1": "entropy",
    "margin": "margin",
    "margin_based": "margin",
    "topk_margin": "margin",
    "2": "margin",
    "random": "random",
    "3": "random",
    "low_confidence": "low_confidence",
    "confidence": "low_confidence",
    "confidence_based": "low_confidence",
    "4": "low_confidence",
    "maskgit_plus": "maskgit_plus",
}
SCHEDULES = {
    "timestep": "timestep",
    "timesteps": "timestep",
    "timestep_based": "timestep",
    "0": "timestep",
    "block": "block",
    "blocks": "block",
    "block_based": "block",
    "linear": "block",
    "1": "block",
}
CACHE_TYPES = ("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")


class Row(NamedTuple):
    """A line of the table."""

    name: str
    variable: str
    check: Check[Any]
    default: Any
    meaning: str
    of_model: bool  # a model may have its own; the others hold for all models


def _one_of(*names: str) -> Choice:
    return Choice({name: name for name in names})


def _row(variable: str, check: Check[Any], default: Any, meaning: str, *, of_model: bool = True) -> Any:
    about = {"variable": variable, "check": check, "meaning": meaning, "of_model": of_model}
    return field(default=default, metadata=about)


@dataclass(frozen=True, slots=True, kw_only=True)
class Settings:
    """What a person sets once for all requests. `None` leaves the choice to the model."""

    # finding
    model_map_file: str | None = _row(
        "MODEL_MAP_FILE",
        Place(),
        None,
        "the file of registered models; unset: `model_map.json` beside the `.env` at home",
        of_model=False,
    )
    model_dir: str | None = _row(
        "MODEL_DIR", Place(), None, "a folder whose GGUF files can be asked for by name; unset: none", of_model=False
    )

    # loading
    n_ctx: int = _row("N_CTX", Whole(0, 2**24), 0, "tokens of a request, prompt and answer; 0: what each request needs")
    n_seq: int = _row("HOSHIKAGE_BATCH", Whole(1, 64), 8, "requests decoded side by side in one forward pass")
    n_threads: int = _row("HOSHIKAGE_THREADS", Whole(0, 1024), 0, "threads of a one-token pass; 0: one per core")
    n_threads_batch: int = _row(
        "HOSHIKAGE_THREADS_BATCH", Whole(0, 1024), 0, "threads of every other pass; 0: the same number"
    )
    n_gpu_layers: int = _row("N_GPU_LAYERS", Whole(-1, 10_000), -1, "layers put on the GPU; -1: all, 0: none")
    main_gpu: int = _row("HOSHIKAGE_MAIN_GPU", Whole(0, 255), 0, "the GPU for what is not split")
    tensor_split: tuple[float, ...] | None = _row(
        "HOSHIKAGE_TENSOR_SPLIT", Numbers(Number(0, 1e6), 128), None, "share of the weights on each GPU, such as 3,1"
    )
    split_mode: str = _row(
        "HOSHIKAGE_SPLIT_MODE", _one_of("layer", "row", "none"), "layer", "how several GPUs share the weights"
    )
    flash_attn: str = _row("HOSHIKAGE_FLASH_ATTN", _one_of("auto", "on", "off"), "auto", "flash attention")
    type_k: str = _row("HOSHIKAGE_CACHE_TYPE_K", _one_of(*CACHE_TYPES), "f16", "number type of cached keys")
    type_v: str = _row("HOSHIKAGE_CACHE_TYPE_V", _one_of(*CACHE_TYPES), "f16", "number type of cached values")

    # every request, unless it says otherwise
    temperature: float = _row("TEMPERATURE", Number(0, 100), 0.0, "0: always the likeliest token; more: more variety")
    top_p: float = _row(
        "TOP_P", Number(0, 1, open_least=True), 1.0, "keep the likeliest tokens up to this probability; 1: all"
    )
    repetition_penalty: float = _row(
        "REPEAT_PENALTY", Number(0, 100, open_least=True), 1.0, "above 1: tokens already there become less likely"
    )
    repeat_last_n: int = _row(
        "REPEAT_LAST_N", Whole(-1, 2**24), 64, "tokens that a causal model's penalties look back; -1: all, 0: none"
    )
    steps: int | None = _row(
        "DIFFUSION_STEPS", Whole(1, 2**20), None, "denoising steps; unset: one per token, the exact way"
    )
    algorithm: str | None = _row(
        "DIFFUSION_ALGORITHM",
        Choice(ALGORITHMS),
        None,
        "what is settled first: 0 origin, 1 entropy, 2 margin, 3 random, 4 confidence, or maskgit_plus; "
        "unset: the model's own",
    )
    schedule: str | None = _row(
        "DIFFUSION_SCHEDULE", Choice(SCHEDULES), None, "how many a step: 0 timestep, 1 block; unset: the model's own"
    )
    cfg_scale: float = _row(
        "DIFFUSION_CFG_SCALE", Number(0, 100), 0.0, "classifier-free guidance; above 0 a pass computes two canvases"
    )

    def __post_init__(self) -> None:
        for row in table():
            value = getattr(self, row.name)
            if value is not None or row.default is not None:
                object.__setattr__(self, row.name, row.check.check(row.name, value))


def table() -> Iterator[Row]:
    """The settings in order: what the manual, the flags and the tests are made from."""
    for entry in fields(Settings):
        yield Row(name=entry.name, default=entry.default, **entry.metadata)


def read(
    flags: Mapping[str, object] | None = None,
    *,
    environment: Mapping[str, str] = os.environ,
    env_files: Sequence[Path] | None = None,
) -> Settings:
    """Merge all sources; a flag that is None is as if it were absent."""
    values: dict[str, object] = {}
    sources = [(f"{path}: ", variables_in(path)) for path in env_files_of(environment, env_files)]
    for where, variables in [*sources, ("environment variable ", environment)]:
        for row in table():
            if text := variables.get(row.variable, "").strip():
                values[row.name] = row.check.parse(where + row.variable, text)
    return replaced(Settings(**values), flags or {})  # type: ignore[arg-type]  # checked in __post_init__


def replaced(settings: Settings, flags: Mapping[str, object]) -> Settings:
    """The settings with some of them changed by name."""
    known = {row.name for row in table()}
    for name in flags:
        if name not in known:
            raise ParameterError(name, f"there is no such setting{nearest(name, known)}", "see hoshikage.settings")
    given = {name: value for name, value in flags.items() if value is not None}
    return replace(settings, **given)  # type: ignore[arg-type]  # checked in __post_init__


def env_files_of(environment: Mapping[str, str], env_files: Sequence[Path] | None) -> list[Path]:
    """The `.env` files that exist, the strongest last."""
    if env_files is None and (named := environment.get("HOSHIKAGE_CONFIG_PATH")):
        path = Path(named).expanduser()
        if not path.is_file():
            raise ParameterError("HOSHIKAGE_CONFIG_PATH", f"{path} is not a file", "name a .env file or unset it")
        return [path]
    if env_files is None:
        env_files = [config_folder(environment) / ".env", Path(".env")]
    return [path for path in env_files if path.is_file()]


def config_folder(environment: Mapping[str, str]) -> Path:
    """Where a person's own files are."""
    home = environment.get("XDG_CONFIG_HOME") or str(Path(environment.get("HOME", "~")).expanduser() / ".config")
    return Path(home) / "hoshikage"


def variables_in(path: Path) -> dict[str, str]:
    """NAME=VALUE lines; `export` in front, quotes around and a comment behind are understood."""
    variables = {}
    try:
        lines = path.read_text(encoding="utf-8-sig").splitlines()
    except (OSError, UnicodeDecodeError) as error:
        raise ParameterError(str(path), f"cannot be read: {error}", "make it a readable UTF-8 file") from error
    for line in lines:
        name, equals, value = line.strip().removeprefix("export ").partition("=")
        if equals and not name.lstrip().startswith("#"):
            variables[name.strip()] = _unquoted(value.strip())
    return variables


def _unquoted(value: str) -> str:
    quote = value[:1]
    if quote in ("'", '"') and quote in value[1:]:
        return value[1 : value.index(quote, 1)]
    return value.partition(" #")[0].strip() if not value.startswith("#") else ""
