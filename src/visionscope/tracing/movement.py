"""How torch functions move the axes of a tensor; a function that is not known to keep them loses them."""

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from visionscope.tracing.axes import Axes, Axis, concatenated, cut, fresh, is_placed, layout, reshaped, resized
from visionscope.tracing.functions import RESIZING, TRANSFORMS, is_elementwise
from visionscope.tracing.indexing import flipped, gathered, index_select, indexed, narrowed, rolled, selected
from visionscope.tracing.operations import CONVOLUTIONS, PERMUTATIONS, REDUCTIONS, VIEWS, given, is_copy
from visionscope.tracing.products import PRODUCTS, across_tokens, like_any, product


def moved_axes(
    name: str,
    func: Callable[..., Any],
    args: Sequence[Any],
    kwargs: Mapping[str, Any],
    sources: Sequence[tuple[Tensor, Axes | None]],
    output: Tensor,
) -> Axes | None:
    """The axes of a function's output, or None where they can't be followed.

    Args:
        name: of the function.
        func: the function itself; permutations are read off by applying it to an empty tensor of distinct sizes.
        args: its positional arguments, its main operand first.
        kwargs: its keyword arguments.
        sources: the tensors among its arguments that were computed from the images, with their axes.
        output: one of its outputs.

    Raises:
        ValuesNeededError: where an index on the meta device says which place goes where.
    """
    first, axes = sources[0]
    if name.removesuffix("_") == "copy":
        return like_any(sources[-1:], output)
    if is_elementwise(name, func):
        return like_any(sources, output) or _broadcast(sources, output)
    if PRODUCTS.fullmatch(name):
        return product(name, args, kwargs, sources, output)
    if name in _OF_SEVERAL:
        return _OF_SEVERAL[name](args, kwargs, sources, output)
    if axes is None or (name in _BY_INDEX and len(sources) > 1):
        return None  # an index that was computed from the images puts each image's places in an order of its own
    if name in PERMUTATIONS:
        return _permuted(func, args, kwargs, first, axes)
    if name in _OF_ONE:
        return _OF_ONE[name](args, kwargs, axes, output)
    for pattern, handler in _PATTERNS:
        if pattern.fullmatch(name):
            return handler(name, args, kwargs, axes, output)
    return like_any(sources, output) or _resized(axes, output) if is_copy(name) or RESIZING.fullmatch(name) else None


def _broadcast(sources: Sequence[tuple[Tensor, Axes | None]], output: Tensor) -> Axes | None:
    """Each axis from the first operand that has its size; where none has, weights brought it in."""
    known = [axes for _, axes in sources if axes is not None and len(axes) <= output.dim()]
    if not known:
        return None
    result = []
    for place in range(1, output.dim() + 1):
        here = [axes[-place] for axes in known if len(axes) >= place]
        size = output.shape[-place]
        fitting = next((axis for axis in here if axis.size == size), None)
        result.append(fitting or (resized(here[0], size) if here else fresh("?", size)))
    return tuple(reversed(result))


def _resized(axes: Axes, output: Tensor) -> Axes | None:
    if output.dim() != len(axes):
        return None
    return tuple(resized(axis, size) for axis, size in zip(axes, output.shape, strict=True))


def _viewed(args: Sequence[Any], kwargs: Mapping[str, Any], axes: Axes, output: Tensor) -> Axes | None:
    return reshaped(axes, output.shape)


def _linear(args: Sequence[Any], kwargs: Mapping[str, Any], axes: Axes, output: Tensor) -> Axes | None:
    return (*axes[:-1], fresh("?" if across_tokens(axes, -1) else "c", output.shape[-1]))


