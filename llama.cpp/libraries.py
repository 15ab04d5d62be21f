"""Builds libllama and the ggml libraries with cmake and ninja, and puts them where the package loads them.

The build folder is kept, so an interrupted build goes on where it stopped and a finished one costs a glance.
"""

from __future__ import annotations

import hashlib
import os
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path

from fetch import add_server, find_source, is_pinned
from machine import jobs
from pin import Pin, PinError, say

SWITCHES = {
    "CMAKE_BUILD_TYPE": "Release",
    "BUILD_SHARED_LIBS": "ON",
    # The libraries are moved into the package, and find each other there.
    "CMAKE_BUILD_WITH_INSTALL_RPATH": "ON",
    "CMAKE_INSTALL_RPATH": "$ORIGIN",
    "LLAMA_OPENSSL": "OFF",
    "LLAMA_BUILD_TESTS": "OFF",
    "LLAMA_BUILD_SERVER": "OFF",
    "LLAMA_BUILD_APP": "OFF",
    "LLAMA_BUILD_MTMD": "OFF",
}
PROGRAMS = ("LLAMA_BUILD_COMMON", "LLAMA_BUILD_TOOLS", "LLAMA_BUILD_EXAMPLES")  # all off, but for the benches
SERVER = "llama-server"
WITH_SERVER = {"LLAMA_BUILD_SERVER": "ON", "LLAMA_BUILD_UI": "OFF", "LLAMA_USE_PREBUILT_UI": "OFF"}  # not its page
NATIVE = {"GGML_NATIVE": "ON"}
PORTABLE = {"GGML_NATIVE": "OFF", "GGML_BACKEND_DL": "ON", "GGML_CPU_ALL_VARIANTS": "ON"}
# Last on the command line, so that nothing before it can switch it on (CVE-2026-34159, CVE-2026-118375).
NEVER = {"GGML_RPC": "OFF"}

STATUS = "llama.cpp "  # begins ninja's lines, to tell them from the compilers'
SHARED_NAME = re.compile(r"lib[\w.+-]+?\.so(\.\d+)?$")


def find_tool(name: str) -> Path:
    """The system's `name`, or the one that pip installed beside this Python."""
    beside = Path(sys.executable).parent
    found = shutil.which(name) or shutil.which(name, path=str(beside))
    if found is None:
        raise PinError(
            f"{name} is missing. Install it with 'apt install {'ninja-build' if name == 'ninja' else name}' "
            f"or 'pip install {name}'."
        )
    return Path(found)


def build_libraries(pin: Pin, portable: bool = False) -> list[Path]:
    """Builds what is out of date and returns the shared libraries, named as the loader looks for them."""
    source = find_source(pin)
    folder = build_folder(pin, source, "portable" if portable else "native")
    configure(source, folder, cmake_arguments(pin, source, PORTABLE if portable else NATIVE, "OFF"))
    run_ninja(folder, ["llama", "ggml"])
    return sorted(path for path in (folder / "bin").iterdir() if is_loadable(path))


def build_programs(pin: Pin, names: list[str]) -> Path:
    """Builds llama.cpp's own programs from the same source with the same switches, and returns their folder."""
    source = find_source(pin)
    if SERVER in names:
        add_server(pin, source)
    folder = build_folder(pin, source, "programs")
    configure(source, folder, cmake_arguments(pin, source, NATIVE, "ON"))
    run_ninja(folder, names)
    return folder / "bin"


def build_folder(pin: Pin, source: Path, kind: str) -> Path:
    """One per source and kind: going from one to another and back builds nothing again."""
    if source == pin.source:
        return pin.build / kind
    return pin.build / f"{kind}-{hashlib.sha256(bytes(source)).hexdigest()[:8]}"


def cmake_arguments(pin: Pin, source: Path, kind: dict[str, str], programs: str) -> list[str]:
    """Our switches, then the person's CMAKE_ARGS, which win, then what nobody may switch on."""
    switches = SWITCHES | kind | dict.fromkeys(PROGRAMS, programs)
    if programs == "ON" and (source / "tools" / "server").is_dir():
        switches |= WITH_SERVER
    if not (source / ".git").exists():
        # Not a checkout: git would answer with the commit of the repository around it.
        commit = pin.commit if is_pinned(pin, source) else "unknown"
        switches |= {"GIT_EXE": "", "LLAMA_BUILD_NUMBER": "0", "LLAMA_BUILD_COMMIT": commit}
    return [
        *(f"-D{name}={value}" for name, value in switches.items()),
        *chosen_by_person(),
        *(f"-D{name}={value}" for name, value in NEVER.items()),
    ]


