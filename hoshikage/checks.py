"""One check per kind of value: what a person or a client gives in, a clean value or a `ParameterError` out.

Settings, requests and command-line flags are read through the same checks, so a bad value meets the
same sentence wherever it comes from, and nothing unchecked reaches C.
"""

from __future__ import annotations

import difflib
import math
import operator
import os
import re
from abc import ABC, abstractmethod
from collections.abc import ItemsView, Iterable, Mapping
from dataclasses import dataclass
from fractions import Fraction
from pathlib import Path
from typing import Any, ClassVar, Generic, SupportsIndex, TypeAlias, TypeVar, cast

from hoshikage.errors import ParameterError

SIZE = re.compile(r"\s*(?P<number>\d{1,30}(?:\.\d{1,9})?)\s*(?P<unit>|B|[KMGT](?:i?B)?)\s*", re.IGNORECASE | re.ASCII)
UNITS = {
    **{f"{letter}iB": 1024**power for power, letter in enumerate("KMGT", 1)},
    **{f"{letter}B": 1000**power for power, letter in enumerate("KMGT", 1)},
    "": 1,
}
SHOWN = 60  # characters of a refused value that an error repeats
LONG = 64  # characters: a longer word is no slip of a finger, and to compare it takes the square of its length
T_co = TypeVar("T_co", covariant=True)
Shape: TypeAlias = dict[str, Any]


class Check(ABC, Generic[T_co]):
    """Reads one kind of value."""

    metavar = "VALUE"
    repeats = False  # a command line may give it several times

    @property
    @abstractmethod
    def shape(self) -> Shape:
        """What it lets through, as JSON Schema; what that cannot say is said by `check`."""

    @abstractmethod
    def check(self, name: str, value: object) -> T_co:
        """The clean value of the argument `name`; raises ParameterError."""

    def parse(self, name: str, text: str) -> T_co:
        """The value that a flag or an environment variable spells."""
        return self.check(name, text)

    def spelled(self, value: Any) -> str:
        """The text that `parse` reads as this value."""
        return str(value)


def shown(value: object) -> str:
    """A value as an error repeats it: short, and printable whatever it is."""
    text = ascii(value)
    return text if len(text) <= SHOWN else text[: SHOWN - 3] + "..."


def nearest(word: str, known: Iterable[str]) -> str:
    """', did you mean X?' for a near miss, otherwise nothing."""
    match = closest(word.lower(), known, 0.6)
    return f", did you mean {match!r}?" if match else ""