def _convolved(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], axes: Axes, output: Tensor) -> Axes | None:
    if output.dim() != len(axes):
        return None
    spatial = tuple(resized(axis, size) for axis, size in zip(axes[2:], output.shape[2:], strict=True))
    # A kernel per image (CondConv): the batch stands in front of the channels, a group for each.
    images = tuple(digit for digit in axes[1].digits if digit.role == "b")
    channels = fresh("c", output.shape[1] // math.prod(digit.size for digit in images))
    return (axes[0], Axis((*images, *channels.digits)), *spatial)


def _reduced(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], axes: Axes, output: Tensor) -> Axes | None:
    second = given(args, kwargs, 1, "dim", "axis", "other")
    if isinstance(second, Tensor):  # the larger of two tensors, value by value
        return axes if output.shape == tuple(axis.size for axis in axes) else None
    if output.dim() == len(axes):
        return _resized(axes, output)
    if name in {"norm", "linalg_vector_norm"}:
        second = given(args, kwargs, 2, "dim")
    if second is None:
        return None
    dropped = {place % len(axes) for place in ([second] if isinstance(second, int) else second)}
    return tuple(axis for place, axis in enumerate(axes) if place not in dropped)


def _unfolded(args: Sequence[Any], kwargs: Mapping[str, Any], axes: Axes, output: Tensor) -> Axes | None:
    """(batch, channel * patch, positions) of `torch.nn.functional.unfold`."""
    if output.dim() != 3 or len(axes) != 4:
        return None
    settings = dict(zip(("kernel_size", "dilation", "padding", "stride"), args[1:], strict=False))
    settings = {"dilation": 1, "padding": 0, "stride": 1, **settings, **kwargs}
    pairs = {key: (value, value) if isinstance(value, int) else tuple(value) for key, value in settings.items()}
    grid = [
        (axis.size + 2 * pairs["padding"][i] - pairs["dilation"][i] * (pairs["kernel_size"][i] - 1) - 1)
        // pairs["stride"][i]
        + 1
        for i, axis in enumerate(axes[2:])
    ]
    beside = pairs["stride"] == pairs["kernel_size"] and pairs["padding"] == (0, 0)
    if beside and pairs["dilation"] == (1, 1):
        parts = _patches(axes, grid, pairs["kernel_size"])
        if parts is not None:  # patches side by side: a view
            batch, channels, height, down, width, right = parts
            pixels = Axis((*channels.digits, *down.digits, *right.digits))
            return (batch, pixels, Axis((*height.digits, *width.digits)))
    places = ("h", "w") if all(axis.is_plain for axis in axes[2:]) else ("?", "?")
    positions = Axis((*fresh(places[0], grid[0]).digits, *fresh(places[1], grid[1]).digits))
    # Which pixel of its patch a channel is, is not followed: no map before a linear map has mixed them.
    return (axes[0], fresh("?", output.shape[1]), positions)


def _patches(axes: Axes, grid: Sequence[int], kernel: Sequence[int]) -> Axes | None:
    """(batch, channel, rows of patches, rows inside, columns of patches, columns inside); None where they don't fit."""
    return reshaped(axes, (axes[0].size, axes[1].size, grid[0], kernel[0], grid[1], kernel[1]))


def _shuffled(args: Sequence[Any], kwargs: Mapping[str, Any], axes: Axes, output: Tensor) -> Axes | None:
    """Groups of the second axis are interleaved; harmless among channels."""
    return None if is_placed(axes[1]) else (axes[0], fresh("?", output.shape[1]), *axes[2:])


def _unshuffled(args: Sequence[Any], kwargs: Mapping[str, Any], axes: Axes, output: Tensor) -> Axes | None:
    """Pixels become channels, which is a view and a permutation."""
    factor = given(args, kwargs, 1, "downscale_factor")
    parts = _patches(axes, output.shape[2:], (factor, factor)) if len(axes) == 4 else None
    if parts is None:
        return None
    batch, channels, height, down, width, right = parts
    return (batch, Axis((*channels.digits, *down.digits, *right.digits)), height, width)


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
    parts = given(args, kwargs, 0, "tensors")
    known = {id(tensor): axes for tensor, axes in sources}
    place = given(args, kwargs, 1, "dim", "axis", default=0) % output.dim()
    model = next((axes for axes in known.values() if axes is not None and len(axes) == output.dim()), None)
    if model is None:
        return None
    joined = []
    for part in parts:
        axes = known.get(id(part))
        fits = axes is not None and len(axes) == output.dim()
        joined.append(axes[place] if axes is not None and fits else fresh("?", part.shape[place]))
    if not is_placed(model[place]) and any(axes is None for axes in known.values()):
        return None  # beside places that are known there are some that are not
    fitting = [axes for axes in known.values() if axes is not None and len(axes) == output.dim()]
    if len({layout((*axes[:place], *axes[place + 1 :])) for axes in fitting}) > 1:
        return None  # parts whose positions are in different orders
    rest = next(
        (
            axes
            for axes in known.values()
            if axes is not None and len(axes) == output.dim() and axes[place].roles & {"h", "w"}
        ),
        model,
    )
    return (*rest[:place], concatenated(joined), *rest[place + 1 :])


