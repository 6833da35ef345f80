"""The diagnostics as functions with their parameters written out: what breaks it."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from visionscope.core.sample import InputConfig
from visionscope.data.corruption_types import TYPES
from visionscope.questions.asking import asked, asks
from visionscope.result import Images, Labels, Result


@asks
def lesion(
    model: nn.Module | str,
    images: Images,
    labels: Labels | None = None,
    *,
    mode: str = "branch",
    calls: str = "each",
    sample_size: int = 1024,
    input: InputConfig | None = None,
    size: int | tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    output: str | int | None = None,
    output_is: str | None = None,
) -> Result:
    """Accuracy lost when one unit is removed from the network."""
    return asked("lesion", locals())


@asks
def frequency_noise(
    model: nn.Module | str,
    images: Images,
    labels: Labels | None = None,
    *,
    frequencies: Sequence[float] = (0.1, 0.2, 0.3, 0.4, 0.5, 0.6, 0.7, 0.8, 0.9),
    width: float = 0.1,
    noise: str = "sign",
    eps: float = 0.7,
    energy: str = "equal_energy",
    space: str = "normalised",
    seed: int = 0,
    sample_size: int = 1024,
    input: InputConfig | None = None,
    size: int | tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    output: str | int | None = None,
    output_is: str | None = None,
) -> Result:
    """Accuracy under noise of one frequency band, band by band."""
    return asked("frequency_noise", locals())


@asks
def fourier_heatmap(
    model: nn.Module | str,
    images: Images,
    labels: Labels | None = None,
    *,
    half_size: int = 16,
    step: int = 2,
    norm: float | None = None,
    seed: int = 0,
    sample_size: int = 256,
    input: InputConfig | None = None,
    size: int | tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    output: str | int | None = None,
    output_is: str | None = None,
) -> Result:
    """Error under noise of single Fourier vectors, as a map over frequencies."""
    return asked("fourier_heatmap", locals())


@asks
def corruption(
    model: nn.Module | str,
    images: Images,
    labels: Labels | None = None,
    *,
    folder: str = "",
    types: Sequence[str] = tuple(TYPES),
    severities: Sequence[int] = (1, 2, 3, 4, 5),
    qualities: Sequence[int] = (95, 75, 50, 30, 10),
    sample_size: int = 1024,
    seed: int = 0,
    reference: str = "none",
    with_images: bool = False,
    input: InputConfig | None = None,
    size: int | tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    output: str | int | None = None,
    output_is: str | None = None,
) -> Result:
    """Accuracy over 15 types of corruption in 5 severities."""
    return asked("corruption", locals())


@asks
def adversarial(
    model: nn.Module | str,
    images: Images,
    labels: Labels | None = None,
    *,
    attacks: Sequence[str] = ("fgsm", "pgd"),
    eps: Sequence[float] = (0.5, 1.0, 2.0, 4.0),
    steps: int = 10,
    seed: int = 0,
    sample_size: int = 256,
    input: InputConfig | None = None,
    size: int | tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
    output: str | int | None = None,
    output_is: str | None = None,
) -> Result:
    """Accuracy under attacks that change no pixel by more than eps."""
    return asked("adversarial", locals())


@asks
def compression(
    model: nn.Module | str,
    images: Images,
    *,
    qualities: Sequence[int] = (95, 75, 50, 30, 10),
    sample_size: int = 256,
    input: InputConfig | None = None,
    size: int | tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Result:
    """What JPEG does to the feature maps: their high frequencies, and how alike they stay."""
    return asked("compression", locals())
