"""Writes one HTML file that shows several runs side by side: picture, curve, scores, settings that differ, time.

    python -m experiments.gallery --runs runs/gan runs/wgan_gp
    python -m experiments.gallery --runs runs/* --sort classifier_frechet --output compared.html

Runs are sorted by a score of `experiments.evaluate`. Scores that were computed differently (other images, another
feature network, other counts) are not ranked together: each way of scoring is a group of its own. The file needs no
server and no network.
"""

from __future__ import annotations

import base64
import math
import string
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from html import escape
from pathlib import Path
from typing import Any, NamedTuple

from jaxgan import files, records
from jaxgan.data.identity import digest
from jaxgan.messages import displayed
from jaxgan.metrics.protocol import IGNORED, Stamp, read_stamp
from jaxgan.runs import cli
from jaxgan.runs.config import RunConfig, load_config
from jaxgan.runs.flags import Flags, PathName
from jaxgan.runs.logging import read_metrics
from jaxgan.runs.outputs import check_file, mark

COMMAND = "gallery"
MOST_PICTURE = 2**21  # bytes
_COLORS = ("#2f6db5", "#c2518f")


@dataclass(frozen=True, kw_only=True)
class Config(Flags):
    runs: tuple[PathName, ...]  # run folders; other folders among them are left out
    sort: str | None = None  # score to sort by, by default a Frechet distance or FID if there is one
    output: PathName = "gallery.html"  # file to write


class Shown(NamedTuple):
    """What the page shows of a run.

    Attributes:
      folder: the run folder.
      settings: its configuration by field.
      entries: the lines of its metrics.
      scores: its last scores, and how they were computed; None if it has none.
      picture: its newest sample image, the content of a PNG file; None if it has none.
    """

    folder: Path
    settings: Mapping[str, Any]
    entries: Sequence[Mapping[str, Any]]
    scores: tuple[Mapping[str, float], Stamp] | None
    picture: bytes | None


def main(config: Config) -> Path:
    output = Path(config.output)
    check_file(output, COMMAND)
    folders = [Path(folder) for folder in dict.fromkeys(config.runs)]
    runs = [opened(folder) for folder in folders if (folder / "config.json").exists()]
    if left := [str(folder) for folder in folders if not (folder / "config.json").exists()]:
        print(f"            left out, no runs: {', '.join(displayed(name, most=80) for name in left)}")
    if not runs:
        raise ValueError("none of --runs is a run folder: a run folder holds config.json")
    known = [name for run in runs if run.scores for name in run.scores[0] if not name.startswith(("class_", "real_"))]
    if config.sort is not None and config.sort not in known:
        there = f"there are {', '.join(dict.fromkeys(known))}" if known else "run experiments.evaluate first"
        raise ValueError(f"no run has a score {config.sort!r}: {there}")
    usual = [name for name in known if name.endswith(("frechet", "fid"))] or known
    score = config.sort or (max(dict.fromkeys(usual), key=usual.count) if usual else None)
    files.write(output, page(runs, score))
    print(f"{len(runs)} run{'s' * (len(runs) > 1)}, sorted by {score or 'name'}: {output}")
    return output


def opened(folder: Path) -> Shown:
    """Reads a run folder.

    Raises:
      ValueError: one of its files is damaged.
    """
    metrics, scored = folder / "metrics.jsonl", folder / "scores.jsonl"
    scores = None
    if scored.exists() and (lines := files.read_text(scored).splitlines()):
        try:
            last = records.parse(lines[-1])
            values = {str(name): float(value) for name, value in last["scores"].items()}
            scores = values, read_stamp(last["stamp"])
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise ValueError(f"{scored}, line {len(lines)}: not a line of scores ({error})") from None
    pictures = sorted(path for path in folder.glob("samples/*.png") if path.stem.isdecimal())
    content = files.read(pictures[-1], most=MOST_PICTURE) if pictures else b""
    return Shown(
        folder=folder,
        settings=load_config(folder)["config"],
        entries=read_metrics(metrics) if metrics.exists() else [],
        scores=scores,
        picture=content if content.startswith(b"\x89PNG\r\n\x1a\n") else None,
    )


