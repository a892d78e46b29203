"""Messages to the user that quote text from others: printed safely, on one line of a terminal."""

from __future__ import annotations

import contextlib
import sys
import unicodedata


def is_shown(letter: str) -> bool:
    """Whether a character is visible or a space: not a control character, direction mark, line end or surrogate."""
    return unicodedata.category(letter) == "Zs" or unicodedata.category(letter)[0] not in "CZ"


def printable(text: str, *, most: int = 4000) -> str:
    """A message as one line of a terminal. Quoted text cannot break the line, colour it or reverse its direction.

    Invisible characters are escaped as in Python; a long text loses its middle.

    >>> printable("no \\x1b[31m\\nimage") == r"no \\x1b[31m\\nimage", printable("x" * 99, most=5)
    (True, 'xx…xx')
    """
    if len(text) > most:
        text = f"{text[: most // 2]}…{text[-(most // 2) :]}"
    escaped = lambda letter: letter.encode("unicode_escape").decode()
    return "".join(letter if is_shown(letter) else escaped(letter) for letter in text)


def displayed(text: str, *, most: int = 40) -> str:
    """A text from others, such as a folder's name, for one line of a message or an image.

    Invisible characters (control characters, direction marks, line ends) become spaces; a long text is truncated.

    >>> displayed("two\\nlines"), displayed("x" * 9, most=4)
    ('two lines', 'xxx…')
    """
    shown = "".join(letter if is_shown(letter) else " " for letter in text[: 4 * most])
    shown = " ".join(shown.split())
    return (shown if len(shown) <= most else f"{shown[: most - 1]}…") or "(no name)"


def is_text(value: str) -> bool:
    """Whether a string can be encoded as UTF-8. Invalid bytes of a command line and lone surrogates in JSON cannot."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def note(sentence: str) -> None:
    """Prints a note on standard error unless it is empty; failing to print is ignored."""
    if not sentence:
        return
    with contextlib.suppress(OSError, ValueError):
        print(printable(f"note: {sentence}"), file=sys.stderr)
