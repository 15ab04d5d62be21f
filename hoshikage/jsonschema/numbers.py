"""Numbers between bounds, as grammars of their digits."""

from __future__ import annotations

import math

N_DIGITS = 16  # of a number without bounds: what a double holds, and an end
FRACTION = f'("." [0-9]{{1,{N_DIGITS}}})?'
EXPONENT = "([eE] [-+]? [0-9]{1,2})?"


def integers(least: int | None, most: int | None) -> str:
    """The whole numbers from `least` to `most`, both included; None: no bound."""
    if least is None and most is None:
        return f'"-"? ({natural(0, None)})'
    parts = []
    if least is None or least < 0:
        below = -1 if most is None else min(most, -1)
        parts.append(f'"-" ({natural(-below, None if least is None else -least)})')
    if most is None or most >= 0:
        parts.append(natural(max(least or 0, 0), most))
    return " | ".join(parts)


def numbers(least: int | None, most: int | None) -> str:
    """Numbers between whole bounds, both included. The bounds differ."""
    if least is None and most is None:
        return f'"-"? ({natural(0, None)}) {FRACTION} {EXPONENT}'
    parts = []
    if least is None or least < 0:
        low = None if least is None else -least - 1  # the digits before the point, at most
        high = 0 if most is None or most >= 0 else -most
        if low is None or low >= high:
            parts.append(f'"-" ({natural(high, low)}) {FRACTION}')
        parts += [] if least is None else [f'"-{-least}"']
    if most is None or most > 0:
        parts.append(f"({natural(max(least or 0, 0), None if most is None else most - 1)}) {FRACTION}")
    if most is not None and most >= 0:
        parts.append(f'"{most}"')
    return " | ".join(parts)


def natural(least: int, most: int | None) -> str:
    """The numbers from `least` >= 0 to `most`, written without leading zeros."""
    if most is None:
        n_digits = len(str(least))
        parts = [f"[1-9] [0-9]{{{n_digits},{max(n_digits, N_DIGITS - 1)}}}"]
        return " | ".join([between(str(least), "9" * n_digits), *parts])
    parts = []
    for n_digits in range(len(str(least)), len(str(most)) + 1):
        low = max(least, 10 ** (n_digits - 1) if n_digits > 1 else 0)
        high = min(most, 10**n_digits - 1)
        parts.append(between(str(low), str(high)))
    return " | ".join(parts)


def between(low: str, high: str) -> str:
    """The digit strings from `low` to `high`, which have one length."""
    if low == high:
        return f'"{low}"'
    if low[0] == high[0] and len(low) > 1:
        return f'"{low[0]}" ({between(low[1:], high[1:])})'
    n_rest = len(low) - 1
    if n_rest == 0:
        return digits(int(low), int(high))
    first, last = int(low[0]), int(high[0])
    parts = []
    if low[1:] != "0" * n_rest:
        parts.append(f'"{first}" ({between(low[1:], "9" * n_rest)})')
        first += 1
    if high[1:] != "9" * n_rest:
        parts.append(f'"{last}" ({between("0" * n_rest, high[1:])})')
        last -= 1
    if first <= last:
        parts.append(f"{digits(first, last)} [0-9]{{{n_rest}}}")
    return " | ".join(parts)


def digits(first: int, last: int) -> str:
    return f"[{first}-{last}]" if first < last else f'"{first}"'


def whole_bounds(
    minimum: float | None, maximum: float | None, above: float | None, below: float | None
) -> tuple[int | None, int | None]:
    """The bounds of a whole number, both included."""
    least = [math.ceil(minimum)] if minimum is not None else []
    least += [math.floor(above) + 1] if above is not None else []
    most = [math.floor(maximum)] if maximum is not None else []
    most += [math.ceil(below) - 1] if below is not None else []
    return max(least, default=None), min(most, default=None)
