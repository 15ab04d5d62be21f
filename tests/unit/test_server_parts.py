"""Parts of the server that need no server: the inbox, tables of fields, problems, hosts, streams' events."""

from __future__ import annotations

import asyncio
import contextlib
import inspect
import json
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any, ClassVar

import jsonschema as judge
import orjson
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoshikage import errors
from hoshikage.checks import Check, Shape, nearest
from hoshikage.errors import HoshikageError, ParameterError
from hoshikage.manager.state import ModelState
from hoshikage.registry.entry import EMBEDDED, REGISTERED, Model
from hoshikage.server import jsons, sse
from hoshikage.server.app import lines
from hoshikage.server.choosing import default_label
from hoshikage.server.fields import Field, Table, given_in
from hoshikage.server.files import Files
from hoshikage.server.inbox import Inbox
from hoshikage.server.lookout import Lookout
from hoshikage.server.openai.tables import CHAT, COMPLETIONS
from hoshikage.server.openai.values import Duration
from hoshikage.server.problem import Problem, problem_of
from hoshikage.server.reynard.office import Office
from hoshikage.server.shell.hosts import Hosts
from hoshikage.settings import Settings
from hoshikage.worker.ask import Answered, Done, Event, Loading, Said

COUNTS = {"n_prompt": 1, "n_tokens": 1}
OWN, OTHER, TOY, SECOND_TOY, BROKEN, GONE = "own", "other", "toy", "second-toy", "broken", "gone"


def said(index: int, delta: str, step: int = 0) -> Said:
    return Said(index=index, delta=delta, step=step, n_steps=9)


def answered(index: int) -> Answered:
    return Answered(index=index, delta="", text="", stop_reason="stop", counts=COUNTS, seed=0)


async def heard(events: list[Event], pause: int) -> list[Event]:
    """What comes out when another thread tells these and the reader sleeps now and then."""
    inbox = Inbox()
    thread = threading.Thread(target=lambda: [inbox.tell(event) for event in events])
    thread.start()
    out: list[Event] = []
    while not (out and isinstance(out[-1], Done)):
        if pause and len(out) % pause == 0:
            await asyncio.sleep(0)
        event = await inbox.next(10)
        assert event is not None
        out.append(event)
    thread.join()
    return out


@given(st.lists(st.tuples(st.integers(0, 3), st.text(max_size=3)), max_size=40), st.integers(0, 3))
def test_nothing_that_was_said_is_lost_and_the_order_stays(parts: list[tuple[int, str]], pause: int) -> None:
    events: list[Event] = [Loading(progress=0.5)]
    events += [said(index, delta, step) for step, (index, delta) in enumerate(parts)]
    events += [*map(answered, range(4)), Done()]
    out = asyncio.run(heard(events, pause))
    assert out[0] == events[0] and isinstance(out[-1], Done)
    for index in range(4):
        mine = [event for event in out if isinstance(event, (Said, Answered)) and event.index == index]
        assert "".join(event.delta for event in mine) == "".join(delta for i, delta in parts if i == index)
        assert isinstance(mine[-1], Answered) and not any(isinstance(event, Answered) for event in mine[:-1])
        steps = [event.step for event in mine if isinstance(event, Said)]
        assert steps == sorted(steps)


def test_what_an_answer_took_is_known_before_the_answer_and_without_a_reader() -> None:
    async def wait() -> None:
        counted: list[Any] = []
        inbox = Inbox(counted.append)
        for index in range(2):
            inbox.count(COUNTS)
            inbox.tell(answered(index))
        assert await inbox.next() == answered(0)
        assert counted == [COUNTS, COUNTS]
        inbox.count(COUNTS)
        await asyncio.sleep(0)
        assert len(counted) == 3

    asyncio.run(wait())


def test_silence_is_told_after_a_while_and_a_dead_loop_hurts_nobody() -> None:
    async def wait() -> Inbox:
        inbox = Inbox()
        assert await inbox.next(0.01) is None
        return inbox

    inbox = asyncio.run(wait())
    inbox.tell(Done())


def test_a_table_reads_what_it_names() -> None:
    body = {"model": "m", "prompt": "x", "max_tokens": 5, "repeat_penalty": 1.5, "user": "u", "n": None}
    given_ = COMPLETIONS.read(body)
    assert given_["model"] == "m" and given_["prompt"] == ["x"] and given_.get("n", 1) == 1
    assert given_.options == {"max_tokens": 5, "repetition_penalty": 1.5}
    assert given_.warnings == ["user has no effect: requests are told apart by their keys"]
    asked = {"model": "m", "messages": [{"role": "user", "content": ""}]}
    same = CHAT.read({**asked, "max_tokens": 5, "max_completion_tokens": 5})
    assert same.options == {"max_tokens": 5}


