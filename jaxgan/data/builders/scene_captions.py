"""A small grammar for captions of scenes: generation and parsing."""

from __future__ import annotations

import numpy as np

from jaxgan.data.builders.scenes import COLOURS, SHAPES
from jaxgan.data.vocabulary import tokenize

TEMPLATES = (
    "a {subject} {relation} a {other}",
    "there is a {subject} {relation} a {other}",
    "the {subject} is {relation} the {other}",
    "{subject} {relation} {other}",
    "{relation} a {other} there is a {subject}",
)

# Two synonyms for each value. Relations by axis: of the first object to the second, and of the second to the first.
_SIZES = (("small", "little"), ("large", "big"))
_RELATIONS = (
    (("above", "over"), ("below", "under")),
    (("left of", "to the left of"), ("right of", "to the right of")),
)
_FILLERS = {"a", "an", "the", "there", "is", "to", "of"}

_VALUES: dict[str, tuple[str, int]] = {
    **{word: ("shape", number) for number, word in enumerate(SHAPES)},
    **{word: ("colour", number) for number, word in enumerate(COLOURS)},
    **{word: ("size", number) for number, words in enumerate(_SIZES) for word in words},
}
# The axis, and whether the subject is the second object, by the word that identifies a relation.
_DIRECTIONS: dict[str, tuple[int, int]] = {
    (set(phrase.split()) - _FILLERS).pop(): (axis, second)
    for axis, pair in enumerate(_RELATIONS)
    for second, phrases in enumerate(pair)
    for phrase in phrases
}
WORDS = tuple(sorted(_FILLERS | _VALUES.keys() | _DIRECTIONS.keys()))
"""All words of the grammar."""


def describe(attributes: np.ndarray, random: np.random.RandomState) -> list[list[str]]:
    """Captions of scenes, one from each template.

    The subject, and the synonyms for sizes and relation, are chosen at random.

    Args:
      attributes: integers `[N, 7]`, columns as in `scenes.ATTRIBUTES`.
      random: the random generator.

    Returns:
      N lists of 5 captions, each of at most 14 words.

    >>> describe(np.array([[0, 0, 0, 0, 1, 2, 1]]), np.random.RandomState(1))[0][0]
    'a big blue square below a small red circle'
    """
    choices = random.randint(2, size=(len(attributes), len(TEMPLATES), 4))
    return [
        [_caption(template, row, *drawn) for template, drawn in zip(TEMPLATES, all_drawn, strict=True)]
        for row, all_drawn in zip(attributes.tolist(), choices.tolist(), strict=True)
    ]


def _caption(template: str, row: list[int], second: int, own_size: int, other_size: int, relation: int) -> str:
    def named(number: int, word: int) -> str:
        shape, colour, size = row[1 + 3 * number : 4 + 3 * number]
        return f"{_SIZES[size][word]} {COLOURS[colour]} {SHAPES[shape]}"

    return template.format(
        subject=named(second, own_size),
        relation=_RELATIONS[row[0]][second][relation],
        other=named(1 - second, other_size),
    )


def parse(caption: str) -> np.ndarray:
    """The attributes that a caption describes.

    It names two objects, each by size, colour and shape, with the shape last, and one relation, between the objects or
    before them. Case, punctuation and filler words do not matter.

    Args:
      caption: a text with words from `WORDS`.

    Returns:
      int32 `[7]`, columns as in `scenes.ATTRIBUTES`.

    Raises:
      ValueError: an unknown word, or a sentence that is not of this form; the message names it.

    >>> parse("A big, blue square below the small red circle.").tolist()
    [0, 0, 0, 0, 1, 2, 1]
    """
    words = tokenize(caption)
    if unknown := [word for word in words if word not in WORDS]:
        raise ValueError(f"{caption!r} has unknown words: {', '.join(unknown)}; known are {', '.join(WORDS)}")
    directions = [word for word in words if word in _DIRECTIONS]
    if len(directions) != 1:
        found = ", ".join(directions) or "none"
        raise ValueError(f"{caption!r} needs one relation ({', '.join(_DIRECTIONS)}), but has {found}")
    objects: list[dict[str, int]] = [{}]
    relation_at = 2  # number of objects before the relation
    for word in words:
        if word in _DIRECTIONS and not objects[-1]:
            relation_at = len(objects) - 1
        elif word in _VALUES:
            kind, number = _VALUES[word]
            if kind in objects[-1]:
                raise ValueError(f"{caption!r} names two {kind}s of one object, the second is {word!r}")
            objects[-1][kind] = number
            if kind == "shape":
                objects.append({})
    if len(objects) != 3 or objects.pop() or relation_at == 2:
        raise ValueError(f"{caption!r} is not of the form 'a small red circle above a large blue square'")
    for number, one in enumerate(objects, start=1):
        if missing := [kind for kind in ("size", "colour") if kind not in one]:
            raise ValueError(f"{caption!r} names no {' and no '.join(missing)} of object {number}")
    axis, second = _DIRECTIONS[directions[0]]
    # The first object named is the subject, unless the relation comes first: "above a blue square is a red circle".
    if second == (relation_at == 1):
        objects.reverse()
    return np.array([axis, *(one[kind] for one in objects for kind in ("shape", "colour", "size"))], np.int32)
