"""A monitor: the same questions asked of a network again and again while it trains, which changes nothing of it."""

from __future__ import annotations

import os
import shlex
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor, nn

from visionscope.config import diagnostic_of
from visionscope.core.failures import one_line
from visionscope.core.files import given_path
from visionscope.core.inputs import place_of
from visionscope.core.registry import check_known, diagnostic_class
from visionscope.core.rules import values_of
from visionscope.core.sample import InputConfig
from visionscope.core.terminal import tell
from visionscope.core.values import Rule, Value, is_whole, shown
from visionscope.errors import ConfigError, NotApplicableError
from visionscope.monitoring.hugging_face import TrainerCallback
from visionscope.monitoring.last_step import LastStep
from visionscope.monitoring.lightning import callback_of
from visionscope.monitoring.pace import Pace
from visionscope.monitoring.untouched import untouched, unwrapped
from visionscope.result import Images, Labels
from visionscope.running.brought import gathered, is_gathered
from visionscope.running.in_memory import Measured, measured_together
from visionscope.running.moments import TABLE, MonitorRow, Rows, numbers_of
from visionscope.running.study import DEFAULT_DIAGNOSTICS, ONLY, Study
from visionscope.running.wanted import WantedInput

_AT_MOST = Value(float | None, Rule(above=0))
_STEP = Value(int, Rule(least=0))