@pytest.mark.parametrize("table", [CHAT, COMPLETIONS])
def test_tables_are_sound(table: Table) -> None:
    names = [row.name for row in table.fields]
    assert len(set(names)) == len(names)
    assert not set(names) & set(table.idle)
    for row in table.fields:
        assert row.meaning and row.kinds
    for name in table.idle:  # what others' servers know is never mistaken for a slip
        required = {"model": "m", "messages": [{"role": "user", "content": ""}], "prompt": ""}
        body = {key: value for key, value in required.items() if key in names}
        assert table.read({**body, name: 1}).warnings


TABLES = {line[1]: line[5]["table"] for line in lines() if "table" in line[5]}
JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(max_size=5)
    | st.sampled_from(["type", "auto", "user", "text", "tool_result", "function", "json_schema"]),
    lambda inner: st.lists(inner, max_size=3)
    | st.dictionaries(st.sampled_from(["type", "role", "content", "name", "text", "schema", "function"]), inner),
    max_leaves=8,
)  # fmt: skip
STRANGE: list[Any] = [[], {}, [[]], [{}], {"type": []}, {"type": {}}, [{"type": []}], [[[], 2]], [[{}, 2]], [[1.5, 2]],
                      [{"role": []}], [{"role": "user", "content": [{"type": []}]}]]  # fmt: skip


@pytest.mark.parametrize("path", TABLES)
def test_a_strange_value_is_read_or_refused(path: str) -> None:
    """Whatever else is raised is told as a fault of ours."""
    for row in TABLES[path].fields:
        for value in STRANGE:
            with contextlib.suppress(ParameterError, Problem):
                TABLES[path].read({row.name: value})


@given(JSON)
def test_any_value_is_read_or_refused(value: Any) -> None:
    for table in {id(table): table for table in TABLES.values()}.values():
        for row in table.fields:
            with contextlib.suppress(ParameterError, Problem):
                table.read({row.name: value})


@pytest.mark.parametrize("table", {id(table): table for table in TABLES.values()}.values())
def test_every_field_says_what_it_takes_and_takes_what_it_has_by_default(table: Table) -> None:
    for row in table.fields:
        assert row.check.shape
        shape = judge.Draft202012Validator(row.check.shape)
        shape.check_schema(row.check.shape)
        if row.default not in (None, ()):
            shape.validate(json.loads(json.dumps(row.default)))


def test_a_check_that_goes_too_deep_refuses_the_body() -> None:
    class Endless(Check[Any]):
        shape: ClassVar[Shape] = {}

        def check(self, name: str, value: object) -> Any:
            return self.check(name, value)

    table = Table([Field(name="x", check=Endless(), meaning="anything")])
    exchange: Any = SimpleNamespace(body=b'{"x": 1}', headers={})
    with pytest.raises(Problem, match="nested too deeply"):
        asyncio.run(given_in(exchange, table))


@given(st.text(max_size=20))
def test_any_name_is_an_error_or_a_warning(name: str) -> None:
    body = {"model": "m", "prompt": "x"}
    try:
        known = COMPLETIONS.read({**body, name: "x"})
    except Problem as problem:
        assert problem.code == "unknown_parameter"
    except ParameterError:
        assert name in COMPLETIONS.by_name
    else:
        assert known.warnings or name in COMPLETIONS.by_name


@given(st.text(max_size=20))
def test_null_is_as_if_it_were_absent(name: str) -> None:
    absent = {"model": "m", "prompt": "x"}
    assert not COMPLETIONS.read({name: None, **absent}).warnings


def test_a_name_nobody_knows_takes_no_time() -> None:
    """What is compared takes the square of its length, and each of so many names takes as long."""
    body = {"model": "m", "prompt": "x"}
    assert COMPLETIONS.read({**body, "t" * 4_000_000: 1}).warnings
    assert len(COMPLETIONS.read({**body, **{f"{i}" * 9: 1 for i in range(20)}}).warnings) == 20
    with pytest.raises(Problem, match="more than 20"):
        COMPLETIONS.read({**body, **{f"temp{i:09}": 1 for i in range(1_000_000)}})
    assert COMPLETIONS.read({**body, "stream_options": {f"include{i:09}": 1 for i in range(20)}}).values
    with pytest.raises(ParameterError, match="more than 20"):
        COMPLETIONS.read({**body, "stream_options": {f"include{i:09}": 1 for i in range(1_000_000)}})
    assert nearest("user" * 1_000_000, ("user", "system")) == ""
    doubles = b",".join(b'"%d":1' % i for i in [*range(300_000), 299_999])
    with pytest.raises(Problem, match="'299999' stands twice"):
        jsons.read(b"{" + doubles + b"}")


