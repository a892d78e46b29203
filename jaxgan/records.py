"""Strict reading of JSON from files that others may have changed."""

from __future__ import annotations

import json
import math
from typing import Any


def parse(text: str) -> Any:
    """Parses JSON, and refuses what `json.loads` accepts but no writer means.

    Args:
      text: one JSON value. Numbers that are not finite must be strings.

    Raises:
      ValueError: invalid JSON, a duplicate name in an object, NaN, a number beyond the range of a float, or deep
        nesting.

    >>> parse('{"step": 3, "step": 4}')
    Traceback (most recent call last):
    ValueError: duplicate name 'step' in one object
    """
    try:
        return json.loads(text, object_pairs_hook=unique, parse_int=_short, parse_float=_finite, parse_constant=_finite)
    except json.JSONDecodeError as error:
        raise ValueError(f"it is not valid JSON: {error}") from None
    except RecursionError:
        raise ValueError("it is nested too deeply") from None


def unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    """A JSON object of these pairs, for `object_pairs_hook`; duplicate names are refused."""
    found = dict(pairs)
    if len(found) < len(pairs):
        names = [name for name, _ in pairs]
        twice = next(name for name in names if names.count(name) > 1)
        raise ValueError(f"duplicate name {twice!r} in one object")
    return found


def _short(text: str) -> int:
    if len(text) > 1000:  # Python's own limit is a few thousand
        raise ValueError(f"an integer of {len(text):,} digits is too long")
    return int(text)


def _finite(text: str) -> float:
    if not math.isfinite(number := float(text)):
        raise ValueError(f"{text[:20]} is not a finite number")
    return number
