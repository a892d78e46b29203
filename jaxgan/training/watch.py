"""Monitors a run during training: alarms for a collapse, the diversity of samples, and report.html."""

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
      folder: the run folder.
      start: the step from which the run starts or resumes.
      mesh: the devices.
      preview_batch: the batch whose inputs the sample images are made from.

    Attributes:
      alarms_at_start: alarms raised by the metrics of step `start` before the run was stopped.
    """

    def __init__(self, folder: Path, start: int, mesh: Mesh, preview_batch: Batch) -> None:
        self._folder, self._writes = folder, jax.process_index() == 0
        self._alarm, self.alarms_at_start = Alarm(), []
        if self._writes:
            report.record_start(folder, start, f"{mesh.size} x {mesh.devices.flat[0].device_kind}")
            logged = map(_means, logging.read_metrics(folder / "metrics.jsonl"))
            self.alarms_at_start = [sentence for step, sentence in self._alarm.replay(logged) if step == start]
        images = preview_batch.get("image")
        self._real_diversity = 0.0 if images is None else pairwise_diversity(np.asarray(images))

    def diversity(self, outputs: Mapping[str, Array]) -> dict[str, float]:
        """`preview_diversity`: the mean distance between samples over that between real images."""
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
        """Writes `report.html`, at most once a minute unless `at_once`; after a failure never again."""
        if self._writes:
            try:
                report.write_page(self._folder, seconds=0 if at_once else 60)
            except Exception as error:  # from the disk or bokeh; training does not depend on them
                log.note(f"report.html is not written: {error}")
                self._writes = False


def _means(metrics: Mapping[str, Any]) -> dict[str, Any]:
    """The metrics without standard deviations over seeds, which may vanish or grow without harm."""
    return {name: value for name, value in metrics.items() if not name.endswith("_std")}
