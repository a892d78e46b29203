import dataclasses
from pathlib import Path
from typing import Annotated, Any, Literal

import pytest
import test_cli

from jaxgan.runs import flags
from jaxgan.runs.flags import Channels, Flags, PathName, Range, check, kinds, ranges

NOT_UTF_8 = b"caf\xe9".decode(errors="surrogateescape")  # as a command line gives it


@dataclasses.dataclass(frozen=True, kw_only=True)
class Config(Flags):
    width: Channels = 32
    rate: flags.LearningRate = 0.1
    decay: flags.Decay | None = None
    size: flags.Pixels | Literal["native"] | None = None
    widths: tuple[Channels, ...] = (1, 2)
    loss: Literal["hinge", "minimax"] = "hinge"
    flip: bool = False
    name: str = "a"
    folder: PathName | None = None
    other: Any = None


@pytest.mark.parametrize(
    ("field", "value"),
    [
        ("width", 0),
        ("width", 4097),
        ("width", 10**10),
        ("width", True),
        ("width", 8.0),
        ("width", "8"),
        ("width", None),
        ("width", [8]),
        ("rate", float("nan")),
        ("rate", float("inf")),
        ("rate", -1e-9),
        ("rate", 10**400),
        ("rate", False),
        ("decay", 1.0),
        ("decay", float("nan")),
        ("decay", -1),
        ("size", "native "),
        ("size", 0),
        ("widths", (8, 0)),
        ("widths", 8),
        ("widths", "88"),
        ("loss", "wgan"),
        ("loss", 1),
        ("flip", 1),
        ("flip", "no"),
        ("name", 3),
        ("name", "\ud800"),
        ("folder", ""),
        ("folder", "a\0b"),
        ("folder", NOT_UTF_8),
        ("folder", "~no_such_user/x"),
        ("folder", 3),
    ],
)
def test_a_value_of_another_kind_is_one_sentence_that_names_the_field(field, value):
    with pytest.raises(ValueError, match=rf"^{field}=") as refused:
        Config(**{field: value})
    said = str(refused.value)
    assert len(said) < 250 and "\n" not in said and ": " in said
    said.encode()


@pytest.mark.parametrize(
    ("field", "value", "kept"),
    [
        ("width", 4096, 4096),
        ("rate", 1, 1.0),
        ("decay", 0, 0.0),
        ("size", "native", "native"),
        ("size", 64, 64),
        ("widths", [8, 16], (8, 16)),
        ("folder", "a [v2]\\ b/\u00e9", "a [v2]\\ b/\u00e9"),
        ("folder", Path("x"), "x"),
        ("other", object, object),
    ],
)
def test_what_is_taken(field, value, kept):
    taken = getattr(Config(**{field: value}), field)
    assert (taken, type(taken)) == (kept, type(kept))


def test_what_was_expected_is_said():
    for value, expected in (
        (0, "width=0: expected an integer from 1 to 4096"),
        ("x", "width='x': expected an integer"),
    ):
        with pytest.raises(ValueError, match=expected):
            Config(width=value)
    with pytest.raises(ValueError, match=r"width=\(int\): expected"):
        Config(width=10**5000)  # which Python does not print
    with pytest.raises(ValueError, match="size='x': expected an integer from 1 to 4096, 'native' or nothing"):
        Config(size="x")
    with pytest.raises(ValueError, match=r"config=None: expected an object$"):
        check("config", None, dict[str, Any])
    with pytest.raises(ValueError, match="the whole=3: expected an object, each value a number from 0 to 1"):
        check("the whole", 3, dict[str, Annotated[float, Range(0.0, 1.0)]])


def test_a_home_folder(monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    assert Config(folder="~/x y").folder == f"{tmp_path}/x y"
    assert Config(folder="x/~").folder == "x/~"
    monkeypatch.setenv("HOME", "~")  # as where there is none
    with pytest.raises(ValueError, match=r"folder='~/x': there is no home folder for ~"):
        Config(folder="~/x")


@pytest.mark.parametrize("name", test_cli.MODULES)
def test_every_number_has_a_range_and_every_path_is_one(name):
    """A flag that came without would end in a traceback of a library."""
    for field, kind in kinds(test_cli.MODULES[name].Config).items():
        words = flags.described(kind)
        assert ("number" in words or "integer" in words) == bool(ranges(kind)), field
        place = field in ("run", "input", "output", "workdir", "init_from", "data_dir", "pictures", "reference")
        assert not (place or field in ("prompts", "against", "inception_weights")) or "path" in words, field
