"""For mkdocstrings: what the docstrings write in Sphinx's way is read as Markdown knows it.

``:func:`~a.b.c``` becomes the code `c`, and an entry for several names at once keeps them together.
"""

from __future__ import annotations

import re
from typing import Any

import griffe

ROLE = re.compile(r":(?:func|class|meth|data|mod|attr):`~?(?:[\w.]*\.)?([\w]+)`")
SEVERAL = re.compile(r"^( +\w+(?:, \w+)+)(?=: )", re.MULTILINE)


class Roles(griffe.Extension):
    """Rewrites the roles of every docstring that is read."""

    def on_instance(self, *, obj: griffe.Object, **_kwargs: Any) -> None:
        if obj.docstring is not None:
            text = ROLE.sub(r"`\1`", obj.docstring.value)
            obj.docstring.value = SEVERAL.sub(lambda names: names[1].replace(", ", ","), text)
