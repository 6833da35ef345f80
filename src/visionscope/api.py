"""What notebooks and the command line call: one diagnostic in memory, or a whole study with its run folder and page."""

from __future__ import annotations

import dataclasses
import os
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from torch import Tensor, nn

from visionscope.config import diagnostic_of, study_from, study_text
from visionscope.core.failures import Failure
from visionscope.core.files import user_path
from visionscope.core.inputs import channels_taken
from visionscope.core.sample import InputConfig, SampleLike
from visionscope.core.subject import Point
from visionscope.core.turns import in_turn
from visionscope.core.values import is_whole
from visionscope.errors import ConfigError
from visionscope.models.load import load_model
from visionscope.running.devices import device_of
from visionscope.running.execute import execute
from visionscope.running.handed import check_model
from visionscope.running.in_memory import measured
from visionscope.running.plan import PlannedSubject, plan
from visionscope.running.store import Store
from visionscope.running.studies import write_study
from visionscope.running.study import Study, checked_size
from visionscope.tracing import trace

Images = Tensor | str | SampleLike
"""Normalised images (n, c, h, w), a data spec such as `embedded`, or a sample."""

_INPUT_SIZE = (224, 224)


@dataclasses.dataclass(frozen=True)
class Result:
    """What one diagnostic measured.

    Attributes:
        diagnostic: the question, with its parameters.
        table: one row per number or curve point; its schema tells units and meanings.
    """

    diagnostic: Any
    table: pa.Table

    def to_pandas(self) -> Any:
        """The table as a pandas data frame."""
        return self.table.to_pandas()

    def summary(self) -> pa.Table:
        """What the rows come to, where the diagnostic says so; else the table itself."""
        return self.diagnostic.summary(self.table) if hasattr(self.diagnostic, "summary") else self.table

    def figure(self) -> Any:
        """The diagnostic's figure as an interactive `plotly.graph_objects.Figure`."""
        from visionscope.report.plotly import to_plotly

        return to_plotly(self.diagnostic.figure(self.table))

    def paper_figure(self) -> Any:
        """The diagnostic's figure as a `matplotlib.figure.Figure` in a paper's style."""
        from visionscope.report.matplotlib import to_matplotlib

        return to_matplotlib(self.diagnostic.figure(self.table))


@dataclasses.dataclass(frozen=True)
class Run:
    """A study that was computed.

    Attributes:
        store: its tables: `run.store.table("fourier")`.
        failures: parts that could not be computed, and sections of the page that could not be made in full.
        page: the report.
    """

    store: Store
    failures: tuple[Failure, ...]
    page: Path


def measure(
    name: str,
    model: nn.Module | str,
    images: Images,
    labels: Tensor | None = None,
    *,
    input: InputConfig | None = None,
    output: str | int | None = None,
    output_is: str | None = None,
    weight_decay: float | None = None,
    label_smoothing: float | None = None,
    augmentation: str | None = None,
    **fields: Any,
) -> Result:
    """Asks one diagnostic of one model: `measure("lesion", "resnet18", "photos/", mode="block")`.

    Args:
        name: as `visionscope diagnose --help` lists it.
        model: a network, or a model spec such as `resnet18`.
        images: normalised images (n, c, h, w), a data spec such as `embedded`, or a sample.
        labels: class indices (n,) of a tensor of images.
        input: size and normalisation of a tensor of images, for what changes pixels.
        output: name or index of the logits, of a network that returns several outputs.
        output_is: `probabilities` of a network that ends in a softmax or sigmoid; `logits` where that is not so.
        weight_decay: factor of the L2 term of the loss, by default 0.05. This and the next two are for diagnostics of
            training images: `hessian`, `density`, `landscape`, `fit`.
        label_smoothing: share of each target spread over all classes, by default 0.
        augmentation: `strong` (the paper's), `weak` or `none`, of a data spec's images; by default `none`.
        **fields: the diagnostic's parameters.

    Raises:
        ConfigError: for a name, a field, a spec or a label that breaks its rule.
        NotApplicableError: when it has nothing to ask of this model or these images.
        TraceError: when the model can't be traced, or differentiated twice where that is needed.
        DataError: when the images can't be read.
        NondeterminismError: when two passes over the same images disagree.
    """
    diagnostic = diagnostic_of(name, fields)
    asked: dict[str, Any] = {"output": output, "output_is": output_is, "augmentation": augmentation}
    asked |= {"weight_decay": weight_decay, "label_smoothing": label_smoothing}
    return Result(diagnostic, measured(diagnostic, model, images, labels, input, **asked))


