"""Nothing in the tree belongs to one machine, and the pages name what there is."""

from __future__ import annotations

import re

from hoshikage.settings import manual
from tests.house import ROOT
from tests.house.sources import own_files

# Written apart, so that this file does not find itself.
FOREIGN = [
    "/" + "work/", "/" + "root/", "/" + "opt/pypi", "pypi" + ".org", "python" + "hosted", "registry." + "npmjs",
    "index.crates" + ".io", "proxy." + "golang", "download.pytorch" + ".org",
]  # fmt: skip
HOME = re.compile(r"/home/(?!hoshikage\b)[a-z]\w+/")


def test_nothing_names_a_machine_or_a_registry() -> None:
    found = []
    for path in own_files():
        text = path.read_bytes().decode("utf-8", errors="ignore") if path.suffix != ".gguf" else ""
        found += [f"{path.relative_to(ROOT)}: {word}" for word in FOREIGN if word in text]
        found += [f"{path.relative_to(ROOT)}: {match[0]}" for match in HOME.finditer(text)]
    assert not found


def test_llama_cpp_is_never_committed_and_what_is_built_is_ignored() -> None:
    inside = [path.relative_to(ROOT) for path in own_files()]
    assert not [path for path in inside if path.parts[:2] in {("llama.cpp", "src"), ("llama.cpp", "build")}]
    assert not [path for path in inside if path.suffix in (".so", ".o", ".a", ".pyc")]


def test_large_files_are_only_models() -> None:
    large = [path for path in own_files() if path.stat().st_size > 1_000_000 and path.suffix != ".gguf"]
    assert not large


def environment_variables() -> set[str]:
    """Ours, as the code of the package and of its build names them."""
    names: set[str] = set()
    for path in own_files():
        inside = path.relative_to(ROOT)
        if inside.parts[0] in ("hoshikage", "llama.cpp", "setup.py", "Makefile") and path.suffix in ("", ".py", ".pyx"):
            names |= set(re.findall(r"\bHOSHIKAGE_[A-Z_]+\b", path.read_text(encoding="utf-8")))
    return names


def test_every_environment_variable_is_documented() -> None:
    pages = [ROOT / "README.md", *sorted((ROOT / "docs").glob("**/*.md"))]
    text = "\n".join(page.read_text(encoding="utf-8") for page in pages)
    missing = sorted(name for name in environment_variables() if name not in text)
    assert not missing


def test_the_readme_names_only_targets_that_the_makefile_has() -> None:
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    targets = set(re.findall(r"^([a-z]+):", makefile, re.MULTILINE))
    named = set(re.findall(r"\bmake ([a-z]+)\b", (ROOT / "README.md").read_text(encoding="utf-8")))
    assert named - {"is"} <= targets
    assert {"serve", "test"} <= named


def test_the_manual_and_the_example_are_made_from_the_table_of_settings() -> None:
    remedy = "run python -m hoshikage.settings.manual"
    assert manual.EXAMPLE.read_text(encoding="utf-8") == manual.env_example(), remedy
    tables = manual.TABLES.search(manual.MANUAL.read_text(encoding="utf-8"))
    assert tables, "the marks around the tables are gone"
    assert tables[0] == manual.manual_tables(), remedy
