from typing import Final

LEVELS: Final[dict[str, int]]

def print_from(level: str) -> None: ...