@pytest.mark.parametrize(
    ("value", "seconds"), [(5, 5), (-1, -1), ("5", 5), ("5m", 300), ("1.5h", 5400), ("200ms", 0.2), (" 3 s ", 3)]
)
def test_durations(value: object, seconds: float) -> None:
    assert Duration().check("x", value) == pytest.approx(seconds)


@pytest.mark.parametrize("value", ["", "soon", "5 d", "1e3", "nan", [], {}, True, float("inf"), "9" * 400])
def test_no_durations(value: object) -> None:
    with pytest.raises(ParameterError):
        Duration().check("x", value)


def every_error() -> list[type[HoshikageError]]:
    return [kind for _, kind in inspect.getmembers(errors, inspect.isclass) if issubclass(kind, HoshikageError)]


@pytest.mark.parametrize("kind", every_error())
def test_every_error_of_ours_is_told_without_a_path(kind: type[HoshikageError]) -> None:
    values = {"int": 7, "float": 1.0, "str": "text", "AnyPath": "/secret/path"}
    wanted = list(inspect.signature(kind).parameters.values())
    arguments = [values.get(str(parameter.annotation), 7) for parameter in wanted]
    problem = problem_of(kind(*arguments))
    assert 400 <= problem.status < 600 and problem.code
    assert "secret" not in orjson.dumps(problem.body).decode()
    assert problem.body["error"]["message"]
    if problem.status in (429, 503):
        assert int(problem.headers["retry-after"]) > 0


def test_what_is_not_ours_tells_nothing() -> None:
    assert "secret" not in str(problem_of(RuntimeError("secret")).body)


@given(st.text(max_size=30))
def test_an_event_is_one_line_whatever_is_in_it(text: str) -> None:
    written = sse.event({"text": text.encode("utf-8", "replace").decode()})
    assert written.startswith(b"data: {") and written.endswith(b"}\n\n")
    assert b"\n" not in written[:-2] and b"\r" not in written


leaves = st.none() | st.booleans() | st.integers(-(2**63), 2**64 - 1) | st.text(max_size=5)


@given(st.recursive(leaves, lambda inner: st.lists(inner) | st.dictionaries(st.text(max_size=3), inner), max_leaves=9))
def test_json_is_read_as_it_was_written(value: object) -> None:
    assert jsons.read(jsons.write(value)) == value


def test_hosts_on_a_public_address() -> None:
    hosts = Hosts("0.0.0.0", ["ai.example"])
    for name in ("ai.example", "AI.example:3030", "10.0.0.5:3030", "[2001:db8::1]", "localhost", None):
        hosts.check_host(name)
    with pytest.raises(Problem):
        hosts.check_host("evil.example")
    Hosts("0.0.0.0", ["*"]).check_host("evil.example")


@pytest.mark.parametrize(("owners", "theirs", "least"), [(0.5, 0.8, 0.5), (1.0, 0.8, 0.8), (0.5, 0.3, 0.3)])
def test_reynards_share_of_a_gpu_is_a_part_of_the_owners(owners: float, theirs: float, least: float) -> None:
    office = Office(Settings(gpu_share=owners, reynard_memory_threshold=theirs))
    assert office.load_settings == {"gpu_share": least}
    office.change({"memory_threshold": 1.0})
    assert office.load_settings == {"gpu_share": owners}


class Manager:
    """One that knows these models, in this order; some of them are in memory."""

    def __init__(self, labels: list[str], resident: set[str]) -> None:
        self._labels, self._resident = labels, resident

    def models(self) -> list[ModelState]:
        return [
            ModelState(
                label=label,
                state="resident" if label in self._resident else "cold",
                model=None if label == GONE else Model(label, Path(label), EMBEDDED if TOY in label else REGISTERED),
                error=HoshikageError("it is cut") if label == BROKEN else None,
            )
            for label in self._labels
        ]


@pytest.mark.parametrize(
    ("labels", "resident", "meant"),
    [
        ([TOY], set(), TOY),
        ([TOY, SECOND_TOY], {SECOND_TOY}, SECOND_TOY),
        ([TOY, OWN], set(), OWN),
        ([TOY, OWN, OTHER], {TOY, OTHER}, OTHER),
        ([TOY, OWN], {TOY}, TOY),
        ([OWN, OTHER, TOY], {OWN, OTHER, TOY}, OWN),
        ([BROKEN, TOY], set(), TOY),
        ([BROKEN, GONE, TOY, OWN], {GONE}, OWN),
        ([BROKEN], set(), BROKEN),
    ],
)
def test_who_names_no_model_means_one_in_memory_and_rather_an_own_one(
    labels: list[str], resident: set[str], meant: str
) -> None:
    services: Any = SimpleNamespace(lookout=Lookout(Files(), Manager(labels, resident).models))
    assert asyncio.run(default_label(services)) == meant
