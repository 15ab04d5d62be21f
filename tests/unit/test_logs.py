"""The log: each line whole and on its own, a file a day, and no trouble of a disk's is anybody else's."""

from __future__ import annotations

import json
import logging
import os
import resource
import shlex
import subprocess
import sys
import textwrap
import threading
from collections.abc import Iterator
from datetime import date, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoshikage import logs
from hoshikage.errors import ParameterError
from hoshikage.logs import DailyFile, Json, Plain
from hoshikage.settings import Settings

DAY = timedelta(days=1)
NOON = datetime(2026, 3, 5, 12)
TEXTS = st.text(st.characters(), max_size=40)


def record(message: str = "hello", when: datetime = NOON, event: object = None, **more: Any) -> logging.LogRecord:
    made = logging.LogRecord("hoshikage.test", logging.INFO, __file__, 1, message, (), None)
    made.created = when.timestamp()
    if event is not None:
        made.event = event
    vars(made).update(more)
    return made


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "logs" / "hoshikage.log"


@pytest.fixture
def log(path: Path) -> Iterator[DailyFile]:
    handler = DailyFile(path, 3)
    handler.setFormatter(Json())
    yield handler
    handler.close()


def messages(path: Path) -> list[str]:
    return [json.loads(line)["message"] for line in path.read_text(encoding="utf-8").splitlines()]


def set_day(path: Path, when: datetime) -> None:
    os.utime(path, (when.timestamp(), when.timestamp()))


# -- lines


def test_a_line_for_programs_tells_what_happened() -> None:
    line = json.loads(Json().format(record("request", event={"status": 200, "path": "/v1/models", "ms": 1.5})))
    assert datetime.fromisoformat(line.pop("time")).timestamp() == NOON.timestamp()
    assert line == {
        "level": "info", "from": "hoshikage.test", "message": "request", "status": 200, "path": "/v1/models", "ms": 1.5,
    }  # fmt: skip


@given(TEXTS, st.dictionaries(TEXTS, TEXTS | st.integers() | st.none() | st.binary(max_size=4), max_size=4))
def test_nothing_breaks_a_line_or_passes_itself_off_as_another(message: str, event: dict[str, Any]) -> None:
    text = Json().format(record(message, event=event))
    assert text.isascii()
    assert text.isprintable()
    line = json.loads(text)
    assert (line["level"], line["from"]) == ("info", "hoshikage.test")
    plain = Plain().format(record(message, event=event))
    assert plain.startswith("2026-03-05 12:00:00 info test:")
    assert plain.isprintable()


@given(st.dictionaries(st.sampled_from(["id", "model", "ms"]), st.text(" \"'=\\#ab") | st.integers()))
def test_a_value_is_no_other_field(event: dict[str, Any]) -> None:
    facts = Plain().format(record("request", event=event)).partition(" test: request")[2]
    assert shlex.split(facts) == [f"{key}={value}" for key, value in event.items()]


def test_a_value_of_one_word_stands_as_it_is() -> None:
    event = {"model": "nano-llada", "ms": 1.5, "gone": False, "path": "/v1/models/{id}", "said": "a b=c"}
    line = Plain().format(record("request", event=event))
    assert line.endswith('request model=nano-llada ms=1.5 gone=False path=/v1/models/{id} said="a b=c"')


@pytest.mark.parametrize("event", [5, "text", None, [("a", 1)]])
def test_an_event_that_is_none_is_left_out(event: object) -> None:
    assert set(json.loads(Json().format(record(event=event)))) == {"time", "level", "from", "message"}


def test_long_texts_are_cut_and_exceptions_told() -> None:
    try:
        raise ValueError("of no use")
    except ValueError:
        told = record("x" * 5000, event={"a": "y" * 5000}, exc_info=sys.exc_info())
    line = json.loads(Json().format(told))
    assert max(len(line["message"]), len(line["a"])) < 2100
    assert "ValueError: of no use" in line["trace"]
    assert "\n    ValueError: of no use" in Plain().format(told)


# -- files


def test_lines_are_there_at_once_and_behind_those_of_before(path: Path, log: DailyFile) -> None:
    today = datetime.now()
    log.handle(record("one", today))
    assert messages(path) == ["one"]
    second = DailyFile(path, 3)
    second.setFormatter(Json())
    second.handle(record("two", today))
    log.handle(record("three", today))
    assert messages(path) == ["one", "two", "three"]
    assert path.stat().st_mode & 0o007 == 0
    second.close()


def test_each_day_has_its_file(path: Path, log: DailyFile) -> None:
    start = datetime.now()
    for i in range(3):
        log.handle(record(f"day {i}", start + i * DAY))
        set_day(path, start + i * DAY)
    names = {path.name, *(f"{path.name}.{(start + i * DAY).date()}" for i in range(2))}
    assert {file.name for file in path.parent.iterdir()} == names
    assert messages(path) == ["day 2"]
    assert messages(path.with_name(f"{path.name}.{start.date()}")) == ["day 0"]


def test_what_an_earlier_run_wrote_on_another_day_gets_its_name(path: Path) -> None:
    path.parent.mkdir()
    path.write_text("old\n")
    set_day(path, NOON)
    (path.parent / f"{path.name}.2026-03-05").write_text("taken\n")
    DailyFile(path, 0).close()
    assert (path.parent / f"{path.name}.2026-03-05-1").read_text() == "old\n"
    assert path.read_text() == ""


