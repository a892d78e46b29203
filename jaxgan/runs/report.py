"""`report.html`: a run as one HTML page that needs no network and no other files.

It shows the contents of the run folder: `config.json`, `metrics.jsonl`, `starts.jsonl` and every folder of images
`NAME/STEP.png`, with their labels in `NAME/labels.json`. bokeh draws the curves; its script takes 1.3 MB of the page
(plotly's would take 4.8 MB). Without bokeh the page has no curves.
"""

from __future__ import annotations

import base64
import json
import math
import re
import string
import time
from collections.abc import Iterable, Mapping, Sequence
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

import numpy as np

from jaxgan import files, records
from jaxgan.messages import displayed
from jaxgan.runs.alarm import Alarm
from jaxgan.runs.config import class_names, load_config
from jaxgan.runs.flags import check
from jaxgan.runs.logging import read_metrics

MAX_IMAGES = 40  # images on the page
MAX_IMAGE_BYTES = 24 * 2**20  # total size of their files
MAX_POINTS = 1000  # points of a curve
MAX_CLASSES = 100  # class names on the page

_TITLES = {
    "samples": "Samples",
    "interpolation": "Interpolation",
    "nearest": "Nearest training images",
}
IMAGE_FOLDERS = tuple(_TITLES)  # names of image folders in runs of this library
_COLORS = ("#3d7fc9", "#d9772b", "#3a9a5b", "#c2518f", "#8a6fd1", "#a08a1f", "#2fa3a3", "#cf5a50")  # both modes
_NO_CURVES = "<p class=\"soft\">The curves need bokeh: pip install -e '.[experiments]'</p>"


def write_page(folder: str | Path, *, seconds: float = 0.0) -> bool:
    """Writes `report.html` into a run folder, atomically.

    It shows at most 40 images, evenly spread over the run and including the newest, and fewer if they are large. A
    curve has at most 1,000 points. PNG files are embedded unchanged.

    Args:
      folder: the run folder.
      seconds: a page younger than this is not rewritten, so that the training loop may call often.

    Returns:
      Whether the page was written.

    Raises:
      ValueError: the folder holds no run, or one of its files is damaged.
    """
    folder = Path(folder)
    page = folder / "report.html"
    if page.exists() and 0 <= time.time() - page.stat().st_mtime < seconds:
        return False
    files.write(page, _page(folder), inside=folder)
    return True


def record_start(folder: str | Path, step: int, device: str) -> None:
    """Adds a start of the run, new or resumed, to `starts.jsonl`.

    Args:
      folder: the run folder; it is created if it is missing.
      step: the step from which the run starts.
      device: description of the devices.
    """
    start = {"step": step, "time": datetime.now(UTC).isoformat(timespec="seconds"), "device": device}
    files.append(Path(folder) / "starts.jsonl", json.dumps(start) + "\n", inside=folder)


def save_labels(folder: str | Path, *, rows: Sequence[str] = (), columns: Sequence[str] = ()) -> None:
    """Writes labels for the rows and columns of the images in a folder, such as captions, or input and output.

    Args:
      folder: the folder of the images, such as `RUN/samples`; it is created if it is missing.
      rows: labels from top to bottom, for rows of equal height.
      columns: labels from left to right, for columns of equal width.
    """
    labels = {"rows": list(rows), "columns": list(columns)}
    files.write(Path(folder) / "labels.json", json.dumps(labels, indent=2) + "\n", inside=Path(folder).parent)


def _page(folder: Path) -> str:
    record = load_config(folder)
    entries = read_metrics(folder / "metrics.jsonl") if (folder / "metrics.jsonl").exists() else []
    config = record["config"]
    name, experiment = folder.resolve().name, str(record.get("experiment", "run"))
    step = entries[-1]["step"] if entries else 0
    script, charts = _charts(entries)
    alarms = [f'<p class="alarm">Step {step:,}: {escape(text)}</p>' for step, text in Alarm().replay(entries)]
    last = entries[-1] if entries else {}
    last_step = config.get("num_steps", step)
    last_step = f"{last_step:,}" if isinstance(last_step, int) else str(last_step)
    facts = {"Step": f"{step:,} of {last_step}", "Training time": _duration(_seconds(entries))}
    rates = {"Steps per second": "steps_per_second", "Images per second": "images_per_second"}
    facts |= {title: _number(last[rate]) for title, rate in rates.items() if rate in last}
    template = string.Template(Path(__file__).with_name("page.html").read_text(encoding="utf-8"))
    return template.substitute(
        title=escape(name if name.startswith(experiment) else f"{experiment}: {name}"),
        subtitle=escape(str(folder)),
        alarms="\n".join(alarms),
        facts=_terms(facts),
        galleries="\n".join(_galleries(folder)),
        charts=charts,
        starts=_starts(folder, entries),
        settings=_terms(config | _classes(record)),
        versions=_terms(record.get("versions", {}) | {"git revision": record.get("git_revision")}),
        written=datetime.now(UTC).strftime("%Y-%m-%d %H:%M UTC"),
        script=script,
    )


