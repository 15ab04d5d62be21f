from typing import Final

KINDS: Final[dict[int, str]]

def gpus() -> list[dict[str, str | int]]: ...
