"""A tiny Python: complete a function whose name says what it does; repair a broken line."""

# ruff: noqa: SIM905 -- word lists read better as sentences
from __future__ import annotations

import ast
import operator
from collections.abc import Callable
from itertools import product
from random import Random
from typing import Any

from .item import Item, Task, ask
from .words import FRUITS, THINGS

_ARGUMENTS = "x n a k value".split()
_BODIES: dict[str, str] = {
    "add_{n}": "{x} + {n}",
    "subtract_{n}": "{x} - {n}",
    "times_{n}": "{x} * {n}",
    "is_{n}": "{x} == {n}",
    "more_than_{n}": "{x} > {n}",
    "less_than_{n}": "{x} < {n}",
    "square": "{x} * {x}",
    "double": "{x} * 2",
    "is_even": "{x} % 2 == 0",
    "negative": "-{x}",
    "is_odd": "{x} % 2 == 1",
}
_PAIRS = {"add": "+", "subtract": "-", "multiply": "*"}
_COMPLETE = ("Complete the function:\n{head}", "Finish this code:\n{head}", "Write the body:\n{head}")
_FIX = ("Fix this line: {line}", "Repair this line of code: {line}", "What is wrong here? {line}")
_TRIALS = range(-5, 130)  # next to every number that a name may hold, on both sides
_PAIR_TRIALS = (-3, 0, 1, 2, 5, 7, 10)


def make_complete(rng: Random) -> Item:
    x = rng.choice(_ARGUMENTS)
    if rng.random() < 0.2:
        y = rng.choice([name for name in _ARGUMENTS if name != x])
        name, sign = rng.choice(list(_PAIRS.items()))
        head, body = f"def {name}({x}, {y}):", f"{x} {sign} {y}"
    else:
        name, template = rng.choice(list(_BODIES.items()))
        n = rng.randint(2, 99)
        head, body = f"def {name.format(n=n)}({x}):", template.format(x=x, n=n)
    key = head.partition("(")[0] if _has_number(head) else head
    code = f"{head}\n    return {body}"
    return ask("python", key, rng.choice(_COMPLETE).format(head=head), code, code)


def _has_number(head: str) -> bool:
    """Whether the function's name holds one: of these some are held back whole, whatever their argument is called. The
    few others are all trained, so no test set asks for them."""
    return any(map(str.isdigit, head))


def _whole_line(rng: Random) -> str:
    name, n = rng.choice(FRUITS + THINGS), rng.randint(2, 60)
    return rng.choice(
        (
            f"print({name})",
            f"if {name} > {n}:",
            f"while {name} < {n}:",
            f"for {name} in range({n}):",
            f"return {name} + {n}",
            f"{name} = int(input())",
            f"def {name}(x):",
            f"print(len({name}))",
        )
    )


def _break(rng: Random, line: str) -> str:
    """One fault: a bracket or colon gone, or two letters of a keyword swapped."""
    swaps = {
        "print": "pritn",
        "while": "whlie",
        "range": "raneg",
        "return": "retrun",
        "def": "dfe",
        "len": "lne",
        "for": "fro",
    }
    faults = [line.replace(word, wrong, 1) for word, wrong in swaps.items() if word in line]
    faults += [line[: line.rindex(mark)] + line[line.rindex(mark) + 1 :] for mark in ")(:" if mark in line]
    return rng.choice([fault for fault in faults if fault != line])


def make_fix(rng: Random) -> Item:
    line = _whole_line(rng)
    return ask("fix-line", line, rng.choice(_FIX).format(line=_break(rng, line)), line, line)


_OPERATORS: dict[type[ast.AST], Callable[..., Any]] = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Mod: operator.mod,
    ast.Eq: operator.eq,
    ast.Gt: operator.gt,
    ast.Lt: operator.lt,
}


def _value(node: ast.expr, names: dict[str, int]) -> Any:
    """Evaluates the tiny language; anything outside it is an error."""
    match node:
        case ast.Constant(value=int(n)):
            return n
        case ast.Name(id=name):
            return names[name]
        case ast.UnaryOp(op=ast.USub(), operand=operand):
            return -_value(operand, names)
        case ast.BinOp(left=left, op=op, right=right) | ast.Compare(left=left, ops=[op], comparators=[right]):
            return _OPERATORS[type(op)](_value(left, names), _value(right, names))
    raise ValueError(f"{ast.dump(node)} is not part of the tiny language")


def _behaviour(code: str) -> tuple[str, int, list[Any]]:
    """What a function of one return statement is called, how many arguments it takes, what it gives for many."""
    tree = ast.parse(code).body
    match tree:
        case [
            ast.FunctionDef(
                name=name,
                args=ast.arguments(posonlyargs=[], args=arguments, vararg=None, kwonlyargs=[], kwarg=None, defaults=[]),
                body=[ast.Return(value=ast.expr() as body)],
                decorator_list=[],
            )
        ]:
            names = [argument.arg for argument in arguments]
            trials = product(_PAIR_TRIALS, repeat=2) if len(names) == 2 else product(_TRIALS, repeat=1)
            return name, len(names), [_value(body, dict(zip(names, values, strict=True))) for values in trials]
    raise ValueError("not a single function that returns something")


def check_complete(item: Item, reply: str) -> bool:
    """The function does what its name says, whatever it looks like. MemoryError: nested too deeply to be parsed."""
    try:
        return _behaviour(reply.strip()) == _behaviour(item.expected)
    except (SyntaxError, ValueError, KeyError, ZeroDivisionError, RecursionError, MemoryError):
        return False


def check_fix(item: Item, reply: str) -> bool:
    return bool(reply.strip() == item.expected)


TASKS = (
    Task("python", make_complete, check_complete, 1.0, lambda item: _has_number(item.key)),
    Task("fix-line", make_fix, check_fix, 1.0),
)