def test_old_files_go_and_others_stay(path: Path) -> None:
    path.parent.mkdir()
    today = date.today()
    dated = [f"{path.name}.{today - i * DAY}" for i in range(1, 7)]
    others = [f"{path.name}.gz", f"{path.name}.2026-13-77", "other.log.2001-01-01", f"{path.name}.2001-01-01.gz"]
    for name in [path.name, *dated, *others]:
        (path.parent / name).write_text("x\n")
    set_day(path, datetime.now() - DAY)
    DailyFile(path, 3).close()
    left = {file.name for file in path.parent.iterdir()}
    assert left == {path.name, f"{dated[0]}-1", *dated[:3], *others}


def test_a_clock_that_goes_back_changes_nothing(path: Path, log: DailyFile) -> None:
    today = datetime.now()
    log.handle(record("one", today))
    log.handle(record("two", today - 5 * DAY))
    assert messages(path) == ["one", "two"]


def test_a_file_that_was_moved_away_is_made_anew(path: Path, log: DailyFile) -> None:
    log.handle(record("one", datetime.now()))
    path.rename(path.with_suffix(".mine"))
    log.handle(record("two", datetime.now()))
    assert (messages(path.with_suffix(".mine")), messages(path)) == (["one"], ["two"])


def test_many_threads_write_whole_lines(path: Path, log: DailyFile) -> None:
    def write(name: int) -> None:
        for i in range(100):
            log.handle(record(f"{name}-{i}" + "x" * 500, datetime.now()))

    threads = [threading.Thread(target=write, args=[i]) for i in range(4)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert len(set(messages(path))) == 400


# -- trouble


def test_a_full_disk_loses_lines_and_says_how_many(
    path: Path, log: DailyFile, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    write, room = os.write, 70

    def writing(fd: int, data: bytes) -> int:
        if room == 0:
            raise OSError(28, "No space left on device")
        return write(fd, data[:room])

    monkeypatch.setattr(os, "write", writing)
    log.handle(record("cut off in the middle", datetime.now()))
    room = 0
    for _ in range(4):
        log.handle(record("lost", datetime.now()))
    room = 1 << 20
    log.handle(record("again", datetime.now()))
    torn, *rest = path.read_text(encoding="utf-8").splitlines()
    assert len(torn) == 70
    assert [json.loads(line)["message"] for line in rest] == ["5 lines were lost: No space left on device", "again"]
    assert capsys.readouterr() == ("", "")


def test_a_really_full_disk_ends_nothing(path: Path) -> None:
    """A limit on the size of files does what a full disk does, here to a process of its own."""
    program = f"""
        import logging, resource, signal
        from hoshikage import logs
        from hoshikage.settings import Settings
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        logs.start(Settings(log_file={str(path)!r}))
        resource.setrlimit(resource.RLIMIT_FSIZE, (1000, resource.RLIM_INFINITY))
        log = logging.getLogger("hoshikage.test")
        for i in range(100):
            log.info("line %s", i)
        resource.setrlimit(resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        log.info("the end")
    """
    done = subprocess.run([sys.executable, "-c", textwrap.dedent(program)], capture_output=True, text=True, check=True)
    assert (done.stdout, done.stderr) == ("", "")
    lines = path.read_text(encoding="utf-8").splitlines()
    assert [json.loads(line)["message"] for line in lines[-2:]][1] == "the end"
    assert "lines were lost" in lines[-2]
    assert resource.getrlimit(resource.RLIMIT_FSIZE)[0] != 1000


def test_a_line_that_cannot_be_made_is_replaced(path: Path, log: DailyFile) -> None:
    log.handle(record("%s and %s", datetime.now(), args=(1,)))
    log.handle(record("fine", datetime.now()))
    assert messages(path)[0].startswith("a line of hoshikage.test could not be made: TypeError")
    assert messages(path)[1] == "fine"


def folder(path: Path) -> None:
    path.mkdir(parents=True)


def fifo(path: Path) -> None:
    path.parent.mkdir()
    os.mkfifo(path)


def under_a_file(path: Path) -> None:
    path.parent.touch()


@pytest.mark.parametrize("prepare", [folder, fifo, under_a_file])
def test_a_place_that_cannot_be_written_stops_the_start(prepare: Any, path: Path) -> None:
    prepare(path)
    with pytest.raises(
        ParameterError, match=r"LOG_FILE_PATH: .* cannot be written: .*; name a file in a folder of yours"
    ):
        logs.start(Settings(log_file=str(path)))


def test_the_null_device_is_a_place() -> None:
    log = DailyFile(Path(os.devnull), 1)
    log.handle(record(when=datetime.now() + DAY))
    log.close()
    assert Path(os.devnull).is_char_device()


def test_starting_again_takes_the_place_of_the_first(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    root = logging.getLogger()
    before = list(root.handlers)
    log = logging.getLogger("hoshikage.test")
    try:
        logs.start(Settings())
        log.info("one", extra={"event": {"n": 5}})
        log.debug("not this")
        logs.start(Settings(log_file=str(path), log_level="debug"))
        log.debug("two")
        assert messages(path) == ["two"]
        assert capsys.readouterr().err.splitlines()[0].endswith(" info test: one n=5")
        assert len(root.handlers) == len(before) + 1
    finally:
        for handler in [handler for handler in root.handlers if handler not in before]:
            root.removeHandler(handler)
            handler.close()
        logging.getLogger("hoshikage").setLevel(logging.NOTSET)
