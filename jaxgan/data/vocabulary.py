"""Splitting of texts into words, and a vocabulary of token ids.

A word is a run of letters, marks and digits of any script; punctuation, symbols and emoji separate words. Case and the
encoding of accents do not matter (Unicode NFC of the case-folded text), accents do: "CAFÉ" and "café" are the same
word, "cafe" is another. In scripts without spaces, a whole run is one word.

Hugging Face's `tokenizers` could do most of this, but it reports neither unknown words nor truncated texts, and depends
on a client for their servers.
"""

from __future__ import annotations

import difflib
import json
import os
import unicodedata
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from types import MappingProxyType
from typing import NamedTuple

import numpy as np
from numpy.typing import ArrayLike

from jaxgan import files, records

PADDING = 0
UNKNOWN = 1

NAMED = 10
"""Number of unknown words that a notice names."""

MOST_BYTES = 16 * 2**20
"""Largest size of a vocabulary file, in bytes."""


def tokenize(text: str) -> list[str]:
    """The words of a text, in order.

    >>> tokenize("Two RED circles, 3 caf\u00e9s!")
    ['two', 'red', 'circles', '3', 'cafés']
    """
    folded = unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).casefold())
    spaced = "".join(letter if unicodedata.category(letter)[0] in "LMN" else " " for letter in folded)
    # An emoji may leave a single mark behind, which is not a word.
    return [word for word in spaced.split() if any(unicodedata.category(letter)[0] in "LN" for letter in word)]


class Reading(NamedTuple):
    """What is lost when texts are encoded.

    Attributes:
      unknown: words that are not in the vocabulary, with their counts.
      truncated: number of truncated texts.
      nearest: for up to ten unknown words, the known word of the most similar spelling, where there is one.
    """

    unknown: dict[str, int]
    truncated: int
    nearest: Mapping[str, str] = MappingProxyType({})

    @property
    def notice(self) -> str | None:
        """All of it in one line for the user, None if nothing is lost.

        >>> Reading({"grean": 2, "ovoid": 1}, 3, {"grean": "green"}).notice
        'unknown words: grean (2 times, did you mean green?), ovoid; truncated texts: 3'
        """
        named = [self._named(word) for word in list(self.unknown)[:NAMED]]
        more = f" and {len(self.unknown) - NAMED} more" if len(self.unknown) > NAMED else ""
        parts = [f"unknown words: {', '.join(named)}{more}"] if named else []
        parts += [f"truncated texts: {self.truncated}"] if self.truncated else []
        return "; ".join(parts) or None

    def _named(self, word: str) -> str:
        remarks = [f"{self.unknown[word]} times"] if self.unknown[word] > 1 else []
        remarks += [f"did you mean {self.nearest[word]}?"] if word in self.nearest else []
        return f"{word} ({', '.join(remarks)})" if remarks else word


class Vocabulary:
    """Token ids of words: 0 is padding, 1 is any unknown word, 2 and above are the words of the vocabulary.

    Attributes:
      words: the words; the first has token id 2.
      size: number of token ids: the rows of an embedding table.

    >>> vocabulary = Vocabulary.of(["a red circle", "a blue circle"])
    >>> vocabulary.words
    ('a', 'circle', 'blue', 'red')
    >>> vocabulary.encode(["A red, red rose"], max_len=6)
    array([[2, 5, 5, 1, 0, 0]], dtype=int32)
    >>> vocabulary.read(["A red, red rose"], max_len=4).notice
    'unknown words: rose'
    """

    def __init__(self, words: Iterable[str]):
        """Takes distinct words, split by `tokenize`.

        Raises:
          ValueError: no words, a duplicate, or a string that is not one word.
        """
        self.words = tuple(words)
        self._ids = {word: token_id for token_id, word in enumerate(self.words, UNKNOWN + 1)}
        if not self.words or len(self._ids) != len(self.words):
            raise ValueError(f"a vocabulary needs at least one word and no duplicates: given {len(self.words)}")
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
        """The token ids of the first `max_len` words of each text, then padding.

        Args:
          texts: N texts.
          max_len: largest number of words; longer texts are truncated.

        Returns:
          Token ids, int32 `[N, max_len]`.

        Raises:
          ValueError: a text without a word, or `max_len` below 1.
        """
        if max_len < 1:
            raise ValueError(f"max_len={max_len} must be at least 1")
        tokens = np.full((len(texts), max_len), PADDING, np.int32)
        for row, text in enumerate(texts):
            ids = [self._ids.get(word, UNKNOWN) for word in tokenize(text)[:max_len]]
            if not ids:
                raise ValueError(f"text {row}, {text!r}, has no words: letters or digits")
            tokens[row, : len(ids)] = ids
        return tokens

    def read(self, texts: Sequence[str], *, max_len: int) -> Reading:
        """What `encode` loses of these texts; truncated words are not counted as unknown."""
        split = [tokenize(text) for text in texts]
        counted = Counter(word for one in split for word in one[:max_len] if word not in self._ids)
        unknown = dict(counted.most_common())
        few = unknown if len(unknown) <= NAMED else {}  # a comparison with all words takes time
        similar = {word: difflib.get_close_matches(word, self.words, n=1, cutoff=0.7) for word in few}
        nearest = {word: found[0] for word, found in similar.items() if found}
        return Reading(unknown, sum(len(one) > max_len for one in split), nearest)

    def decode(self, tokens: ArrayLike) -> list[str]:
        """The texts of token ids `[N, L]`, with "?" for unknown words.

        >>> Vocabulary(["a", "circle"]).decode([[2, 1, 3, 0]])
        ['a ? circle']
        """
        names = ("", "?", *self.words)
        return [" ".join(names[token] for token in row if token != PADDING) for row in self.check(tokens)]

    def check(self, tokens: ArrayLike) -> np.ndarray:
        """Checks token ids and returns them as int32. Use it on external arrays: jax does not check indices.

        Raises:
          ValueError: token ids that are not integers in 0..size-1.
        """
        tokens = np.asarray(tokens)
        if not np.issubdtype(tokens.dtype, np.integer):
            raise ValueError(f"token ids are integers, not {tokens.dtype}")
        if (wrong := tokens[(tokens < 0) | (tokens >= self.size)]).size:
            raise ValueError(f"token id {wrong[0]} is outside the vocabulary: 0..{self.size - 1}")
        return tokens.astype(np.int32)

    def save(self, path: str | os.PathLike[str]) -> None:
        """Writes the words as JSON, atomically."""
        files.write(path, json.dumps({"words": self.words}, ensure_ascii=False, indent=0) + "\n")

    @classmethod
    def load(cls, path: str | os.PathLike[str]) -> Vocabulary:
        """Reads what `save` wrote.

        Raises:
          ValueError: the file does not exist, is too large, or is not a vocabulary; the message names it.
        """
        try:
            record = records.parse(files.read_text(path, most=MOST_BYTES))
            return cls(record["words"])
        except (OSError, ValueError, KeyError, TypeError) as error:
            raise ValueError(f"{path} is not a vocabulary: {error}") from None