def groups(runs: Sequence[Shown], score: str | None) -> list[tuple[str, list[Shown]]]:
    """The runs by the way they were scored, each group from best to worst; those without the score at the end."""
    found: dict[str, list[Shown]] = {}
    for run in runs:
        if score is None or run.scores is None or score not in run.scores[0]:
            continue
        stamp = {name: value for name, value in asdict(run.scores[1]).items() if name not in IGNORED}
        found.setdefault(_described(stamp), []).append(run)
    best_first = 1 if RunConfig(best=score).best_mode == "min" else -1

    def rank(run: Shown) -> float:
        value = run.scores[0][score] if run.scores and score else math.nan
        return best_first * value if math.isfinite(value) else math.inf

    ranked = [(title, sorted(members, key=rank)) for title, members in found.items()]
    placed = {id(run) for _, members in ranked for run in members}
    others = [run for run in runs if id(run) not in placed]
    return ranked + ([("Not scored", sorted(others, key=lambda run: str(run.folder)))] if others else [])


def page(runs: Sequence[Shown], score: str | None) -> str:
    """The HTML of all runs."""
    names = dict.fromkeys(name for run in runs for name in run.settings)
    differing = [name for name in names if len({repr(run.settings.get(name)) for run in runs}) > 1]
    differing = [name for name in differing if name not in ("workdir", "preset")]
    sections = []
    for title, members in groups(runs, score):
        cards = "".join(_card(run, score, differing) for run in members)
        sections.append(f'<section><h2>{escape(title)}</h2><div class="cards">{cards}</div></section>')
    template = string.Template(Path(__file__).with_name("gallery.html").read_text(encoding="utf-8"))
    title = f"{len(runs)} runs" + (f" by {score}" if score else "")
    return template.substitute(title=escape(title), mark=mark(COMMAND), sections="\n".join(sections))


def _described(stamp: Mapping[str, Any]) -> str:
    fields = ("dataset", "split", "features", "fake_count", "real_count", "image_size")
    main = ", ".join(f"{name.replace('_', ' ')} {stamp[name]}" for name in fields)
    rest = {name: value for name, value in stamp.items() if name not in fields}
    return f"{main}; protocol {digest([repr(rest)])[:6]}"


def _card(run: Shown, score: str | None, differing: Sequence[str]) -> str:
    parts = [f"<h3>{escape(displayed(run.folder.name, most=100))}</h3>"]
    if run.picture is not None:
        source = base64.b64encode(run.picture).decode()
        parts.append(f'<img src="data:image/png;base64,{source}" alt="samples">')
    parts.append(_curves(run.entries, ("d_loss", "g_loss")))
    scores = run.scores[0] if run.scores else {}
    first = {score: scores[score]} if score is not None and score in scores else {}
    rows = {name: f"{value:.4g}" for name, value in {**first, **scores}.items() if not name.startswith("class_")}
    last = run.entries[-1] if run.entries else {}
    rows |= {"steps": f"{last.get('step', 0):,}", "minutes": f"{_seconds(run.entries) / 60:.1f}"}
    rows |= {name: displayed(str(run.settings.get(name, "absent")), most=100) for name in differing}
    cells = "".join(f"<tr><td>{escape(name)}</td><td>{escape(value)}</td></tr>" for name, value in rows.items())
    return f"<article>{''.join(parts)}<table>{cells}</table></article>"


def _curves(entries: Sequence[Mapping[str, Any]], names: Sequence[str]) -> str:
    """An SVG of metrics over the steps, all on one scale."""
    points = {
        name: [(entry["step"], entry[name]) for entry in entries if math.isfinite(entry.get(name, math.nan))]
        for name in names
    }
    values = [value for curve in points.values() for _, value in curve]
    if not values:
        return ""
    low, high, last = min(values), max(values), max(entry["step"] for entry in entries)
    place = lambda step, value: f"{step / max(1, last) * 300:.1f},{60 - (value - low) / ((high - low) or 1) * 56:.1f}"
    lines = "".join(
        f'<polyline points="{" ".join(place(*point) for point in curve[:: max(1, len(curve) // 300)])}" '
        f'fill="none" stroke="{color}"/>'
        for curve, color in zip(points.values(), _COLORS, strict=True)
    )
    legend = " ".join(f'<span style="color: {color}">{name}</span>' for name, color in zip(names, _COLORS, strict=True))
    return f'<svg viewBox="0 0 300 64" role="img" aria-label="losses">{lines}</svg><p>{legend}</p>'


def _seconds(entries: Sequence[Mapping[str, Any]]) -> float:
    seconds, step = 0.0, 0
    for entry in entries:
        if (speed := entry.get("steps_per_second", 0.0)) > 0:
            seconds += (entry["step"] - step) / speed
        step = entry["step"]
    return seconds


if __name__ == "__main__":
    cli.run(Config, main)
