"""The settings of models: where they are found, what they are loaded with, how they answer."""

from __future__ import annotations

from dataclasses import dataclass

from hoshikage.checks import Choice, Number, Numbers, Place, Text, Whole
from hoshikage.settings.choices import (
    ALGORITHMS,
    CACHE_TYPES,
    DEVICES,
    KINDS,
    ON_OFF_AUTO,
    QUALITIES,
    SCHEDULES,
    SPLIT_MODES,
)
from hoshikage.settings.row import setting


@dataclass(frozen=True, kw_only=True)
class Finding:
    """Where files are found."""

    model_map_file: str | None = setting(
        "MODEL_MAP_FILE",
        Place(),
        None,
        "the file of registered models; unset: `model_map.json` beside the `.env` at home",
    )
    model_dir: str | None = setting(
        "MODEL_DIR", Place(), None, "a folder whose GGUF files can be asked for by name; unset: none"
    )
    config_path: str | None = setting(
        "HOSHIKAGE_CONFIG_PATH",
        Place(),
        None,
        "the one `.env` file to read, instead of that at home and that here; no such file can say it",
    )


@dataclass(frozen=True, kw_only=True)
class Loading:
    """What a model is loaded with. `None` leaves the choice to the model."""

    n_ctx: int = setting(
        "N_CTX",
        Whole(0, 2**24),
        0,
        "tokens of a request, prompt and answer; 0: what each request needs, as far as memory and model allow",
    )
    n_seq: int = setting("HOSHIKAGE_BATCH", Whole(1, 64), 8, "requests decoded side by side in one forward pass")
    n_threads: int = setting(
        "HOSHIKAGE_THREADS", Whole(0, 1024), 0, "threads of a one-token pass; 0: one per core, fewer for a tiny model"
    )
    n_threads_batch: int = setting(
        "HOSHIKAGE_THREADS_BATCH", Whole(0, 1024), 0, "threads of every other pass; 0: the same number"
    )
    device_preference: str = setting(
        "DEVICE_PREFERENCE",
        Choice(DEVICES),
        "auto",
        "auto: a GPU where there is one; cuda: a GPU or an error; cpu: never a GPU",
    )
    n_gpu_layers: int = setting(
        "N_GPU_LAYERS", Whole(-1, 10_000), -1, "layers put on the GPU; -1: as many as fit, 0: none"
    )
    gpu_share: float = setting(
        "HOSHIKAGE_GPU_SHARE",
        Number(0, 1, open_least=True),
        1.0,
        "share of a GPU's memory that may be taken; layers beyond it are put on the CPU",
    )
    main_gpu: int = setting("HOSHIKAGE_MAIN_GPU", Whole(0, 255), 0, "the GPU for what is not split")
    tensor_split: tuple[float, ...] | None = setting(
        "HOSHIKAGE_TENSOR_SPLIT", Numbers(Number(0, 1e6), 128), None, "share of the weights on each GPU, such as 3,1"
    )
    split_mode: str = setting(
        "HOSHIKAGE_SPLIT_MODE", Choice(SPLIT_MODES), "layer", "how several GPUs share the weights"
    )
    kind: str = setting(
        "HOSHIKAGE_KIND", Choice(KINDS), "auto", "masked, block or causal, where a file does not say what it is"
    )
    mask_token: str | None = setting(
        "HOSHIKAGE_MASK_TOKEN", Text(256), None, "the mask token's text or number; unset: the file's own"
    )
    block_length: int | None = setting(
        "HOSHIKAGE_BLOCK_LENGTH",
        Whole(1, 2**20),
        None,
        "positions of a block model's blocks, where its file does not say; of a masked one's, where a request does not",
    )
    sub_block: int | None = setting(
        "HOSHIKAGE_SUB_BLOCK",
        Whole(1, 2**20),
        None,
        "a block is settled in parts of this length; unset: the model's own",
    )
    usual_window: int = setting(
        "HOSHIKAGE_USUAL_WINDOW",
        Whole(0, 2**20),
        32,
        "masks behind a block that a masked model sees where a request does not say; fast has a quarter of them",
    )
    shift: str = setting(
        "HOSHIKAGE_SHIFT",
        Choice(ON_OFF_AUTO),
        "auto",
        "on: the row before a position predicts it; off: its own does; auto: as the file says",
    )
    flash_attn: str = setting("HOSHIKAGE_FLASH_ATTN", Choice(ON_OFF_AUTO), "auto", "flash attention")
    type_k: str = setting("HOSHIKAGE_CACHE_TYPE_K", Choice(CACHE_TYPES), "f16", "number type of cached keys")
    type_v: str = setting("HOSHIKAGE_CACHE_TYPE_V", Choice(CACHE_TYPES), "f16", "number type of cached values")
    lib_path: str | None = setting(
        "HOSHIKAGE_LIB_PATH",
        Place(),
        None,
        "the folder of your own build of llama.cpp, not from a .env of the working directory; unset: the packaged one",
        of_model=False,
    )


@dataclass(frozen=True, kw_only=True)
class Asking:
    """What holds for a request that does not say otherwise. `None`: what `engine.request` has for its kind of model."""

    max_tokens: int | None = setting(
        "DIFFUSION_MAX_TOKENS",
        Whole(1, 2**20),
        None,
        "tokens of an answer at most; unset: 256, 1024 of a block model, and of an autoregressive one as many as the "
        "context has room for",
    )
    temperature: float | None = setting(
        "TEMPERATURE",
        Number(0, 100),
        None,
        "0: always the likeliest token; more: more variety; unset: 0, and 0.2 for autoregressive models",
    )
    top_p: float | None = setting(
        "TOP_P",
        Number(0, 1, open_least=True),
        None,
        "keep the likeliest tokens up to this probability; unset: 1 (all), and 0.8 for autoregressive models",
    )
    repetition_penalty: float | None = setting(
        "REPEAT_PENALTY",
        Number(0.001, 100),
        None,
        "above 1: tokens already there become less likely; unset: 1, and 1.1 for autoregressive models",
    )
    repeat_last_n: int = setting(
        "REPEAT_LAST_N", Whole(-1, 2**24), 64, "tokens that a causal model's penalties look back; -1: all, 0: none"
    )
    steps: int | None = setting(
        "DIFFUSION_STEPS",
        Whole(1, 2**20),
        None,
        "denoising steps, in each block of a block model; unset: as many as it takes; 50 where a schedule has to know",
    )
    algorithm: str | None = setting(
        "DIFFUSION_ALGORITHM",
        Choice(ALGORITHMS),
        None,
        "what is settled first: 0 origin, 1 entropy, 2 margin, 3 random, 4 confidence, or a name that "
        "docs/decoding.md has; unset: the model's own",
    )
    schedule: str | None = setting(
        "DIFFUSION_SCHEDULE",
        Choice(SCHEDULES),
        None,
        "how many a step: 0 timestep, 1 block, or adaptive; unset: the algorithm's own",
    )
    quality: str | None = setting(
        "DIFFUSION_QUALITY",
        Choice(QUALITIES),
        None,
        "exact, balanced or fast: chooses what is not named; unset: balanced, exact where a part is named, a block "
        "model's authors' way",
    )
    cfg_scale: float = setting(
        "DIFFUSION_CFG_SCALE", Number(0, 100), 0.0, "classifier-free guidance; above 0 a pass computes two canvases"
    )
