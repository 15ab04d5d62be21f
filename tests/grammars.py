"""Grammars (GBNF) read by themselves: drawn from, and matched against, without llama.cpp.

Only what our own converter writes is understood. A node is ("text", s), ("class", pattern), ("ref", name),
("all", nodes), ("any", nodes) or ("times", node, least, most).
"""

from __future__ import annotations

import random
import re
from functools import cache
from typing import Any

Node = tuple[Any, ...]
TOKEN = re.compile(
    r"""\s*(?:(?P<text>"(?:\\.|[^"\\])*")|(?P<klass>\[(?:\\.|[^\]\\])*\])|(?P<ref>[A-Za-z][\w-]*)"""
    r"""|(?P<times>\{\d+(?:,\d*)?\}|[*+?])|(?P<sign>[()|]))"""
)
ESCAPE = re.compile(r"\\(?:x([0-9A-Fa-f]{2})|u([0-9A-Fa-f]{4})|U([0-9A-Fa-f]{8})|(.))", re.DOTALL)
SAMPLES = [chr(code) for code in (*range(32, 127), 0xE9, 0x3042, 0x1F600)]
DEEP = 40  # rules within rules, from where the shortest way out is taken


def unescaped(text: str) -> str:
    plain = {"n": "\n", "t": "\t", "r": "\r"}
    return ESCAPE.sub(
        lambda m: chr(int(m[1] or m[2] or m[3], 16)) if m[4] is None else plain.get(m[4], m[4]), text
    )  # fmt: skip


class Grammar:
    """The rules of one grammar."""

    def __init__(self, text: str) -> None:
        lines = [line.split(" ::= ", 1) for line in text.splitlines() if line.strip()]
        self.rules = {name: Reader(body).read() for name, body in lines}
        self._cost = cache(self._cost_of)
        self._costs = self._costs_of_rules()

    def _costs_of_rules(self) -> dict[str, float]:
        """How deep one has to go at least for each rule: a fixed point."""
        costs = dict.fromkeys(self.rules, float("inf"))
        while True:
            self._costs = costs
            new = {name: 1 + self._cost_of(node) for name, node in self.rules.items()}
            if new == costs:
                return costs
            costs = new

    def _cost_of(self, node: Node) -> float:
        match node:
            case ("ref", name):
                return self._costs[name]
            case ("all", nodes):
                return max(map(self._cost_of, nodes), default=0)
            case ("any", nodes):
                return min(map(self._cost_of, nodes))
            case ("times", inner, least, _):
                return self._cost_of(inner) if least else 0
        return 0

    def draw(self, chance: random.Random) -> str:
        """A text that the grammar allows."""
        parts: list[str] = []
        stack: list[tuple[Node, int]] = [(("ref", "root"), 0)]
        while stack:
            node, depth = stack.pop()
            match node:
                case ("text", text):
                    parts.append(text)
                case ("class", pattern):
                    parts.append(chance.choice([char for char in SAMPLES if pattern.fullmatch(char)]))
                case ("ref", name):
                    stack.append((self.rules[name], depth + 1))
                case ("all", nodes):
                    stack += [(inner, depth) for inner in reversed(nodes)]
                case ("any", nodes):
                    stack.append((min(nodes, key=self._cost_of) if depth > DEEP else chance.choice(nodes), depth))
                case ("times", inner, least, most):
                    more = 0 if depth > DEEP else chance.randint(0, min(3, most - least))
                    stack += [(inner, depth)] * (least + more)
        return "".join(parts)

    def allows(self, text: str) -> bool:
        """Whether the whole text can be derived; no rule of ours is left-recursive."""
        return len(text) in self._ends(("ref", "root"), text, 0)

    def _ends(self, node: Node, text: str, at: int) -> set[int]:
        match node:
            case ("text", literal):
                return {at + len(literal)} if text.startswith(literal, at) else set()
            case ("class", pattern):
                return {at + 1} if at < len(text) and pattern.fullmatch(text[at]) else set()
            case ("ref", name):
                return self._ends(self.rules[name], text, at)
            case ("all", nodes):
                ends = {at}
                for inner in nodes:
                    ends = {end for start in ends for end in self._ends(inner, text, start)}
                return ends
            case ("any", nodes):
                return {end for inner in nodes for end in self._ends(inner, text, at)}
        _, inner, least, most = node
        return self._repeated(inner, least, most, text, at)

    def _repeated(self, inner: Node, least: int, most: int, text: str, at: int) -> set[int]:
        reached = {at} if least == 0 else set()
        ends = {at}
        for n in range(1, min(most, len(text) + least + 1) + 1):
            ends = {end for start in ends for end in self._ends(inner, text, start)}
            if not ends or (n > least and ends <= reached):
                break
            if n >= least:
                reached |= ends
        return reached


class Reader:
    """Reads the body of one rule."""

    def __init__(self, body: str) -> None:
        self._tokens = list(TOKEN.finditer(body))
        assert "".join(found[0] for found in self._tokens).rstrip() == body.rstrip(), body
        self._at = 0

    def read(self) -> Node:
        node = self._any()
        assert self._at == len(self._tokens)
        return node

    def _peek(self) -> str:
        return self._tokens[self._at][0].strip() if self._at < len(self._tokens) else ""

    def _any(self) -> Node:
        options = [self._all()]
        while self._peek() == "|":
            self._at += 1
            options.append(self._all())
        return options[0] if len(options) == 1 else ("any", options)

    def _all(self) -> Node:
        nodes: list[Node] = []
        while self._peek() not in ("", "|", ")"):
            found = self._tokens[self._at]
            self._at += 1
            if found["times"]:
                nodes[-1] = ("times", nodes[-1], *bounds(found["times"]))
            else:
                nodes.append(self._one(found))
        return ("all", nodes)

    def _one(self, found: re.Match[str]) -> Node:
        if found["text"]:
            return ("text", unescaped(found["text"][1:-1]))
        if found["klass"]:
            return ("class", re.compile(found["klass"], re.DOTALL))
        if found["ref"]:
            return ("ref", found["ref"])
        assert found["sign"] == "("
        node = self._any()
        assert self._peek() == ")"
        self._at += 1
        return node


def bounds(sign: str) -> tuple[int, int]:
    if sign in "*+?":
        return {"*": (0, 10**6), "+": (1, 10**6), "?": (0, 1)}[sign]
    low, comma, high = sign[1:-1].partition(",")
    return int(low), int(high) if high else 10**6 if comma else int(low)
