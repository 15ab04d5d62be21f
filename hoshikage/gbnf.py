"""Grammars (GBNF) are read and judged here before llama.cpp sees them, as GGUF headers are.

llama.cpp refuses most wrong grammars itself, but some end its process or never return: groups nested without end,
`{5,2}`, repetitions that write themselves out to gigabytes, a rule that cannot begin, and left recursion behind a
rule that is empty only by way of another. They are errors here, like every slip of the pen, with line and column.
What stays open is a grammar so ambiguous that the ways to read a text double with every token.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import TypeAlias

from hoshikage.errors import ParameterError

MAX_NESTING = 64  # groups within groups: llama.cpp recurses
MAX_REPEATS = 2000  # llama.cpp's own bound
MAX_ELEMENTS = 1_000_000  # characters and references, repetitions written out
MAX_WAYS = 100_000  # ways from a rule to its first character; llama.cpp walks each
MAX_DEPTH = 5_000  # rules on the longest of them; llama.cpp recurses

ESCAPE = r'\\(?:x[0-9a-fA-F]{2}|u[0-9a-fA-F]{4}|U[0-9a-fA-F]{8}|[trn\\"\[\]-])'
NAME = re.compile(r"[A-Za-z0-9-]+")
LITERAL = re.compile(rf'"((?:{ESCAPE}|[^"\\])*)"')
CLASS = re.compile(rf"\[\^?((?:{ESCAPE}|[^\]\\])*)\]")
ANY = re.compile(r"(\.)")
TOKEN = re.compile(r"(!?<(?:\[\d+\]|[^\[>][^>]*|)>)")
TERMINALS = (LITERAL, CLASS, TOKEN, ANY)
SPACE = re.compile(r"(?:[ \t]|#[^\r\n]*)*")
SPACE_AND_LINES = re.compile(r"(?:[ \t\r\n]|#[^\r\n]*)*")
OTHERS = (*(kind.pattern for kind in TERMINALS), r"\{[^}]*\}", r"#[^\r\n]*")  # in which no rule is named
NAMED = re.compile(rf"(?:{'|'.join(OTHERS)})|(?P<name>{NAME.pattern})")
NUMBER = re.compile(r"\d+")
NEW_LINE = re.compile(r"\r\n?|\n|$")

TERMINAL = ""  # stands for any characters; every other item is the name of a rule
Sequence: TypeAlias = list[str]
Rules: TypeAlias = dict[str, list[Sequence]]
Edges: TypeAlias = Mapping[str, Iterable[str]]


def check(text: str) -> None:
    """Raises ParameterError unless llama.cpp can be given this grammar."""
    if "\0" in text:
        raise wrong("it holds a zero byte")
    rules = Reader(text).read()
    if "root" not in rules:
        raise wrong("it has no rule named root")
    for name, sequences in rules.items():
        for item in (item for sequence in sequences for item in sequence):
            if item != TERMINAL and item not in rules:
                raise wrong(f"{shown(name)} refers to {item}, which is not defined")
    judge(rules)


def either(*grammars: str) -> str:
    """The grammar of all texts that one of these allows; no rule of them may be empty, and each gets another name."""
    roots = " | ".join(f"way{i}-root" for i in range(len(grammars)))
    return "\n".join([f"root ::= {roots}", *(renamed(f"way{i}-", each) for i, each in enumerate(grammars))])


def renamed(prefix: str, grammar: str) -> str:
    """A grammar whose rules have names that begin so."""
    return NAMED.sub(lambda found: prefix + found[0] if found["name"] else found[0], grammar)


def wrong(cause: str) -> ParameterError:
    return ParameterError("grammar", cause, "correct the grammar")


def shown(rule: str) -> str:
    """A rule as the text names it: groups and repetitions are rules of ours, name_1 and so on."""
    return f"rule {rule.partition('_')[0]}"


class Reader:
    """The text as rules. Groups and repetitions become rules of their own, as in llama.cpp."""

    def __init__(self, text: str) -> None:
        self._text = text
        self._at = 0
        self._rules: Rules = {}
        self._rule = ""
        self._n_made = 0
        self._n_elements = 0

    def read(self) -> Rules:
        self._match(SPACE_AND_LINES)
        while self._at < len(self._text):
            self._rule = self._expect(NAME, "a rule's name").group()
            self._match(SPACE)
            self._expect(re.compile("::="), "::=")
            self._match(SPACE_AND_LINES)
            self._rules[self._rule] = self._alternatives(0)
            if self._text.startswith(('"', "["), self._at):
                raise self._error("what is opened here does not end, or holds an unknown escape")
            self._expect(NEW_LINE, "a symbol, | or the end of the line")
            self._match(SPACE_AND_LINES)
        return self._rules

    def _alternatives(self, nesting: int) -> list[Sequence]:
        sequences = [self._sequence(nesting)]
        while self._take("|"):
            self._match(SPACE_AND_LINES)
            sequences.append(self._sequence(nesting))
        return sequences

    def _sequence(self, nesting: int) -> Sequence:
        space = SPACE_AND_LINES if nesting else SPACE
        items: Sequence = []
        start = weight = 0  # of the last symbol: its first item, its elements
        while self._at < len(self._text):
            if found := self._terminal():
                start, weight = len(items), len(found.group(1))
                items += [TERMINAL] if weight else []
            elif found := self._match(NAME):
                start, weight = len(items), 1
                items.append(found.group())
            elif self._take("("):
                start, weight = len(items), 1
                items.append(self._group(nesting + 1))
            elif bounds := self._repetition(space):
                weight = self._repeat(items, start, weight, *bounds)
            else:
                break
            self._n_elements += weight
            if self._n_elements > MAX_ELEMENTS:
                raise self._error(f"more than {MAX_ELEMENTS} elements, repetitions written out")
            self._match(space)
        return items

    def _terminal(self) -> re.Match[str] | None:
        return next((found for pattern in TERMINALS if (found := self._match(pattern))), None)

    def _group(self, nesting: int) -> str:
        if nesting > MAX_NESTING:
            raise self._error(f"groups are nested more than {MAX_NESTING} deep")
        self._match(SPACE_AND_LINES)
        name = self._make(self._alternatives(nesting))
        if not self._take(")"):
            raise self._error("expected )")
        return name

    def _repetition(self, space: re.Pattern[str]) -> tuple[int, int | None] | None:
        """Least and most times, where one of * + ? {m} {m,} {m,n} stands."""
        for sign, bounds in (("*", (0, None)), ("+", (1, None)), ("?", (0, 1))):
            if self._take(sign):
                return bounds
        if not self._take("{"):
            return None
        self._match(space)
        least = self._count(space)
        most: int | None = least
        if self._take(","):
            self._match(space)
            most = None if self._text.startswith("}", self._at) else self._count(space)
        if not self._take("}"):
            raise self._error("expected }")
        if least > MAX_REPEATS or (most is not None and most < least):
            raise self._error(f"a repetition counts from at most {MAX_REPEATS}, and not downwards")
        return least, most if most is not None and most <= MAX_REPEATS else None

    def _count(self, space: re.Pattern[str]) -> int:
        digits = self._expect(NUMBER, "a number").group()
        self._match(space)
        return int(digits[:18])

    def _repeat(self, items: Sequence, start: int, weight: int, least: int, most: int | None) -> int:
        """Replace the last symbol by its repetition; returns the elements that it is written out to."""
        symbol = items[start:]
        if not symbol:
            raise self._error("there is nothing to repeat")
        items[start:] = symbol * min(least, 2)  # whether there are more than two makes no difference to `judge`
        if most is None or most > least:
            name = self._make([])
            self._rules[name] = [[*symbol, name], []]
            items.append(name)
        return weight * max(least, most or 0, 1) + 1

    def _make(self, sequences: list[Sequence]) -> str:
        self._n_made += 1
        name = f"{self._rule}_{self._n_made}"
        self._rules[name] = sequences
        return name

    def _match(self, pattern: re.Pattern[str]) -> re.Match[str] | None:
        found = pattern.match(self._text, self._at)
        if found:
            self._at = found.end()
        return found

    def _take(self, text: str) -> bool:
        found = self._text.startswith(text, self._at)
        self._at += len(text) if found else 0
        return found

    def _expect(self, pattern: re.Pattern[str], what: str) -> re.Match[str]:
        found = self._match(pattern)
        if not found:
            raise self._error(f"expected {what}")
        return found

    def _error(self, cause: str) -> ParameterError:
        before = self._text[: self._at]
        line, column = before.count("\n") + 1, self._at - before.rfind("\n")
        return wrong(f"line {line}, column {column}: {cause}")


def judge(rules: Rules) -> None:
    """Every rule can begin, in a bounded number of ways, and without growing forever.

    llama.cpp expands the first item of every stack until a character stands on top. A rule that comes back to
    itself in first place with something behind it makes the stack longer each time.
    """
    empty = holding(rules, lambda sequence, found: all(item in found for item in sequence))
    begins = holding(rules, lambda sequence, found: any(i == TERMINAL or i in found for i in firsts(sequence, empty)))
    for name in rules:
        if name not in empty and name not in begins:
            raise wrong(f"{shown(name)} can never begin: it only leads back to itself")
    left = {
        name: [item for sequence in sequences for item in firsts(sequence, empty) if item != TERMINAL]
        for name, sequences in rules.items()
    }
    ways: dict[str, int] = {}
    depth: dict[str, int] = {}
    for members in components(left):
        for name in members:
            if any(item in members for sequence in rules[name] for item in firsts(sequence[:-1], empty)):
                raise wrong(f"{shown(name)} is left-recursive: it comes back to itself before any character")
        beyond = [item for name in members for item in left[name] if item not in members]
        n_ways, n_deep = 1 + sum(ways[item] for item in beyond), 1 + max((depth[item] for item in beyond), default=0)
        if n_ways > MAX_WAYS or n_deep > MAX_DEPTH:
            raise wrong(f"{shown(min(members))} can begin in too many ways")
        ways.update(dict.fromkeys(members, n_ways))
        depth.update(dict.fromkeys(members, n_deep))


def firsts(sequence: Sequence, empty: set[str]) -> Iterator[str]:
    """The items that can stand first: up to and including the first that is never empty."""
    for item in sequence:
        yield item
        if item not in empty:
            return


def holding(rules: Rules, holds: Callable[[Sequence, set[str]], bool]) -> set[str]:
    """The rules of which some sequence holds, given the rules found so far: the least such set."""
    users = defaultdict(set)
    for name, sequences in rules.items():
        for sequence in sequences:
            for item in sequence:
                users[item].add(name)
    found: set[str] = set()
    waiting = list(rules)
    while waiting:
        name = waiting.pop()
        if name not in found and any(holds(sequence, found) for sequence in rules[name]):
            found.add(name)
            waiting += users[name]
    return found


def components(edges: Edges) -> Iterator[set[str]]:
    """Strongly connected components, each after all that it leads to (Tarjan, 1972), without recursion."""
    order: dict[str, int] = {}
    low: dict[str, int] = {}
    path: list[str] = []
    open_: set[str] = set()
    for root in edges:
        walk = [] if root in order else [(root, iter(edges[root]))]
        while walk:
            node, targets = walk[-1]
            if node not in order:
                order[node] = low[node] = len(order)
                path.append(node)
                open_.add(node)
            target = next(targets, None)
            if target is None:
                walk.pop()
                if walk:
                    low[walk[-1][0]] = min(low[walk[-1][0]], low[node])
                if low[node] == order[node]:
                    members: set[str] = set()
                    while node not in members:
                        members.add(path.pop())
                    open_ -= members
                    yield members
            elif target not in order:
                walk.append((target, iter(edges[target])))
            elif target in open_:
                low[node] = min(low[node], order[target])