def _classes(record: Mapping[str, Any]) -> dict[str, str]:
    names = class_names(record) or ()
    shown = [f"{label} {displayed(name)}" for label, name in enumerate(names[:MAX_CLASSES])]
    return {"classes": ", ".join(shown + ["..."] * (len(names) > MAX_CLASSES))} if names else {}


def _galleries(folder: Path) -> Iterable[str]:
    images = {path: _images(path) for path in folder.iterdir() if path.is_dir()}
    images = {path: found for path, found in images.items() if found}
    count, size, chosen = MAX_IMAGES, MAX_IMAGE_BYTES, {}
    # Folders with few images first: what they leave of the limits goes to the others.
    for done, path in enumerate(sorted(images, key=lambda path: len(images[path]))):
        largest = max(image.stat().st_size for image in images[path])
        most = min(count, size // max(1, largest)) // (len(images) - done)
        chosen[path] = _spread(images[path], max(1, most))
        count -= len(chosen[path])
        size -= largest * len(chosen[path])
    for path in sorted(chosen, key=lambda path: (path.name != "samples", path.name)):
        yield _gallery(path, chosen[path])


def _images(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if re.fullmatch(r"\d{8,}\.png", path.name))


def _gallery(folder: Path, paths: Sequence[Path]) -> str:
    title = _TITLES.get(folder.name, folder.name.replace("_", " ").capitalize())
    labels = _labels(folder / "labels.json")
    images = []
    for path in paths:
        at = f"step {int(path.stem):,}"
        source = base64.b64encode(path.read_bytes()).decode()
        hidden = "" if path is paths[-1] else " hidden"
        alt = escape(f"{title} at {at}")
        images.append(f'<img src="data:image/png;base64,{source}" alt="{alt}" data-label="{at}"{hidden}>')
    last = len(paths) - 1
    at = f"step {int(paths[-1].stem):,}"
    slider = (
        f'<label class="slider"><output>{at}</output><input type="range" min="0" max="{last}" value="{last}" '
        f'aria-label="{escape(title)}: step" aria-valuetext="{at}"></label>'
        if last
        else f'<p class="soft">{at}</p>'
    )
    # On a narrow screen the rows are numbered, and this list shows their labels.
    captions = "".join(f"<li>{escape(label)}</li>" for label in labels["rows"])
    captions = f'<ol class="captions">{captions}</ol>' if captions else ""
    return (
        f'<section class="gallery" id="{escape(folder.name)}"><h2>{escape(title)}</h2><div class="drawing">'
        f"{_spans('columns', labels['columns'])}{_spans('rows', labels['rows'])}"
        f'<div class="frames">{"".join(images)}</div></div>{slider}{captions}</section>'
    )


def _labels(path: Path) -> dict[str, list[str]]:
    if not path.exists():
        return {"rows": [], "columns": []}
    try:
        labels = check("labels", records.parse(files.read_text(path)), dict[str, tuple[str, ...]])
        return {name: list(labels[name]) for name in ("rows", "columns")}
    except (ValueError, KeyError):
        raise ValueError(f'{path}: expected {{"rows": [...], "columns": [...]}} with texts') from None


def _spans(name: str, labels: Sequence[str]) -> str:
    if not labels:
        return ""
    shown = (f'<span title="{escape(label)}">{escape(label.replace("_to_", " → "))}</span>' for label in labels)
    return f'<div class="{name}">{"".join(shown)}</div>'


def _charts(entries: Sequence[Mapping[str, Any]]) -> tuple[str, str]:
    """bokeh's scripts, and the HTML of a chart for each group of curves."""
    try:
        from bokeh.embed import components
        from bokeh.models import BasicTicker, DataRange1d, NumeralTickFormatter
        from bokeh.plotting import figure
        from bokeh.resources import Resources
    except ModuleNotFoundError:
        return "", _NO_CURVES
    curves: dict[str, tuple[list[int], list[float]]] = {}
    for entry in entries:
        for name, value in entry.items():
            if name not in ("step", "steps_per_second") and math.isfinite(value):
                steps, values = curves.setdefault(name, ([], []))
                steps.append(entry["step"])
                values.append(value)
    if not curves:
        return "", '<p class="soft">No metrics have been logged yet.</p>'
    groups: dict[str, list[str]] = {}
    for name in curves:
        groups.setdefault(_group(name), []).append(name)

    steps = DataRange1d(start=0)  # shared, so that all charts zoom together
    plots, legends = {}, {}
    for group in sorted(groups, key=_order):
        plot = plots[group] = figure(
            height=230,
            sizing_mode="stretch_width",
            min_border=0,
            x_range=steps,
            y_axis_type="log" if group == _NORMS else "linear",
            tools="xbox_zoom,xpan,reset,hover",
            active_drag=None,  # so that dragging a finger scrolls the page
            toolbar_location="right",
            toolbar_inner=True,
            tooltips="<b>$name</b> @y{0,0.[0000]}, step @x{0,0}",
        )
        largest = max(abs(value) for name in groups[group] for value in curves[name][1])
        heights: Any = plot.y_range
        heights.default_span = largest or 1.0  # of constant curves; bokeh's 2 draws a rate of 0.001 at 0
        plot.toolbar.autohide, plot.toolbar.logo = True, None
        plot.xaxis.formatter = NumeralTickFormatter(format="0,0")
        if group == _THROUGHPUT:
            plot.yaxis.formatter = NumeralTickFormatter(format="0,0.[0]")
        plot.xaxis.ticker = BasicTicker(desired_num_ticks=5)
        plot.xaxis.minor_tick_line_color = plot.yaxis.minor_tick_line_color = None
        legend = ""
        for index, name in enumerate(groups[group]):
            color = _COLORS[index % len(_COLORS)]
            x, y = (np.asarray(_spread(values, MAX_POINTS), float) for values in curves[name])
            plot.line(x, y, color=color, line_width=1.8, name=name)
            if len(x) < 30:
                plot.scatter(x, y, color=color, size=5, name=name)
            legend += f'<span><i style="--color:{color}"></i>{escape(name)} {_number(y[-1])}</span>'
        legends[group] = legend
    script, divs = components(plots)
    cards = [
        f'<section class="chart"><h3>{escape(group)}</h3><div class="legend">{legends[group]}</div>{div}</section>'
        for group, div in divs.items()
    ]
    inline = Resources(mode="inline", components=["bokeh"]).render_js()
    return f"{inline}\n{script}", f'<div class="charts">{"".join(cards)}</div>'


_NORMS = "Penalties and gradient norms"
_GROUPS = ("Losses", "Discriminator's scores", _NORMS, "Learning rates")  # before the other metrics
_THROUGHPUT = "Throughput"


def _group(name: str) -> str:
    """The chart of a metric: that of its kind, or its own, shared by names that differ in a final number."""
    if "loss" in name:
        return "Losses"
    if "real_score" in name or "fake_score" in name:
        return "Discriminator's scores"
    if "grad_norm" in name or name.endswith("penalty"):
        return _NORMS
    if "learning_rate" in name:
        return "Learning rates"
    if name == "images_per_second":
        return _THROUGHPUT
    return re.sub(r"_\d+$", "", name)


def _order(group: str) -> tuple[int, str]:
    return (_GROUPS.index(group), "") if group in _GROUPS else (len(_GROUPS) + (group == _THROUGHPUT), group)


def _starts(folder: Path, entries: Sequence[Mapping[str, Any]]) -> str:
    path = folder / "starts.jsonl"
    if not path.exists():
        return '<p class="soft">Not recorded.</p>'
    if not (starts := read_metrics(path, values=float | str)):
        return '<p class="soft">Not recorded.</p>'
    ends = [start["step"] for start in starts[1:]] + [math.inf]
    rows = []
    for start, end in zip(starts, ends, strict=True):
        # Steps that were lost and repeated count once: their first lines are gone.
        trained = _seconds([entry for entry in entries if start["step"] < entry["step"] <= end], start["step"])
        when = str(start.get("time", "")).replace("T", " ").replace("+00:00", " UTC")
        cells = (when, f"{start['step']:,}", _duration(trained), str(start.get("device", "")))
        rows.append("<tr>" + "".join(f"<td>{escape(cell)}</td>" for cell in cells) + "</tr>")
    head = "<tr><th>Started</th><th>From step</th><th>Training time</th><th>Devices</th></tr>"
    return f'<div class="table"><table>{head}{"".join(rows)}</table></div>'


def _seconds(entries: Sequence[Mapping[str, Any]], step: int = 0) -> float:
    """Training time in seconds, from `steps_per_second` of each line."""
    seconds = 0.0
    for entry in entries:
        if (speed := entry.get("steps_per_second", 0.0)) > 0:
            seconds += (entry["step"] - step) / speed
        step = entry["step"]
    return seconds


def _number(value: float) -> str:
    return f"{value:,.0f}" if 1e4 <= abs(value) < 1e9 else f"{value:.4g}"


def _duration(seconds: float) -> str:
    minutes, hours = seconds / 60, seconds / 3600
    return f"{seconds:.0f} s" if minutes < 2 else f"{minutes:.0f} min" if hours < 2 else f"{hours:.1f} h"


def _terms(values: Mapping[str, Any]) -> str:
    shown = {name: "none" if value is None else str(value) for name, value in values.items()}
    return "".join(f"<div><dt>{escape(name)}</dt><dd>{escape(value)}</dd></div>" for name, value in shown.items())


def _spread(items: Sequence[Any], most: int) -> list[Any]:
    """At most `most` of the items, evenly spread, including the last."""
    if len(items) <= most:
        return list(items)
    return [items[index] for index in np.linspace(len(items) - 1, 0, most).round().astype(int)[::-1]]
