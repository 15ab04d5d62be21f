"""Settings: one table, four sources, and a sentence for everything that cannot be meant."""

from __future__ import annotations

import os
import pickle
import string
from pathlib import Path
from typing import Any

import hypothesis
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoshikage.checks import Check, Choice, Flag, Host, Key, Number, Numbers, Place, Size, Text, Whole, Words
from hoshikage.engine import request
from hoshikage.engine.quality import Shape
from hoshikage.engine.recipe import recipe_of
from hoshikage.envfile import quoted
from hoshikage.errors import ParameterError
from hoshikage.settings import Row, Settings, read, table
from hoshikage.settings.reading import from_environment, from_file
from hoshikage.worker import wire


def env_file(folder: Path, text: str) -> Path:
    path = folder / ".env"
    path.write_text(text, encoding="utf-8")
    return path


def test_without_any_source_the_defaults_stand() -> None:
    assert read(environment={}, env_files=[]) == Settings()


def test_later_sources_win(tmp_path: Path) -> None:
    weak = env_file(tmp_path, "DIFFUSION_STEPS=10\nN_CTX=100\nTOP_P=0.5\nTEMPERATURE=0.1\n")
    (tmp_path / "near").mkdir()
    near = env_file(tmp_path / "near", "N_CTX=200\nTOP_P=0.6\nTEMPERATURE=0.2\n")
    environment = {"TOP_P": "0.7", "TEMPERATURE": "0.3"}
    merged = read({"temperature": 0.4, "n_seq": None}, environment=environment, env_files=[weak, near])
    assert (merged.steps, merged.n_ctx, merged.top_p, merged.temperature) == (10, 200, 0.7, 0.4)
    assert merged.n_seq == Settings().n_seq


def test_the_table_of_the_ancestor_works_by_number_and_by_name() -> None:
    numbers = {"DIFFUSION_STEPS": "50", "DIFFUSION_ALGORITHM": "4", "DIFFUSION_SCHEDULE": "0"}
    names = {"DIFFUSION_ALGORITHM": "CONFIDENCE_BASED", "DIFFUSION_SCHEDULE": "TIMESTEP_BASED"}
    by_number = read(environment=numbers, env_files=[])
    by_name = read(environment={**numbers, **names, "DIFFUSION_CFG_SCALE": "1.5"}, env_files=[])
    assert (by_number.steps, by_number.algorithm, by_number.schedule) == (50, "low_confidence", "timestep")
    assert (by_name.algorithm, by_name.schedule, by_name.cfg_scale) == ("low_confidence", "timestep", 1.5)


@pytest.mark.parametrize(
    ("number", "name"),
    [("0", "origin"), ("1", "entropy"), ("2", "margin"), ("3", "random"), ("4", "low_confidence")],
)
def test_each_algorithm_number_names_one_algorithm(number: str, name: str) -> None:
    assert read(environment={"DIFFUSION_ALGORITHM": number}, env_files=[]).algorithm == name


def test_env_files_may_be_written_as_shells_and_people_write_them(tmp_path: Path) -> None:
    text = (
        "\ufeff# comment\n\nexport N_CTX = 300\nTEMPERATURE='0.5' # warm\nTOP_P=\"0.9\"\n"
        "HOSHIKAGE_TENSOR_SPLIT=3,1 # two\nOTHER=x\nno equals sign\nDIFFUSION_STEPS=\n#N_GPU_LAYERS=3\n"
    )
    merged = read(environment={}, env_files=[env_file(tmp_path, text)])
    assert (merged.n_ctx, merged.temperature, merged.top_p, merged.tensor_split) == (300, 0.5, 0.9, (3.0, 1.0))
    assert merged.steps is None
    assert merged.n_gpu_layers == -1


def test_env_files_are_found_at_home_and_in_the_working_directory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "config" / "hoshikage"
    home.mkdir(parents=True)
    env_file(home, "N_CTX=1\nDIFFUSION_STEPS=2\n")
    monkeypatch.chdir(tmp_path)
    env_file(tmp_path, "N_CTX=3\n")
    merged = read(environment={"XDG_CONFIG_HOME": str(tmp_path / "config")})
    assert (merged.n_ctx, merged.steps) == (3, 2)
    only = env_file(home, "N_CTX=4\n")
    assert read(environment={"HOSHIKAGE_CONFIG_PATH": str(only)}).n_ctx == 4


