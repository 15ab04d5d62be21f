"""Grammars: what llama.cpp reads is let through, and what would hang or end its process is refused with a place."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hoshikage import gbnf
from hoshikage.errors import ParameterError
from tests.grammars import Grammar

GOOD = [
    'root ::= "a"',
    "root ::=",
    'root ::= ""',
    "root ::= [] [^]",
    "root ::= [0-9a-fA-F] [^\\]\\x41-\\u0042-] . [+*-]",
    'root ::= "tab\\t quote\\" backslash\\\\ \\U0001F600 𝄞 \n over lines"',
    "# a comment\n\n root ::= item # another\n\n\nitem ::= [a-z]\t\n",
    'root ::=\n "a" |\n b\r\nb ::= ("x"\n | # why not\n "y")? "z"\r',
    'root ::= "a"* "b"+ "c"? "d"{2} "e"{2,} "f"{0,3} "g"{ 1 , 2 }',
    'root ::= "a"{2}{0,3} ("b" | "c"){2000} "d"{5,9999}',
    'root ::= "a" root | "b"',
    'root ::= "[" (root ("," root)*)? "]"',
    "root ::= (ws)*\nws ::= space\nspace ::= [ ]*",  # empty only by way of another, and nothing behind itself
    "root ::= <think> !</think>* <[12]> !<[7]>",
    'a ::= "1"\nroot ::= a\na ::= "2"',
    "root ::= " + "(" * 64 + '"a"' + ")" * 64,
]
DOUBLING = "".join(f'r{i} ::= r{i + 1} "0" | r{i + 1} "1"\n' for i in range(40))
CHAIN = "".join(f"r{i} ::= r{i + 1}\n" for i in range(6000))
BAD = {
    "": "no rule named root",
    'b ::= "a"': "no rule named root",
    "root ::= b": "rule root refers to b",
    'root = "a"': "line 1, column 6: expected ::=",
    '"a"': "line 1, column 1: expected a rule's name",
    'root ::= "a"\n\nb ::= "a': "line 3, column 7: what is opened here does not end",
    "root ::= [a": "line 1, column 10: what is opened here does not end",
    'root ::= "\\q"': "unknown escape",
    "root ::= [\\x4]": "unknown escape",
    'root ::= ("a"': r"expected \)",
    'root ::= "a")': "a symbol, | or the end of the line",
    "root ::= *": "nothing to repeat",
    'root ::= ""+': "nothing to repeat",
    'root ::= "a"{x}': "expected a number",
    'root ::= "a"{1': "expected }",
    'root ::= "a"{5,2}': "not downwards",
    'root ::= "a"{2001}': "at most 2000",
    "root ::= " + "(" * 65: "nested more than 64 deep",
    'root ::= "' + "a" * 1000 + '"{2000}': "more than 1000000 elements",
    'root ::= "a\0"': "zero byte",
    'root ::= root "a" | "b"': "rule root is left-recursive",
    'root ::= a\na ::= b "x" | "y"\nb ::= a': "left-recursive",
    'root ::= b root "y" | "z"\nb ::= d\nd ::= "x" |': "rule root is left-recursive",  # llama.cpp would never return
    'root ::= ((root "a")? "b")*': "rule root is left-recursive",
    "root ::= n root\nn ::= m\nm ::=": "rule root can never begin",  # llama.cpp would end the process
    "root ::= a | b\na ::= b\nb ::= a": "can never begin",
    f"root ::= r0\n{DOUBLING}r40 ::=": "too many ways",
    f"root ::= r0\n{CHAIN}r6000 ::=": "too many ways",
}  # fmt: skip


@pytest.mark.parametrize("text", GOOD)
def test_good_grammars(text: str) -> None:
    gbnf.check(text)


@pytest.mark.parametrize("text", [text for text in GOOD if not text.endswith("::=")])
def test_either_of_two_grammars_is_one(text: str) -> None:
    gbnf.check(gbnf.either(text, 'root ::= item # "no end\nitem ::= "root" [item]{2}', text))


def test_rules_of_the_same_name_are_kept_apart() -> None:
    either = Grammar(gbnf.either('root ::= a{1,2}\na ::= "a" [root]', 'root ::= "x" a\na ::= "\\"root" "[a"'))
    assert all(map(either.allows, ["ar", "aoat", 'x"root[a']))
    assert not any(map(either.allows, ["a", "xar", 'x"way1-root[a', '"root[a']))


@pytest.mark.parametrize("text", BAD, ids=lambda text: repr(text[:40]))
def test_bad_grammars(text: str) -> None:
    with pytest.raises(ParameterError, match=BAD[text]) as caught:
        gbnf.check(text)
    assert caught.value.name == "grammar" and caught.value.remedy


@given(st.text(alphabet='rot:=ab"[]()*+?{},12|\\^-.<>!# \n', max_size=60))
def test_any_text_is_read_or_refused(text: str) -> None:
    for grammar in (text, f"root ::= {text}"):
        try:
            gbnf.check(grammar)
        except ParameterError as error:
            assert error.name == "grammar"


@given(st.dictionaries(st.sampled_from("abcdef"), st.lists(st.sampled_from("abcdef"), max_size=5)))
def test_components_are_those_that_reach_each_other(edges: dict[str, list[str]]) -> None:
    edges = {node: [target for target in targets if target in edges] for node, targets in edges.items()}

    def reached(start: str) -> set[str]:
        found, waiting = {start}, [start]
        while waiting:
            for target in edges[waiting.pop()]:
                if target not in found:
                    found.add(target)
                    waiting.append(target)
        return found

    components = list(gbnf.components(edges))
    assert sorted(node for members in components for node in members) == sorted(edges)
    for i, members in enumerate(components):
        for node in members:
            assert members == {other for other in reached(node) if node in reached(other)}
            assert reached(node) <= set().union(*components[: i + 1])
