"""Which checkpoints of a run are kept: the newest, and the one with the best metric."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

UNSCHEDULED = "unfinished/unscheduled"
"""Marks, in its metrics, a step saved at a stop between two scheduled ones: it is kept only while it is the newest."""


class Retention:
    """A preservation policy for Orbax. Orbax's own `max_to_keep` with `best_fn` keeps the best steps, not the newest.

    Args:
      folder: the folder of the checkpoints. Steps that are links are kept, because their targets do not belong to this
        run.
      keep: number of newest steps to keep, at least 1.
      best: the metric whose best step is kept as well, None for none.
      best_mode: whether the smallest or the largest value is best. NaN, infinite and missing values are never best; of
        equal values the latest step is.

    Attributes:
      metrics: the metrics of each step.
    """

    def __init__(self, folder: Path, *, keep: int, best: str | None, best_mode: Literal["min", "max"]) -> None:
        if keep < 1:
            raise ValueError(f"keep={keep}: keep must be at least 1, since the newest checkpoint is always kept")
        if best_mode not in ("min", "max"):
            raise ValueError(f"best_mode={best_mode!r}: expected 'min' or 'max'")
        self.best = best
        self.metrics: dict[int, Mapping[str, float]] = {}
        self._folder, self._keep, self._best_mode = folder, keep, best_mode

    def score(self, metrics: Mapping[str, float] | None) -> float:
        """The score of a step with these metrics: larger is better, -infinity without a finite metric."""
        value = (metrics or {}).get(self.best or "", math.nan)
        if not math.isfinite(value):
            return -math.inf
        return value if self._best_mode == "max" else -value

    def best_among(self, steps: Sequence[int]) -> int | None:
        """The best of these steps, None if none has a finite metric."""
        scored = ((self.score(self.metrics.get(step)), step) for step in steps)
        score, step = max(scored, default=(-math.inf, None))
        return step if score > -math.inf else None

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """Whether to keep each of these checkpoints, which Orbax lists from the oldest to the newest."""
        del context
        steps = [info.step for info in checkpoints]
        counted = [step for step in steps if step == steps[-1] or UNSCHEDULED not in self.metrics.get(step, {})]
        kept = {self.best_among(steps), *counted[-self._keep :]}
        return [step in kept or (self._folder / str(step)).is_symlink() for step in steps]
