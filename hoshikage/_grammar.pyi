from typing_extensions import disjoint_base

from hoshikage._model import Model

@disjoint_base
class Grammar:
    def __init__(self, model: Model, text: str, *, checked: bool = ...) -> None: ...
    @property
    def model(self) -> Model: ...
