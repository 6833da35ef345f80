"""The diagnostics as functions with their parameters written out: what each block does to the feature maps."""

from __future__ import annotations

from collections.abc import Sequence

from torch import nn

from visionscope.core.sample import InputConfig
from visionscope.questions.asking import asked, asks
from visionscope.result import Images, Result


@asks
def fourier(
    model: nn.Module | str,
    images: Images,
    *,
    labelling: str = "true",
    radial: bool = False,
    input: InputConfig | None = None,
    size: int | tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Result:
    """Log amplitude of feature maps along the half-diagonal, relative to the lowest frequency."""
    return asked("fourier", locals())


@asks
def variance(
    model: nn.Module | str,
    images: Images,
    *,
    input: InputConfig | None = None,
    size: int | tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Result:
    """Spatial variance of feature maps, averaged over channels and images."""
    return asked("variance", locals())


@asks
def similarity(
    model: nn.Module | str,
    images: Images,
    *,
    group: int = 32,
    input: InputConfig | None = None,
    size: int | tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Result:
    """Mini-batch linear CKA between all pairs of points of a model."""
    return asked("similarity", locals())


@asks
def token_similarity(
    model: nn.Module | str,
    images: Images,
    *,
    input: InputConfig | None = None,
    size: int | tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Result:
    """How alike the tokens of an image are: mean cosine, share of the mean token, effective rank."""
    return asked("token_similarity", locals())


@asks
def tokens(
    model: nn.Module | str,
    images: Images,
    *,
    input: InputConfig | None = None,
    size: int | tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Result:
    """Norms of the tokens at each position, and which are outliers."""
    return asked("tokens", locals())


@asks
def attention(
    model: nn.Module | str,
    images: Images,
    *,
    sample_size: int = 1024,
    image: int | None = None,
    map_point: str = "",
    input: InputConfig | None = None,
    size: int | tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Result:
    """How attention attends, head by head: distance, entropy and diversity."""
    return asked("attention", locals())


@asks
def receptive_field(
    model: nn.Module | str,
    images: Images,
    *,
    sample_size: int = 50,
    input: InputConfig | None = None,
    size: int | tuple[int, int] | None = None,
    mean: Sequence[float] | None = None,
    std: Sequence[float] | None = None,
) -> Result:
    """Which pixels the centre of each point's map depends on, and how far they lie."""
    return asked("receptive_field", locals())
