"""The axes of what was picked out of a tensor, or put in another order, by an index, a slice, a roll or a flip."""

from collections.abc import Mapping, Sequence
from typing import Any

import torch
from torch import Tensor

from visionscope.tracing.axes import Axes, Axis, cut, fresh, is_placed, is_whole_side, rearranged, rolled_side
from visionscope.tracing.operations import given


class ValuesNeededError(Exception):
    """A permutation stands in a tensor that has no values on the meta device."""


def indexed(args: Sequence[Any], kwargs: Mapping[str, Any], axes: Axes, output: Tensor) -> Axes | None:
    """x[index]: slices, numbers, None, and one list or tensor of places."""
    index = args[1]
    items = list(index) if isinstance(index, tuple) else [index]
    if any(item is Ellipsis for item in items):
        place = next(place for place, item in enumerate(items) if item is Ellipsis)
        used = sum(item is not None and item is not Ellipsis for item in items)
        items[place : place + 1] = [slice(None)] * (len(axes) - used)
    listed = [item for item in items if isinstance(item, (Tensor, list)) or hasattr(item, "__array__")]
    if len(listed) > 1 or any(isinstance(item, bool) for item in items):
        return None
    result: list[Axis] = []
    rest = list(axes)
    for item in items:
        if item is None:
            result.append(fresh("?", 1))
        elif isinstance(item, slice):
            axis = rest.pop(0)
            result.append(cut(axis, *item.indices(axis.size)))
        elif any(item is other for other in listed):
            taken = _taken(rest.pop(0), torch.as_tensor(item))
            if taken is None:
                return None
            result.append(taken)
        else:
            rest.pop(0)
    result += rest
    return tuple(result) if [axis.size for axis in result] == list(output.shape) else None


def _taken(axis: Axis, index: Tensor) -> Axis | None:
    """The axis whose entries were picked by an index (entries,), or by a mask."""
    if index.dim() != 1 or "b" in axis.roles:
        return None
    if not is_placed(axis):
        return fresh("c" if axis.roles == {"c"} else "?", index.shape[0]) if index.dtype != torch.bool else None
    if index.is_meta:
        raise ValuesNeededError
    if index.dtype == torch.bool:
        index = index.nonzero()[:, 0]
    return rearranged(axis, [int(place) % axis.size for place in index.tolist()])


def index_select(args: Sequence[Any], kwargs: Mapping[str, Any], axes: Axes, output: Tensor) -> Axes | None:
    """The entries of one axis that an index names."""
    place = given(args, kwargs, 1, "dim") % len(axes)
    taken = _taken(axes[place], given(args, kwargs, 2, "index"))
    return None if taken is None else (*axes[:place], taken, *axes[place + 1 :])


def gathered(args: Sequence[Any], kwargs: Mapping[str, Any], axes: Axes, output: Tensor) -> Axes | None:
    """One index for all images and channels picks entries; one for each of them leaves no common place."""
    by_name = {"dim": given(args, kwargs, 1, "dim"), "index": given(args, kwargs, 2, "index")}
    if isinstance(by_name["dim"], Tensor):  # take_along_dim(input, indices, dim)
        by_name = {"dim": given(args, kwargs, 2, "dim"), "index": by_name["dim"]}
    elif by_name["index"] is None:
        by_name["index"] = kwargs.get("indices")
    if by_name["dim"] is None or not isinstance(by_name["index"], Tensor):
        return None
    place, index = by_name["dim"] % len(axes), by_name["index"]
    if not is_placed(axes[place]) and index.shape[place] == output.shape[place]:
        return (*axes[:place], fresh("?", output.shape[place]), *axes[place + 1 :])
    if index.is_meta:
        raise ValuesNeededError
    lines = index.movedim(place, -1).reshape(-1, index.shape[place])
    if not bool((lines == lines[:1]).all()):
        return None
    taken = _taken(axes[place], lines[0])
    result = None if taken is None else (*axes[:place], taken, *axes[place + 1 :])
    return result if result and [axis.size for axis in result] == list(output.shape) else None


def flipped(args: Sequence[Any], kwargs: Mapping[str, Any], axes: Axes, output: Tensor) -> Axes | None:
    """Axes that hold places, read backwards."""
    dims = kwargs.get("dims", args[1] if len(args) == 2 and not isinstance(args[1], int) else args[1:])
    result = list(axes)
    for place in {dim % len(axes) for dim in ([dims] if isinstance(dims, int) else dims)}:
        if is_placed(axes[place]):
            result[place] = rearranged(axes[place], range(axes[place].size - 1, -1, -1))
    return tuple(result)


def rolled(args: Sequence[Any], kwargs: Mapping[str, Any], axes: Axes, output: Tensor) -> Axes | None:
    """A whole height or width that is rolled (shifted windows) is a map still, and knows it; others are permuted."""
    shifts, dims = given(args, kwargs, 1, "shifts"), given(args, kwargs, 2, "dims", default=())
    shifts, dims = ([value] if isinstance(value, int) else list(value) for value in (shifts, dims))
    if len(shifts) != len(dims):
        return None
    result = list(axes)
    for shift, place in zip(shifts, dims, strict=True):
        axis = result[place]
        if not is_placed(axis):
            continue
        if is_whole_side(axis):
            result[place] = rolled_side(axis, shift)
            continue
        result[place] = rearranged(axis, [(index - shift) % axis.size for index in range(axis.size)])
    return tuple(result)


def narrowed(args: Sequence[Any], kwargs: Mapping[str, Any], axes: Axes, output: Tensor) -> Axes | None:
    """A piece of one axis."""
    place, start = given(args, kwargs, 1, "dim") % len(axes), given(args, kwargs, 2, "start")
    if not isinstance(start, int):
        return None
    axis = axes[place]
    return (*axes[:place], cut(axis, start % axis.size, start % axis.size + output.shape[place], 1), *axes[place + 1 :])


def selected(args: Sequence[Any], kwargs: Mapping[str, Any], axes: Axes, output: Tensor) -> Axes | None:
    """One entry of an axis, which is gone then; `unbind` gives them all."""
    place = given(args, kwargs, 1, "dim", default=0) % len(axes)
    return (*axes[:place], *axes[place + 1 :])
