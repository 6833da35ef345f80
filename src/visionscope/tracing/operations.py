"""What a torch function does to a feature map, in the words of `Point.operations`."""

import math
import re
from collections.abc import Mapping, Sequence
from typing import Any

from torch import Tensor

from visionscope.tracing.axes import Axes
from visionscope.tracing.products import ATTENTION, PRODUCTS, across_tokens, sums_tokens, weights_first

VIEWS = frozenset(
    ["view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "view_as", "reshape_as", "unsafe_view", "ravel"]
)
_TURNS = ("permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "t", "mT", "T", "H", "mH", "adjoint")
PERMUTATIONS = frozenset([*_TURNS, "transpose_", "swapaxes_", "swapdims_", "t_"])
_COPIES = re.compile(
    r"contiguous|clone|to|to_copy|alias|cpu|cuda|float|half|double|bfloat16|type|type_as|detach_?|data|requires_grad_"
    r"|.*dropout.*|expand|expand_as|broadcast_to|resolve_conj|resolve_neg|positive"
)
CONVOLUTIONS = re.compile(r"conv(_transpose)?[123]d|convolution|deform_conv2d")
_NORMS = re.compile(r".*(layer|batch|group|rms|instance)_norm|normalize|local_response_norm")
_ACTIVATIONS = re.compile(
    r"(relu6?|gelu|silu|sigmoid|log_?sigmoid|hard(swish|sigmoid|tanh)|tanh|leaky_relu|elu|mish|softplus|prelu|selu|celu"
    r"|glu|swish|hardtanh|softsign|tanhshrink|threshold|clip|clamp(_min|_max)?|rrelu)_?"
)
REDUCTIONS = re.compile(
    r"mean|amax|amin|sum|max|min|std|var|prod|median|logsumexp|nanmean|nansum|any|all|norm|linalg_vector_norm|aminmax"
)
_POOLS = re.compile(r"(adaptive_)?(avg|max|lp)_pool[123]d(_with_indices)?")


def given(args: Sequence[Any], kwargs: Mapping[str, Any], place: int, *names: str, default: Any = None) -> Any:
    """An argument, wherever it stands.

    Args:
        args: positional arguments.
        kwargs: keyword arguments.
        place: its place among the positional ones.
        names: it may be given by.
        default: where it is not given.
    """
    if len(args) > place:
        return args[place]
    return next((kwargs[name] for name in names if name in kwargs), default)


def is_copy(name: str) -> bool:
    """Whether the function returns the same values, cast, copied or repeated along new extents.

    Args:
        name: of the function.
    """
    return _COPIES.fullmatch(name) is not None


def is_alias(name: str) -> bool:
    """Whether the function returns the same values in another shape, order or type."""
    return name in VIEWS or name in PERMUTATIONS or _COPIES.fullmatch(name) is not None


def category(
    name: str,
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    tracked: int,
    axes: Axes | None,
    shape: tuple[int, ...],
    first: Tensor | None = None,
) -> str:
    """What the function does, in the words of `Point.operations`; empty for what says nothing about the branch.

    Args:
        name: of the function, without `torch.` and without dunder underscores.
        args: its positional arguments.
        kwargs: its keyword arguments.
        tracked: how many of its tensors were computed from the images.
        axes: of its first such tensor.
        shape: of its result.
        first: the first such tensor itself.
    """
    if CONVOLUTIONS.fullmatch(name):
        return _convolution(args, kwargs, axes)
    if _POOLS.fullmatch(name):
        return _pool(name, args, kwargs)
    if name == "linear":
        return "token linear" if across_tokens(axes, -1) else "linear"
    if ATTENTION.fullmatch(name):
        return "attention"
    if PRODUCTS.fullmatch(name):
        if tracked > 1:
            # One weighted mean over all positions (global context) mixes them into a vector, not into each other.
            return "reduction" if shape[-1:] == (1,) else "product"
        if name == "einsum":
            return "token linear" if first is not None and sums_tokens(args, kwargs, first, axes) else "linear"
        first_is_weight = first is not None and weights_first(name, args, kwargs, first)
        return "token linear" if across_tokens(axes, -2 if first_is_weight else -1) else "linear"
    for pattern, word in (
        (_NORMS, "norm"),
        (_ACTIVATIONS, "activation"),
        (REDUCTIONS, "reduction"),
    ):
        if pattern.fullmatch(name):
            return word
    if name.startswith("fft_"):
        return "fft"
    words = {"softmax": "softmax", "roll": "shift", "interpolate": "resize", "lstm": "recurrent", "gru": "recurrent"}
    if name in {"mul", "mul_"}:
        return "gate" if tracked > 1 else "scale"
    return words.get(name, "")


def _convolution(args: Sequence[Any], kwargs: Mapping[str, Any], axes: Axes | None) -> str:
    weight = given(args, kwargs, 1, "weight")
    kernel = weight.shape[2:]
    if math.prod(kernel) == 1:
        return "token linear" if across_tokens(axes, 1 - len(axes or ())) else "conv 1x1"
    return f"{'depthwise ' if weight.shape[1] == 1 else ''}conv {'x'.join(str(size) for size in kernel)}"


def _pool(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    size = given(args, kwargs, 1, "output_size" if "adaptive" in name else "kernel_size")
    if "adaptive" in name:
        ones = {size} if isinstance(size, int) else set(size or ())
        return "reduction" if ones == {1} else "pool"
    return "pool"
