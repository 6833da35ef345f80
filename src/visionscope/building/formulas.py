"""Multiply-accumulates of single operations: the table of formulas, by the names that torch's dispatcher knows.

One multiply-accumulate (MAC) is one multiplication and one addition, so two of what others call FLOPs. Of an operation
that needs only additions, each addition counts as one; additions of a bias count nothing. Formulas are dense: a causal
or masked attention, and a convolution's or a pool's places in the padding, count in full. What isn't in this table is
free by declaration (`visionscope.building.free`) or refused.

- Convolution: per output, kernel positions x input channels / groups; transposed: per input, kernel positions x output
  channels / groups.
- Matrix products: per output, the length of the sum. Attention is two of them, in whichever form it runs; fused
  encoder layers are their projections, their attention and their feed-forward part.
- Fourier transform: 5/2 n log2 n for n complex points, half of that for real ones, n being the product of the
  transformed lengths: half of the operations that FFTW's authors count by convention
  (https://www.fftw.org/speed/method.html).
- Average pooling: per output, the positions of its window, as a depthwise convolution of equal weights has them. Means
  and sums over whole axes, such as global average pooling, are the same with one window: as many as numbers go in.
- Resampling: per output, the inputs that it is weighted from: 2 linear, 4 bilinear, 8 trilinear, 16 bicubic. With
  antialiasing it is done axis by axis, with windows that grow with the factor by which the image shrinks.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from torch import Tensor

__all__ = ["FORMULAS"]

Formula = Callable[..., int]
"""From an operation's result and its arguments to its multiply-accumulates."""

_COMPLEX_POINT = 2.5  # MACs per point and log2 n
_BILINEAR, _NEAREST = 0, 1  # as `grid_sampler_2d` names them


def _convolution(result: Tensor, images: Tensor, weight: Tensor, *rest: Any) -> int:
    transposed = rest[4]
    return (images if transposed else result).numel() * math.prod(weight.shape[1:])


def _product(result: Tensor, left: Tensor, *_: Any) -> int:
    return result.numel() * left.shape[-1]


def _added_product(result: Tensor, _added: Tensor, left: Tensor, *_: Any, **__: Any) -> int:
    return result.numel() * left.shape[-1]


def _summed_products(_result: Tensor, _added: Tensor, left: Tensor, right: Tensor, *_: Any, **__: Any) -> int:
    return left.numel() * right.shape[-1]


def _dot(_result: Tensor, left: Tensor, *_: Any) -> int:
    return left.numel()


def _attention(_result: Any, query: Tensor, key: Tensor, value: Tensor, *_: Any, **__: Any) -> int:
    rows = math.prod(query.shape[:-1])  # over all heads of the query: with grouped keys these are fewer
    return rows * key.shape[-2] * (query.shape[-1] + value.shape[-1])


def _attention_layer(result: Any, query: Tensor, key: Tensor, _value: Tensor, width: int, heads: int, *_: Any) -> int:
    queries, keys = math.prod(query.shape[:-1]), math.prod(key.shape[:-1])
    projections = (2 * queries + 2 * keys) * width**2  # query and output; key and value
    weights = result[1]  # with three axes, their mean over the heads
    means = heads * weights.numel() if weights is not None and weights.dim() == 3 else 0
    return projections + 2 * queries * key.shape[-2] * width + means


def _encoder_layer(_result: Any, tokens: Tensor, width: int, _heads: int, *rest: Any, **__: Any) -> int:
    in_projection, out_projection, first, second = (rest[place] for place in (0, 2, 11, 13))
    rows = math.prod(tokens.shape[:-1])
    weights: int = sum(weight.numel() for weight in (in_projection, out_projection, first, second))
    return rows * weights + 2 * rows * tokens.shape[-2] * width


def _fourier(points: Tensor, transformed: Tensor, axes: Sequence[int], per_point: float) -> int:
    length = math.prod(transformed.shape[axis] for axis in axes)
    return round(per_point * points.numel() * math.log2(length))


def _complex_fourier(_result: Tensor, values: Tensor, axes: Sequence[int], *_: Any) -> int:
    return _fourier(values, values, axes, _COMPLEX_POINT)


def _fourier_of_real(_result: Tensor, values: Tensor, axes: Sequence[int], *_: Any) -> int:
    return _fourier(values, values, axes, _COMPLEX_POINT / 2)


