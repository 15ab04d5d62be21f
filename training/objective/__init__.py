"""What a batch asks of a model: which ids go in, which should come out, how much each counts."""

from .base import Objective, Sample
from .block import Block
from .causal import Causal
from .elastic import Elastic
from .masked import Masked

__all__ = ["Block", "Causal", "Elastic", "Masked", "Objective", "Sample"]
