"""The registry: labels, entries, a folder of models, and what a listing knows without loading anything."""

from __future__ import annotations

import json
import os
import pickle
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoshikage import gguf, nano
from hoshikage.checks import Place
from hoshikage.errors import ModelFileError, ParameterError, RegistryError, UnknownModelError
from hoshikage.registry import Registry, check_label
from hoshikage.registry.entry import DEFAULT_STOP, EMBEDDED, FILE, FOLDER, REGISTERED, rows_of_model
from hoshikage.registry.mapfile import Contents, MapFile
from hoshikage.settings import Settings, read, replaced
from tests.conftest import TinyModel
from tests.rawgguf import Draft


@pytest.fixture
def model(tmp_path: Path) -> Path:
    path = tmp_path / "models" / "llada.gguf"
    path.parent.mkdir()
    path.write_bytes(Draft().bytes())
    return path


@pytest.fixture
def map_file(tmp_path: Path) -> Path:
    return tmp_path / "config" / "model_map.json"


@pytest.fixture
def registry(map_file: Path) -> Registry:
    return Registry(map_file)


@pytest.fixture(autouse=True)
def embedded(tmp_path_factory: pytest.TempPathFactory, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Two embedded models, whatever the package has."""
    folder = tmp_path_factory.mktemp("nano")
    for name in ("nano-llada", "nano-other"):
        (folder / f"{name}.gguf").write_bytes(Draft().bytes())
    monkeypatch.setattr(nano, "HERE", folder)
    return folder


def write_map(path: Path, entries: object) -> None:
    path.parent.mkdir(exist_ok=True, parents=True)
    path.write_text(json.dumps(entries, indent=1), encoding="utf-8")


# -- labels


@pytest.mark.parametrize("label", ["llada", "LLaDA-8B:q4_K", "星影", "with space", "a.b", "x" * 128, "Qwen2.5@main"])
def test_labels_that_are_fine(label: str) -> None:
    assert check_label("LABEL", label) == label


@pytest.mark.parametrize(
    "label",
    ["", ".", "..", "../x", "a/b", "/etc/passwd", "a\\b", "a..b", "%2e%2e", "%252f", "a\0b", "a\nb", "a\r\nX: y",
     "\x1b[2J", "a\x7f", "a\u202eb", "a\u200bb", "\ud800", "-rf", "~root", ".hidden", " a", "a ", "x" * 129],
)  # fmt: skip
def test_labels_that_are_none(registry: Registry, map_file: Path, model: Path, label: str) -> None:
    with pytest.raises(ParameterError):
        check_label("LABEL", label)
    with pytest.raises(ParameterError):
        registry.add(model, label)
    with pytest.raises(UnknownModelError):
        registry.find(label)
    assert not map_file.exists()


@given(st.text(st.characters(), max_size=200))
def test_no_label_is_a_path(label: str) -> None:
    try:
        check_label("LABEL", label)
    except ParameterError:
        return
    assert Path("/folder", label).parent == Path("/folder")
    assert os.path.normpath(f"/folder/{label}") == f"/folder/{label}"
    assert label.isprintable()


# -- adding and removing


def test_an_entry_is_the_ancestors(registry: Registry, map_file: Path, model: Path) -> None:
    added = registry.add(model, "mine", ["###", "</s>", "###"], {"n_ctx": 2048, "tensor_split": [3, 1]})
    assert json.loads(map_file.read_text(encoding="utf-8")) == {
        "mine": {
            "path": str(model.parent), "model": "llada.gguf", "stop": ["###", "</s>"],
            "n_ctx": 2048, "tensor_split": [3.0, 1.0],
        }
    }  # fmt: skip
    assert registry.find("mine") == added
    assert (added.path, added.origin) == (model, REGISTERED)
    assert added.stop == ("###", "</s>", "<|im_start|>", "<|im_end|>", "<|eot_id|>", "<|endoftext|>")
    assert added.settings == {"n_ctx": 2048, "tensor_split": (3.0, 1.0)}
    registry.remove("mine")
    assert json.loads(map_file.read_text(encoding="utf-8")) == {}
    assert model.exists()


def test_a_file_of_the_ancestor_is_read_and_what_it_says_beside_is_kept(
    registry: Registry, map_file: Path, model: Path
) -> None:
    write_map(map_file, {"old": {"path": str(model.parent), "model": model.name, "note": {"a": [1]}, "n_ctx": None}})
    old = registry.find("old")
    assert (old.path, old.stop, old.settings, old.other) == (model, DEFAULT_STOP, {}, {"note": {"a": [1]}})
    registry.add(model, "new")
    registry.add(model, "old", settings={"n_ctx": 64}, replace=True)
    entry = json.loads(map_file.read_text(encoding="utf-8"))["old"]
    assert (entry["note"], entry["n_ctx"], list(entry)[:2]) == ({"a": [1]}, 64, ["path", "model"])


def test_a_file_that_replaces_another_is_held_to_what_is_kept(
    registry: Registry, map_file: Path, model: Path, tiny_model: TinyModel
) -> None:
    first, second = (tiny_model("qwen3", mask_text="<|MASK|>", seed=seed) for seed in (0, 1))  # of any kind
    registry.add(first, "mine", settings={"kind": "block", "block_length": 4, "mask_token": "<|MASK|>"})
    assert registry.add(second, "mine", replace=True).facts().kind == "block"
    before = map_file.read_bytes()
    with pytest.raises(ParameterError, match=r"kind: 'mine' keeps 'block' from before, and the file is a llada model"):
        registry.add(model, "mine", replace=True)
    with pytest.raises(ParameterError, match=r"mask_token: 'mine' keeps '.*' from before, and a causal model has none"):
        registry.add(first, "mine", settings={"kind": "causal"}, replace=True)
    with pytest.raises(ParameterError, match=r"^kind: the file is a llada model"):
        registry.add(model, "mine", settings={"kind": "causal"}, replace=True)
    assert map_file.read_bytes() == before


def test_replacing_keeps_what_is_not_given(registry: Registry, model: Path) -> None:
    registry.add(model, "mine", ["###"], {"n_ctx": 64})
    other = model.with_name("other.gguf")
    other.write_bytes(Draft("dream").bytes())
    with pytest.raises(ParameterError, match="is taken; choose another label, or say --replace"):
        registry.add(other, "mine")
    registry.add(model, "mine", ["###"], {"n_ctx": 64})  # the same again: nothing to do
    changed = registry.add(other, "mine", settings={"n_gpu_layers": 3}, replace=True)
    assert (changed.path, changed.stop[0], changed.settings) == (other, "###", {"n_ctx": 64, "n_gpu_layers": 3})
    assert registry.add(other, "mine", ["?"], replace=True).stop[0] == "?"


def test_what_inspect_refuses_is_not_added(registry: Registry, map_file: Path, tmp_path: Path, model: Path) -> None:
    raw = model.read_bytes()
    for name, data in (("empty", b""), ("cut", raw[:-1]), ("bad", b"GGML" + raw[4:]), ("web", b"<!doctype html>")):
        (tmp_path / name).write_bytes(data)
        with pytest.raises(ModelFileError):
            registry.add(tmp_path / name, "mine")
    for path in (tmp_path / "none", tmp_path, tmp_path / "a\0b"):
        with pytest.raises(ModelFileError):
            registry.add(path, "mine")
    assert not map_file.exists()


@pytest.mark.parametrize(
    ("settings", "cause"),
    [
        ({"n_ctx": -1}, "out of range"),
        ({"n_ctxx": 1}, "no model has such a setting"),
        ({"model_dir": "/x"}, "no model"),
    ],
)
def test_settings_are_checked(registry: Registry, model: Path, settings: dict[str, Any], cause: str) -> None:
    with pytest.raises(ParameterError, match=cause):
        registry.add(model, "mine", settings=settings)


def test_removing_what_is_not_registered(registry: Registry, map_file: Path, model: Path) -> None:
    registry.add(model, "LLaDA-8B")
    with pytest.raises(UnknownModelError, match="did you mean 'LLaDA-8B'"):
        registry.remove("llada-8B")
    with pytest.raises(ParameterError, match="embedded and always there"):
        registry.remove("nano-llada")
    with pytest.raises(ParameterError, match="take the file out of that folder"):
        Registry(map_file, model.parent).remove("llada")


def test_removing_looks_before_it_writes(registry: Registry, map_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for label, cause in (("none", "no registered model"), ("nano-llada", "embedded")):
        with pytest.raises((UnknownModelError, ParameterError), match=cause):
            registry.remove(label)
    assert not map_file.parent.exists(), "neither a lock nor a folder for it"
    write_map(map_file, {"mine": {}})
    read = MapFile.read

    def read_and_lose(file: MapFile) -> Contents:
        monkeypatch.setattr(MapFile, "read", read)
        contents = file.read()
        write_map(map_file, {})
        return contents

    monkeypatch.setattr(MapFile, "read", read_and_lose)
    with pytest.raises(UnknownModelError):  # somebody else was quicker
        registry.remove("mine")


def test_relative_paths_and_the_home_folder(
    registry: Registry, map_file: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(model.parent)
    assert registry.add(Path("llada.gguf"), "mine").path == model
    monkeypatch.setenv("HOME", str(model.parent))
    entries = {"home": {"path": "~", "model": "llada.gguf"}, "near": {"path": "../models", "model": "llada.gguf"}}
    write_map(map_file, entries)
    assert registry.find("home").path == model
    assert registry.find("near").path.samefile(model)


def test_a_file_whose_name_is_no_utf8(registry: Registry, tmp_path: Path, model: Path) -> None:
    odd = Path(os.fsdecode(os.fsencode(tmp_path) + b"/\xff.gguf"))
    odd.write_bytes(model.read_bytes())
    registry.add(odd, "odd")
    registry.add(model, "even")
    assert registry.find("odd").path == odd
    assert registry.find("odd").facts().kind == "masked"


# -- entries that describe nothing


@pytest.mark.parametrize(
    ("label", "entry", "cause"),
    [
        ("bad", 5, "entry: 5 is not an object"),
        ("bad", {"model": "x"}, "path: is missing"),
        ("bad", {"path": "/x", "model": ["y"]}, "model: is ['y']"),
        ("bad", {"path": "/x", "model": "y\0"}, "model: is 'y\\x00'"),
        ("bad", {"path": "/x", "model": "y", "stop": 5}, "stop: 5 is not text"),
        ("bad", {"path": "/x", "model": "y", "n_ctx": "many"}, "n_ctx: 'many' is not a whole number"),
        ("../bad", {"path": "/x", "model": "y"}, "a name is never a path"),
        ("nano-llada", {"path": "/x", "model": "y"}, "is an embedded model"),
    ],
)
def test_one_wrong_entry_is_named_by_line_and_harms_no_other(
    registry: Registry, map_file: Path, model: Path, label: str, entry: object, cause: str
) -> None:
    write_map(map_file, {label: entry, "good": {"path": str(model.parent), "model": model.name}})
    catalogue = registry.catalogue()
    assert catalogue.models["good"].path == model
    assert cause in str(catalogue.broken[label])
    assert "line 2, " in catalogue.broken[label].cause
    assert str(map_file) not in catalogue.broken[label].cause
    assert registry.find("nano-llada").origin == EMBEDDED
    if label != "nano-llada":
        with pytest.raises(RegistryError):
            registry.find(label)
    registry.add(model, "further")
    assert json.loads(map_file.read_text(encoding="utf-8"))[label] == entry
    registry.remove(label)
    assert not registry.catalogue().broken


def test_a_map_that_cannot_be_read_hides_no_embedded_model(registry: Registry, map_file: Path) -> None:
    map_file.parent.mkdir()
    map_file.write_text('{"a": {}')
    assert registry.find("nano-llada").origin == EMBEDDED
    for ask in (lambda: registry.find("a"), lambda: registry.remove("a")):
        with pytest.raises(RegistryError, match="line 1, column"):
            ask()
    assert map_file.read_text() == '{"a": {}'


def test_a_map_that_cannot_be_read_is_a_remark_and_hides_no_file_of_the_folder(model: Path, map_file: Path) -> None:
    write_map(map_file, {"mine": {"path": str(model.parent), "model": model.name}})
    registry = Registry(map_file, model.parent)
    assert registry.find("mine").origin == REGISTERED
    map_file.write_text("{broken")
    catalogue = registry.catalogue()
    assert set(catalogue.models) == {"nano-llada", "nano-other", "llada"}
    assert [str(map_file) in remark and "line 1, column 2" in remark for remark in catalogue.remarks] == [True]
    assert isinstance(catalogue.fault, RegistryError)
    assert registry.find("llada").origin == FOLDER
    with pytest.raises(RegistryError, match="line 1, column 2"):
        registry.find("mine")


# -- a model of it: a dictionary

LABELS = st.sampled_from(["a", "b", "c", "星", "d e"])
CHANGES = st.tuples(
    st.sampled_from(["add", "replace", "remove"]),
    LABELS,
    st.lists(st.sampled_from(["###", "</s>", "終"]), max_size=3),
    st.none() | st.integers(0, 100),
)


@given(st.lists(CHANGES, max_size=8))
def test_the_registry_is_a_dictionary(
    tmp_path_factory: pytest.TempPathFactory, tiny_model: TinyModel, changes: list[Any]
) -> None:
    path = tiny_model("llama")
    registry = Registry(tmp_path_factory.mktemp("map") / "model_map.json")
    expected: dict[str, tuple[list[str], int | None]] = {}
    for what, label, stop, n_ctx in changes:
        words = list(dict.fromkeys(stop))
        if what == "remove":
            if expected.pop(label, None) is None:
                with pytest.raises(UnknownModelError):
                    registry.remove(label)
            else:
                registry.remove(label)
        elif what == "add" and label in expected and expected[label] != (words, n_ctx):
            with pytest.raises(ParameterError, match="taken"):
                registry.add(path, label, stop, {"n_ctx": n_ctx})
        else:
            registry.add(path, label, stop, {"n_ctx": n_ctx}, replace=what == "replace")
            before = expected.get(label, ([], None))
            expected[label] = words or before[0], before[1] if n_ctx is None else n_ctx
        models = {k: v for k, v in registry.catalogue().models.items() if v.origin == REGISTERED}
        assert list(models) == list(expected)
        for name, (own, wanted) in expected.items():
            assert models[name].stop == tuple(dict.fromkeys([*own, *DEFAULT_STOP]))
            assert models[name].settings.get("n_ctx") == wanted


# -- names and files


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Four models, two of them in folders of their own."""
    for name in ("a.gguf", "B.GGUF", "deep/er/c.gguf", "x/d.gguf"):
        path = tmp_path / "folder" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(Draft().bytes())
    return tmp_path / "folder"


def test_embedded_models_answer_as_they_were_judged(registry: Registry) -> None:
    for label in nano.names():
        assert registry.find(label).settings == nano.settings_of(label)
        assert replaced(Settings(), registry.find(label).settings).temperature == 0.0


def test_the_map_stands_above_the_folder_and_below_the_embedded(folder: Path, map_file: Path) -> None:
    registry = Registry(map_file, folder)
    assert registry.find("a").origin == FOLDER
    registry.add(folder / "B.GGUF", "a", settings={"n_ctx": 7})
    (folder / "nano-llada.gguf").write_bytes(b"")
    catalogue = registry.catalogue()
    assert list(catalogue.models)[:3] == ["nano-llada", "nano-other", "a"]
    assert (catalogue.models["a"].path.name, catalogue.models["a"].settings) == ("B.GGUF", {"n_ctx": 7})
    assert {label: registry.find(label) for label in catalogue.models} == catalogue.models
    write_map(map_file, {"a": 5})
    assert "a" not in registry.catalogue().models
    with pytest.raises(RegistryError):
        registry.find("a")


def test_asking_for_names_opens_no_model(registry: Registry, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry.add(model, "mine")
    monkeypatch.setattr(gguf, "inspect", None)
    assert registry.catalogue().models["mine"] == registry.find("mine")


def test_what_a_word_means(folder: Path, map_file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    registry = Registry(map_file, folder)
    monkeypatch.chdir(folder)
    assert registry.choose("nano-llada").origin == EMBEDDED
    assert (registry.choose("a").origin, registry.choose("a.gguf").origin) == (FOLDER, FILE)
    registry.add(folder / "a.gguf", "deep")  # a folder of this name stands here
    assert registry.choose("deep").origin == REGISTERED
    assert registry.choose("a.gguf").stop == ()
    for word in ("none.gguf", "x/none", ".", "x", "a\0/b"):
        assert registry.choose(word).origin == FILE
    with pytest.raises(UnknownModelError, match="did you mean 'nano-llada'"):
        registry.choose("nanollada")
    with pytest.raises(UnknownModelError):
        registry.choose("n" * 5000)


def test_the_settings_that_name_it(tmp_path: Path, model: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    Registry(tmp_path / "hoshikage" / "model_map.json").add(model, "home")
    nothing: dict[str, str] = {"XDG_CONFIG_HOME": str(tmp_path)}
    assert Registry.of(read(environment=nothing, env_files=[]), nothing).find("home").path == model
    assert Registry.of(Settings(), {"HOME": str(tmp_path)}).catalogue().broken == {}
    monkeypatch.chdir(tmp_path)
    named = {"MODEL_MAP_FILE": "hoshikage/model_map.json", "MODEL_DIR": "models"}
    settings = read(environment=named, env_files=[])
    assert settings.model_dir == str(model.parent)
    assert set(Registry.of(settings, {}).catalogue().models) >= {"home", "llada"}
    for bad in ("", "a\0b", 5):
        with pytest.raises(ParameterError, match="is not a path"):
            Place().check("MODEL_DIR", bad)
    with pytest.raises(ParameterError, match="home folder"):
        Place().check("MODEL_DIR", "~nobody-of-this-name/x")


def test_a_model_has_the_settings_that_are_not_everybodys() -> None:
    assert {"n_ctx", "n_gpu_layers", "temperature"} <= set(rows_of_model())
    assert not {"model_map_file", "model_dir"} & set(rows_of_model())


def test_errors_travel() -> None:
    for error in (UnknownModelError("there is no model 'x'"), RegistryError("/map", "line 1: x")):
        again = pickle.loads(pickle.dumps(error))
        assert (str(again), type(again)) == (str(error), type(error))


def test_models_are_values(registry: Registry, model: Path) -> None:
    assert replace(registry.add(model, "a"), label="b") == registry.add(model, "b")


def test_a_map_is_read_again_only_when_it_is_another_one(
    registry: Registry, map_file: Path, model: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    entry = {"path": str(model.parent), "model": model.name}
    for i in range(50):  # written over in place, as long as before, faster than the clock of files moves
        write_map(map_file, {f"m{i % 10}": entry})
        assert registry.find(f"m{i % 10}").path == model
    old = map_file.stat().st_mtime - 60
    os.utime(map_file, (old, old))
    later = time.time_ns() + 60 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: later)  # a minute goes by
    registry.find("m9")
    monkeypatch.setattr(Path, "read_text", None)
    monkeypatch.setattr("hoshikage.registry.mapfile.read_text", None)
    assert registry.find("m9").path == model
    monkeypatch.undo()
    write_map(map_file, {"other": entry})
    assert registry.find("other").path == model
    with pytest.raises(UnknownModelError):
        registry.find("m9")


def test_a_file_of_the_folder_is_found_without_another_look_through_it(
    folder: Path, map_file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    registry, later = Registry(map_file, folder), time.time_ns() + 60 * 10**9
    monkeypatch.setattr(time, "time_ns", lambda: later)  # a minute goes by
    found = registry.find("a")
    monkeypatch.setattr("hoshikage.registry.folder.scan", None)
    assert registry.find("a") is found
    assert registry.catalogue().models["a"] is found


def test_what_is_wrong_with_an_entry_is_said_again_and_again(registry: Registry, map_file: Path) -> None:
    write_map(map_file, {"m": {"path": 5}})
    traces = []
    for _ in range(3):
        with pytest.raises(RegistryError) as raised:
            registry.find("m")
        traces.append(len(raised.traceback))
    assert len(set(traces)) == 1


def test_what_is_said_of_all_models_is_said_of_each(tiny_model: TinyModel, map_file: Path) -> None:
    path = tiny_model("qwen3", mask_text="<|MASK|>")  # which may be of any kind
    write_map(map_file, {"own": {"path": str(path.parent), "model": path.name, "kind": "block", "block_length": 4}})
    registry = Registry.of(Settings(kind="causal", model_map_file=str(map_file), model_dir=str(path.parent)))
    assert registry.find(path.stem).facts().kind == "causal"
    assert registry.choose(str(path)).facts().kind == "causal"
    with pytest.raises(ModelFileError, match="mask_token"):
        registry.find("own").facts()  # as a load says
    masked = Settings(mask_token="<|MASK|>", kind="masked", model_map_file=str(map_file))
    facts = Registry.of(masked).find("own").facts()
    assert (facts.kind, facts.block_length) == ("block", 4)
    assert Registry.of(Settings(block_length=16)).find("nano-llada").wish.block_length == 8
