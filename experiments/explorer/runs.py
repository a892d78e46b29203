"""A run whose checkpoints are opened when they are looked at."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from types import ModuleType
from typing import Any

from jaxgan import files, records
from jaxgan.checkpoints.checkpoint import Checkpoints
from jaxgan.messages import displayed
from jaxgan.runs.alarm import Alarm
from jaxgan.runs.config import load_config
from jaxgan.runs.flags import check
from jaxgan.runs.logging import read_metrics
from jaxgan.runs.open_run import Run, open_run

_MOST_OPEN = 2  # checkpoints in memory


def step_control(gr: Any, runs: Sequence[Explored]) -> dict[str, Any]:
    """A slider over the checkpoints of the first run, if it has several: its value is an index, its label the step."""
    steps = runs[0].steps
    if len(steps) == 1:
        return {}
    label = lambda index: f"Checkpoint at step {steps[int(index)]:,}"
    last = len(steps) - 1
    slider = gr.Slider(0, last, last, step=1, precision=0, label=label(last), elem_classes="step")
    slider.change(
        lambda index: gr.Slider(label=label(index)),
        slider,
        slider,
        queue=False,
        show_progress="hidden",
        api_visibility="private",
    )
    return {"step": slider}


def with_step(runs: Sequence[Explored], values: Mapping[str, Any]) -> dict[str, Any]:
    """Values of controls with the step in place of the index that `step_control` gives."""
    return {**values, "step": runs[0].steps[int(values.get("step", -1))]}


def title_of(runs: Sequence[Explored]) -> str:
    return " and ".join(displayed(run.folder.name, most=80) for run in runs)


class Explored:
    """A run folder.

    Attributes:
      folder: the run folder.
      experiment: name of its experiment.
      record: its `config.json`.
      steps: steps of its checkpoints, in increasing order.
    """

    def __init__(self, folder: str, experiments: Mapping[str, ModuleType]):
        """Opens the newest checkpoint, so that a folder that cannot be opened is refused before a page is served."""
        self.folder = Path(folder)
        self.record = load_config(self.folder)
        self._experiments = experiments
        self._open: dict[int, Run] = {}
        newest = open_run(self.folder, experiments)
        self.experiment: str = self.record["experiment"]
        with Checkpoints(self.folder / "checkpoints") as checkpoints:
            self.steps = [step for step in checkpoints.steps() if step <= newest.step]
        self._open[newest.step] = newest

    def at(self, step: int) -> Run:
        """The run with the state of a step."""
        if step not in self._open:
            found = open_run(self.folder, self._experiments, checkpoint=step)
            while len(self._open) >= _MOST_OPEN:
                del self._open[next(iter(self._open))]
            self._open[step] = found
        return self._open[step]

    def step(self, values: Mapping[str, Any]) -> int:
        """The step that a control stands for; the newest if this run has no such checkpoint."""
        asked = int(values.get("step") or self.steps[-1])
        return asked if asked in self.steps else self.steps[-1]

    @property
    def newest(self) -> Run:
        return self.at(self.steps[-1])

    def facts(self) -> str:
        """HTML of its last scores and its alarms; texts of the folder are text."""
        rows = [f"<p>{escape(displayed(str(self.folder), most=200))}</p>"]
        metrics = self.folder / "metrics.jsonl"
        entries = read_metrics(metrics) if metrics.exists() else []
        rows += [f'<p class="error">Step {step:,}: {escape(text)}</p>' for step, text in Alarm().replay(entries)]
        try:
            lines = files.read_text(self.folder / "scores.jsonl").splitlines()
            scores = check("scores", records.parse(lines[-1])["scores"] if lines else {}, dict[str, float])
        except (OSError, ValueError, KeyError, TypeError):
            scores = {}
        cells = [
            f"<tr><td>{escape(displayed(name))}</td><td>{escape(json.dumps(value))}</td></tr>"
            for name, value in scores.items()
        ]
        return f'<div class="facts">{"".join(rows)}<table>{"".join(cells)}</table></div>'
