"""What a torch function does to a feature map: its category, and how it moves the axes."""

import math
import re
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from visionscope.tracing.axes import Axes, Axis, concatenated, cut, fresh, image_axes, reshaped, resized

ADDITIONS = frozenset({"add", "add_"})
VIEWS = frozenset({"view", "reshape", "flatten", "unflatten", "squeeze", "unsqueeze", "view_as", "reshape_as"})
PERMUTATIONS = frozenset(
    {"permute", "transpose", "swapaxes", "swapdims", "movedim", "moveaxis", "t", "mT", "T", "transpose_"}
)
_COPIES = re.compile(
    r"contiguous|clone|to|float|half|double|bfloat16|type|type_as|detach|data|.*dropout.*|expand|expand_as"
)
_ATTENTION = re.compile(r"scaled_dot_product_attention|.*multi_head_attention.*|flex_attention")
_PRODUCTS = re.compile(r"matmul|bmm|mm|baddbmm|einsum|__matmul__")
_CONVOLUTIONS = re.compile(r"conv(_transpose)?[123]d|convolution")
_NORMS = re.compile(r".*(layer|batch|group|rms|instance)_norm|normalize|local_response_norm")
_ACTIVATIONS = re.compile(
    r"(relu6?|gelu|silu|sigmoid|log_?sigmoid|hard(swish|sigmoid|tanh)|tanh|leaky_relu|elu|mish|softplus|prelu|selu|celu"
    r"|glu|clamp(_min|_max)?|rrelu)_?"
)
_REDUCTIONS = re.compile(r"mean|amax|amin|sum|max|std|var")
_POOLS = re.compile(r"(adaptive_)?(avg|max|lp)_pool[123]d(_with_indices)?")


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
) -> str:
    """What the function does, in the words of `Point.operations`; empty for what says nothing about the branch.

    Args:
        name: of the function, without `torch.` and without dunder underscores.
        args: its positional arguments.
        kwargs: its keyword arguments.
        tracked: how many of its tensors were computed from the images.
        axes: of its first such tensor.
        shape: of its result.
    """
    if _CONVOLUTIONS.fullmatch(name):
        return _convolution(args, kwargs)
    if _POOLS.fullmatch(name):
        return _pool(name, args, kwargs)
    if name == "linear":
        return "token linear" if _across_tokens(axes, -1) else "linear"
    if _PRODUCTS.fullmatch(name):
        if tracked > 1:
            # One weighted mean over all positions (global context) mixes them into a vector, not into each other.
            return "reduction" if shape[-1:] == (1,) else "product"
        first_is_weight = bool(args) and isinstance(args[0], Tensor) and name != "einsum" and len(args[0].shape) == 2
        return "token linear" if _across_tokens(axes, -2 if first_is_weight else -1) else "linear"
    for pattern, word in (
        (_ATTENTION, "attention"),
        (_NORMS, "norm"),
        (_ACTIVATIONS, "activation"),
        (_REDUCTIONS, "reduction"),
    ):
        if pattern.fullmatch(name):
            return word
    if name.startswith("fft_"):
        return "fft"
    words = {"softmax": "softmax", "roll": "shift", "interpolate": "resize", "lstm": "recurrent", "gru": "recurrent"}
    if name in {"mul", "mul_"}:
        return "gate" if tracked > 1 else "scale"
    return words.get(name, "")