@pytest.mark.parametrize(
    ("variable", "value", "words"),
    [
        ("DIFFUSION_STEPS", "0", "use 1 to"),
        ("DIFFUSION_STEPS", "fifty", "not a whole number"),
        ("DIFFUSION_ALGORITHM", "entrpy", "did you mean 'entropy'"),
        ("DIFFUSION_SCHEDULE", "7", "timestep, block"),
        ("TEMPERATURE", "nan", "out of range"),
        ("TEMPERATURE", "1e999", "out of range"),
        ("TOP_P", "0", "more than 0"),
        ("N_GPU_LAYERS", "-2", "use -1 to"),
        ("HOSHIKAGE_TENSOR_SPLIT", "1,,2", "not a number"),
        ("HOSHIKAGE_CACHE_TYPE_K", "q8", "did you mean 'q8_0'"),
    ],
)
def test_a_bad_value_names_its_variable_and_the_remedy(variable: str, value: str, words: str) -> None:
    with pytest.raises(ParameterError, match=words) as caught:
        read(environment={variable: value}, env_files=[])
    assert f"environment variable {variable}" in str(caught.value)


def test_a_bad_value_in_a_file_names_the_file(tmp_path: Path) -> None:
    path = env_file(tmp_path, "DIFFUSION_STEPS=x\n")
    with pytest.raises(ParameterError) as caught:
        read(environment={}, env_files=[path])
    assert f"{path}:1: DIFFUSION_STEPS" in str(caught.value)


def test_files_that_cannot_be_meant_are_refused(tmp_path: Path) -> None:
    with pytest.raises(ParameterError, match="is not a file"):
        read(environment={"HOSHIKAGE_CONFIG_PATH": str(tmp_path)})
    path = tmp_path / ".env"
    path.write_bytes(b"N_CTX=\xff")
    with pytest.raises(ParameterError, match="cannot be read"):
        read(environment={}, env_files=[path])


def test_an_unknown_flag_and_a_bad_one_are_refused() -> None:
    with pytest.raises(ParameterError, match="did you mean 'n_ctx'"):
        read({"n_ctxt": 5}, environment={}, env_files=[])
    with pytest.raises(ParameterError, match="not a whole number"):
        read({"n_ctx": 5.5}, environment={}, env_files=[])
    with pytest.raises(ParameterError, match="not a whole number"):
        Settings(n_ctx=None)  # type: ignore[arg-type]


def test_the_table_is_complete_and_settings_travel() -> None:
    rows = list(table())
    assert len({row.variable for row in rows}) == len(rows)
    assert all(row.meaning and row.variable.isupper() for row in rows)
    some = Settings(n_ctx=7, algorithm="random")
    assert pickle.loads(pickle.dumps(some)) == some


def test_reading_leaves_the_environment_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("N_CTX", raising=False)
    read(env_files=[env_file(tmp_path, "N_CTX=5\n")])
    assert "N_CTX" not in os.environ


# -- the table


def values_of(check: Check[Any]) -> st.SearchStrategy[Any]:
    """Values that a check lets through."""
    match check:
        case Whole():
            return st.integers(check.least, check.most)
        case Size():
            return st.integers(check.least, check.most)
        case Number():
            return st.floats(check.least, check.most, exclude_min=check.open_least)
        case Flag():
            return st.booleans()
        case Choice():
            return st.sampled_from(sorted(set(check.names.values())))
        case Numbers():
            return st.lists(values_of(check.one), min_size=1, max_size=4).map(tuple)
        case Words():
            letters = string.printable[:94].replace(",", "") + ("" if check.visible_ascii else "é 火")
            words = st.text(letters, min_size=1, max_size=8).filter(lambda word: word == word.strip())
            return st.lists(words, max_size=4, unique=True).map(tuple)
        case Place():
            return st.sampled_from(["/tmp/a", "/a b/ü"])
        case Text():
            return st.text(string.ascii_letters + "ü-.:", min_size=1, max_size=9)
        case Host():
            return st.sampled_from(["127.0.0.1", "::1", "ai.example", "bücher.example"])
        case Key():
            return st.text(string.printable[:94], min_size=1, max_size=9)
    raise AssertionError(f"no values for {check}")


@pytest.mark.parametrize("row", list(table()), ids=lambda row: row.variable)
@hypothesis.settings(max_examples=6)
@given(st.data())
def test_every_value_is_spelled_and_read_again(tmp_path_factory: pytest.TempPathFactory, row: Row, data: Any) -> None:
    value = data.draw(values_of(row.check))
    assert row.check.check(row.name, value) == value
    spelled = row.spelled(value)
    if spelled:
        assert row.check.parse(row.variable, spelled) == value
        if row.variable != "HOSHIKAGE_CONFIG_PATH":
            path = tmp_path_factory.getbasetemp() / "one.env"
            path.write_text(f"{row.variable}={quoted(spelled)}\n", encoding="utf-8")
            found = from_file(path)[row.name]
            assert (found.value, found.origin) == (value, f"{path}:1")
        assert from_environment({row.variable: spelled})[row.name].value == value


