"""How much of a training is done, by its steps and by the clock."""

from __future__ import annotations

import dataclasses
import math
import time
from collections.abc import Sequence

from lightning_fabric import Fabric


@dataclasses.dataclass(frozen=True, kw_only=True)
class Progress:
    """Where a training stands.

    Attributes:
        epoch: passes over the training images so far, with fractions.
        done: share of the training, 0 to 1.
        seconds: since the first step, over all sittings.
        learning_rate: of the last step.
        loss: mean over the last steps, with label smoothing and mixing; in nats.
        images_per_second: of the last steps, over all processes.
    """

    epoch: float
    done: float
    seconds: float
    learning_rate: float
    loss: float
    images_per_second: float

    @property
    def text(self) -> str:
        """Epoch, loss and speed in one line."""
        return f"epoch {self.epoch:.1f}  loss {self.loss:.3f}  {self.images_per_second:.0f} images/s"

    @property
    def seconds_left(self) -> float:
        """What is left, from the whole training's pace, evaluations included."""
        return self.seconds * (1 - self.done) / self.done


class Clock:
    """Counts from where the last sitting ended.

    Args:
        fabric: processes must agree on the time, so all take the first one's.
        steps: of the whole training.
        minutes: ends it before, or None.
        seconds: that earlier sittings took.
        images_per_step: over all processes.
    """

    def __init__(
        self, fabric: Fabric, *, steps: int, minutes: float | None, seconds: float, images_per_step: int
    ) -> None:
        self._fabric = fabric
        self._steps = steps
        self._minutes = minutes
        self._images_per_step = images_per_step
        self._start = time.perf_counter() - seconds
        self._mark = self._saved = time.perf_counter()

    def seconds(self) -> float:
        """Since the first step."""
        return time.perf_counter() - self._start

    def done(self, step: float) -> float:
        """The share of the training that is done, 0 to 1.

        Args:
            step: steps done, halves among them.
        """
        by_steps = min(1.0, step / self._steps)
        if self._minutes is None:
            return by_steps
        seconds = self._fabric.broadcast(self.seconds()) if self._fabric.world_size > 1 else self.seconds()
        return min(1.0, max(by_steps, seconds / (60 * self._minutes)))

    def progress(self, *, epoch: float, done: float, learning_rate: float, losses: Sequence[float]) -> Progress:
        """What is reported of the last steps.

        Args:
            epoch: passes so far.
            done: share of the training.
            learning_rate: of the last step.
            losses: of the steps since the last report.
        """
        passed = time.perf_counter() - self._mark
        return Progress(
            epoch=epoch,
            done=done,
            seconds=self.seconds(),
            learning_rate=learning_rate,
            loss=math.fsum(losses) / len(losses),
            images_per_second=len(losses) * self._images_per_step / passed,
        )

    def go_on(self) -> None:
        """Begins the next steps' time, after evaluation and saving."""
        self._mark = time.perf_counter()

    def due(self, seconds: float) -> bool:
        """Whether so long has passed since this last said so.

        Args:
            seconds: between two of them.
        """
        if time.perf_counter() - self._saved < seconds:
            return False
        self._saved = time.perf_counter()
        return True