def _stacked(
    args: Sequence[Any], kwargs: Mapping[str, Any], sources: Sequence[tuple[Tensor, Axes | None]], output: Tensor
) -> Axes | None:
    place = given(args, kwargs, 1, "dim", "axis", default=0) % output.dim()
    axes = sources[0][1]
    if axes is None or any(other is None or layout(other) != layout(axes) for _, other in sources):
        return None
    return (*axes[:place], fresh("?", output.shape[place]), *axes[place:])


def split_axes(axes: Axes | None, outputs: Sequence[Tensor]) -> list[Axes | None]:
    """The axes of the pieces of a tensor that `split` or `chunk` cut along one axis.

    Args:
        axes: of the tensor.
        outputs: the pieces.
    """
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


def _transformed(name: str, args: Sequence[Any], kwargs: Mapping[str, Any], axes: Axes, output: Tensor) -> Axes | None:
    """Axes of a Fourier transform hold frequencies until the inverse; a real one keeps half of the last axis."""
    how = TRANSFORMS.fullmatch(name)
    if how is None or output.dim() != len(axes):
        return None
    default: Any = {"": -1, "2": (-2, -1), "n": None}[how["number"]]
    asked = given(args, kwargs, 2, "dim", default=default)
    places = range(len(axes)) if asked is None else [asked] if isinstance(asked, int) else asked
    result = list(axes)
    for place in places:
        axis = result[place]
        if not is_placed(axis):
            result[place] = resized(axis, output.shape[place])
        elif axis.transformed == bool(how["inverse"]):
            result[place] = _other_domain(axis, output.shape[place])
        else:  # a second transform instead of the inverse, as in the Fourier mixing of FNet
            result[place] = fresh("?", output.shape[place])
    return tuple(result) if [axis.size for axis in result] == list(output.shape) else None


def _other_domain(axis: Axis, size: int) -> Axis:
    """Half of the frequencies of a real map are kept; the extent that they stand for comes back with the inverse."""
    if axis.transformed:
        whole = Axis(axis.digits)
        return whole if whole.size == size else resized(whole, size)
    return Axis(axis.digits, None if axis.size == size else tuple(range(size)), transformed=True)


def _repeated(args: Sequence[Any], kwargs: Mapping[str, Any], axes: Axes, output: Tensor) -> Axes | None:
    """A side that is there twice is no side any more; a single value that is spread is one."""
    axes = (*(fresh("?", size) for size in output.shape[: output.dim() - len(axes)]), *axes)
    if len(axes) != output.dim():
        return None
    result = []
    for axis, size in zip(axes, output.shape, strict=True):
        if is_placed(axis) and axis.size not in {1, size}:
            return None
        result.append(resized(axis, size))
    return tuple(result)


_BY_INDEX = frozenset({"getitem", "index_select", "gather", "take_along_dim"})
_OF_SEVERAL = {"cat": _concatenation, "concat": _concatenation, "concatenate": _concatenation, "stack": _stacked}
_OF_ONE: dict[str, Callable[[Sequence[Any], Mapping[str, Any], Axes, Tensor], Axes | None]] = {
    **dict.fromkeys(VIEWS, _viewed),
    "linear": _linear,
    "getitem": indexed,
    "unfold": _unfolded,
    "channel_shuffle": _shuffled,
    "native_channel_shuffle": _shuffled,
    "pixel_unshuffle": _unshuffled,
    "unbind": selected,
    "select": selected,
    "narrow": narrowed,
    "index_select": index_select,
    "gather": gathered,
    "take_along_dim": gathered,
    "flip": flipped,
    "roll": rolled,
    "repeat": _repeated,
    "tile": _repeated,
    "repeat_interleave": _repeated,
}
_PATTERNS = ((REDUCTIONS, _reduced), (TRANSFORMS, _transformed), (CONVOLUTIONS, _convolved))