@pytest.mark.parametrize("row", list(table()), ids=lambda row: row.variable)
def test_every_row_is_sound(row: Row) -> None:
    assert row.meaning
    assert not row.meaning[0].isupper()
    assert len(row.meaning) < 140
    assert "|" not in row.meaning
    assert row.variable == row.variable.upper()
    if row.default is not None:
        assert row.check.check(row.name, row.default) == row.default
        assert not row.spelled(row.default) or row.check.parse(row.name, row.spelled(row.default)) == row.default


def test_every_variable_that_people_know_is_there() -> None:
    known = """
        PORT HOST LOG_FILE_PATH RAMDISK_PATH IDLE_TIMEOUT GREAT_TIMEOUT MODEL_DIR MODEL_MAP_FILE HOSHIKAGE_LIB_PATH
        HOSHIKAGE_CONFIG_PATH N_GPU_LAYERS N_CTX TEMPERATURE TOP_P REPEAT_PENALTY REPEAT_LAST_N DIFFUSION_STEPS
        DIFFUSION_ALGORITHM DIFFUSION_SCHEDULE DIFFUSION_CFG_SCALE DIFFUSION_MAX_TOKENS DIFFUSION_STREAM MAX_RESIDENT
        STAGING DRAIN_TIMEOUT DEVICE_PREFERENCE
        DIFFUSION_ENABLED DIFFUSION_DEFAULT_MODEL DIFFUSION_DEVICE_PREFERENCE DIFFUSION_MAX_CONCURRENT_REQUESTS
        DIFFUSION_MEMORY_THRESHOLD DIFFUSION_TIMEOUT_SECONDS DIFFUSION_MAX_LENGTH DIFFUSION_TEMPERATURE DIFFUSION_TOP_P
        DIFFUSION_TOP_K DIFFUSION_REPETITION_PENALTY
    """
    assert set(known.split()) <= {row.variable for row in table()}


def test_what_applies_when_nothing_is_said() -> None:
    settings = Settings()
    assert (settings.host, settings.port, settings.idle_timeout, settings.great_timeout) == ("127.0.0.1", 3030, 300, 60)
    assert (settings.n_gpu_layers, settings.staging, settings.ramdisk_path) == (-1, "auto", "/dev/shm")
    diffusion, _ = request.read(request.DiffusionRequest, {}, settings)
    causal, _ = request.read(request.CausalRequest, {}, settings)
    assert (diffusion.temperature, diffusion.top_p, diffusion.repetition_penalty) == (0, 1, 1)
    assert (diffusion.max_tokens, diffusion.steps, diffusion.algorithm, diffusion.schedule) == (256, None, None, None)
    assert (causal.temperature, causal.top_p, causal.repetition_penalty, causal.repeat_last_n) == (0.2, 0.8, 1.1, 64)


def test_a_sampling_variable_holds_for_both_kinds_of_models() -> None:
    settings = read(environment={"TEMPERATURE": "0.5", "TOP_P": "0.6", "REPEAT_PENALTY": "1.3"}, env_files=[])
    for kind in request.KINDS.values():
        asked, _ = request.read(kind, {}, settings)
        assert (asked.temperature, asked.top_p, asked.repetition_penalty) == (0.5, 0.6, 1.3)


@pytest.mark.parametrize(
    ("given_steps", "variables", "steps"),
    [
        ({}, {}, 200),
        ({}, {"DIFFUSION_ALGORITHM": "4"}, 50),
        ({}, {"DIFFUSION_SCHEDULE": "0"}, 50),
        ({}, {"DIFFUSION_STEPS": "30"}, 30),
        ({}, {"DIFFUSION_STEPS": "30", "DIFFUSION_ALGORITHM": "1"}, 30),
        ({"algorithm": "entropy"}, {}, 50),
        ({"algorithm": "entropy"}, {"DIFFUSION_STEPS": "30"}, 30),
        ({"schedule": "block", "steps": 9}, {"DIFFUSION_STEPS": "30"}, 9),
        ({"cfg_scale": 1.0, "block_length": 8}, {}, 200),
    ],
)
def test_only_scheduled_decoding_has_fifty_steps(
    given_steps: dict[str, Any], variables: dict[str, str], steps: int
) -> None:
    settings = read(environment=variables, env_files=[])
    asked, _ = request.read(request.DiffusionRequest, given_steps, settings)
    assert recipe_of(asked, Shape(200))[0].steps == steps


# -- kinds of values


@pytest.mark.parametrize(
    ("text", "n"),
    [("5", 5), ("5B", 5), ("2KB", 2000), ("2K", 2048), ("2kib", 2048), ("1.5GiB", 3 << 29), (" 12 GB ", 12 * 10**9),
     ("0.5M", 1 << 19), ("1TB", 10**12), ("3b", 3)],
)  # fmt: skip
def test_sizes_have_units(text: str, n: int) -> None:
    assert Size(2**60).parse("SIZE", text) == n


