"""Words of a text, and a vocabulary that gives each a token id.

A word is a run of letters, marks and digits of any script; punctuation, symbols and emoji only separate words. Words
are compared without case and however their accents are encoded (Unicode NFC of the case-folded text), but with their
accents: "CAFÉ" and "café" are one word, "cafe" is another. Scripts that write no spaces give one word a run.

Hugging Face's `tokenizers` would do most of this; it counts neither unknown words nor cuts, and brings a client for
their servers along.
"""

from __future__ import annotations

import json
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Sequence
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxgan import files, records

PADDING = 0
UNKNOWN = 1

MOST_BYTES = 16 * 2**20
"""So large a file of words may be."""


def tokenize(text: str) -> list[str]:
    """The words of a text, in order.

    >>> tokenize("Two RED circles, 3 caf\u00e9s!")
    ['two', 'red', 'circles', '3', 'cafés']
    """
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    spaced = "".join(letter if unicodedata.category(letter)[0] in "LMN" else " " for letter in folded)
    # A mark alone is what an emoji leaves behind.
    return [word for word in spaced.split() if any(unicodedata.category(letter)[0] in "LN" for letter in word)]


class Reading(NamedTuple):
    """What is lost when texts become tokens.

    Attributes:
      unknown: words that the vocabulary does not hold, with how often they occur.
      truncated: how many texts are longer than they may be.
    """

    unknown: dict[str, int]
    truncated: int

    @property
    def notice(self) -> str | None:
        """Both in one line for the user, None if nothing is lost.

        >>> Reading({"teal": 2, "ovoid": 1}, 3).notice
        'unknown words: teal (2 times), ovoid; texts cut: 3'
        """
        counted = [word + (f" ({count} times)" if count > 1 else "") for word, count in self.unknown.items()]
        named = ", ".join(counted[:10]) + (f" and {len(counted) - 10} more" if len(counted) > 10 else "")
        parts = [f"unknown words: {named}"] if counted else []
        parts += [f"texts cut: {self.truncated}"] if self.truncated else []
        return "; ".join(parts) or None


class Vocabulary:
    """Numbers for words: 0 is padding, 1 any word it does not hold, its words follow.

    Attributes:
      words: its words; the first has the number 2.
      size: how many numbers there are: the rows of an embedding table.

    >>> vocabulary = Vocabulary.of(["a red circle", "a blue circle"])
    >>> vocabulary.words
    ('a', 'circle', 'blue', 'red')
    >>> vocabulary.encode(["A red, red rose"], max_len=6)
    array([[2, 5, 5, 1, 0, 0]], dtype=int32)
    >>> vocabulary.read(["A red, red rose"], max_len=4).notice
    'unknown words: rose'
    """

    def __init__(self, words: Iterable[str]):
        """Takes words as `tokenize` gives them, each once.

        Raises:
          ValueError: none, one twice, or something that is not one word.
        """
        self.words = tuple(words)
        self._numbers = {word: number for number, word in enumerate(self.words, UNKNOWN + 1)}
        if not self.words or len(self._numbers) != len(self.words):
            raise ValueError(f"a vocabulary needs at least one word, and each once: given {len(self.words)}")
        if strange := [word for word in self.words if not isinstance(word, str) or tokenize(word) != [word]]:
            raise ValueError(f"{strange[0]!r} is not one word in lower case")
        self.size = len(self.words) + UNKNOWN + 1

    @classmethod
    def of(cls, texts: Iterable[str], *, min_count: int = 1) -> Vocabulary:
        """The words that occur at least `min_count` times in these texts, the most frequent first."""
        counts = Counter(word for text in texts for word in tokenize(text))
        return cls(
            sorted((word for word in counts if counts[word] >= min_count), key=lambda word: (-counts[word], word))
        )

    def encode(self, texts: Sequence[str], *, max_len: int) -> np.ndarray:
        """The first `max_len` words of each text as numbers, then padding.

        Args:
          texts: N texts.
          max_len: words that are kept.

        Returns:
          int32 `[N, max_len]`.

        Raises:
          ValueError: a text without a word, or `max_len` below 1.
        """
        if max_len < 1:
            raise ValueError(f"max_len={max_len} must be at least 1")
        tokens = np.full((len(texts), max_len), PADDING, np.int32)
        for row, text in enumerate(texts):
            numbers = [self._numbers.get(word, UNKNOWN) for word in tokenize(text)[:max_len]]
            if not numbers:
                raise ValueError(f"text {row}, {text!r}, has no words: letters or digits")
            tokens[row, : len(numbers)] = numbers
        return tokens

    def read(self, texts: Sequence[str], *, max_len: int) -> Reading:
        """What `encode` loses of these texts; words that are cut off are not counted as unknown."""
        split = [tokenize(text) for text in texts]
        unknown = Counter(word for one in split for word in one[:max_len] if word not in self._numbers)
        return Reading(dict(unknown.most_common()), sum(len(one) > max_len for one in split))

    def decode(self, tokens: ArrayLike) -> list[str]:
        """Texts of tokens `[N, L]`, words it does not hold as "?".

        >>> Vocabulary(["a", "circle"]).decode([[2, 1, 3, 0]])
        ['a ? circle']
        """
        names = ("", "?", *self.words)
        return [" ".join(names[token] for token in row if token != PADDING) for row in self.check(tokens)]

    def check(self, tokens: ArrayLike) -> np.ndarray:
        """The tokens as int32, for arrays that come from elsewhere: an index outside a table goes unnoticed inside jax.

        Raises:
          ValueError: tokens that are not integers in 0..size-1.
        """
        tokens = np.asarray(tokens)
        if not np.issubdtype(tokens.dtype, np.integer):
            raise ValueError(f"tokens are integers, not {tokens.dtype}")
        if (wrong := tokens[(tokens < 0) | (tokens >= self.size)]).size:
            raise ValueError(f"token {wrong[0]} is outside the vocabulary: 0..{self.size - 1}")
        return tokens.astype(np.int32)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the words as JSON, whole or not at all."""
        files.write(path, json.dumps({"words": self.words}, ensure_ascii=False, indent=0) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Vocabulary:
        """Reads what `save` wrote.

        Raises:
          ValueError: no such file, a larger one than any vocabulary, or another content; the message names it.
        """
        try:
            record = records.parse(files.read_text(path, most=MOST_BYTES))
            return cls(record["words"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is not a vocabulary: {error}") from None
