"""Builds the package: libllama, then our C, then every Cython module.

    python setup.py build_ext --inplace     what make does
    pip install .                           the same, into an environment

HOSHIKAGE_DEBUG=1 turns every check of Cython on; HOSHIKAGE_PORTABLE=1 builds for any machine of this kind;
HOSHIKAGE_SANITIZE=1 builds our own code with the address and undefined-behaviour sanitizers (make asan).
"""

from __future__ import annotations

import fcntl
import json
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from setuptools import Extension, setup
from setuptools.command.build_ext import build_ext

ROOT = Path(__file__).resolve().parent
sys.path.insert(0, str(ROOT / "llama.cpp"))

import cythonizing  # noqa: E402
from fetch import find_source  # noqa: E402
from libraries import build_libraries, place_libraries  # noqa: E402
from machine import check_machine, jobs  # noqa: E402
from pin import PinError, read_pin, say  # noqa: E402

PACKAGE = Path("hoshikage")
DEBUG = os.environ.get("HOSHIKAGE_DEBUG") == "1"
PORTABLE = os.environ.get("HOSHIKAGE_PORTABLE") == "1"
SANITIZERS = ["-fsanitize=address,undefined", "-fno-sanitize-recover=all", "-fno-omit-frame-pointer"]
SANITIZED = SANITIZERS if os.environ.get("HOSHIKAGE_SANITIZE") == "1" else []

# The scan's results are defined to the last bit, so multiply and add may not be contracted.
C_FLAGS = ["-O3", "-fPIC", "-std=gnu11", "-ffp-contract=off", "-Wall", "-Wextra", "-pthread", *SANITIZED]
QUIET = ["-Wno-unused-function", "-Wno-sign-compare"]  # Cython's own doing
CYTHON_FLAGS = ["-O2", "-g" if DEBUG or SANITIZED else "-g0", "-ffp-contract=off", "-pthread", *QUIET, *SANITIZED]
LINK_FLAGS = ["-pthread", *SANITIZED]


def find_extensions() -> list[Extension]:
    """Every .pyx of the package is a module; a new one needs no entry anywhere."""
    return [
        Extension(
            ".".join(path.with_suffix("").parts),
            [str(path)],
            include_dirs=[str(PACKAGE), str(PACKAGE / "csrc")],
            extra_compile_args=CYTHON_FLAGS,
        )
        for path in sorted(PACKAGE.glob("**/*.pyx"))
    ]


