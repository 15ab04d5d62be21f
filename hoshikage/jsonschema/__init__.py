"""From a JSON Schema to a grammar (GBNF): every text that the grammar allows is JSON that the schema accepts.

The other direction does not hold, and need not: an object is written with its named properties in their order, without
others, and with little white space. A keyword that could not be kept to is refused, never passed over.
"""

from __future__ import annotations

from hoshikage.jsonschema.convert import grammar_of
from hoshikage.jsonschema.moving import moved

__all__ = ["grammar_of", "moved"]
