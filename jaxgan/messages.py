"""Text from others in messages to the user: as one line of a terminal, whatever it holds."""

from __future__ import annotations

import contextlib
import sys
import unicodedata


def is_shown(letter: str) -> bool:
    """Whether a character has a shape or is a space: no control character, mark of direction, line end or half one."""
    return unicodedata.category(letter) == "Zs" or unicodedata.category(letter)[0] not in "CZ"


def printable(text: str, *, most: int = 4000) -> str:
    """A message as one line of a terminal, which nothing that it quotes can break, colour or turn around.

    What has no shape of its own is written as Python escapes it; of a long text the middle is left out.

    >>> printable("no \\x1b[31m\\nimage") == r"no \\x1b[31m\\nimage", printable("x" * 99, most=5)
    (True, 'xx…xx')
    """
    if len(text) > most:
        text = f"{text[: most // 2]}…{text[-(most // 2) :]}"
    escaped = lambda letter: letter.encode("unicode_escape").decode()
    return "".join(letter if is_shown(letter) else escaped(letter) for letter in text)


def displayed(text: str, *, most: int = 40) -> str:
    """A text from others, such as a folder's name, for one line of a message or a picture.

    What has no shape of its own (control characters, marks of direction, line ends) becomes a space, and what is too
    long is cut.

    >>> displayed("two\\nlines"), displayed("x" * 9, most=4)
    ('two lines', 'xxx…')
    """
    shown = "".join(letter if is_shown(letter) else " " for letter in text[: 4 * most])
    shown = " ".join(shown.split())
    return (shown if len(shown) <= most else f"{shown[: most - 1]}…") or "(no name)"


def is_text(value: str) -> bool:
    """Not so where a command line held bytes that are no UTF-8, or a JSON file half of a character."""
    try:
        value.encode()
    except UnicodeEncodeError:
        return False
    return True


def note(sentence: str) -> None:
    """Tells the user something on the standard error, if it is not empty; nothing depends on its being read."""
    if not sentence:
        return
    with contextlib.suppress(OSError, ValueError):
        print(printable(f"note: {sentence}"), file=sys.stderr)
