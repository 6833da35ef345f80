"""A monitor in a training of Lightning: its hooks, and its loggers."""

from __future__ import annotations

import importlib
import math
import sys
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from torch import nn

from visionscope.errors import ConfigError

if TYPE_CHECKING:
    from visionscope.monitoring.monitor import Monitor

_PACKAGES = ("lightning.pytorch", "pytorch_lightning")


def callback_of(monitor: Monitor, network: Callable[[Any], nn.Module]) -> Any:
    """A `Callback` that calls a monitor before the training, after each batch and after each epoch.

    Args:
        monitor: its numbers go to the trainer's loggers.
        network: takes the LightningModule and gives what is measured.

    Raises:
        ConfigError: where Lightning is not installed.
    """

    def watch(trainer: Any, module: Any, epoch: float) -> None:
        values = monitor.step(network(module), trainer.global_step, epoch)
        for logger in trainer.loggers if values else ():
            logger.log_metrics(values, step=trainer.global_step)

    def on_train_start(self: Any, trainer: Any, module: Any) -> None:
        watch(trainer, module, trainer.current_epoch)

    def on_train_batch_end(self: Any, trainer: Any, module: Any, outputs: Any, batch: Any, number: int) -> None:
        # The batches of an iterable data set are not counted before: its epochs are told when they end.
        count = trainer.num_training_batches
        watch(trainer, module, trainer.current_epoch + ((number + 1) / count if math.isfinite(count) else 0))

    def on_train_epoch_end(self: Any, trainer: Any, module: Any) -> None:
        watch(trainer, module, trainer.current_epoch + 1)

    hooks = (on_train_start, on_train_batch_end, on_train_epoch_end)
    return type("MonitorCallback", _bases(), {hook.__name__: hook for hook in hooks})()


def _bases() -> tuple[type, ...]:
    """The class of callbacks of each of Lightning's two packages that is in use, for each trainer asks for its own."""
    found = [sys.modules[name] for name in _PACKAGES if name in sys.modules]
    for name in _PACKAGES if not found else ():
        try:
            found = [importlib.import_module(name)]
            break
        except ModuleNotFoundError:
            continue
    if not found:
        raise ConfigError("lightning: is not installed: pip install lightning")
    return tuple(module.Callback for module in found)
