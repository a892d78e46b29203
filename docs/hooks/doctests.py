"""Shows the examples of docstrings, which are doctests between paragraphs of text, as code."""

import re

import griffe


class Doctests(griffe.Extension):
    """Fences each paragraph of a docstring that begins with `>>>`."""

    def on_object(self, *, obj: griffe.Object, **kwargs) -> None:
        if obj.docstring is not None:
            obj.docstring.value = fenced(obj.docstring.value)


def fenced(text: str) -> str:
    """The text, its doctests between fences.

    >>> print(fenced("Adds.\\n\\n>>> 1 + 1\\n2\\n\\nArgs:"))
    Adds.
    <BLANKLINE>
    ```python
    >>> 1 + 1
    2
    ```
    <BLANKLINE>
    Args:
    """
    return re.sub(r"(?m)^>>> (?:.+\n?)+", lambda match: f"```python\n{match[0].rstrip()}\n```\n", text)
