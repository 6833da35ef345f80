"""The diagnostics as functions with their parameters written out: how the loss curves."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from visionscope.core.sample import InputConfig
from visionscope.questions.asking import asked, asks
from visionscope.result import Images, Labels, Result


@asks
def hessian(
    model: nn.Module | str,
    images: Images,
    labels: Labels | None = None,
    *,
    k: int = 5,
    mini_batches: int = 32,
    fraction: float | None = None,
    scopes: str = "model",
    parameters: str | None = None,
    tolerance: float = 0.0001,
    max_products: int = 100,
    batch_norm: str = "eval",
    seed: int = 0,
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
    """The Hessian's eigenvalues of largest magnitude, with sign, mini-batch by mini-batch."""
    return asked("hessian", locals())


@asks
def density(
    model: nn.Module | str,
    images: Images,
    labels: Labels | None = None,
    *,
    mini_batches: int = 16,
    probes: int = 4,
    steps: int = 25,
    sketch: int = 8,
    parameters: str | None = None,
    batch_norm: str = "eval",
    seed: int = 0,
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
    """Spectral density and trace of the Hessian over a whole sample."""
    return asked("density", locals())


@asks
def landscape(
    model: nn.Module | str,
    images: Images,
    labels: Labels | None = None,
    *,
    sample_size: int = 1024,
    points: int = 21,
    extent: float = 1.0,
    axes: int = 2,
    plane: str = "random",
    normalization: str = "filter",
    parameters: str | None = None,
    draws: int = 5,
    rise: float = 1.0,
    radius: float = 0.5,
    batch_norm: str = "kept",
    checkpoints: Sequence[str] = (),
    seed: int = 0,
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
    """The loss on lines and planes through the weights."""
    return asked("landscape", locals())


@asks
def sharpness(
    model: nn.Module | str,
    images: Images,
    labels: Labels | None = None,
    *,
    kinds: Sequence[str] = ("average", "worst", "critical"),
    batches: int = 8,
    batch_size: int = 128,
    average_radius: float = 0.1,
    draws: int = 20,
    norm: str = "linf",
    worst_radius: float | None = None,
    steps: int = 20,
    parameters: str | None = None,
    seed: int = 0,
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
    """How much the loss rises when weights change: on average, at worst, along the negative gradient."""
    return asked("sharpness", locals())
