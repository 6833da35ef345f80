"""What notebooks and the command line call: one diagnostic in memory, or a whole study with its run folder and page."""

from __future__ import annotations

import dataclasses
import functools
import os
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import nn

from visionscope.config import diagnostic_of, study_from, study_text
from visionscope.core.failures import Failure
from visionscope.core.files import user_path
from visionscope.core.inputs import channels_taken
from visionscope.core.registry import diagnostic_names
from visionscope.core.rules import values_of
from visionscope.core.sample import InputConfig
from visionscope.core.subject import Point
from visionscope.core.turns import in_turn
from visionscope.core.values import is_whole, shown
from visionscope.errors import ConfigError, nearest
from visionscope.models.detectors import looked_at
from visionscope.models.load import load_model
from visionscope.result import Images, Labels, Result
from visionscope.running.brought import shape_of
from visionscope.running.devices import device_of
from visionscope.running.execute import execute
from visionscope.running.handed import check_model
from visionscope.running.in_memory import measured
from visionscope.running.plan import PlannedSubject, plan
from visionscope.running.store import Store
from visionscope.running.studies import check_no_experiment, write_study
from visionscope.running.study import DEFAULT_DIAGNOSTICS, Study, checked_size
from visionscope.running.wanted import WantedInput
from visionscope.tracing import trace

_INPUT_SIZE = (224, 224)
_COMMON = ("input", "size", "mean", "std", "output", "output_is", "weight_decay", "label_smoothing", "augmentation")


@dataclasses.dataclass(frozen=True)
class Run:
    """A study that was computed.

    Attributes:
        store: its tables: `run.store.table("fourier")`.
        failures: parts that could not be computed, and sections of the page that could not be made in full.
        page: the report.
        findings: the sentences at its top.
    """

    store: Store
    failures: tuple[Failure, ...]
    page: Path
    findings: tuple[str, ...] = ()


def measure(
    name: str,
    model: nn.Module | str,
    images: Images,
    labels: Labels | None = None,
    *,
    fields: Mapping[str, Any] | None = None,
    input: InputConfig | None = None,
    size: int | tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    output: str | int | None = None,
    output_is: str | None = None,
    weight_decay: float | None = None,
    label_smoothing: float | None = None,
    augmentation: str | None = None,
) -> Result:
    """Asks one diagnostic of one model, by name: `measure("lesion", network, images, labels)`.

    Diagnostics of other packages are asked so, with `fields={"name": value}`; ours have a function each, with their
    parameters: `lesion(network, images, labels, mode="block")`. Work of more than 5 s writes a line to stderr now and
    then.

    Args:
        name: as `visionscope diagnose --help` lists it.
        model: a network, or a model spec such as `resnet18`.
        images: normalised images (n, channels, height, width) as a tensor or an array; a DataLoader of images or
            (images, labels); a list of images or (image, label), of which PIL images are resized and normalised;
            a folder or another data spec, such as `embedded`; or a sample.
        labels: class indices (n,) of the images, where they don't come with them.
        fields: the diagnostic's parameters, by name.
        input: how the network wants its images, or how those that are given as numbers were normalised; by default a
            spec's own, or what a network's `pretrained_cfg` says.
        size: height and width in pixels, one number for both; with `mean` and `std` instead of `input`.
        mean: per channel, of pixels in [0, 1].
        std: per channel.
        output: name or index of the logits, of a network that returns several outputs.
        output_is: `probabilities` of a network that ends in a softmax or sigmoid; `logits` where that is not so.
        weight_decay: factor of the L2 term of the loss, by default 0.05. This and the next two are for diagnostics of
            training images: `hessian`, `density`, `landscape`, `fit`.
        label_smoothing: share of each target spread over all classes, by default 0.
        augmentation: `strong` (the paper's), `weak` or `none`, of a data spec's images; by default `none`.

    Raises:
        ConfigError: for a name, a field, a spec or a label that breaks its rule.
        NotApplicableError: when it has nothing to ask of this model or these images.
        TraceError: when the model can't be traced, or differentiated twice where that is needed.
        DataError: when the images can't be read.
        NondeterminismError: when two passes over the same images disagree.
    """
    given = locals()
    diagnostic = diagnostic_of(name, fields)
    found = measured(diagnostic, model, images, labels, **{key: given[key] for key in _COMMON})
    return Result(diagnostic, found.table, found.images)


@in_turn
def points(
    model: nn.Module | str, images: Images | None = None, *, size: int | tuple[int, int] | None = None
) -> tuple[Point, ...]:
    """The places in a model at which its feature maps are looked at.

    Args:
        model: a network, or a model spec; a spec's architecture alone is used, no weights are fetched.
        images: whose shape the input has: what `measure` takes, but for a data spec.
        size: height and width of the input in pixels instead, one number for both; by default the model's own, 224 x
            224 for a network given as such.

    Raises:
        ConfigError: for a spec that names no model, images or a size that break their rule, and for both of them.
        TraceError: when the model can't be traced.
    """
    check_model(model)
    if images is not None and size is not None:
        raise ConfigError("size: the images have one already; leave it out")
    size = checked_size((size, size) if is_whole(size) else size)
    shape = None if images is None else shape_of(images, functools.partial(_wanted, model))
    if isinstance(model, str):
        loaded = load_model(model, random_weights=0, size=shape[1:] if shape else size, normalised=False)
        model, shape = loaded.model, shape or (len(loaded.input.mean), *loaded.input.size)
    height, width = size or _INPUT_SIZE
    return tuple(
        trace(
            looked_at(model), torch.zeros(2, *(shape or (channels_taken(model, (height, width)), height, width)))
        ).points
    )


