"""JSON that a run folder holds, read as data that anybody may have changed."""

from __future__ import annotations

import json
import math
from typing import Any


def parse(text: str) -> Any:
    """What a JSON text says, and nothing that its writer cannot have meant.

    Args:
      text: one JSON value. Numbers that are not finite are written as strings.

    Raises:
      ValueError: no JSON; or a name twice in one object, NaN or a number that is infinite as a float, or deep nesting.

    >>> parse('{"step": 3, "step": 4}')
    Traceback (most recent call last):
    ValueError: 'step' stands twice in one object
    """
    try:
        return json.loads(text, object_pairs_hook=unique, parse_int=_short, parse_float=_finite, parse_constant=_finite)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is no JSON: {error}") from None
    except RecursionError:
        raise ValueError("it is nested too deep") from None


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object of these pairs, for `object_pairs_hook`; refused where a name stands twice."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"{twice!r} stands twice in one object")
    return found


def _short(text: str) -> int:
    if len(text) > 1000:  # Python itself reads no more than a few thousand
        raise ValueError(f"an integer of {len(text):,} digits is too long")
    return int(text)


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text[:20]} is no finite number")
    return number
