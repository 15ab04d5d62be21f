"""Labels: what people call a model. A label is a name and never a path, whatever stands behind it."""

from __future__ import annotations

from collections.abc import Iterable

from hoshikage.checks import as_text, closest, shown
from hoshikage.errors import ParameterError

LABEL_MAX = 128  # characters
OF_PATHS = ("/", "\\", "..", "%")  # the last one because a percent sign can hide the others in a URL
FIRST = (".", "-", "~")  # a shell and a command line read more into these


def check_label(name: str, label: object) -> str:
    """The label, if it is one; raises ParameterError."""
    text = as_text(name, label)
    if fault := fault_of(text):
        remedy = f"use 1 to {LABEL_MAX} letters, digits and signs such as - _ . : and no others"
        raise ParameterError(name, f"{shown(text)} cannot name a model: {fault}", remedy)
    return text


def fault_of(label: str) -> str:
    """Why this text is no label; empty for one that is."""
    if not label:
        return "it is empty"
    if len(label) > LABEL_MAX:
        return f"it has {len(label)} characters"
    if not label.isprintable():
        return "it holds a character that cannot be seen"
    if found := next((sign for sign in OF_PATHS if sign in label), None):
        return f"it holds {found!r}, and a name is never a path"
    if label.startswith(FIRST):
        return f"it begins with {label[0]!r}"
    return "it begins or ends with a space" if label != label.strip() else ""


def near(label: str, known: Iterable[str]) -> str:
    """', did you mean X?' for a near miss, whatever its case; otherwise nothing."""
    by_fold = {name.casefold(): name for name in known}
    match = closest(label.casefold(), by_fold, 0.6)
    return f", did you mean {by_fold[match]!r}?" if match else ""
