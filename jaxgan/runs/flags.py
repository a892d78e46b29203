"""Types of flags, with the ranges of numbers, and the function that checks values against them."""

from __future__ import annotations

import dataclasses
import math
import os
import types
import typing
from collections.abc import Mapping
from functools import cache
from typing import Annotated, Any, Literal, Union

from jaxgan import files
from jaxgan.messages import is_text

_NAMES = {int: "an integer", float: "a number", bool: "true or false", str: "text", type(None): "nothing"}


@dataclasses.dataclass(frozen=True)
class Range:
    """Finite numbers from `least` to `most`, inclusive; part of a type, such as `Annotated[int, Range(1, 9)]`."""

    least: float
    most: float

    def __str__(self) -> str:
        return f"from {_digits(self.least)} to {_digits(self.most)}"


class PathRule:
    """A path: not empty, in UTF-8, without a zero byte. `~` is expanded to the home folder, as in a shell."""


Steps = Annotated[int, Range(1, 10**9)]  # a network counts its updates in 32 bits
StepsOrNone = Annotated[int, Range(0, 10**9)]
Few = Annotated[int, Range(1, 1000)]
BatchSize = Annotated[int, Range(1, 2**20)]
Count = Annotated[int, Range(1, 10**6)]
CountOrNone = Annotated[int, Range(0, 10**6)]
Many = Annotated[int, Range(1, 10**9)]
Seed = Annotated[int, Range(0, 2**32 - 2)]  # gaussians_2d uses seed + 1, too
Classes = Annotated[int, Range(1, 10**5)]
Pixels = Annotated[int, Range(1, 4096)]
Channels = Annotated[int, Range(1, 4096)]
Layers = Annotated[int, Range(1, 64)]
LatentDim = Annotated[int, Range(1, 65536)]
LearningRate = Annotated[float, Range(0.0, 10.0)]
Decay = Annotated[float, Range(0.0, 0.999999)]  # float32 rounds numbers much closer to 1 to 1
Weight = Annotated[float, Range(0.0, 1e6)]
Share = Annotated[float, Range(0.0, 1.0)]
PathName = Annotated[str, PathRule()]


class Flags:
    """Base class of configurations, frozen dataclasses: checks that values have the types of their fields.

    An integer is accepted as a float, and a list as a tuple; a bool is not accepted as a number.

    Raises:
      ValueError: a value of another type or outside its range; the message names the field.

    >>> @dataclasses.dataclass(frozen=True, kw_only=True)
    ... class Config(Flags):
    ...     width: Channels = 32
    >>> Config(width=0)
    Traceback (most recent call last):
    ValueError: width=0: expected an integer from 1 to 4096
    """

    def __post_init__(self) -> None:
        for name, kind in kinds(type(self)).items():
            value = getattr(self, name)
            if (checked := check(name, value, kind)) is not value:
                object.__setattr__(self, name, checked)  # since the dataclass is frozen


@cache
def kinds(config_class: Any) -> Mapping[str, Any]:
    """The type of each field of a dataclass, with its range."""
    hints = typing.get_type_hints(config_class, include_extras=True)
    return {field.name: hints[field.name] for field in dataclasses.fields(config_class)}


def check(name: str, value: Any, kind: Any) -> Any:
    """Checks a value and converts it to its type.

    Args:
      name: its name, for the error message.
      value: the value.
      kind: its type: int, float, bool, str, None, a Literal, a tuple or a dict of any length, a union of them, or one
        with a `Range` or a `PathRule`. Other types are not checked.

    Returns:
      The value, an integer converted to a float and a list to a tuple if the type asks for it.

    Raises:
      ValueError: the value does not have this type; the message says what was expected.

    >>> check("size", 3, float | None), check("widths", [1, 2], tuple[Channels, ...])
    (3.0, (1, 2))
    """
    try:
        return _checked(value, kind)
    except _Mismatch as mismatch:
        reason = str(mismatch) or f"expected {described(kind)}"
        raise ValueError(f"{name}={_abbreviated(value)}: {reason}") from None


