"""The build of the libraries: what is named how, what is built again, what may never be switched on; and the pack."""

from __future__ import annotations

import subprocess
import sys
import tarfile
from pathlib import Path

import pytest
from fetch import MARK, find_source
from libraries import build_libraries, place_libraries
from pack import write_pack
from pin import Pin, PinError, read_pin

from tests.house import ROOT
from tests.house.conftest import Index

NAMES = ["libggml-base.so.0", "libggml.so.0", "libllama.so.0"]


def ask(library: Path, function: str, answer: str) -> str:
    """What a function of a library says, in a process that has no other libggml."""
    code = f"import ctypes\nf = ctypes.CDLL({str(library)!r}).{function}\nf.restype = ctypes.{answer}\nprint(f())"
    return subprocess.run([sys.executable, "-c", code], stdout=subprocess.PIPE, text=True, check=True).stdout.strip()


def times(folder: Path) -> dict[str, int]:
    return {path.name: path.stat().st_mtime_ns for path in folder.iterdir()}


def test_libraries_are_named_as_the_loader_asks_for_them(pin: Pin, tmp_path: Path) -> None:
    place_libraries(build_libraries(pin), tmp_path / "lib")
    assert sorted(path.name for path in (tmp_path / "lib").iterdir()) == NAMES
    moved = (tmp_path / "lib").rename(tmp_path / "elsewhere")
    found = ask(moved / "libllama.so.0", "llama_answer", "c_int")
    assert found == "42", "libllama found the others through its relative rpath"


def test_a_second_build_does_nothing(pin: Pin, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    place_libraries(build_libraries(pin), tmp_path / "lib")
    before = times(tmp_path / "lib")
    capsys.readouterr()
    place_libraries(build_libraries(pin), tmp_path / "lib")
    assert times(tmp_path / "lib") == before
    assert capsys.readouterr().out == ""


def test_the_commit_compiled_in_is_the_pins_and_not_that_of_a_repository_around_it(pin: Pin, tmp_path: Path) -> None:
    subprocess.run(["git", "init", "-q", str(tmp_path)], check=True)
    assert ask(build_libraries(pin)[0], "ggml_commit", "c_char_p") == "b'0fake0fake'"
    (pin.source / MARK).unlink()
    (pin.source / "src/base.c").write_text("const char * ggml_commit_of_mine(void) { return COMMIT; }\n")
    place_libraries(build_libraries(pin), tmp_path / "mine")
    assert ask(tmp_path / "mine" / "libggml-base.so.0", "ggml_commit_of_mine", "c_char_p") == "b'unknown'"


def test_cmake_args_pass_through_but_never_switch_rpc_on(pin: Pin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMAKE_ARGS", '-DGGML_RPC=ON -DMY_SWITCH="two words"')
    build_libraries(pin)
    cache = (pin.build / "native" / "CMakeCache.txt").read_text()
    assert "GGML_RPC:BOOL=OFF" in cache
    assert "MY_SWITCH:UNINITIALIZED=two words" in cache
    monkeypatch.delenv("CMAKE_ARGS")
    build_libraries(pin)
    assert "MY_SWITCH" not in (pin.build / "native" / "CMakeCache.txt").read_text()


def test_cmake_args_that_no_shell_reads_are_said(pin: Pin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CMAKE_ARGS", '-DMY_SWITCH="two words')
    with pytest.raises(PinError, match="CMAKE_ARGS cannot be read"):
        build_libraries(pin)


def test_a_broken_build_says_so_and_goes_on_from_there(pin: Pin, capsys: pytest.CaptureFixture[str]) -> None:
    source = find_source(pin) / "src" / "llama.c"
    good = source.read_text()
    source.write_text("int llama_answer(void) { return nonsense; }\n")
    with pytest.raises(PinError, match=r"(?s)nonsense.*Run the same command again to go on from here"):
        build_libraries(pin)
    assert "base.c" in capsys.readouterr().out
    source.write_text(good)
    build_libraries(pin)
    assert "base.c" not in capsys.readouterr().out, "what had been built is not built again"


def test_a_failing_configuration_shows_what_cmake_said(pin: Pin, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CC", "/no/such/compiler")
    with pytest.raises(PinError, match=r"(?s)cmake could not configure llama.cpp:.*/no/such/compiler.*configure.log"):
        build_libraries(pin)
    monkeypatch.delenv("CC")
    assert build_libraries(pin)


def test_libraries_that_do_not_belong_any_more_are_removed(pin: Pin, tmp_path: Path) -> None:
    (tmp_path / "libggml-old.so.0").touch()
    (tmp_path / "libhoshikage.so").touch()
    place_libraries(build_libraries(pin), tmp_path)
    assert not (tmp_path / "libggml-old.so.0").exists()
    assert (tmp_path / "libhoshikage.so").exists()


def test_a_pack_builds_without_the_archive(
    pin: Pin, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    later = find_source(pin) / "tools" / "ui" / "page.html"  # as llama-server's files are when it has been asked for
    later.parent.mkdir()
    later.touch()
    pack = write_pack(pin, tmp_path / "dist")
    index.go_offline()
    with tarfile.open(pack) as tar:
        assert [name.rpartition("/")[2] for name in tar.getnames() if "/tools/" in name] == ["bench.c"]
        assert not [name for name in tar.getnames() if "models" in name]
        tar.extractall(tmp_path / "host")
    monkeypatch.setenv("HOSHIKAGE_LLAMA_CPP", str(tmp_path / "host" / f"llama.cpp-{pin.release}"))
    assert [path.name for path in build_libraries(pin)] == NAMES
    assert not pin.source.with_name("src.part").exists()


def test_a_pack_of_the_same_source_is_the_same_bytes(pin: Pin, tmp_path: Path) -> None:
    first = write_pack(pin, tmp_path / "one").read_bytes()
    for path in pin.source.rglob("*"):
        path.touch()
    assert write_pack(pin, tmp_path / "two").read_bytes() == first


def test_the_real_pack_is_small(tmp_path: Path) -> None:
    done = subprocess.run(
        [sys.executable, str(ROOT / "llama.cpp"), "pack", str(tmp_path)], capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stderr
    (pack,) = tmp_path.iterdir()
    assert pack.stat().st_size < 10e6


def test_the_real_pack_has_what_the_benches_compare_with(tmp_path: Path) -> None:
    with tarfile.open(write_pack(read_pin(), tmp_path)) as tar:
        inside = {name.partition("/")[2] for name in tar.getnames()}
    assert {
        "common/CMakeLists.txt",
        "examples/diffusion/diffusion-cli.cpp",
        "tools/llama-bench/llama-bench.cpp",
    } <= inside
    assert not any(name.startswith("tools/server") for name in inside)
