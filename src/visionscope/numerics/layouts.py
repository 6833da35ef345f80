"""Feature maps as matrices, in the order in which they lie in memory: nothing is copied where it can be helped."""

from collections.abc import Iterator
from contextlib import ExitStack, contextmanager

import torch
from torch import Tensor


@contextmanager
def full_precision(maps: Tensor) -> Iterator[None]:
    """A context without gradients and without autocast, which would round matrix products to bfloat16.

    Args:
        maps: any tensor on the device in question.
    """
    with ExitStack() as stack:
        stack.enter_context(torch.no_grad())
        stack.enter_context(torch.autocast(maps.device.type, enabled=False))
        yield


def working_type(maps: Tensor) -> torch.dtype:
    """The type that sums are computed in: float64 for float64 maps, else float32.

    Args:
        maps: feature maps of any floating type.
    """
    return torch.float64 if maps.dtype == torch.float64 else torch.float32


def image_chunks(maps: Tensor, elements: int = 2**18) -> Iterator[tuple[slice, Tensor]]:
    """Cuts a batch into runs of images that fit in a core's cache, converted to `working_type`.

    Args:
        maps: (batch, channel, height, width).
        elements: the most elements in a chunk, unless one image alone has more.

    Yields:
        The images' indices and their maps.
    """
    step = max(1, elements // max(1, maps[0].numel()))
    dtype = working_type(maps)
    for start in range(0, len(maps), step):
        part = slice(start, start + step)
        yield part, maps[part].to(dtype)


def join_positions(maps: Tensor) -> tuple[Tensor, int]:
    """Joins height and width; tokens and channels-last maps stay as they lie.

    Args:
        maps: (batch, channel, height, width).

    Returns:
        (batch, positions, channel) where channels are innermost in memory, else (batch, channel, positions); and the
        index, 1 or 2, of the axis of positions.
    """
    if maps.stride(1) == 1 and maps.shape[1] > 1:
        return maps.permute(0, 2, 3, 1).flatten(1, 2), 1
    return maps.flatten(2), 2


def join_features(maps: Tensor) -> Tensor:
    """Flattens each image into one row; all rows have the same order of features, whichever copies least.

    Args:
        maps: (batch, channel, height, width).

    Returns:
        (batch, channel * height * width), a view where the memory allows one.
    """
    return maps.permute(0, *_memory_order(maps)).flatten(1)


def empty_maps(like: Tensor, images: int) -> Tensor:
    """Room for the maps of some images, with the axes in the same order in memory, so that filling it is a plain copy.

    Args:
        like: (batch, channel, height, width).
        images: how many.
    """
    order = _memory_order(like)
    room = torch.empty((images, *(like.shape[axis] for axis in order)), dtype=like.dtype, device=like.device)
    return room.permute(0, *(1 + order.index(axis) for axis in (1, 2, 3)))


def _memory_order(maps: Tensor) -> list[int]:
    """The axes of channel, height and width, outermost in memory first."""
    return sorted((1, 2, 3), key=maps.stride, reverse=True)