class BuildEverything(build_ext):  # type: ignore[misc]
    """build_ext with the three stages in order; each does only what is out of date."""

    force: bool

    def finalize_options(self) -> None:
        super().finalize_options()
        if self.inplace:
            # An editable install would compile everything again in a folder that it throws away.
            self.build_temp, self.build_lib = "build/temp", "build/lib"
        # While it builds, setuptools forgets that the result belongs into the source tree.
        self.package_root = ROOT if self.inplace else Path(self.build_lib)
        self.build_base = Path(self.build_temp).parent

    def run(self) -> None:
        try:
            check_machine()
            with one_at_a_time():
                super().run()
        except PinError as error:
            raise SystemExit(f"hoshikage: {error}") from None

    def build_extensions(self) -> None:
        pin = read_pin()
        source = find_source(pin)
        libraries = [self.build_csrc(), *build_libraries(pin, PORTABLE)]
        folder = self.package_root / PACKAGE / "lib"
        place_libraries(libraries, folder)
        includes = [source / "include", source / "ggml" / "include"]
        for extension in self.extensions:
            extension.include_dirs += map(str, includes)
            extension.depends += sorted(str(path) for include in includes for path in include.glob("*.h"))
            extension.extra_link_args += link_flags(extension.name, libraries)
        cythonizing.translate(self.extensions, self.build_base, DEBUG)
        self.compile_modules()
        self.remove_orphans()
        self.record_expectations(folder)

    def compile_modules(self) -> None:
        """setuptools builds again for newer sources, but would not for other flags."""
        stamp = Path(self.build_temp) / "flags"
        flags = "\n".join(
            " ".join([*self.compiler.compiler_so, *ext.extra_compile_args, *ext.include_dirs, *ext.extra_link_args])
            for ext in self.extensions
        )
        self.force = self.force or read(stamp) != flags
        stale = [ext.name for ext in self.extensions if self.force or not is_newer(self.target(ext), inputs(ext))]
        if stale:
            say(f"compiling {', '.join(stale)}")
        self.parallel = jobs()
        super().build_extensions()
        stamp.parent.mkdir(parents=True, exist_ok=True)
        stamp.write_text(flags, encoding="utf-8")

    def target(self, extension: Extension) -> Path:
        return Path(self.get_ext_fullpath(extension.name))

    def remove_orphans(self) -> None:
        """Modules whose source is gone would still be imported, and packed."""
        for root in (self.package_root, Path(self.build_lib)):
            known = {(root / self.get_ext_filename(extension.name)).resolve() for extension in self.extensions}
            for path in (root / PACKAGE).glob("**/*.so"):
                if path.parent.name != "lib" and path.resolve() not in known:
                    path.unlink()

    def build_csrc(self) -> Path:
        """Our C as one library, so that its threads and its choice of instruction set exist once in a process."""
        sources, headers = sorted(PACKAGE.glob("csrc/*.c")), sorted(PACKAGE.glob("csrc/*.h"))
        library = self.build_base / "csrc" / "libhoshikage.so"
        stamp = " ".join([*self.compiler.compiler_so, *C_FLAGS, *map(str, sources)])
        if is_newer(library, [*sources, *headers]) and read(library.with_suffix(".flags")) == stamp:
            return library
        objects = self.compiler.compile(
            [str(path) for path in sources],
            output_dir=str(library.parent),
            include_dirs=[str(PACKAGE)],
            extra_postargs=C_FLAGS,
        )
        library.parent.mkdir(parents=True, exist_ok=True)
        self.compiler.link_shared_object(
            objects, str(library), libraries=["m"], extra_postargs=[*LINK_FLAGS, "-Wl,-soname,libhoshikage.so"]
        )
        library.with_suffix(".flags").write_text(stamp, encoding="utf-8")
        return library

    def record_expectations(self, folder: Path) -> None:
        """What HOSHIKAGE_LIB_PATH is compared with: these libraries' fingerprint, and the symbols that we call."""
        modules = [self.target(extension) for extension in self.extensions]
        target = folder / "expected.json"
        if is_newer(target, [*modules, *folder.glob("lib*.so*")]):
            return
        command = [sys.executable, str(PACKAGE / "_fingerprint.py"), str(folder)]
        expected = json.loads(subprocess.run(command, stdout=subprocess.PIPE, check=True).stdout)
        command = ["nm", "--dynamic", "--undefined-only", "--format=just-symbols", *map(str, modules)]
        names = subprocess.run(command, stdout=subprocess.PIPE, check=True, text=True).stdout.split()
        symbols = {name.partition("@")[0] for name in names if name.startswith(("llama_", "ggml_", "gguf_"))}
        target.write_text(json.dumps(expected | {"symbols": sorted(symbols)}, indent=1) + "\n", encoding="utf-8")


@contextmanager
def one_at_a_time() -> Iterator[None]:
    """Two builds in one tree would overwrite each other's files."""
    Path("build").mkdir(exist_ok=True)
    with Path("build/lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waiting for another build in this folder to end")
            fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def link_flags(module: str, libraries: list[Path]) -> list[str]:
    """A module is bound to those libraries only that it calls, and finds them from where it lies."""
    up = "/".join(["$ORIGIN", *[".."] * (module.count(".") - 1), "lib"])
    linked = [path for path in libraries if not is_plugin(path)]
    folders = dict.fromkeys(f"-L{path.parent}" for path in linked)
    return [*LINK_FLAGS, f"-Wl,-rpath,{up}", *folders, "-Wl,--as-needed", *(f"-l:{path.name}" for path in linked)]


def is_plugin(path: Path) -> bool:
    """ggml loads its backends by itself where they are plugins; nothing links to them."""
    return path.name.startswith("libggml-") and path.suffix == ".so"


def inputs(extension: Extension) -> list[Path]:
    return [Path(path) for path in (*extension.sources, *extension.depends)]


def is_newer(target: Path, sources: list[Path]) -> bool:
    return target.exists() and all(target.stat().st_mtime >= path.stat().st_mtime for path in sources)


def read(path: Path) -> str:
    return path.read_text(encoding="utf-8") if path.exists() else ""


os.chdir(ROOT)
setup(ext_modules=find_extensions(), cmdclass={"build_ext": BuildEverything})
