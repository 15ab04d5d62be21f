from typing_extensions import disjoint_base

from hoshikage._canvas import Form
from hoshikage._grammar import Grammar

@disjoint_base
class Followed(Form):
    def __init__(self, grammar: Grammar) -> None: ...
    @property
    def grammar(self) -> Grammar: ...