def _fourier_to_real(result: Tensor, _values: Tensor, axes: Sequence[int], *_: Any) -> int:
    return _fourier(result, result, axes, _COMPLEX_POINT / 2)


def _pool(axes: int) -> Formula:
    def formula(result: Tensor, _maps: Tensor, kernel: Sequence[int], *_: Any) -> int:
        edges = [*kernel] * (axes if len(kernel) == 1 else 1)
        return result.numel() * math.prod(edges)

    return formula


def _adaptive_pool(_result: Tensor, maps: Tensor, size: Sequence[int]) -> int:
    lengths = maps.shape[-len(size) :]
    windows = (
        sum(-(-(index + 1) * length // outputs) - index * length // outputs for index in range(outputs))
        for length, outputs in zip(lengths, size, strict=True)
    )
    return math.prod(maps.shape[: -len(size)]) * math.prod(windows)


def _additions(_result: Tensor, values: Tensor, *_: Any, **__: Any) -> int:
    return values.numel()


def _per_output(taps: int) -> Formula:
    def formula(result: Tensor, *_: Any) -> int:
        return result.numel() * taps

    return formula


def _antialiased(taps: int) -> Formula:
    def formula(result: Tensor, images: Tensor, *_: Any) -> int:
        (height, width), (new_height, new_width) = images.shape[-2:], result.shape[-2:]
        across = math.ceil(taps * max(width / new_width, 1))
        down = math.ceil(taps * max(height / new_height, 1))
        planes = math.prod(images.shape[:-2])
        return planes * new_width * (height * across + new_height * down)

    return formula


def _sampled(axes: int) -> Formula:
    def formula(result: Tensor, _maps: Tensor, _grid: Tensor, interpolation: int, *_: Any) -> int:
        if interpolation == _NEAREST:
            return 0
        taps: int = (2 if interpolation == _BILINEAR else 4) ** axes
        return result.numel() * taps

    return formula


def _recurrent(_result: Any, steps: Tensor, input_weight: Tensor, hidden_weight: Tensor, *_: Any) -> int:
    return math.prod(steps.shape[:-1]) * (input_weight.numel() + hidden_weight.numel())


FORMULAS: Mapping[str, Formula] = {
    **dict.fromkeys(("convolution", "_convolution", "convolution_overrideable"), _convolution),
    **dict.fromkeys(("mm", "bmm", "mv", "_int_mm"), _product),
    **dict.fromkeys(("addmm", "_addmm_activation", "baddbmm", "addmv"), _added_product),
    "addbmm": _summed_products,
    **dict.fromkeys(("dot", "vdot"), _dot),
    **dict.fromkeys(
        (
            "_scaled_dot_product_flash_attention",
            "_scaled_dot_product_flash_attention_for_cpu",
            "_scaled_dot_product_efficient_attention",
            "_scaled_dot_product_cudnn_attention",
            "_scaled_dot_product_fused_attention_overrideable",
        ),
        _attention,
    ),
    "_native_multi_head_attention": _attention_layer,
    "_transformer_encoder_layer_fwd": _encoder_layer,
    "mkldnn_rnn_layer": _recurrent,
    "_fft_c2c": _complex_fourier,
    "_fft_r2c": _fourier_of_real,
    "_fft_c2r": _fourier_to_real,
    "avg_pool2d": _pool(2),
    "avg_pool3d": _pool(3),
    **dict.fromkeys(("_adaptive_avg_pool2d", "_adaptive_avg_pool3d"), _adaptive_pool),
    **dict.fromkeys(("mean", "sum", "nansum", "cumsum", "col2im"), _additions),
    "upsample_linear1d": _per_output(2),
    "upsample_bilinear2d": _per_output(4),
    "upsample_trilinear3d": _per_output(8),
    "upsample_bicubic2d": _per_output(16),
    "_upsample_bilinear2d_aa": _antialiased(2),
    "_upsample_bicubic2d_aa": _antialiased(4),
    "grid_sampler_2d": _sampled(2),
    "grid_sampler_3d": _sampled(3),
    "cudnn_grid_sampler": _per_output(4),
}
"""By the operation's name in torch's own namespace, without the underscore of the form that overwrites."""
