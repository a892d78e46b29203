"""Words and their numbers."""

import json

import numpy as np
import pytest

from jaxgan.data.vocabulary import UNKNOWN, Reading, Vocabulary, tokenize
from jaxgan.messages import displayed


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("A small RED circle.", ["a", "small", "red", "circle"]),
        ("left-of; 2 x (blue)", ["left", "of", "2", "x", "blue"]),
        ("line\r\nends\r\n", ["line", "ends"]),
        ("\ufeffmarked", ["marked"]),
        ("Straße STRASSE", ["strasse", "strasse"]),
        ("Жёлтый Шар", ["жёлтый", "шар"]),
        ("हिन्दी", ["हिन्दी"]),  # its vowel signs are marks, which belong to the word
        ("a ❤\ufe0f and a 👍🏽!", ["a", "and", "a"]),
        ("don't snake_case", ["don", "t", "snake", "case"]),
        (" \t\u00a0", []),
    ],
)
def test_words(text, expected):
    assert tokenize(text) == expected


def test_token_ids_are_ordered_by_frequency_then_alphabetically():
    vocabulary = Vocabulary.of(["b a", "b c", "d d d"], min_count=1)
    assert vocabulary.words == ("d", "b", "a", "c")
    assert vocabulary.size == 6
    assert Vocabulary.of(["b a", "b c", "d d d"], min_count=2).words == ("d", "b")


def test_encode_pads_cuts_and_reports():
    vocabulary = Vocabulary(["red", "circle"])
    texts = ["Red circle", "red teal circle circle", "teal"]
    tokens = vocabulary.encode(texts, max_len=3)
    assert tokens.dtype == np.int32
    np.testing.assert_array_equal(tokens, [[2, 3, 0], [2, 1, 3], [1, 0, 0]])
    assert vocabulary.read(texts, max_len=3) == Reading({"teal": 2}, truncated=1)
    assert vocabulary.read(texts[:1], max_len=3).notice is None
    assert vocabulary.decode(tokens) == ["red circle", "red ? circle", "?"]
    assert vocabulary.encode([], max_len=3).shape == (0, 3)


def test_the_nearest_known_word_is_named():
    vocabulary = Vocabulary(["a", "green", "circle", "large"])
    reading = vocabulary.read(["A Grean circles purple", "grean"], max_len=4)
    assert reading.nearest == {"grean": "green", "circles": "circle"}
    assert (
        reading.notice == "unknown words: grean (2 times, did you mean green?), circles (did you mean circle?), purple"
    )
    many = vocabulary.read([f"grean{letter}" for letter in "abcdefghijk"], max_len=4)
    assert len(many.unknown) == 11 and not many.nearest


def test_a_long_notice_is_shortened():
    notice = Reading({f"w{n}": 1 for n in range(12)}, 0).notice
    assert notice is not None and notice.endswith("w9 and 2 more")


def test_a_vocabulary_is_data(tmp_path):
    vocabulary = Vocabulary.of(["a café", "шар"])
    vocabulary.save(tmp_path / "vocabulary.json")
    assert [path.name for path in tmp_path.iterdir()] == ["vocabulary.json"]
    loaded = Vocabulary.load(tmp_path / "vocabulary.json")
    assert loaded.words == vocabulary.words
    assert "café" in (tmp_path / "vocabulary.json").read_text(encoding="utf-8")


@pytest.mark.parametrize(
    "content", ["", "[]", "{}", '{"words": []}', '{"words": ["a", "a"]}', '{"words": ["two words"]}', '{"words": [3]}']
)
def test_what_is_no_vocabulary_is_refused_by_name(content, tmp_path):
    path = tmp_path / "vocabulary.json"
    path.write_text(content)
    with pytest.raises(ValueError, match=r"vocabulary\.json is not a vocabulary"):
        Vocabulary.load(path)
    path.unlink()
    with pytest.raises(ValueError, match=r"vocabulary\.json is not a vocabulary: .*No such file"):
        Vocabulary.load(path)


def test_a_half_written_file_does_not_replace_a_whole_one(tmp_path, monkeypatch):
    path = tmp_path / "vocabulary.json"
    Vocabulary(["old"]).save(path)
    monkeypatch.setattr(json, "dumps", lambda *arguments, **options: 1 / 0)
    with pytest.raises(ZeroDivisionError):
        Vocabulary(["new"]).save(path)
    assert Vocabulary.load(path).words == ("old",)