def described(kind: Any) -> str:
    """The description of a type for error messages.

    >>> described(Channels | Literal["native"] | None)
    "an integer from 1 to 4096, 'native' or nothing"
    """
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        if any(isinstance(rule, PathRule) for rule in arguments[1:]):
            return "a path"
        return " ".join([described(arguments[0]), *(str(rule) for rule in arguments[1:] if isinstance(rule, Range))])
    if origin in (Union, types.UnionType, Literal):
        words = [repr(one) if origin is Literal else described(one) for one in arguments]
        return " or ".join([*([", ".join(words[:-1])] if words[:-1] else []), words[-1]])
    if origin is tuple:
        return f"a list, each {described(arguments[0])}"
    if origin is dict:
        return "an object" if arguments[1] is Any else f"an object, each value {described(arguments[1])}"
    return _NAMES.get(kind, getattr(kind, "__name__", str(kind)))


def ranges(kind: Any) -> list[Range]:
    """All ranges in a type, such as those of a union's members."""
    own = [kind] if isinstance(kind, Range) else []
    return own + [found for part in typing.get_args(kind) for found in ranges(part)]


class _Mismatch(ValueError):
    """A value does not have its type; the message is empty if the type's description is enough."""


def _checked(value: Any, kind: Any) -> Any:
    origin, arguments = typing.get_origin(kind), typing.get_args(kind)
    if origin is Annotated:
        rules = arguments[1:]
        if any(isinstance(rule, PathRule) for rule in rules):
            return _path(value)
        value = _checked(value, arguments[0])
        if not all(rule.least <= value <= rule.most for rule in rules if isinstance(rule, Range)):
            raise _Mismatch
        return value
    if origin in (Union, types.UnionType):
        reasons = []
        for one in arguments:
            try:
                return _checked(value, one)
            except _Mismatch as mismatch:
                reasons.append(str(mismatch))
        raise _Mismatch(max(reasons, key=len))
    if origin is Literal:
        if not any(type(value) is type(one) and value == one for one in arguments):
            raise _Mismatch
    elif origin is tuple:
        if not isinstance(value, list | tuple):
            raise _Mismatch
        parts = tuple(_checked(one, arguments[0]) for one in value)
        return value if parts == value else parts
    elif origin is dict:
        if not isinstance(value, dict):
            raise _Mismatch
        return {_checked(key, arguments[0]): _checked(one, arguments[1]) for key, one in value.items()}
    elif kind is float:
        return _finite(value)
    elif kind in (int, bool, str, type(None)):
        if not isinstance(value, kind) or (kind is int and isinstance(value, bool)):
            raise _Mismatch
        if kind is str and not is_text(value):
            raise _Mismatch("it holds invalid characters")
    return value


def _finite(value: Any) -> float:
    if isinstance(value, bool) or not isinstance(value, int | float):
        raise _Mismatch
    try:
        number = value if isinstance(value, float) else float(value)
    except OverflowError:
        raise _Mismatch from None
    if not math.isfinite(number):
        raise _Mismatch
    return number


def _path(value: Any) -> str:
    if isinstance(value, os.PathLike):
        value = os.fspath(value)
    if not isinstance(value, str):
        raise _Mismatch
    if not value:
        raise _Mismatch("expected a path, but it is empty (. is the current folder)")
    if "\0" in value or not is_text(value):
        raise _Mismatch("the path is not valid UTF-8: rename it")
    try:
        files.expanded(value)
    except ValueError as error:
        raise _Mismatch(str(error)) from None
    return os.path.expanduser(value)


def _abbreviated(value: Any) -> str:
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # an integer of thousands of digits
        return f"({type(value).__name__})"
    return text if len(text) <= 80 else f"{text[:77]}..."


def _digits(number: float) -> str:
    """Powers of ten from 100,000 as 1e5, 1e6, ...; no commas, at which help texts would be broken into lines."""
    if isinstance(number, int):
        power = len(str(number)) - 1
        return f"1e{power}" if power >= 5 and number == 10**power else str(number)
    return f"{number:g}".replace("e+0", "e").replace("e-0", "e-")
