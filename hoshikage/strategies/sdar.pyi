from typing_extensions import disjoint_base

from hoshikage._canvas import Rule, Schedule

@disjoint_base
class Sequential(Rule): ...

@disjoint_base
class Denoising(Schedule): ...