def test_refusals():
    with pytest.raises(ValueError, match="at least one word"):
        Vocabulary.of(["!"])
    with pytest.raises(ValueError, match="'Red' is not one word in lower case"):
        Vocabulary(["Red"])
    with pytest.raises(ValueError, match="max_len=0"):
        Vocabulary(["red"]).encode(["red"], max_len=0)
    with pytest.raises(ValueError, match="text 1, '!', has no words"):
        Vocabulary(["red"]).encode(["red", "!"], max_len=2)
    with pytest.raises(ValueError, match=r"token id 3 is outside the vocabulary: 0\.\.2"):
        Vocabulary(["red"]).check([[2, 3]])
    with pytest.raises(ValueError, match="token id -1"):
        Vocabulary(["red"]).decode([[2, -1]])
    with pytest.raises(ValueError, match="integers, not float64"):
        Vocabulary(["red"]).check([0.5])


@pytest.mark.parametrize(
    ("name", "shown"),
    [
        ("cat\x1b[31m\x00", "cat [31m"),
        ("a\u202egpj.exe\u2066", "a gpj.exe"),  # marks of direction
        ("two\nlines\u2028more", "two lines more"),
        ("\udcff", "(no name)"),  # a byte of a file's name that is no UTF-8
        ("", "(no name)"),
        ("x" * 10**6, "x" * 39 + "\u2026"),
        ("<b>&", "<b>&"),  # a page escapes it
    ],
)
def test_a_name_from_others_is_one_short_line(name, shown):
    assert displayed(name) == shown


def test_a_vocabulary_is_read_within_bounds(tmp_path, monkeypatch):
    Vocabulary(["a", "bird"]).save(tmp_path / "words.json")
    monkeypatch.setattr("jaxgan.data.vocabulary.MOST_BYTES", 10)
    with pytest.raises(ValueError, match=r"words\.json is not a vocabulary: .* larger than 10 bytes"):
        Vocabulary.load(tmp_path / "words.json")
    (tmp_path / "deep.json").write_text("[" * 10)
    with pytest.raises(ValueError, match=r"deep\.json is not a vocabulary"):
        Vocabulary.load(tmp_path / "deep.json")


@pytest.mark.parametrize("text", ["", "   ", "!!!", "\U0001f600", "\ufeff"])
def test_a_text_without_words_is_refused(text):
    """lichengunc/MAttNet#5: a text of no words was an error in the middle of training."""
    with pytest.raises(ValueError, match=r"text 1, .* has no words"):
        Vocabulary(["red"]).encode(["red", text], max_len=20)


def test_scripts_accents_and_line_ends():
    composed, decomposed = "caf\u00e9", "cafe\u0301"
    vocabulary = Vocabulary.of([composed, "жёлтый круг"])
    ids = vocabulary.encode([composed, decomposed, composed.upper(), "cafe"], max_len=2)
    assert (ids[0] == ids[1]).all() and (ids[0] == ids[2]).all() and ids[3, 0] == UNKNOWN
    assert vocabulary.decode(vocabulary.encode(["Жёлтый круг"], max_len=2)) == ["жёлтый круг"]
    assert tokenize("\ufeffa red\r\ncircle\r\n") == ["a", "red", "circle"]


def test_a_long_text_keeps_its_first_words_and_the_cut_is_reported():
    """taoxugit/AttnGAN, code/datasets.py: long captions lose words at random."""
    words = [f"w{n}" for n in range(199)] + ["yellow"]
    vocabulary = Vocabulary(words)
    texts = [" ".join(words), "w1 yellow"]
    tokens = vocabulary.encode(texts, max_len=20)
    assert tokens.shape == (2, 20)
    np.testing.assert_array_equal(tokens[0], np.arange(20) + 2)
    np.testing.assert_array_equal(tokens, vocabulary.encode(texts, max_len=20))
    assert vocabulary.read(texts, max_len=20).truncated == 1
    assert vocabulary.read(texts, max_len=20).notice == "truncated texts: 1"
