"""Recipes that train in seconds."""

from __future__ import annotations

from dataclasses import replace

from training.recipe import RECIPES, Recipe

SHAPE = replace(RECIPES["nano-ar"].shape, d_model=64, n_layer=2, n_head=2, d_ff=96)


def small(name: str, n_steps: int = 2, **changes: object) -> Recipe:
    """A recipe's architecture, objective and practice, on a model that is small; from noise unless it is said."""
    recipe = RECIPES[name]
    keep = {"qkv_bias": recipe.shape.qkv_bias, "qk_norm": recipe.shape.qk_norm}
    experts = {"n_expert": 4, "n_expert_used": 2, "d_ff": 64} if recipe.shape.n_expert else {}
    usual = {"grown_from": None, "batch_tokens": 1024, "n_steps": n_steps, "encore": None}
    return replace(recipe, shape=replace(SHAPE, **keep, **experts), **{**usual, **changes})
