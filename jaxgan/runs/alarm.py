"""A collapse alarm: reads metrics as they are logged, and says in a sentence which known failure they look like."""

from __future__ import annotations

import math
import statistics
from collections import deque
from collections.abc import Iterable, Iterator, Mapping
from typing import Any

HISTORY = 100  # lines that a running median looks back on
_DIVERSITIES = ("diversity", "coverage", "recall", "modes")  # last word of the scores that fall in a collapse


class Alarm:
    """Watches the metrics of one run for collapse, and speaks once for each kind of it.

    It knows no loss and no algorithm, only the names that the log uses:

    - `diversity`: a score whose name ends in diversity, coverage, recall or modes fell below `fall` of its best; or
      `preview_diversity`, the samples' mean distance over that of real images, is below `low` after `low_steps`.
    - `saturated`: 0 <= d_loss < saturation * (real_score - fake_score). This ratio is around 1 while the players are
      even and goes to 0 for every loss with an optimum: the logistic, least-squares, hinge and relativistic ones. A
      Wasserstein critic's loss is minus the difference, so for it this never holds.
    - `vanished`: the generator's gradient norm fell below `vanished` of its largest.
    - `exploding`: a penalty or a gradient norm rose above `growth` times the median of its last 100 values.

    Metrics that are missing or not finite are passed over. Its memory is made of what it was shown: a resumed run shows
    it `metrics.jsonl` first (`replay`).

    Args:
      fall: of its best at which a score of diversity has fallen, in (0, 1).
      low: ratio to real images below which samples count as all alike.
      low_steps: the step from which on that counts: an untrained generator's samples are alike too, and a moving
        average remembers them.
      saturation: largest discriminator loss of a saturated one, as a share of the difference of scores.
      vanished: largest gradient norm that has vanished, as a share of the largest seen.
      growth: factor over the running median from which on a norm explodes.
      readings: consecutive scores of diversity that must agree.
      lines: consecutive lines that must agree on the rest, a third of them on an explosion.
      steps: fewest updates that these must span.
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
        self._began: dict[str, list[int]] = {}  # since which step a symptom lasts, and for how many lines
        self._raised: set[str] = set()

    def update(self, step: int, metrics: Mapping[str, Any]) -> list[str]:
        """Takes in one line of metrics.

        Args:
          step: the update it is of; larger than the last.
          metrics: scalars by name.

        Returns:
          A sentence for each kind of trouble that became certain with this line, mostly none.
        """
        numbers = {name: float(value) for name, value in metrics.items() if math.isfinite(float(value))}
        sentences = []
        for kind, sentence in self._symptoms(step, numbers):
            if kind not in self._raised:
                self._raised.add(kind)
                sentences.append(sentence)
        return sentences

    def replay(self, entries: Iterable[Mapping[str, Any]]) -> list[tuple[int, str]]:
        """Takes in the lines of a `metrics.jsonl`, see `report.read_metrics`.

        Args:
          entries: of each line its metrics and its "step".

        Returns:
          `(step, sentence)` for each alarm these lines raised.
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
        usual = statistics.median(history) if len(history) >= self._lines else math.inf
        history.append(value)
        # It ends in a NaN before long, so fewer lines must do.
        count = max(1, self._lines // 3)
        if since := self._lasting(f"exploding {name}", step, value > self._growth * usual > 0, count, 0):
            yield (
                "exploding",
                f"{name} has been over {self._growth:g} times its median of {usual:.2g} since step {since}, now "
                f"{value:.2g}: the run is about to diverge. Go back to an earlier checkpoint, lower the learning rates "
                "and clip gradients, or give the penalty another weight.",
            )

    def _lasting(self, symptom: str, step: int, holds: bool, count: int, steps: int) -> int | None:
        """The step since which a symptom has held, once that is for `count` lines and `steps` updates."""
        if not holds:
            self._began.pop(symptom, None)
            return None
        began = self._began.setdefault(symptom, [step, 0])
        began[1] += 1
        return began[0] if began[1] >= count and step - began[0] >= steps else None