class Monitor:
    """Asks diagnostics of a network while it trains, on the same images each time.

    A training ends with the same bits with a monitor and without one: it runs in evaluation mode and a random state of
    its own, and leaves modes, gradients, weights, optimizer and the generators of Python, numpy and torch as they were.
    The network is measured as it was written, in the type of its weights, whatever `torch.compile`, autocast, data
    parallelism or Fabric make of it. Of several processes the first one measures; the others go on to their next
    exchange.

    Each measurement is a file in `OUT/monitor.parquet`, which pandas and pyarrow read as one table of
    `visionscope.running.moments.MonitorRow`: step, epoch, diagnostic, point, column, value and its interval. A
    diagnostic that fails leaves a row that says why, and a line on stderr the first time.

    Diagnostics of feature maps share one pass over the images. `sharpness` measures critical sharpness along the
    optimizer's last update, told by the weights before and after it: two copies of the trained parameters are kept, and
    `step` has to be called after each step.

    Args:
        images: what `measure` takes, looked at anew each time; a DataLoader is read once.
        labels: class indices (n,) of the images, where they don't come with them.
        diagnostics: their names.
        every: `epoch`, or a number of steps.
        at_most: time that measuring may take, as a share of the training's own; where it takes more, there are half as
            many measurements from then on, a line on stderr says so, and which steps have rows depends on the clock.
            None for no limit.
        out: run folder.
        fields: parameters of the diagnostics, by diagnostic: `{"hessian": {"k": 3}}`; by default those of `measure`,
            but for two mini-batches in `hessian`, and one batch and critical sharpness alone in `sharpness`.
        most_images: of a data spec, that feature maps are taken of; other diagnostics have fields for theirs.
        input: as for `measure`, like the four that follow.
        output: name or index of the logits, of a network that returns several outputs.
        output_is: `probabilities` of a network that ends in a softmax or sigmoid.
        weight_decay: factor of the L2 term of the loss, for diagnostics of training images.
        label_smoothing: share of each target spread over all classes, for diagnostics of training images.

    Raises:
        ConfigError: for a value that breaks its rule.
    """

    def __init__(
        self,
        images: Images,
        labels: Labels | None = None,
        *,
        diagnostics: Sequence[str] = DEFAULT_DIAGNOSTICS,
        every: Literal["epoch"] | int = "epoch",
        at_most: float | None = 0.05,
        out: str | os.PathLike[str] = "visionscope-run",
        fields: Mapping[str, Mapping[str, Any]] | None = None,
        most_images: int = 256,
        input: InputConfig | None = None,
        output: str | int | None = None,
        output_is: str | None = None,
        weight_decay: float | None = None,
        label_smoothing: float | None = None,
    ) -> None:
        if every != "epoch" and not (is_whole(every) and every >= 1):
            raise ConfigError(f"every: must be epoch or a number of steps, 1 or more; got {shown(every)}")
        names = ONLY.checked("diagnostics", diagnostics)
        check_known("diagnostics", names)
        for name in fields or {}:
            if name not in names:
                raise ConfigError(f"fields: {shown(name)} is not among the diagnostics, {', '.join(names)}")
        self._input = input
        self._diagnostics = [_asked(name, (fields or {}).get(name)) for name in names]
        self._most_images = values_of(Study)["images"].checked("most_images", most_images)
        self._last_step = LastStep() if any(getattr(one, "reads_update", False) for one in self._diagnostics) else None
        self._pace = Pace(every, _AT_MOST.checked("at_most", at_most))
        self._images: Any = images.detach().clone() if isinstance(images, Tensor) else images
        self._labels: Any = labels
        self._rows = Rows(given_path("out", out))
        self._asked: dict[str, Any] = {"output": output, "output_is": output_is}
        self._objective: dict[str, Any] = {"weight_decay": weight_decay, "label_smoothing": label_smoothing}
        self._step: int | None = None
        self._ended = 0.0
        self._failed: set[tuple[str, str]] = set()

    def begin(self, folder: Path, input: InputConfig, *, weight_decay: float, label_smoothing: float) -> None:
        """Takes from a training what it was not told; `visionscope.train` calls this.

        Args:
            folder: of the training, where the rows go.
            input: how the network wants its images.
            weight_decay: factor of the L2 term of the training's loss.
            label_smoothing: of its targets.
        """
        self._rows = Rows(folder)
        self._input = self._input or input
        own = {"weight_decay": weight_decay, "label_smoothing": label_smoothing}
        self._objective = {name: own[name] if value is None else value for name, value in self._objective.items()}

    def finished(self, folder: Path) -> None:
        """Says that a training which ended before is not measured; `visionscope.train` calls this.

        Args:
            folder: of the training.
        """
        rows = folder / TABLE
        names = ",".join(one.name for one in self._diagnostics)
        command = f"visionscope diagnose {shlex.quote(str(folder))}/*.safetensors --only {names}"
        command += f" --out {shlex.quote(str(folder.parent.parent))}"
        told = f"what was measured then is in {rows}, and " if rows.is_dir() else ""
        kept = f"`{command}` measures the weights that it kept"
        tell(f"monitor: this training had ended before, and nothing is measured now; {told}{kept}")

    def step(self, model: nn.Module, step: int, epoch: float) -> dict[str, float]:
        """Measures the network where that is due; to be called after each step, or after each epoch.

        A call with step 0, before the training, measures the network that it begins with.

        Args:
            model: the network, or what wraps it; or the moving average of its weights.
            step: steps that the optimizer has made.
            epoch: passes over the training images, with fractions.

        Returns:
            The numbers for a tracker, by name; none where nothing was due.

        Raises:
            ConfigError: for a value that breaks its rule, a network that can't be had whole, and images or labels that
                the diagnostics can't use.
            NotApplicableError: when a diagnostic has nothing to ask of this network or these images.
        """
        if torch.distributed.is_available() and torch.distributed.is_initialized() and torch.distributed.get_rank():
            return {}
        step, epoch = _STEP.checked("step", step), float(epoch)
        known = False
        if self._step is None:
            known = self._rows.begin(step) and step > 0  # it goes on from there
        elif step < self._step:
            raise ConfigError(f"step: must not fall; got {step} after {self._step}, make a Monitor for each training")
        self._step = step
        if self._last_step is not None:
            self._last_step.look(unwrapped(model), step)
        if not self._pace.due(step, epoch) or known:
            return {}
        network = unwrapped(model)
        began = _now(network)
        line = self._pace.too_dear(began - self._ended)
        if line:
            tell(line)
            return {}
        with untouched(network):
            values = self._measured(network, step, epoch)
        self._ended = _now(network)
        self._pace.took(self._ended - began)
        return values

    def lightning(self, network: Callable[[Any], nn.Module] = lambda module: module) -> Any:
        """A callback for Lightning's `Trainer(callbacks=[...])`; its loggers get the numbers.

        Args:
            network: takes the LightningModule and gives the network in it, where its `forward` does not give the
                logits of images, or the average of its weights.

        Raises:
            ConfigError: where Lightning is not installed.
        """
        return callback_of(self, network)

    def hugging_face(self, trainer: Any) -> TrainerCallback:
        """A callback for Hugging Face's `trainer.add_callback(...)`; what it reports to gets the numbers.

        Args:
            trainer: the same Trainer.
        """
        return TrainerCallback(self, trainer)

    def _measured(self, network: nn.Module, step: int, epoch: float) -> dict[str, float]:
        if is_gathered(self._images):
            wanted = WantedInput(network, self._input)
            self._images, self._labels = gathered(self._images, self._labels, wanted.known)
        rows: list[MonitorRow] = []
        values: dict[str, float] = {}
        answers = self._answers(network)
        for diagnostic in self._diagnostics:
            with self._spared(diagnostic.name, step, epoch, rows):
                answer = answers[diagnostic.name]
                if isinstance(answer, Exception):
                    raise answer
                own, scalars = numbers_of(diagnostic, answer.table, step, epoch)
                rows += own
                values |= scalars
        with self._spared("", step, epoch, rows):
            self._rows.write(step, rows)
        return values

    def _answers(self, network: nn.Module) -> Mapping[str, Measured | Exception]:
        training = any(getattr(one, "sample", "eval") == "train" for one in self._diagnostics)
        asked = {**self._asked, **(self._objective if training else {})}
        try:
            return measured_together(
                self._diagnostics,
                network,
                self._images,
                self._labels,
                most_images=self._most_images,
                input=self._input,
                update=None if self._last_step is None else self._last_step.update(),
                **asked,
            )
        except (ConfigError, NotApplicableError):
            raise
        except Exception as error:  # of the network as it is now
            return {diagnostic.name: error for diagnostic in self._diagnostics}

    @contextmanager
    def _spared(self, name: str, step: int, epoch: float, rows: list[MonitorRow]) -> Iterator[None]:
        """Keeps from the training what goes wrong, but for what was asked wrongly."""
        try:
            yield
        except (ConfigError, NotApplicableError):
            raise
        except Exception as error:
            message = one_line(error)
            rows.append(MonitorRow(step, epoch, name, "", "", None, None, None, "", message))
            if (name, message) not in self._failed:
                self._failed.add((name, message))
                tell(f"monitor: at step {step} {name or 'the rows'} failed, the training goes on: {message}")


def _asked(name: str, fields: Mapping[str, Any] | None) -> Any:
    """A diagnostic with the fields that were given, and where there are none with those that a monitor can afford."""
    if isinstance(fields, Mapping) or fields is None:
        fields = {**getattr(diagnostic_class(name), "monitored", {}), **(fields or {})}
    return diagnostic_of(name, fields)


def _now(model: nn.Module) -> float:
    """The time, once a GPU has done what it was given before."""
    place = place_of(model)
    if place.type == "cuda":
        torch.cuda.synchronize(place)
    return time.perf_counter()
