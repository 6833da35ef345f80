"""The diagnostics as functions with their parameters written out: how far to trust it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from visionscope.core.sample import InputConfig
from visionscope.questions.asking import asked, asks
from visionscope.result import Images, Labels, Result


@asks
def fit(
    model: nn.Module | str,
    images: Images,
    labels: Labels | None = None,
    *,
    sample_size: int = 4096,
    test_size: int = 10000,
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
    """NLL on training images against the error on test images: does the network overfit? It trains nothing."""
    return asked("fit", locals())


@asks
def calibration(
    model: nn.Module | str,
    images: Images,
    labels: Labels | None = None,
    *,
    sample_size: int = 10000,
    fit_size: int = 1000,
    bins: int = 10,
    input: InputConfig | None = None,
    size: int | tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    output: str | int | None = None,
    output_is: str | None = None,
) -> Result:
    """How well confidence agrees with accuracy: NLL, Brier score, calibration errors."""
    return asked("calibration", locals())


@asks
def shape_bias(
    model: nn.Module | str,
    images: Images,
    labels: Labels | None = None,
    *,
    folder: str = "",
    sample_size: int = 2000,
    input: InputConfig | None = None,
    size: int | tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    output: str | int | None = None,
    output_is: str | None = None,
) -> Result:
    """Share of decisions for the shape where shape and texture disagree."""
    return asked("shape_bias", locals())
