"""HOSHIKAGE_LIB_PATH: a build of ours is taken, any other is refused with a sentence and never with a crash."""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
import sys
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from tests.house import ROOT

PACKAGED = ROOT / "hoshikage" / "lib"
EXPECTED = json.loads((PACKAGED / "expected.json").read_text(encoding="utf-8"))
IMPORT = """
import sys
import hoshikage
try:
    import hoshikage._core
except hoshikage.HoshikageError as error:
    print(type(error).__name__, error)
else:
    print("loaded", *sorted({line.split()[-1] for line in open("/proc/self/maps") if "/libllama" in line}))
"""
COMPARE = """
from hoshikage import HoshikageError, _libs
try:
    _libs.load_own(_libs.library_folder())
    print("same")
except HoshikageError as error:
    print(error)
"""


@dataclass(frozen=True)
class Fake:
    """A libllama that has every symbol and answers the questions; by default as the packaged one would."""

    version: str = EXPECTED["ggml_version"]
    commit: str = EXPECTED["ggml_commit"]
    llama: str = EXPECTED["llama_version"]
    grown: int = 0  # bytes that its context parameters have more
    missing: str = ""
    soname: str = "libllama.so.0"

    def build(self, folder: Path) -> Path:
        folder.mkdir()
        base = f'const char *ggml_version(void) {{ return "{self.version}"; }}\n'
        base += f'const char *ggml_commit(void) {{ return "{self.commit}"; }}\n'
        compile_library(folder, "libggml-base.so.0", base)
        compile_library(folder, "libggml.so.0", "int in_ggml;\n")
        known = {"llama_version", *STRUCTS, self.missing}
        llama = f'#include <string.h>\nconst char *llama_version(void) {{ return "{self.llama}"; }}\n'
        llama += "".join(f"void {name}(void) {{}}\n" for name in EXPECTED["symbols"] if name not in known)
        for name in STRUCTS:
            if name != self.missing:
                llama += default_struct(name, self.grown if "context" in name else 0)
        compile_library(folder, "libllama.so.0", llama, self.soname)
        return folder


STRUCTS = [name for name in EXPECTED if name.endswith("_default_params")]


def default_struct(name: str, grown: int) -> str:
    """A function that returns a struct with the expected bytes; those of the padding may be anything."""
    data = [f"0x{EXPECTED[name][at : at + 2]}".replace("..", "00") for at in range(0, len(EXPECTED[name]), 2)]
    data += ["0x01"] * grown
    holder = f"struct {name}_ {{ unsigned char data[{len(data)}]; }}"
    return (
        f"{holder};\nstruct {name}_ {name}(void) {{ static const unsigned char d[] = {{ {', '.join(data)} }};\n"
        f"struct {name}_ out; memcpy(out.data, d, sizeof d); return out; }}\n"
    )


def compile_library(folder: Path, name: str, text: str, soname: str = "") -> None:
    source = folder / "source.c"
    source.write_text(text)
    flags = ["-shared", "-fPIC", "-w", f"-Wl,-soname,{soname or name}"]
    subprocess.run(["cc", *flags, "-o", str(folder / name), str(source)], check=True)
    source.unlink()


def compare_with(folder: Path) -> str:
    """Only the comparison, for fakes that no module could live on: "same", or the refusal."""
    return load_from(folder, COMPARE)


