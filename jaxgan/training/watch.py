"""What a run looks like while it goes on: whether it collapses, how diverse its samples are, and report.html."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import jax
import numpy as np
from jax import Array
from jax.sharding import Mesh

from jaxgan.metrics.neighbours import pairwise_diversity
from jaxgan.runs import logging, report
from jaxgan.runs.alarm import Alarm
from jaxgan.types import Batch


class Watch:
    """Alarms, diversity and report.html of one run.

    Args:
      folder: of the run.
      start: the step it goes on from.
      mesh: its devices.
      shown: the batch that the sample images belong to.

    Attributes:
      alarms_at_start: what the metrics of the step `start` gave rise to, before a stop.
    """

    def __init__(self, folder: Path, start: int, mesh: Mesh, shown: Batch) -> None:
        self._folder, self._writes = folder, jax.process_index() == 0
        self._alarm, self.alarms_at_start = Alarm(), []
        if self._writes:
            report.record_start(folder, start, f"{mesh.size} x {mesh.devices.flat[0].device_kind}")
            before = map(_means, logging.read_metrics(folder / "metrics.jsonl"))
            self.alarms_at_start = [sentence for step, sentence in self._alarm.replay(before) if step == start]
        self._real_diversity = pairwise_diversity(np.asarray(shown["image"])) if "image" in shown else 0.0

    def diversity(self, outputs: Mapping[str, Array]) -> dict[str, float]:
        """How much samples differ, over how much as many real ones do."""
        samples = np.asarray(outputs["samples"], np.float32) if "samples" in outputs else None
        if not self._real_diversity or samples is None or len(samples) < 2 or not np.isfinite(samples).all():
            return {}
        return {"preview_diversity": pairwise_diversity(samples) / self._real_diversity}

    def name_columns(self, outputs: Mapping[str, Array]) -> None:
        if self._writes:
            report.save_labels(self._folder / "samples", columns=list(outputs))

    def alarms(self, step: int, metrics: Mapping[str, float]) -> list[str]:
        return self._alarm.update(step, _means(metrics))

    def write_page(self, log: logging.Report, *, at_once: bool) -> None:
        """`report.html`, at most once a minute; a page that cannot be written is left out, which is said once."""
        if self._writes:
            try:
                report.write_page(self._folder, seconds=0 if at_once else 60)
            except Exception as error:  # of a disk, or of a package that a run can do without
                log.note(f"report.html is not written: {error}")
                self._writes = False


def _means(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """Without the standard deviations over seeds, which mean no harm when they vanish or grow."""
    return {name: value for name, value in metrics.items() if not name.endswith("_std")}
