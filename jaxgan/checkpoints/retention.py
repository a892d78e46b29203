"""Which checkpoints of a run stay on the disk: the newest ones, and the one with the best metric."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Literal

UNSCHEDULED = "unfinished/unscheduled"
"""In a step's metrics: it was saved at a stop, between those that are due, and is kept only while it is the newest."""


class Retention:
    """A preservation policy of Orbax, whose own `max_to_keep` with `best_fn` would keep the best and not the newest.

    Args:
      folder: of the checkpoints. Steps that are links are kept, since what they lead to is not this run's to delete.
      keep: how many of the newest, at least 1.
      best: the metric whose best step is kept as well, None for none.
      best_mode: whether the smallest or the largest value is best. NaN, infinite or missing never is; of equal values
        the latest is.

    Attributes:
      metrics: those of each step that there is.
    """

    def __init__(self, folder: Path, *, keep: int, best: str | None, best_mode: Literal["min", "max"]) -> None:
        if keep < 1:
            raise ValueError(f"keep={keep}: at least the newest checkpoint is kept, so keep must be 1 or more")
        if best_mode not in ("min", "max"):
            raise ValueError(f"best_mode={best_mode!r}: expected 'min' or 'max'")
        self.best = best
        self.metrics: dict[int, Mapping[str, float]] = {}
        self._folder, self._keep, self._best_mode = folder, keep, best_mode

    def score(self, metrics: Mapping[str, float] | None) -> float:
        """How good a step with these metrics is: larger is better, -infinity if nothing says so."""
        value = (metrics or {}).get(self.best or "", math.nan)
        if not math.isfinite(value):
            return -math.inf
        return value if self._best_mode == "max" else -value

    def best_among(self, steps: Sequence[int]) -> int | None:
        """The best of these steps, None where none has a finite metric."""
        scored = ((self.score(self.metrics.get(step)), step) for step in steps)
        score, step = max(scored, default=(-math.inf, None))
        return step if score > -math.inf else None

    def should_preserve(self, checkpoints: Sequence[Any], *, context: Any) -> list[bool]:
        """Whether each of these checkpoints, which Orbax lists with the newest last, is kept."""
        del context
        steps = [info.step for info in checkpoints]
        counted = [step for step in steps if step == steps[-1] or UNSCHEDULED not in self.metrics.get(step, {})]
        kept = {self.best_among(steps), *counted[-self._keep :]}
        return [step in kept or (self._folder / str(step)).is_symlink() for step in steps]