def _convolution(args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    weight = args[1] if len(args) > 1 else kwargs["weight"]
    kernel = weight.shape[2:]
    if math.prod(kernel) == 1:
        return "conv 1x1"
    return f"{'depthwise ' if weight.shape[1] == 1 else ''}conv {'x'.join(str(size) for size in kernel)}"


def _pool(name: str, args: Sequence[Any], kwargs: Mapping[str, Any]) -> str:
    size = args[1] if len(args) > 1 else kwargs.get("output_size" if "adaptive" in name else "kernel_size")
    if "adaptive" in name:
        ones = {size} if isinstance(size, int) else set(size or ())
        return "reduction" if ones == {1} else "pool"
    return "pool"


def _across_tokens(axes: Axes | None, place: int) -> bool:
    if axes is None or len(axes) < -place:
        return False
    roles = axes[place].roles
    return bool(roles & {"h", "w"}) and "c" not in roles


def moved_axes(
    name: str,
    func: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    sources: Sequence[tuple[Tensor, Axes | None]],
    output: Tensor,
    batch: int,
) -> Axes | None:
    """The axes of a function's output, or None where they can't be followed.

    Args:
        name: of the function.
        func: the function itself; permutations are read off by applying it to an empty tensor of distinct sizes.
        args: its positional arguments.
        kwargs: its keyword arguments.
        sources: the tensors among its arguments that were computed from the images, with their axes.
        output: one of its outputs.
        batch: how many images the pass has.
    """
    first, axes = sources[0]
    if name in {"cat", "concat", "concatenate"}:
        return _concatenation(args, kwargs, sources, output)
    if _PRODUCTS.fullmatch(name) or _ATTENTION.fullmatch(name):
        return _product(name, sources, output)
    if axes is None and name == "conv2d" and first.dim() == 4 and first.shape[0] == batch:
        axes = image_axes(first.shape)  # by definition of the function; the batch is whole, so nothing else hides in it
    if axes is None:
        return _like_any(sources, output)
    if name in VIEWS:
        return reshaped(axes, output.shape)
    if name in PERMUTATIONS:
        return _permuted(func, args, kwargs, first, axes)
    if name == "getitem":
        return _indexed(axes, args[1], output)
    if _REDUCTIONS.fullmatch(name):
        return _reduced(args, kwargs, axes, output)
    if name == "unfold" and output.dim() == 3 and len(axes) == 4:
        return _unfolded(args, kwargs, axes, output)
    if name == "unbind":
        place = (args[1] if len(args) > 1 else kwargs.get("dim", 0)) % len(axes)
        return (*axes[:place], *axes[place + 1 :])
    return _mapped(name, axes, output) or _like_any(sources, output) or _resized_axes(axes, output)


def _mapped(name: str, axes: Axes, output: Tensor) -> Axes | None:
    """The axes after a linear map or a convolution, which make new channels."""
    if name == "linear":
        return (*axes[:-1], fresh("?" if _across_tokens(axes, -1) else "c", output.shape[-1]))
    if _CONVOLUTIONS.fullmatch(name) and output.dim() == len(axes):
        spatial = tuple(resized(axis, size) for axis, size in zip(axes[2:], output.shape[2:], strict=True))
        # A kernel per image (CondConv): the batch stands in front of the channels, a group for each.
        images = tuple(digit for digit in axes[1].digits if digit.role == "b")
        channels = fresh("c", output.shape[1] // math.prod(digit.size for digit in images))
        return (axes[0], Axis((*images, *channels.digits)), *spatial)
    return None


def split_axes(axes: Axes | None, outputs: Sequence[Tensor]) -> list[Axes | None]:
    """The axes of the pieces of a tensor that `split` or `chunk` cut along one axis."""
    if axes is None or any(piece.dim() != len(axes) for piece in outputs):
        return [None] * len(outputs)
    pieces: list[Axes | None] = []
    start = 0
    changed = [place for place, axis in enumerate(axes) if outputs[0].shape[place] != axis.size]
    for piece in outputs:
        if not changed:
            pieces.append(axes)
            continue
        place = changed[0]
        stop = start + piece.shape[place]
        pieces.append((*axes[:place], cut(axes[place], start, stop, 1), *axes[place + 1 :]))
        start = stop
    return pieces


def _like_any(sources: Sequence[tuple[Tensor, Axes | None]], output: Tensor) -> Axes | None:
    for tensor, axes in sources:
        if axes is not None and tensor.shape == output.shape:
            return axes
    return None


def _resized_axes(axes: Axes, output: Tensor) -> Axes | None:
    if output.dim() != len(axes):
        return None
    return tuple(resized(axis, size) for axis, size in zip(axes, output.shape, strict=True))


def _reduced(args: Sequence[Any], kwargs: Mapping[str, Any], axes: Axes, output: Tensor) -> Axes | None:
    if output.dim() == len(axes):
        return _resized_axes(axes, output)
    given = args[1] if len(args) > 1 else kwargs.get("dim", kwargs.get("axis"))
    if given is None:
        return None
    dropped = {place % len(axes) for place in ([given] if isinstance(given, int) else given)}
    return tuple(axis for place, axis in enumerate(axes) if place not in dropped)


def _unfolded(args: Sequence[Any], kwargs: Mapping[str, Any], axes: Axes, output: Tensor) -> Axes | None:
    """(batch, channel * patch, positions) of `torch.nn.functional.unfold`."""
    settings = dict(zip(("kernel_size", "dilation", "padding", "stride"), args[1:], strict=False))
    settings = {"dilation": 1, "padding": 0, "stride": 1, **settings, **kwargs}
    pairs = {key: (value, value) if isinstance(value, int) else tuple(value) for key, value in settings.items()}
    grid = [
        (axis.size + 2 * pairs["padding"][i] - pairs["dilation"][i] * (pairs["kernel_size"][i] - 1) - 1)
        // pairs["stride"][i]
        + 1
        for i, axis in enumerate(axes[2:])
    ]
    positions = Axis((*fresh("h", grid[0]).digits, *fresh("w", grid[1]).digits))
    return (axes[0], fresh("c", output.shape[1]), positions)


def _permuted(
    func: Callable[..., Any], args: Sequence[Any], kwargs: Mapping[str, Any], first: Tensor, axes: Axes
) -> Axes:
    sizes = list(range(2, 2 + first.dim()))
    probe = torch.empty(sizes, device="meta")
    order = [size - 2 for size in func(probe, *args[1:], **kwargs).shape]
    return tuple(axes[place] for place in order)


def _concatenation(
    args: Sequence[Any], kwargs: Mapping[str, Any], sources: Sequence[tuple[Tensor, Axes | None]], output: Tensor
) -> Axes | None:
    parts = args[0] if args else kwargs["tensors"]
    known = {id(tensor): axes for tensor, axes in sources}
    place = (args[1] if len(args) > 1 else kwargs.get("dim", kwargs.get("axis", 0))) % output.dim()
    model = next((axes for axes in known.values() if axes is not None and len(axes) == output.dim()), None)
    if model is None:
        return None
    joined = []
    for part in parts:
        axes = known.get(id(part))
        joined.append(axes[place] if axes is not None and len(axes) == output.dim() else fresh("?", part.shape[place]))
    rest = next(
        (
            axes
            for axes in known.values()
            if axes is not None and len(axes) == output.dim() and axes[place].roles & {"h", "w"}
        ),
        model,
    )
    return (*rest[:place], concatenated(joined), *rest[place + 1 :])


def _product(name: str, sources: Sequence[tuple[Tensor, Axes | None]], output: Tensor) -> Axes | None:
    if name == "einsum" or any(tensor.dim() != output.dim() for tensor, _ in sources):
        return _like_any(sources, output)
    (left, rows), (right, columns) = sources[0], sources[-1]
    if len(sources) == 1:
        return None if rows is None else (*rows[:-1], fresh("?" if _across_tokens(rows, -1) else "c", output.shape[-1]))
    # A square matrix whose own axes were lost maps an axis of the other operand onto itself.
    batch = next((axes[:-2] for axes in (rows, columns) if axes is not None and _known(*axes[:-2])), None)
    row = rows[-2] if rows and _known(rows[-2]) else columns[-2] if columns and _is_square(left) else None
    column = columns[-1] if columns and _known(columns[-1]) else rows[-1] if rows and _is_square(right) else None
    if batch is None:
        return _like_any(sources, output)
    return (*batch, row or fresh("?", output.shape[-2]), column or fresh("?", output.shape[-1]))


def _known(*axes: Axis) -> bool:
    return not any("?" in axis.roles for axis in axes)


def _is_square(matrix: Tensor) -> bool:
    return matrix.shape[-1] == matrix.shape[-2]


def _indexed(axes: Axes, index: Any, output: Tensor) -> Axes | None:
    items = list(index) if isinstance(index, tuple) else [index]
    if any(not (item is None or item is Ellipsis or isinstance(item, (int, slice))) for item in items):
        return None
    if Ellipsis in items:
        place = items.index(Ellipsis)
        used = sum(item is not None and item is not Ellipsis for item in items)
        items[place : place + 1] = [slice(None)] * (len(axes) - used)
    result: list[Axis] = []
    rest = list(axes)
    for item in items:
        if item is None:
            result.append(fresh("?", 1))
        elif isinstance(item, slice):
            axis = rest.pop(0)
            result.append(cut(axis, *item.indices(axis.size)))
        else:
            rest.pop(0)
    result += rest
    return tuple(result) if [axis.size for axis in result] == list(output.shape) else None
