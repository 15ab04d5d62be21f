"""One model of the registry, and the entry of `model_map.json` that describes it.

    "label": {"path": folder, "model": file, "stop": [...], "n_ctx": 4096}

Beside the three keys, an entry may hold any setting that belongs to a model, by its name. Other keys are kept.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from functools import cache
from pathlib import Path
from typing import Any

from hoshikage.checks import Texts, shown
from hoshikage.envfile import expanded
from hoshikage.errors import ParameterError
from hoshikage.gguf import Wish
from hoshikage.registry.facts import Facts, facts_of
from hoshikage.registry.mapfile import Entries
from hoshikage.settings import Row, table

DEFAULT_STOP = ("<|im_start|>", "<|im_end|>", "</s>", "<|eot_id|>", "<|endoftext|>")
STOP_WORDS = Texts(most=128, most_characters=1024)

REGISTERED, FOLDER, EMBEDDED, FILE = "registered", "folder", "embedded", "file"


@dataclass(frozen=True, slots=True)
class Model:
    """Where a model is and what a person wants it run with. Nothing of it is loaded, or even open."""

    label: str
    path: Path  # of the first part, where there are several
    origin: str  # registered, folder (found in MODEL_DIR), embedded, or file (given by its path)
    stop: tuple[str, ...] = DEFAULT_STOP
    settings: Mapping[str, Any] = field(default_factory=dict)
    other: Mapping[str, Any] = field(default_factory=dict)  # keys of the entry that mean nothing to us
    usual: Wish = field(default_factory=Wish)  # what is said of every model; the entry is stronger

    def facts(self) -> Facts:
        """What its header says; raises ModelFileError."""
        return facts_of(self.path, self.wish)

    def stops_with(self, wished: Iterable[str] = ()) -> tuple[str, ...]:
        """The texts before which an answer ends: those that a request wishes, and the model's own."""
        return tuple(dict.fromkeys((*wished, *self.stop)))

    @property
    def wish(self) -> Wish:
        """What is said of its kind: what a load is told."""
        return self.usual.unless(self.settings)


@cache
def rows_of_model() -> dict[str, Row]:
    """The settings that an entry may hold. One dictionary for all who ask: not to be changed."""
    return {row.name: row for row in table() if row.of_model}


def with_defaults(words: Iterable[str]) -> tuple[str, ...]:
    """Stop words and those that end a turn in most models' formats, none twice."""
    return tuple(dict.fromkeys((*words, *DEFAULT_STOP)))


def model_of(label: str, entry: object, base: Path, usual: Wish) -> Model:
    """The model that an entry describes; a relative folder starts at `base`. Raises ParameterError."""
    if not isinstance(entry, dict):
        raise ParameterError("entry", f"{shown(entry)} is not an object", 'write {"path": folder, "model": file}')
    folder, name = (path_text(entry, key) for key in ("path", "model"))
    rows = rows_of_model()
    return Model(
        label,
        base / expanded(folder) / name,
        REGISTERED,
        with_defaults(STOP_WORDS.check("stop", entry.get("stop") or [])),
        {key: rows[key].check.check(key, value) for key, value in entry.items() if key in rows and value is not None},
        {key: value for key, value in entry.items() if key not in rows and key not in ("path", "model", "stop")},
        usual,
    )


def path_text(entry: Entries, key: str) -> str:
    value = entry.get(key)
    if not isinstance(value, str) or not value or "\0" in value:
        what = "is missing" if value is None else f"is {shown(value)}"
        raise ParameterError(key, what, "name a folder as `path` and a GGUF file in it as `model`")
    return value


def entry_of(path: Path, stop: Iterable[str], settings: Mapping[str, object]) -> Entries:
    """The entry for a file, checked."""
    rows = rows_of_model()
    if unknown := [name for name in settings if name not in rows]:
        raise ParameterError(unknown[0], "no model has such a setting", f"there are {', '.join(rows)}")
    checked = {name: rows[name].check.check(name, value) for name, value in settings.items() if value is not None}
    # The folder as it really is; the file under the name that was given, which says which part of a model it is.
    return {
        "path": str(path.parent.resolve()),
        "model": path.name,
        "stop": list(STOP_WORDS.check("STOP", list(stop))),
        **{name: list(value) if isinstance(value, tuple) else value for name, value in checked.items()},
    }
