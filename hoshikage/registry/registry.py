"""Every model that can be asked for by name: embedded ones, registered ones, and those in MODEL_DIR.

The command line and the server use the same methods; there is no other way to the file. What is kept in memory is kept
for as long as the files are the same, so a change is seen by whoever asks next, in whatever process.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hoshikage import gguf, nano
from hoshikage.checks import shown
from hoshikage.envfile import expanded
from hoshikage.errors import HoshikageError, LabelTaken, ParameterError, RegistryError, UnknownModelError
from hoshikage.registry.entry import EMBEDDED, FILE, FOLDER, Model, entry_of, model_of
from hoshikage.registry.facts import Identity, settled_identity
from hoshikage.registry.folder import Folder, Scan
from hoshikage.registry.labels import check_label, near
from hoshikage.registry.mapfile import Entries, MapFile
from hoshikage.settings import Settings, config_folder

MAP_NAME = "model_map.json"


@dataclass(slots=True)
class Catalogue:
    """All models by label, entries that describe none, and what else a person should know."""

    models: dict[str, Model] = field(default_factory=dict)
    broken: dict[str, HoshikageError] = field(default_factory=dict)
    remarks: list[str] = field(default_factory=list)
    fault: RegistryError | None = None  # why nothing of the map file is here


class Registry:
    """The models of a map file and a folder, beside the embedded ones. Safe to use from several threads.

    `usual`: what is said of the kind of every model.
    """

    def __init__(self, map_file: Path, model_dir: Path | None = None, usual: gguf.Wish | None = None) -> None:
        self._usual = usual or gguf.Wish()
        self._file = MapFile(map_file)
        self._folder = None if model_dir is None else Folder(model_dir)
        self._seen: tuple[Identity, Catalogue] | None = None  # the map file as it was read last
        self._found: tuple[Scan, Catalogue] | None = None  # the folder likewise

    @classmethod
    def of(cls, settings: Settings, environment: Mapping[str, str] = os.environ) -> Registry:
        """The registry that the settings name."""
        map_file = settings.model_map_file or config_folder(environment) / MAP_NAME
        model_dir = Path(settings.model_dir) if settings.model_dir else None
        return cls(Path(map_file), model_dir, gguf.Wish.of(settings))

    @property
    def map_file(self) -> Path:
        """The file of registered models, which need not exist."""
        return self._file.path

    # -- asking

    def catalogue(self) -> Catalogue:
        """Everything there is, the embedded models first. A map file that cannot be read is a remark."""
        whole = Catalogue()
        for source in self._sources():
            whole.fault = whole.fault or source.fault
            taken = whole.models.keys() | whole.broken.keys()
            whole.models.update({label: model for label, model in source.models.items() if label not in taken})
            whole.broken.update(source.broken)
            whole.remarks.extend(source.remarks)
        return whole

    def find(self, label: str) -> Model:
        """The model of this name. Raises UnknownModelError, or what is wrong with its entry or with the map file."""
        known: list[str] = []
        fault: RegistryError | None = None
        for source in self._sources():
            fault = fault or source.fault
            if label in source.models:
                return source.models[label]
            if label in source.broken:
                raise source.broken[label].with_traceback(None)
            known += source.models
        if fault is not None:
            raise fault
        raise UnknownModelError(f"there is no model {shown(label)}{near(label, known)}")

    def choose(self, word: str) -> Model:
        """What a person at the command line means: an existing file, or else a model by its name."""
        path = expanded(word)
        file = Model(word, path, FILE, stop=(), usual=self._usual)
        mode = mode_of(path)
        if mode and not stat.S_ISDIR(mode):
            return file
        try:
            return self.find(word)
        except UnknownModelError:
            if mode or os.sep in word or path.suffix.lower() == ".gguf":
                return file
            raise

    def _sources(self) -> Iterator[Catalogue]:
        """The strongest first. Each is read when its turn comes, and a map file that is broken hides no other."""
        yield self._embedded()
        try:
            yield self._registered()
        except RegistryError as fault:
            yield Catalogue(remarks=[str(fault)], fault=fault)
        if self._folder is not None:
            yield self._in_folder(self._folder)

    def _embedded(self) -> Catalogue:
        """Those that come with the package."""
        embedded = (
            Model(name, path, EMBEDDED, settings=nano.settings_of(name), usual=self._usual)
            for name, path in nano.files().items()
        )
        return Catalogue({model.label: model for model in embedded})

    def _registered(self) -> Catalogue:
        """What the map file says; read again only when it is another one."""
        identity = settled_identity(self._file.path)
        seen = self._seen
        if seen is not None and identity == seen[0]:
            return seen[1]
        registered = self._read_map()
        if identity is not None:
            self._seen = identity, registered
        return registered

    def _in_folder(self, folder: Folder) -> Catalogue:
        """The files of MODEL_DIR as models; made anew only when they are others."""
        found, known = folder.scan(), self._found
        if known is None or known[0] is not found:
            models = {label: Model(label, path, FOLDER, usual=self._usual) for label, path in found.paths.items()}
            known = self._found = found, Catalogue(models, remarks=found.remarks)
        return known[1]

    def _read_map(self) -> Catalogue:
        contents = self._file.read()
        registered = Catalogue()
        for label, entry in contents.entries.items():
            try:
                check_label("label", label)
                check_free(label)
                registered.models[label] = self._model_of(label, entry)
            except ParameterError as error:
                cause = f"line {contents.lines[label]}, {shown(label)}: {error.name}: {error.cause}"
                registered.broken[label] = RegistryError(self._file.path, cause, error.remedy)
        return registered

    def _model_of(self, label: str, entry: object) -> Model:
        """The model of an entry. Raises ParameterError."""
        return model_of(label, entry, self._file.path.parent, self._usual)

    # -- changing

    def add(
        self,
        path: Path,
        label: str,
        stop: Iterable[str] = (),
        settings: Mapping[str, object] | None = None,
        *,
        replace: bool = False,
        set_aside: bool = False,
    ) -> Model:
        """Register a file that `gguf.inspect` accepts, and that is of the kind that its entry says.

        With `replace`, a label that is taken gets this file, and keeps what is not given. `set_aside` is for a map
        that cannot be understood: it is kept under another name, and a new one begins.
        """
        check_label("LABEL", label)
        check_free(label)
        header = gguf.inspect(path)
        entry = entry_of(path, stop, settings or {})
        added: list[Model] = []

        def edit(entries: Entries) -> None:
            old = entries.get(label)
            if label in entries and not replace and old != entry:
                raise LabelTaken(label)
            kept = old if isinstance(old, dict) else {}
            stays = {"stop": kept["stop"]} if "stop" in kept and not entry["stop"] else {}
            entries[label] = {**kept, **entry, **stays}
            model = self._model_of(label, entries[label])
            check_kind(header, model, said=entry)
            added.append(model)

        self._file.change(edit, set_aside=set_aside)
        return added[0]

    def remove(self, label: str) -> None:
        """Forget a registered model; its file stays."""

        def edit(entries: Entries) -> None:
            if label not in entries:
                raise self._not_registered(label, entries)
            del entries[label]

        edit(dict(self._file.read().entries))  # where there is nothing to forget, nothing is written either
        self._file.change(edit)

    def _not_registered(self, label: str, entries: Entries) -> HoshikageError:
        """Why a label cannot be forgotten."""
        model = self.catalogue().models.get(label)
        if model is None:
            return UnknownModelError(f"there is no registered model {shown(label)}{near(label, entries)}")
        if model.origin == EMBEDDED:
            return ParameterError("LABEL", f"{label!r} is embedded and always there", "it takes no memory until asked")
        return ParameterError("LABEL", f"{label!r} is a file in MODEL_DIR", "take the file out of that folder")


def check_kind(header: gguf.Header, model: Model, said: Entries) -> None:
    """Raises what is wrong with what an entry says of its file's kind: with what was `said` now, or what is kept."""
    try:
        gguf.check_said(header, gguf.Wish.among(model.settings))
    except ParameterError as error:
        if error.name in said or error.name not in model.settings:
            raise
        cause = f"{model.label!r} keeps {shown(model.settings[error.name])} from before, and {error.cause}"
        raise ParameterError(error.name, cause, "say it anew, or forget the label first") from None


def check_free(label: str) -> None:
    """Raises ParameterError for the name of an embedded model, which nothing may hide."""
    if label in nano.files():
        raise ParameterError("label", f"{label!r} is an embedded model", "choose another label")


def mode_of(path: Path) -> int:
    """What kind of file is there; 0 where none is to be seen."""
    try:
        return path.stat().st_mode
    except (OSError, ValueError):
        return 0
