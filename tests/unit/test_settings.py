"""Settings: one table, four sources, and a sentence for everything that cannot be meant."""

from __future__ import annotations

import os
import pickle
from pathlib import Path

import pytest

from hoshikage.errors import ParameterError
from hoshikage.settings import Settings, read, table


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
