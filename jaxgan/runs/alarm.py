"""A collapse alarm: reads the logged metrics and reports signs of known failures, each in a sentence."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

HISTORY = 100  # number of lines of a running median
_DIVERSITIES = ("diversity", "coverage", "recall", "modes")  # last words of the names of scores that fall in a collapse


class Alarm:
    """Watches the metrics of one run for signs of a collapse and reports each kind once.

    It depends on no loss or algorithm, only on the names of logged metrics:

    - `diversity`: a score whose name ends in diversity, coverage, recall or modes fell below `fall` of its best; or
      `preview_diversity`, the samples' mean distance over that of real images, is below `low` after `low_steps`.
    - `saturated`: 0 <= d_loss < saturation * (real_score - fake_score). The ratio of both sides is around 1 while the
      networks are balanced. It goes to 0 for every loss that is bounded below: logistic, least squares, hinge and
      relativistic. The loss of a Wasserstein critic is minus the difference, so it never raises this alarm.
    - `vanished`: the generator's gradient norm fell below `vanished` of its largest.
    - `exploding`: a penalty or a gradient norm rose above `growth` times the median of its last 100 values.

    Metrics that are missing or not finite are ignored. A resumed run first replays `metrics.jsonl` (`replay`), so it
    raises the same alarms as an uninterrupted one.

    Args:
      fall: fraction of its best value, in (0, 1), below which a diversity score counts as collapsed.
      low: `preview_diversity` below which samples count as all alike.
      low_steps: first step at which `low` applies: the samples of an untrained generator are alike too, and the EMA
        lags behind.
      saturation: largest ratio of discriminator loss to score difference of a saturated discriminator.
      vanished: largest ratio of a vanished gradient norm to the largest one so far.
      growth: smallest ratio of an exploding norm to its running median.
      readings: number of consecutive diversity scores that must show a symptom.
      lines: number of consecutive lines that must show any other symptom; a third of them for an explosion.
      steps: smallest number of updates that these lines must span.
    """

    def __init__(
        self,
        *,
        fall: float = 0.5,
        low: float = 0.1,
        low_steps: int = 2000,
        saturation: float = 0.002,
        vanished: float = 1e-4,
        growth: float = 100.0,
        readings: int = 3,
        lines: int = 10,
        steps: int = 50,
    ) -> None:
        self._fall, self._low, self._low_steps = fall, low, low_steps
        self._saturation, self._vanished, self._growth = saturation, vanished, growth
        self._readings, self._lines, self._steps = readings, lines, steps
        self._largest: dict[str, float] = {}  # value of a metric so far
        self._history: dict[str, deque[float]] = {}
        self._began: dict[str, list[int]] = {}  # by symptom: its first step, and the number of lines since
        self._raised: set[str] = set()

    def update(self, step: int, metrics: Mapping[str, Any]) -> list[str]:
        """Adds one line of metrics.

        Args:
          step: its step, larger than that of the previous line.
          metrics: scalars by name.

        Returns:
          A sentence for each alarm that this line raises, usually none.
        """
        finite = {name: float(value) for name, value in metrics.items() if math.isfinite(float(value))}
        sentences = []
        for kind, sentence in self._symptoms(step, finite):
            if kind not in self._raised:
                self._raised.add(kind)
                sentences.append(sentence)
        return sentences

    def replay(self, entries: Iterable[Mapping[str, Any]]) -> list[tuple[int, str]]:
        """Adds the lines of a `metrics.jsonl`, see `jaxgan.runs.logging.read_metrics`.

        Args:
          entries: the metrics of each line, with its "step".

        Returns:
          `(step, sentence)` for each alarm that these lines raise.
        """
        return [(entry["step"], sentence) for entry in entries for sentence in self.update(entry["step"], entry)]

    def _symptoms(self, step: int, metrics: Mapping[str, float]) -> Iterator[tuple[str, str]]:
        for name, value in metrics.items():
            if name.rpartition("_")[2] in _DIVERSITIES:
                yield from self._diversity(step, name, value)
            if "real_score" in name:
                yield from self._saturation_of(step, name, metrics)
            if "grad_norm" in name or name.endswith("penalty"):
                if name.startswith("g_"):
                    yield from self._vanishing(step, name, value)
                yield from self._explosion(step, name, value)

    def _diversity(self, step: int, name: str, value: float) -> Iterator[tuple[str, str]]:
        best = self._largest[name] = max(value, self._largest.get(name, value))
        advice = (
            "The generator is collapsing onto few images: go back to an earlier checkpoint and lower the learning "
            "rates, or give the discriminator a penalty (R1) or augmentation."
        )
        if since := self._lasting(f"fall {name}", step, value < self._fall * best, self._readings, 0):
            yield "diversity", f"{name} has fallen from {best:.3g} to {value:.3g} since step {since}. {advice}"
        alike = name == "preview_diversity" and step >= self._low_steps and value < self._low
        if since := self._lasting(f"low {name}", step, alike, self._readings, 0):
            yield (
                "diversity",
                f"Samples have differed at most {self._low:.3g} times as much as real images since step {since}, "
                f"now {value:.2g} times. {advice}",
            )

    def _saturation_of(self, step: int, name: str, metrics: Mapping[str, float]) -> Iterator[tuple[str, str]]:
        other = metrics.get(name.replace("real_score", "fake_score"))
        loss = metrics.get(name.replace("real_score", "d_loss"), metrics.get("d_loss"))
        if other is None or loss is None:
            return
        gap = metrics[name] - other
        saturated = gap > 0 and 0 <= loss < self._saturation * gap
        if since := self._lasting(f"saturated {name}", step, saturated, self._lines, self._steps):
            gradient = (
                f", the generator's gradient norm {metrics['g_grad_norm']:.2g}" if "g_grad_norm" in metrics else ""
            )
            yield (
                "saturated",
                f"The discriminator has told real from fake without error since step {since}: its scores are {gap:.3g} "
                f"apart, its loss {loss:.2g}{gradient}. The generator learns little from it: lower the discriminator's "
                "learning rate, or give it a penalty (R1, gradient penalty), spectral normalization or augmentation.",
            )

    def _vanishing(self, step: int, name: str, value: float) -> Iterator[tuple[str, str]]:
        largest = self._largest[name] = max(value, self._largest.get(name, value))
        if since := self._lasting(f"vanished {name}", step, value < self._vanished * largest, self._lines, self._steps):
            yield (
                "vanished",
                f"{name} has been below {self._vanished:g} of its largest value {largest:.3g} since step {since}, now "
                f"{value:.2g}: the generator hardly moves. Use the non-saturating, hinge or relativistic loss instead "
                "of the minimax one, and lower the learning rates.",
            )

    def _explosion(self, step: int, name: str, value: float) -> Iterator[tuple[str, str]]:
        history = self._history.setdefault(name, deque(maxlen=HISTORY))
        median = statistics.median(history) if len(history) >= self._lines else math.inf
        history.append(value)
        # An explosion soon ends in a NaN, so fewer lines must be enough.
        count = max(1, self._lines // 3)
        if since := self._lasting(f"exploding {name}", step, value > self._growth * median > 0, count, 0):
            yield (
                "exploding",
                f"{name} has been over {self._growth:g} times its median of {median:.2g} since step {since}, now "
                f"{value:.2g}: the run is about to diverge. Go back to an earlier checkpoint, lower the learning rates "
                "and clip gradients, or give the penalty another weight.",
            )

    def _lasting(self, symptom: str, step: int, holds: bool, count: int, steps: int) -> int | None:
        """The first step of a symptom that has lasted for `count` lines and `steps` updates, else None."""
        if not holds:
            self._began.pop(symptom, None)
            return None
        began = self._began.setdefault(symptom, [step, 0])
        began[1] += 1
        return began[0] if began[1] >= count and step - began[0] >= steps else None
