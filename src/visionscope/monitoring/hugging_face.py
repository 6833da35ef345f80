"""A monitor in a training of Hugging Face's Trainer, as one of its callbacks; transformers itself is not imported."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from visionscope.monitoring.monitor import Monitor


class TrainerCallback:
    """What `Trainer.add_callback` takes: calls a monitor before the training, after each step and after each epoch.

    Args:
        monitor: its numbers go to the trainer's log, and so to what it reports to.
        trainer: the Trainer; callbacks are not told it, and only it can log.
    """

    def __init__(self, monitor: Monitor, trainer: Any) -> None:
        self._monitor, self._trainer = monitor, trainer

    def __getattr__(self, event: str) -> Callable[..., None]:
        """Nothing to do at the other events, of which each version of transformers has its own."""
        if not event.startswith("on_"):
            raise AttributeError(event)
        return lambda *given, **named: None

    def _watch(self, args: Any, state: Any, control: Any, model: Any = None, **named: Any) -> None:
        values = self._monitor.step(model, state.global_step, state.epoch or 0.0)
        if values:
            due = control.should_log  # logging resets it, and the trainer's own loss may be due at this step
            self._trainer.log(dict(values))
            control.should_log = due

    on_train_begin = on_step_end = on_epoch_end = _watch