def closest(word: str, known: Iterable[str], cutoff: float) -> str | None:
    """The known word that is most like this one, by at least so much of difflib's ratio."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=cutoff) if len(word) <= LONG else []
    return near[0] if near else None


def as_text(name: str, value: object) -> str:
    """A string that can be written as UTF-8."""
    if not isinstance(value, str):
        raise ParameterError(name, f"{shown(value)} is not text", "give a string")
    try:
        value.encode()
    except UnicodeEncodeError as error:
        cause = f"character {error.start} is half of a surrogate pair, which no UTF-8 text can hold"
        raise ParameterError(name, cause, "send well-formed Unicode") from None
    return value


def as_whole(name: str, value: object) -> int:
    """An int, or what counts as one (NumPy's); never a bool, a float or text."""
    try:
        if not isinstance(value, bool):
            return operator.index(cast(SupportsIndex, value))
    except TypeError:
        pass  # said below, in our words
    raise ParameterError(name, f"{shown(value)} is not a whole number", "give an integer")


@dataclass(frozen=True, slots=True)
class Whole(Check[int]):
    """A whole number within bounds, both included."""

    least: int
    most: int
    metavar = "N"

    @property
    def shape(self) -> Shape:
        return {"type": "integer", "minimum": self.least, "maximum": self.most}

    def check(self, name: str, value: object) -> int:
        number = as_whole(name, value)
        if not self.least <= number <= self.most:
            raise ParameterError(name, f"{shown(number)} is out of range", f"use {self.least} to {self.most}")
        return number

    def parse(self, name: str, text: str) -> int:
        try:
            number = int(text)
        except ValueError:
            cause = f"{shown(text)} is not a whole number"
            raise ParameterError(name, cause, f"use {self.least} to {self.most}") from None
        return self.check(name, number)


@dataclass(frozen=True, slots=True)
class Number(Check[float]):
    """A finite number within bounds; `open_least` leaves the lower bound itself out."""

    least: float
    most: float
    open_least: bool = False
    metavar = "X"

    @property
    def shape(self) -> Shape:
        low = "exclusiveMinimum" if self.open_least else "minimum"
        return {"type": "number", low: self.least, "maximum": self.most}

    def check(self, name: str, value: object) -> float:
        if isinstance(value, (bool, str, bytes)) or not hasattr(value, "__float__"):
            raise ParameterError(name, f"{shown(value)} is not a number", f"use {self._range()}")
        try:
            number = float(cast(Any, value))
        except (OverflowError, TypeError, ValueError):  # 10**400, an array of two
            raise ParameterError(name, f"{shown(value)} is not a number", f"use {self._range()}") from None
        above = number > self.least if self.open_least else number >= self.least
        if not (math.isfinite(number) and above and number <= self.most):
            raise ParameterError(name, f"{shown(value)} is out of range", f"use {self._range()}")
        return number

    def parse(self, name: str, text: str) -> float:
        try:
            number = float(text)
        except ValueError:
            raise ParameterError(name, f"{shown(text)} is not a number", f"use {self._range()}") from None
        return self.check(name, number)

    def spelled(self, value: float) -> str:
        return repr(value).removesuffix(".0")

    def _range(self) -> str:
        return f"{'more than ' if self.open_least else ''}{self.least:g} to {self.most:g}"


@dataclass(frozen=True, slots=True)
class Flag(Check[bool]):
    """True or false."""

    metavar = "BOOL"
    shape: ClassVar[Shape] = {"type": "boolean"}

    def check(self, name: str, value: object) -> bool:
        if not isinstance(value, bool):
            raise ParameterError(name, f"{shown(value)} is neither true nor false", "use true or false")
        return value

    def parse(self, name: str, text: str) -> bool:
        word = text.strip().lower()
        if word not in ("1", "0", "true", "false", "yes", "no", "on", "off"):
            raise ParameterError(name, f"{shown(text)} is neither true nor false", "use true or false")
        return word in ("1", "true", "yes", "on")

    def spelled(self, value: bool) -> str:
        return "true" if value else "false"


@dataclass(frozen=True, slots=True)
class Choice(Check[str]):
    """One of several names; other spellings, numbers among them, lead to the same name."""

    names: Mapping[str, str]  # spelling in lower case -> the name
    metavar = "NAME"

    @property
    def shape(self) -> Shape:
        return {"enum": [*self.names, *(int(name) for name in self.names if name.isdigit())]}

    def check(self, name: str, value: object) -> str:
        if isinstance(value, str):
            word = value.strip().lower().replace("-", "_")
        else:
            word = str(as_whole(name, value)) if not isinstance(value, bool) else shown(value)
        if word in self.names:
            return self.names[word]
        known = ", ".join(dict.fromkeys(self.names.values()))
        raise ParameterError(name, f"{shown(value)} is unknown{nearest(word, self.names)}", f"use one of {known}")


@dataclass(frozen=True, slots=True)
class Text(Check[str]):
    """A string of bounded length."""

    most: int
    metavar = "TEXT"

    @property
    def shape(self) -> Shape:
        return {"type": "string", "maxLength": self.most}

    def check(self, name: str, value: object) -> str:
        text = as_text(name, value)
        if len(text) > self.most:
            raise ParameterError(name, f"{len(text)} characters are too many", f"use at most {self.most}")
        return text


@dataclass(frozen=True, slots=True)
class TextOrNone(Check[str | None]):
    """The same where an empty one is none."""

    most: int
    metavar = "TEXT"

    @property
    def shape(self) -> Shape:
        return Text(self.most).shape

    def check(self, name: str, value: object) -> str | None:
        return Text(self.most).check(name, value) or None


@dataclass(frozen=True, slots=True)
class Host(Check[str]):
    """The name or the address of a machine, as one that can be looked up; nothing stands for every address."""

    most: int  # characters
    metavar = "TEXT"

    @property
    def shape(self) -> Shape:
        return Text(self.most).shape

    def check(self, name: str, value: object) -> str:
        host = Text(self.most).check(name, value)
        try:
            host.encode("idna")
        except UnicodeError:  # a part of it is empty or too long
            host = "\0"
        if not host.isprintable():
            raise ParameterError(name, f"{shown(value)} is no name of a machine", "use one such as 127.0.0.1")
        return host


def fits_header(word: str) -> bool:
    """Whether a header of HTTP can hold a printable word."""
    return word.isascii() and " " not in word


@dataclass(frozen=True, slots=True)
class Key(Check[str]):
    """A text that a header of HTTP can hold. No error repeats it."""

    most: int  # characters
    metavar = "TEXT"

    @property
    def shape(self) -> Shape:
        return {"type": "string", "minLength": 1, "maxLength": self.most}

    def check(self, name: str, value: object) -> str:
        key = Text(self.most).check(name, value) if isinstance(value, str) else ""
        if not key or not key.isprintable() or not fits_header(key):
            raise ParameterError(name, "it is empty, or has something else than visible ASCII", "choose another key")
        return key


@dataclass(frozen=True, slots=True)
class Place(Check[str]):
    """A path of the file system: `~` is the home folder, and a relative one starts at the working directory."""

    metavar = "PATH"
    shape: ClassVar[Shape] = {"type": "string", "minLength": 1}

    def check(self, name: str, value: object) -> str:
        path = os.fspath(value) if isinstance(value, (str, os.PathLike)) else value
        if not isinstance(path, str) or not path or "\0" in path:
            raise ParameterError(name, f"{shown(value)} is not a path", "name a file or a folder")
        try:
            return str(Path(path).expanduser().absolute())
        except RuntimeError:
            raise ParameterError(name, f"the home folder of {shown(path)} is not known", "write it out") from None


@dataclass(frozen=True, slots=True)
class Texts(Check[tuple[str, ...]]):
    """One string or several; not empty ones, none twice."""

    most: int  # strings
    most_characters: int  # in each
    most_together: int = 1 << 24  # characters
    metavar = "TEXT"
    repeats = True

    @property
    def shape(self) -> Shape:
        one = {"type": "string", "minLength": 1, "maxLength": self.most_characters}
        return {"anyOf": [one, {"type": "array", "items": one, "maxItems": self.most}]}

    def check(self, name: str, value: object) -> tuple[str, ...]:
        items = [value] if isinstance(value, str) else value
        if not isinstance(items, (list, tuple)):
            raise ParameterError(name, f"{shown(value)} is not text", "give a string or a list of strings")
        if len(items) > self.most:
            raise ParameterError(name, f"{len(items)} strings are too many", f"use at most {self.most}")
        one = Text(self.most_characters)
        texts = [one.check(name, item) for item in items]
        if (n := sum(map(len, texts))) > self.most_together:
            raise ParameterError(name, f"{n} characters are too many", f"use at most {self.most_together} in all")
        if "" in texts:
            raise ParameterError(name, "a string is empty and would match everywhere", "leave it out")
        return tuple(dict.fromkeys(texts))


@dataclass(frozen=True, slots=True)
class Numbers(Check[tuple[float, ...]]):
    """Several numbers, spelled with commas between them."""

    one: Number
    most: int
    metavar = "X,X"

    @property
    def shape(self) -> Shape:
        return {"type": "array", "items": self.one.shape, "maxItems": self.most}

    def check(self, name: str, value: object) -> tuple[float, ...]:
        if not isinstance(value, (list, tuple)):
            raise ParameterError(name, f"{shown(value)} is not a list of numbers", "give a list such as [1, 1]")
        if len(value) > self.most:
            raise ParameterError(name, f"{len(value)} numbers are too many", f"use at most {self.most}")
        return tuple(self.one.check(name, item) for item in value)

    def parse(self, name: str, text: str) -> tuple[float, ...]:
        return self.check(name, [self.one.parse(name, part) for part in text.split(",")])

    def spelled(self, value: tuple[float, ...]) -> str:
        return ",".join(map(self.one.spelled, value))


@dataclass(frozen=True, slots=True)
class Words(Check[tuple[str, ...]]):
    """Several short texts, spelled with commas between them; none is empty, none is there twice."""

    most: int  # words
    most_characters: int  # in each
    visible_ascii: bool = False  # what a header of HTTP can hold
    metavar = "A,B"

    @property
    def shape(self) -> Shape:
        return {"type": "array", "items": Text(self.most_characters).shape, "maxItems": self.most}

    def check(self, name: str, value: object) -> tuple[str, ...]:
        if not isinstance(value, (list, tuple)):
            raise ParameterError(name, f"{shown(value)} is not a list of texts", 'give a list such as ["a", "b"]')
        if len(value) > self.most:
            raise ParameterError(name, f"{len(value)} are too many", f"use at most {self.most}")
        return tuple(dict.fromkeys(self._word(name, item) for item in value))

    def parse(self, name: str, text: str) -> tuple[str, ...]:
        return self.check(name, [word for part in text.split(",") if (word := part.strip())])

    def spelled(self, value: tuple[str, ...]) -> str:
        return ",".join(value)

    def _word(self, name: str, item: object) -> str:
        word = Text(self.most_characters).check(name, item)
        if not word or word != word.strip() or "," in word or not word.isprintable():
            # The word itself may be a key, and is not repeated.
            cause = "a part is empty, or has a comma, a space around it or a character that is not seen"
            raise ParameterError(name, cause, "leave that out")
        if self.visible_ascii and not fits_header(word):
            raise ParameterError(name, "a part has a space or a character outside of ASCII", "leave that out")
        return word


@dataclass(frozen=True, slots=True)
class Size(Check[int]):
    """A number of bytes; a unit may stand behind it: 12GB is 12 * 10^9, 12GiB is 12 * 2^30, and 12G is that too."""

    most: int
    least: int = 1
    metavar = "BYTES"

    @property
    def shape(self) -> Shape:
        return Whole(self.least, self.most).shape

    def check(self, name: str, value: object) -> int:
        number = as_whole(name, value)
        if not self.least <= number <= self.most:
            raise ParameterError(name, f"{shown(number)} bytes are out of range", f"use {self._range()}")
        return number

    def parse(self, name: str, text: str) -> int:
        match = SIZE.fullmatch(text)
        if match is None:
            cause = f"{shown(text)} is not a number of bytes"
            raise ParameterError(name, cause, f"use {self._range()}, such as 512MB or 12GiB")
        base = 1000 if match["unit"].upper().endswith("B") and "i" not in match["unit"].lower() else 1024
        power = " KMGT".index(match["unit"][:1].upper() or " ") if match["unit"].upper() != "B" else 0
        return self.check(name, int(Fraction(match["number"]) * base**power))

    def spelled(self, value: int) -> str:
        return min((f"{value // size}{unit}" for unit, size in UNITS.items() if value % size == 0), key=len)

    def _range(self) -> str:
        return f"{self.least} to {self.most}"


@dataclass(frozen=True, slots=True)
class TokenBias(Check[tuple[tuple[int, float], ...]]):
    """What to add to the logits of some tokens: {id: bias}; minus infinity bans a token."""

    most: int  # tokens
    metavar = "ID=BIAS"
    shape: ClassVar[Shape] = {
        "type": "object",
        "additionalProperties": {"type": "number", "minimum": -1e6, "maximum": 1e6},
    }
    repeats = True

    def check(self, name: str, value: object) -> tuple[tuple[int, float], ...]:
        pairs = value.items() if isinstance(value, Mapping) else value
        if not isinstance(pairs, (ItemsView, tuple)) or not all(
            isinstance(pair, tuple) and len(pair) == 2 for pair in pairs
        ):
            cause = f"{shown(value)} is not a table of token ids"
            raise ParameterError(name, cause, "give a mapping such as {198: -5.0}")
        if len(pairs) > self.most:
            raise ParameterError(name, f"{len(pairs)} tokens are too many", f"use at most {self.most}")
        return tuple(sorted({self._id(name, key): self._bias(name, bias) for key, bias in pairs}.items()))

    def parse(self, name: str, text: str) -> tuple[tuple[int, float], ...]:
        pairs = (part.partition("=") for part in text.split(","))
        try:
            return self.check(name, {key.strip(): float(bias) for key, _, bias in pairs})
        except ValueError as error:
            if isinstance(error, ParameterError):
                raise
            raise ParameterError(name, f"{shown(text)} is not ID=BIAS", "write for example 198=-5") from None

    def _id(self, name: str, key: object) -> int:
        if isinstance(key, str):  # the keys of a JSON object are text
            return Whole(0, 2**31 - 1).parse(name, key)
        return Whole(0, 2**31 - 1).check(name, key)

    def _bias(self, name: str, bias: object) -> float:
        if isinstance(bias, float) and bias == -math.inf:
            return bias
        return Number(-1e6, 1e6).check(name, bias)
