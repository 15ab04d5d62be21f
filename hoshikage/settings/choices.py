"""The names of choices, and the other spellings that people know them by: spelling in lower case -> ours.

The numbers of the algorithms and schedules are those of llama.cpp's example. They stand here and not in `strategies`
because a process that only reads settings loads no compiled module.
"""

from __future__ import annotations

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
    "threshold": "threshold",
    "factor": "factor",
    "entropy_bounded": "entropy_bounded",
    "hierarchical": "hierarchical",
    "credit": "credit",
    "saber": "saber",
    "sequential": "sequential",
    "in_order": "in_order",
    "joint_threshold": "joint_threshold",
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
    "adaptive": "adaptive",
    "denoising": "denoising",
}


def _themselves(*names: str) -> dict[str, str]:
    return {name: name for name in names}


QUALITIES = _themselves("exact", "balanced", "fast")
PLANS = _themselves("full", "prefix", "window", "dual", "vicinity")
BLOCK_ENDS = _themselves("fixed", "adaptive")
CACHE_TYPES = _themselves("f32", "f16", "bf16", "q8_0", "q5_1", "q5_0", "q4_1", "q4_0", "iq4_nl")
SPLIT_MODES = _themselves("layer", "row", "none")
ON_OFF_AUTO = _themselves("auto", "on", "off")
DEVICES = _themselves("auto", "cuda", "cpu") | {"gpu": "cuda"}
KINDS = _themselves("auto", "masked", "block", "causal")
PASSES = _themselves("auto", "one", "many")
STREAMS = _themselves("settled", "single")
LOG_LEVELS = _themselves("debug", "info", "warning", "error") | {"warn": "warning"}