@in_turn
def diagnose(
    models: str | Sequence[str],
    data: str | os.PathLike[str] = "embedded",
    *,
    only: str | Sequence[str] = DEFAULT_DIAGNOSTICS,
    images: int = 256,
    seed: int = 0,
    batch: int = 32,
    device: str = "auto",
    precision: str = "fp32",
    random_weights: int | None = None,
    n_forward: int = 1,
    size: tuple[int, int] | None = None,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
    output: str | None = None,
    output_is: str | None = None,
    points: tuple[str, ...] = (),
    augmentation: str = "strong",
    fraction: float = 1.0,
    fraction_seed: int = 0,
    label_smoothing: float | None = None,
    weight_decay: float = 0.05,
    decays: str = "all",
    out: str | os.PathLike[str] = "visionscope-run",
    fields: Mapping[str, Mapping[str, Any]] | None = None,
) -> Run:
    """Computes what is missing of a study and writes its page; the same call resumes it.

    Args:
        models: model specs, or files of weights that `train` left.
        data: images: a folder of photos, of class folders or of Parquet files; torch/NAME; hfds/NAME; or embedded,
            which are drawn shapes. A split follows a colon, `SPEC[:split]`.
        only: names of diagnostics, or `all`.
        images: number of images that are looked at.
        seed: seed of the choice of images.
        batch: images per forward pass; changes speed and memory only.
        device: `auto` (a GPU where there is one), `cpu`, `cuda`, `cuda:1`, ...
        precision: of the networks' computations; `bf16` by autocast.
        random_weights: seed of random weights, which replace the pretrained ones.
        n_forward: forward passes with dropout whose mean probabilities are the prediction, in diagnostics that need
            predictions alone; 1 leaves dropout off.
        size: height and width of the input in pixels; by default the model's own.
        mean: mean of each channel, of pixels in [0, 1]; by default the model's own.
        std: standard deviation of each channel; by default the model's own.
        output: name or index of the logits where a network returns several outputs; by default the one with a column
            per class, or a telling name.
        output_is: `probabilities` (after a softmax or sigmoid) or `logits`, where a network's values don't tell.
        points: names of the points to look at; by default those that tracing chooses. Each model takes those that it
            has.
        augmentation: of the training images: `strong` (the paper's), `weak` (crop and flip) or `none`.
        fraction: share of the training images of each class that the networks were trained on, as `train` drew it;
            diagnostics of training images take theirs among these.
        fraction_seed: the seed that drew it.
        label_smoothing: share of each target that is spread over all classes; by default the paper's 0.1 where the
            augmentation is strong, else 0.
        weight_decay: factor of the L2 term.
        decays: parameters in the L2 term: `all`, or `matrices` (those of two or more dimensions).
        out: run folder; the same command resumes it.
        fields: parameters of the diagnostics, by diagnostic: `{"hessian": {"k": 3}}`.

    Raises:
        VisionscopeError: for a value that breaks its rule, a model that is not available or can't be traced, a disk
            that refuses.
    """
    given = locals()
    names = ("only", *(name for name in values_of(Study) if name not in ("models", "diagnostics")))
    values = {name: given[name] for name in names if given[name] is not None}
    paths = {name: os.fspath(values[name]) for name in ("data", "out") if isinstance(values.get(name), os.PathLike)}
    study = study_from({**_fields(fields), **values, "models": _specs(models), **paths})
    return run_planned(study, plan(study))


def _wanted(model: nn.Module | str) -> InputConfig:
    """How a model wants its images; no weights are fetched for that."""
    if isinstance(model, str):
        return load_model(model, random_weights=0).input
    return WantedInput(model).known()


def _fields(given: object) -> Mapping[str, Any]:
    """The parameters of diagnostics, by diagnostic."""
    if given is None:
        return {}
    if not isinstance(given, Mapping):
        raise ConfigError(
            f'fields: must be parameters by diagnostic, such as {{"hessian": {{"k": 3}}}}; got {shown(given)}'
        )
    for name in given:
        if name not in diagnostic_names():
            raise ConfigError(
                f"fields: there is no diagnostic {shown(name)}.{nearest(str(name)[:80], diagnostic_names())}"
            )
    return given


def run_planned(
    study: Study,
    planned: Sequence[PlannedSubject],
    note: Callable[[str], None] = lambda line: None,
    compute: Callable[[Study, Sequence[PlannedSubject], Store], list[Failure]] | None = None,
) -> Run:
    """Computes what is missing of a planned study and writes its page.

    Args:
        study: what was asked.
        planned: what `plan(study)` made of it.
        note: takes a line that the user should see.
        compute: computes what is missing and gives the parts that failed; by default this process does.

    Raises:
        ConfigError: when `out` can be no folder.
        StoreError: when the disk refuses; what was stored before is kept.
    """
    store = Store(user_path("out", study.out))
    check_no_experiment(store.run)
    jobs = [(job.record["diagnostic"], job.record["job"]) for subject in planned for job in subject.jobs]
    line = write_study(store.run, study_text(study), jobs)
    if line:
        store.log(f"note {line}")
        note(line)
    if compute is None:
        failures = execute(planned, store, batch=study.batch, device=device_of(study.device))
    else:
        failures = compute(study, planned, store)

    from visionscope.pages import write_report  # what draws is not imported before there is something to draw

    written = write_report(store.run)
    return Run(store, (*failures, *written.failures), written.path, written.findings)


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