def chosen_by_person() -> list[str]:
    """The words of CMAKE_ARGS."""
    try:
        return shlex.split(os.environ.get("CMAKE_ARGS", ""))
    except ValueError as error:
        raise PinError(f"CMAKE_ARGS cannot be read ({error}). Write it as in a shell: -DGGML_CUDA=ON.") from None


def configure(source: Path, folder: Path, arguments: list[str]) -> None:
    """Runs cmake, unless it already ran with exactly this source, these arguments and this cmake."""
    cmake, ninja = find_tool("cmake"), find_tool("ninja")
    command = [
        str(cmake), "-S", str(source), "-B", str(folder), "-G", "Ninja", f"-DCMAKE_MAKE_PROGRAM={ninja}", *arguments,
    ]  # fmt: skip
    stamp = folder / "configured"
    compilers = [f"{name}={os.environ.get(name, '')}" for name in ("CC", "CXX", "CFLAGS", "CXXFLAGS")]
    wanted = "\n".join([*command, *compilers])
    if (folder / "build.ninja").exists() and stamp.exists() and stamp.read_text(encoding="utf-8") == wanted:
        return
    say(f"configuring llama.cpp in {folder}")
    folder.mkdir(parents=True, exist_ok=True)
    stamp.unlink(missing_ok=True)
    # Switches left over from another configuration would live on in the cache; the objects may stay.
    (folder / "CMakeCache.txt").unlink(missing_ok=True)
    shutil.rmtree(folder / "CMakeFiles", ignore_errors=True)
    log = folder / "configure.log"
    with log.open("wb") as output:
        done = subprocess.run(command, stdout=output, stderr=subprocess.STDOUT, check=False)
    if done.returncode != 0:
        tail = "\n".join(log.read_text(encoding="utf-8", errors="replace").splitlines()[-25:])
        raise PinError(f"cmake could not configure llama.cpp:\n{tail}\nThe whole output is in {log}.")
    stamp.write_text(wanted, encoding="utf-8")


def run_ninja(folder: Path, targets: list[str]) -> None:
    """Builds `targets`; ninja itself knows what is already done."""
    command = [str(find_tool("ninja")), "-C", str(folder), "-j", str(jobs()), *targets]
    pending = subprocess.run([*command, "-n"], capture_output=True, text=True, check=False)
    if pending.returncode == 0 and "no work to do" in pending.stdout:
        return
    say("building llama.cpp (once; a few minutes)")
    said = follow(command, folder / "build.log")
    if said:
        tail = "\n".join(said[-40:])
        raise PinError(
            f"llama.cpp did not build:\n{tail}\nRun the same command again to go on from here. If the machine ran out "
            f"of memory, set CMAKE_BUILD_PARALLEL_LEVEL=1. The whole output is in {folder / 'build.log'}."
        )


def follow(command: list[str], log: Path) -> list[str]:
    """Runs ninja, shows how far it is, and keeps the compilers' many warnings in a file. What it said, if it failed."""
    environment = os.environ | {"NINJA_STATUS": f"{STATUS}%f of %t  "}
    lines: list[str] = []
    with (
        log.open("w", encoding="utf-8") as kept,
        subprocess.Popen(
            command, env=environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, errors="replace"
        ) as process,
    ):
        for line in process.stdout or ():
            lines.append(line.rstrip())
            kept.write(line)
            if line.startswith(STATUS):
                say(line.rstrip())
    return lines if process.returncode else []


def is_loadable(path: Path) -> bool:
    """One name per library: `libllama.so.0`, or `libggml-cpu-x.so` where a plugin carries no version."""
    if SHARED_NAME.fullmatch(path.name) is None:
        return False
    versioned = path.name.endswith(".so") and any(path.parent.glob(path.name + ".*"))
    return not versioned


def place_libraries(libraries: list[Path], folder: Path) -> None:
    """Copies what changed into `folder` and removes libraries that no longer belong there."""
    folder.mkdir(parents=True, exist_ok=True)
    for library in libraries:
        target = folder / library.name
        if not is_same(library, target):
            # Renamed into place: a process that has the old one mapped keeps it.
            part = folder / (library.name + ".part")
            shutil.copy2(library, part)
            part.replace(target)
    names = {library.name for library in libraries}
    for stale in (path for path in folder.glob("lib*.so*") if is_ours(path.name) and path.name not in names):
        stale.unlink()


def is_same(library: Path, target: Path) -> bool:
    """Size and time of change agree (copies keep the time)."""
    if not target.exists():
        return False
    left, right = library.stat(), target.stat()
    return (left.st_size, left.st_mtime_ns) == (right.st_size, right.st_mtime_ns)


def is_ours(name: str) -> bool:
    return name.startswith(("libllama", "libggml"))