@pytest.mark.parametrize("text", ["", "GB", "-5", "1e9", "5 GX", "0x10", "1,5GB", "١", "9" * 40, "inf", "0"])
def test_a_size_that_is_none_is_refused(text: str) -> None:
    with pytest.raises(ParameterError, match=r"use 1 to"):
        Size(2**60).parse("SIZE", text)


@pytest.mark.parametrize("value", [["a", ""], ["a,b"], [" a"], ["a\n"], ["\x00"], "text", [5], ["a"] * 257, ["\ud800"]])
def test_words_that_are_none_are_refused(value: Any) -> None:
    with pytest.raises(ParameterError):
        Words(most=256, most_characters=8).check("WORDS", value)


def test_keys_have_no_spaces_and_are_not_repeated_in_errors() -> None:
    keys = next(row for row in table() if row.name == "api_keys").check
    for bad in ("two words", "ключ", "k" * 600):
        with pytest.raises(ParameterError) as caught:
            keys.parse("HOSHIKAGE_API_KEYS", f"good,{bad}")
        assert bad not in str(caught.value)
    assert keys.parse("KEYS", " a , b,,a ") == ("a", "b")


@pytest.mark.parametrize("bad", ["", "two words", "あ", "line\nbreak", "\x7f", "k" * 600, "\udcff", 5])
def test_an_admin_key_is_one_that_a_header_can_hold(bad: Any) -> None:
    with pytest.raises(ParameterError) as caught:
        Settings(admin_key=bad)
    assert not bad or str(bad) not in str(caught.value)
    assert Settings(admin_key="Open-Sesame!").admin_key == "Open-Sesame!"


@pytest.mark.parametrize("bad", ["a..b", "x" * 70, "a\nb", "a\0b", "x" * 300])
def test_a_host_is_one_that_can_be_looked_up(bad: str) -> None:
    with pytest.raises(ParameterError):
        Settings(host=bad)


def test_keys_are_not_shown_with_the_settings() -> None:
    settings = Settings(api_keys=("sesame",), admin_key="sesame")
    assert "sesame" not in repr(settings)


def test_a_library_is_named_at_home_and_not_by_the_folder_one_is_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = tmp_path / "hoshikage"
    home.mkdir()
    env_file(home, "HOSHIKAGE_LIB_PATH=/mine\n")
    monkeypatch.chdir(tmp_path)
    environment = {"XDG_CONFIG_HOME": str(tmp_path)}
    assert read(environment=environment).lib_path == "/mine"
    path = env_file(tmp_path, "HOSHIKAGE_LIB_PATH=/theirs\n")
    with pytest.raises(ParameterError, match="the working directory cannot say which library is loaded"):
        read(environment=environment)
    assert read(environment={"HOSHIKAGE_CONFIG_PATH": str(path)}).lib_path == "/theirs"


def test_a_file_of_another_user_in_the_working_directory_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.delenv("SUDO_UID", raising=False)
    path = env_file(tmp_path, "N_CTX=5\n")
    environment = {"XDG_CONFIG_HOME": str(tmp_path)}
    monkeypatch.setattr(os, "geteuid", lambda: path.stat().st_uid or 1)
    assert read(environment=environment).n_ctx == 5
    status = os.stat_result([*path.stat()[:4], 4711, *path.stat()[5:]])
    there = Path.stat
    monkeypatch.setattr(Path, "stat", lambda one, **how: status if str(one) == ".env" else there(one, **how))
    with pytest.raises(ParameterError, match="belongs to another user; name it as HOSHIKAGE_CONFIG_PATH"):
        read(environment=environment)
    assert read(environment={"HOSHIKAGE_CONFIG_PATH": str(path)}).n_ctx == 5
    monkeypatch.setenv("SUDO_UID", "4711")
    assert read(environment=environment).n_ctx == 5


def test_a_file_cannot_name_the_file_that_is_read(tmp_path: Path) -> None:
    path = env_file(tmp_path, "\nHOSHIKAGE_CONFIG_PATH=/elsewhere\n")
    with pytest.raises(ParameterError, match=rf"{path}:2: HOSHIKAGE_CONFIG_PATH: a file cannot say"):
        read(environment={}, env_files=[path])


def test_a_size_is_spelled_as_a_person_would() -> None:
    sizes = ["12GB", "12GiB", "512MiB", "1500MB", "1001"]
    assert [Size(2**60).spelled(Size(2**60).parse("size", size)) for size in sizes] == sizes


def test_no_body_may_be_longer_than_what_a_worker_is_handed() -> None:
    settings = read(environment={"HOSHIKAGE_MAX_BODY": str(wire.MOST)}, env_files=[])
    assert settings.max_body == wire.MOST
    with pytest.raises(ParameterError, match=f"use 1 to {wire.MOST}"):
        read(environment={"HOSHIKAGE_MAX_BODY": str(wire.MOST + 1)}, env_files=[])