def fourier(model: nn.Module | str, images: Images, **values: Any) -> Result:
    """Log amplitude of feature maps along the half-diagonal, relative to the lowest frequency: `measure("fourier")`."""
    return measure("fourier", model, images, **values)


def variance(model: nn.Module | str, images: Images, **values: Any) -> Result:
    """Spatial variance of feature maps, averaged over channels and images: `measure("variance")`."""
    return measure("variance", model, images, **values)


def similarity(model: nn.Module | str, images: Images, **values: Any) -> Result:
    """Mini-batch linear CKA between all pairs of points of a model: `measure("similarity")`."""
    return measure("similarity", model, images, **values)


def hessian(model: nn.Module | str, images: Images, labels: Tensor | None = None, **values: Any) -> Result:
    """The Hessian's eigenvalues of largest magnitude, with sign, mini-batch by mini-batch: `measure("hessian")`."""
    return measure("hessian", model, images, labels, **values)


def landscape(model: nn.Module | str, images: Images, labels: Tensor | None = None, **values: Any) -> Result:
    """The loss on lines and planes through the weights: `measure("landscape")`."""
    return measure("landscape", model, images, labels, **values)


@in_turn
def points(model: nn.Module | str, size: int | tuple[int, int] | None = None) -> tuple[Point, ...]:
    """The places in a model at which its feature maps are looked at.

    Args:
        model: a network, or a model spec; a spec's architecture alone is used, no weights are fetched.
        size: height and width of the input in pixels, one number for both; by default the model's own, 224 x 224 for a
            network given as such.

    Raises:
        ConfigError: for a spec that names no model, and a size that breaks its rule.
        TraceError: when the model can't be traced.
    """
    check_model(model)
    size = checked_size((size, size) if is_whole(size) else size)
    if isinstance(model, str):
        loaded = load_model(model, random_weights=0, size=size, normalised=False)
        return tuple(trace(loaded.model, torch.zeros(2, len(loaded.input.mean), *loaded.input.size)).points)
    shape = (channels_taken(model, size or _INPUT_SIZE), *(size or _INPUT_SIZE))
    return tuple(trace(model, torch.zeros(2, *shape)).points)


@in_turn
def diagnose(models: str | Sequence[str], data: str = "embedded", **values: Any) -> Run:
    """Computes what is missing of a study and writes its page; the same call resumes it.

    Args:
        models: model specs.
        data: a data spec.
        **values: any further key of a study file: `only`, `images`, `out`, `random_weights`, `fourier={...}`, ...

    Raises:
        VisionscopeError: for a value that breaks its rule, a model that can't be had or traced, a disk that refuses.
    """
    values = {"data": data, **values}
    paths = {name: os.fspath(values[name]) for name in ("data", "out") if isinstance(values.get(name), os.PathLike)}
    study = study_from({"models": _specs(models), **values, **paths})
    return run_planned(study, plan(study))


def run_planned(
    study: Study, planned: Sequence[PlannedSubject], note: Callable[[str], None] = lambda line: None
) -> Run:
    """Computes what is missing of a planned study and writes its page.

    Args:
        study: what was asked.
        planned: what `plan(study)` made of it.
        note: takes a line that the user should see.

    Raises:
        ConfigError: when `out` can be no folder.
        StoreError: when the disk refuses; what was stored before is kept.
    """
    store = Store(user_path("out", study.out))
    jobs = [(job.record["diagnostic"], job.record["job"]) for subject in planned for job in subject.jobs]
    line = write_study(store.run, study_text(study), jobs)
    if line:
        store.log(f"note {line}")
        note(line)
    failures = execute(planned, store, batch=study.batch, device=device_of(study.device))

    from visionscope.pages import write_report  # what draws is not imported before there is something to draw

    written = write_report(store.run)
    return Run(store, (*failures, *written.failures), written.path)


def _specs(models: object) -> object:
    """Model specs as a study takes them; what is none is left for its rule to refuse."""
    if isinstance(models, (str, bytes)) or not isinstance(models, (Iterable, nn.Module)):
        return models
    specs = [models] if isinstance(models, nn.Module) else list(models)
    for one in specs:
        if isinstance(one, nn.Module):
            raise ConfigError(
                f"models: must be model specs; got a network, {type(one).__name__}. Name the function that makes it, "
                "FILE.py:FUNCTION, or ask one diagnostic of it, as in fourier(network, images)"
            )
    return specs