def load_from(folder: Path | None, code: str = IMPORT) -> str:
    """What a fresh process says that has HOSHIKAGE_LIB_PATH set to `folder`."""
    environment = {name: value for name, value in os.environ.items() if name != "HOSHIKAGE_LIB_PATH"}
    if folder is not None:
        environment["HOSHIKAGE_LIB_PATH"] = str(folder)
    done = subprocess.run(
        [sys.executable, "-c", code],
        env=environment,
        cwd=ROOT,
        capture_output=True,
        text=True,
        check=False,
        timeout=120,
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr == ""
    return done.stdout.strip()


def test_the_packaged_libraries_are_the_default() -> None:
    assert load_from(None) == f"loaded {PACKAGED / 'libllama.so.0'}"


def test_somebodys_own_build_takes_their_place(tmp_path: Path) -> None:
    mine = shutil.copytree(PACKAGED, tmp_path / "mine")
    (mine / "libhoshikage.so").unlink()
    (mine / "expected.json").unlink()
    assert load_from(mine) == f"loaded {mine / 'libllama.so.0'}"


def test_a_file_of_settings_or_a_flag_names_it_too(tmp_path: Path) -> None:
    mine, other = (shutil.copytree(PACKAGED, tmp_path / name) for name in ("mine", "other"))
    (tmp_path / ".env").write_text(f"HOSHIKAGE_LIB_PATH={mine}\n", encoding="utf-8")
    choose = f"import os; os.environ['HOSHIKAGE_CONFIG_PATH'] = {str(tmp_path / '.env')!r}\n"
    assert load_from(None, choose + IMPORT) == f"loaded {mine / 'libllama.so.0'}"
    assert load_from(other, choose + IMPORT) == f"loaded {other / 'libllama.so.0'}"
    flag = f"from hoshikage import _libs; _libs.use({str(mine)!r})\n"
    assert load_from(other, flag + IMPORT) == f"loaded {mine / 'libllama.so.0'}"


def test_workers_get_the_same_libraries(tmp_path: Path) -> None:
    mine = shutil.copytree(PACKAGED, tmp_path / "mine")
    program = f"""
from hoshikage import _libs
from hoshikage.nano import resolve
from hoshikage.worker.client import Worker
_libs.use({str(mine)!r})
worker = Worker("nano", on_death=print)
worker.load(resolve("nano-ar"), {{"n_threads": 1, "n_ctx": 64}}, lambda _: None)
print(*sorted({{line.split()[-1] for line in open(f"/proc/{{worker.pid}}/maps") if "/libllama" in line}}))
worker.close(5.0)
"""
    assert load_from(None, program) == str(mine / "libllama.so.0")


def test_a_build_tree_with_full_versions_and_links_is_fine(tmp_path: Path) -> None:
    for path in PACKAGED.glob("libggml*.so.0"), PACKAGED.glob("libllama.so.0"):
        for library in path:
            stem = library.name.removesuffix(".0")
            shutil.copy(library, tmp_path / f"{stem}.0.9.9")
            (tmp_path / f"{stem}.0").symlink_to(f"{stem}.0.9.9")
            (tmp_path / stem).symlink_to(f"{stem}.0")
    assert load_from(tmp_path) == f"loaded {tmp_path / 'libllama.so.0.9.9'}"


def test_a_fake_that_answers_like_ours_passes_the_comparison(tmp_path: Path) -> None:
    """Otherwise the refusals below could come from anything."""
    folder = Fake().build(tmp_path / "fake")
    assert compare_with(folder) == "same"


STRANGERS = [
    (Fake(version="0.1.0"), f"is version 0.1.0, and this package was compiled for {EXPECTED['ggml_version']}"),
    (Fake(commit="fedcba987"), f"from llama.cpp commit fedcba987, and this package was compiled for {Fake.commit}"),
    (Fake(llama="9.9.9"), f"is version 9.9.9, not {EXPECTED['llama_version']}"),
    (Fake(missing="llama_decode"), "lacks llama_decode, which this package calls"),
    (Fake(soname="libllama.so.7"), "is not named libllama.so.0 inside"),
]


@pytest.mark.parametrize(("fake", "sentence"), STRANGERS)
def test_a_stranger_is_refused(tmp_path: Path, fake: Fake, sentence: str) -> None:
    said = load_from(fake.build(tmp_path / "fake"))
    assert said.startswith("LibraryError ")
    assert sentence in said
    assert "unset HOSHIKAGE_LIB_PATH" in said


@pytest.mark.skipif(platform.machine() != "x86_64", reason="structs are compared where they come through a pointer")
@pytest.mark.parametrize("fake", [Fake(grown=1), Fake(grown=8, commit="unknown")])
def test_a_struct_of_another_size_is_refused(tmp_path: Path, fake: Fake) -> None:
    said = load_from(fake.build(tmp_path / "fake"))
    assert "lays out llama_context_default_params() differently" in said


def test_a_build_outside_of_git_is_judged_by_its_structs(tmp_path: Path) -> None:
    folder = Fake(commit="unknown").build(tmp_path / "fake")
    said = compare_with(folder)
    assert said == "same" if platform.machine() == "x86_64" else "commit unknown" in said


def test_a_longer_or_dirty_name_of_the_same_commit_is_the_same(tmp_path: Path) -> None:
    for number, commit in enumerate((Fake.commit + "ab", Fake.commit[:7], Fake.commit + "-dirty")):
        folder = replace(Fake(), commit=commit).build(tmp_path / str(number))
        assert compare_with(folder) == "same"


@pytest.mark.parametrize("content", [b"", b"not a library at all", None])
def test_no_library_at_all_is_a_sentence_too(tmp_path: Path, content: bytes | None) -> None:
    if content is not None:
        for name in ("libggml-base.so.0", "libggml.so.0", "libllama.so.0"):
            (tmp_path / name).write_bytes(content)
    said = load_from(tmp_path)
    assert said.startswith(f"LibraryError libllama could not be loaded from {tmp_path}: ")


def test_a_path_that_is_no_folder_is_named(tmp_path: Path) -> None:
    missing = tmp_path / "nowhere"
    assert load_from(missing).startswith(f"LibraryError HOSHIKAGE_LIB_PATH names {missing}, which is no folder; set it")


def test_a_library_with_a_hole_is_refused(tmp_path: Path) -> None:
    """A symbol that nobody has would end the process when it is first called."""
    folder = Fake().build(tmp_path / "fake")
    compile_library(folder, "libggml.so.0", "void nobody(void); void call(void) { nobody(); }\n")
    assert "undefined symbol: nobody" in load_from(folder)


def test_another_libllama_already_in_the_process_is_noticed(tmp_path: Path) -> None:
    folder = Fake().build(tmp_path / "fake")
    first = f"import ctypes\nctypes.CDLL({str(folder / 'libllama.so.0')!r})\n"
    assert "another libllama.so.0 is in this process already" in load_from(None, first + IMPORT)


def test_a_refusal_is_repeated(tmp_path: Path) -> None:
    folder = Fake(version="0.1.0").build(tmp_path / "fake")
    assert load_from(folder, IMPORT + IMPORT).count("LibraryError") == 2
