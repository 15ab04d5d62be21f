"""Numbers between bounds, as grammars of their digits."""

from __future__ import annotations

import math
from collections.abc import Iterable
from fractions import Fraction

N_EXACT = 15  # digits that a double tells apart from all others of as many
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


def numbers(least: int | None, most: int | None, n_places: int = 0) -> str:
    """The numbers of so many decimal places from `least` to `most`, which count the last place; both included."""
    if least is None and most is None:
        return f'"-"? ({natural(0, None)}) {FRACTION} {EXPONENT}'
    parts = []
    if least is None or least < 0:
        below = 0 if most is None else min(most, 0)
        parts.append(f'"-" ({decimals(-below, None if least is None else -least, n_places)})')
    if most is None or most >= 0:
        parts.append(decimals(max(least or 0, 0), most, n_places))
    return " | ".join(parts)


def decimals(least: int, most: int | None, n_places: int) -> str:
    """The numbers of `numbers` from `least` >= 0 on: those with the whole part of a bound apart from those between."""
    none, all_places = "0" * n_places, "9" * n_places
    first, low = split(least, n_places)
    last, high = (None, all_places) if most is None else split(most, n_places)
    if first == last:
        return f'"{first}" {point(low, high)}'
    parts = []
    if low != none:
        parts.append(f'"{first}" {point(low, all_places)}')
        first += 1
    if last is not None and high != all_places:
        parts.append(f'"{last}" {point(none, high)}')
        last -= 1
    if last is None or first <= last:
        parts.append(f"({natural(first, last)}) {point(none, all_places)}")
    return " | ".join(parts)


def split(number: int, n_places: int) -> tuple[int, str]:
    """The whole part, and the digits behind the point."""
    whole, rest = divmod(number, 10**n_places)
    return whole, f"{rest:0{n_places}}" if n_places else ""


def point(low: str, high: str) -> str:
    """The point and the digits from `low` to `high`; nothing where that is zero and may be."""
    return optional(f'"." {places(low, high)}', low) if low else ""


def places(low: str, high: str) -> str:
    """Digits behind a point, at least one, from `low` to `high`, which have one length; zeros at the end may lack."""
    if len(low) == 1:
        return digits(int(low), int(high))
    if is_all("0", low) and is_all("9", high):
        return f"[0-9]{{1,{len(low)}}}"
    if is_all("0", high):
        return f'"0"{{1,{len(high)}}}'
    first, last = int(low[0]), int(high[0])
    none, all_places = "0" * (len(low) - 1), "9" * (len(low) - 1)
    if first == last:
        return f'"{first}" {more_places(low[1:], high[1:])}'
    parts = []
    if low[1:] != none:
        parts.append(f'"{first}" {more_places(low[1:], all_places)}')
        first += 1
    if high[1:] != all_places:
        parts.append(f'"{last}" {more_places(none, high[1:])}')
        last -= 1
    if first <= last:
        parts.append(f"{digits(first, last)} {more_places(none, all_places)}")
    return f"({' | '.join(parts)})"


def more_places(low: str, high: str) -> str:
    return optional(places(low, high), low)


def optional(written: str, low: str) -> str:
    """What may lack where it can be zeros alone."""
    return f"({written})?" if is_all("0", low) else written


def is_all(digit: str, text: str) -> bool:
    return text == digit * len(text)


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


def n_places_of(bounds: Iterable[float | None]) -> int:
    """How many decimal places the numbers between these have, so that each is itself when read as a double."""
    return max(N_EXACT - max(len(str(abs(int(bound)))) for bound in bounds if bound is not None), 0)


def bounds_of(
    n_places: int, minimum: float | None, maximum: float | None, above: float | None, below: float | None
) -> tuple[int | None, int | None]:
    """The bounds of a number of so many decimal places, both included; they count the last place."""
    least = [math.ceil(in_places(minimum, n_places))] if minimum is not None else []
    least += [math.floor(in_places(above, n_places)) + 1] if above is not None else []
    most = [math.floor(in_places(maximum, n_places))] if maximum is not None else []
    most += [math.ceil(in_places(below, n_places)) - 1] if below is not None else []
    return max(least, default=None), min(most, default=None)


def in_places(number: float, n_places: int) -> Fraction:
    """As it was written: 0.1 is a tenth, not the double next to it."""
    return Fraction(str(number)) * Fraction(10**n_places)
