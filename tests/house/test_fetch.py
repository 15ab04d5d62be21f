"""The pinned source arrives whole and once, or not at all and with a sentence."""

from __future__ import annotations

import tarfile
from pathlib import Path

import pytest
from fetch import MARK, fetch_archive, find_source, unpack
from pin import Pin, PinError

from tests.house.conftest import Index
from tests.house.fakepin import INSIDE, make_archive, make_pin


def files_of(pin: Pin) -> list[str]:
    return sorted(str(path.relative_to(pin.source)) for path in pin.source.rglob("*") if path.is_file())


def nothing_is_left(pin: Pin) -> bool:
    cache = pin.cached_archive.parent
    return not pin.source.exists() and not (cache.exists() and any(cache.iterdir()))


def test_fetches_verifies_and_unpacks_what_the_pin_keeps(pin: Pin) -> None:
    assert find_source(pin) == pin.source
    kept = ["CMakeLists.txt", "LICENSE", "ggml/include/ggml.h", "include/llama.h", "src/base.c"]
    assert files_of(pin) == sorted([MARK, *kept, "src/ggml.c", "src/llama.c", "src/llama.cpp", "tools/bench.c"])


def test_nothing_is_fetched_twice(pin: Pin, index: Index, capsys: pytest.CaptureFixture[str]) -> None:
    find_source(pin)
    assert "fetching" in capsys.readouterr().out
    index.go_offline()
    find_source(pin)
    assert capsys.readouterr().out == ""


def test_an_interrupted_unpacking_starts_from_the_cache(pin: Pin, index: Index) -> None:
    fetch_archive(pin)
    index.go_offline()
    half = pin.source.with_name("src.part")
    half.mkdir()
    (half / "stale").write_text("from a build that was killed")
    assert find_source(pin) == pin.source
    assert "stale" not in files_of(pin)
    assert not half.exists()


def test_a_damaged_cache_is_fetched_again(pin: Pin) -> None:
    archive = fetch_archive(pin)
    archive.write_bytes(archive.read_bytes()[:-100])
    assert find_source(pin) == pin.source


@pytest.mark.parametrize("damage", [lambda data: data[: len(data) // 2], lambda data: data[:-9] + b"x" + data[-8:]])
def test_a_cut_or_altered_archive_is_refused(pin: Pin, index: Index, damage: type[bytes]) -> None:
    index.offer(damage(make_archive()))
    with pytest.raises(PinError, match=rf"cut or altered: its sha256 is [0-9a-f]{{64}}, the pin says {pin.sha256}"):
        find_source(pin)
    assert nothing_is_left(pin)
    index.offer(make_archive())
    assert find_source(pin) == pin.source


def test_offline_says_what_to_do(pin: Pin, index: Index) -> None:
    index.go_offline()
    with pytest.raises(PinError, match="No matching distribution") as caught:
        find_source(pin)
    for way_out in ("pip config list", str(pin.cached_archive.parent), "make pack", "HOSHIKAGE_LLAMA_CPP"):
        assert way_out in str(caught.value)
    assert nothing_is_left(pin)


def test_an_archive_put_into_the_cache_by_hand_is_used(pin: Pin, index: Index) -> None:
    index.go_offline()
    pin.cached_archive.parent.mkdir()
    pin.cached_archive.write_bytes(make_archive())
    assert find_source(pin) == pin.source


def test_a_moved_pin_replaces_what_was_unpacked(pin: Pin, index: Index) -> None:
    find_source(pin)
    other = make_archive({"include/llama.h": "// the next release\n"})
    index.offer(other)
    moved = make_pin(pin.home, other)
    assert (find_source(moved) / "include/llama.h").read_text() == "// the next release\n"


def test_somebodys_own_checkout_is_used_as_it_is(pin: Pin, index: Index) -> None:
    find_source(pin)
    (pin.source / MARK).unlink()
    (pin.source / "include/llama.h").write_text("// mine\n")
    index.go_offline()
    assert (find_source(pin) / "include/llama.h").read_text() == "// mine\n"


def test_the_named_tree_comes_first(pin: Pin, index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    find_source(pin)
    mine = pin.source.rename(tmp_path / "mine")
    index.go_offline()
    monkeypatch.setenv("HOSHIKAGE_LLAMA_CPP", str(mine))
    assert find_source(pin) == mine
    (mine / "include/llama.h").unlink()
    with pytest.raises(PinError, match=r"HOSHIKAGE_LLAMA_CPP points to .* include/llama.h is not there"):
        find_source(pin)


def test_only_files_inside_the_tree_are_unpacked(tmp_path: Path) -> None:
    outside = tarfile.TarInfo(f"{INSIDE}/src/../../../../../escaped")
    outside.size = 1
    link = tarfile.TarInfo(f"{INSIDE}/src/link")
    link.type, link.linkname = tarfile.SYMTYPE, "/etc/passwd"
    archive = make_archive(extra=[outside, link])
    pin = make_pin(tmp_path / "a" / "b" / "llama.cpp", archive)
    pin.cached_archive.parent.mkdir()
    pin.cached_archive.write_bytes(archive)
    unpack(pin, pin.cached_archive)
    assert not any(path.is_symlink() for path in pin.source.rglob("*"))
    assert not list(tmp_path.rglob("escaped"))
