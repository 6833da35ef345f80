"""Laws of the symbolic axes: whatever views and permutations a tensor went through, its images come back exactly."""

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from torch import Tensor

from visionscope.tracing.axes import Axes, Axis, arrangement, concatenated, cut, fresh, image_axes, is_map, reshaped
from visionscope.tracing.watch import to_grid

shapes = st.tuples(
    st.integers(1, 3), st.sampled_from([1, 2, 6]), st.sampled_from([2, 4, 6, 12]), st.sampled_from([3, 4, 8])
)


def indexed(shape: tuple[int, ...]) -> Tensor:
    return torch.arange(math.prod(shape)).reshape(shape)


def shape_of(axes: Axes) -> list[int]:
    return [axis.size for axis in axes]


@st.composite
def moves(draw: st.DrawFn, shape: tuple[int, ...]) -> tuple[Tensor, Axes]:
    """A tensor after random splits, merges and permutations, done to the numbers and to the symbols alike."""
    tensor, axes = indexed(shape), image_axes(shape)
    for _ in range(draw(st.integers(0, 6))):
        step = draw(st.sampled_from(["split", "merge", "permute", "unsqueeze"]))
        sizes = list(tensor.shape)
        if step == "permute" or len(sizes) > 8:
            order = draw(st.permutations(range(len(sizes))))
            tensor = tensor.permute(*order)
            axes = tuple(axes[place] for place in order)
            continue
        place = draw(st.integers(0, len(sizes) - 1))
        if step == "split":
            divisors = [part for part in range(1, sizes[place] + 1) if sizes[place] % part == 0]
            part = draw(st.sampled_from(divisors))
            sizes[place : place + 1] = [sizes[place] // part, part]
        elif step == "merge" and place + 1 < len(sizes):
            sizes[place : place + 2] = [sizes[place] * sizes[place + 1]]
        else:
            sizes.insert(place, 1)
        followed = reshaped(axes, sizes)
        if followed is None:
            continue  # an axis would be cut unevenly: symbols refuse, so the numbers stay as they are
        tensor, axes = tensor.reshape(sizes), followed
    return tensor, axes


@given(st.data())
def test_views_and_permutations_are_undone_exactly(data: st.DataObject) -> None:
    shape = data.draw(shapes.filter(lambda shape: shape[0] > 1))
    tensor, axes = data.draw(moves(shape))
    assert shape_of(axes) == list(tensor.shape)
    assert is_map(axes)
    how = arrangement(axes)
    assert (how.channels, how.grid) == (shape[1], shape[2:])
    assert torch.equal(to_grid(tensor, how), indexed(shape))


@given(shapes, st.integers(1, 3), st.integers(1, 4), st.integers(1, 4))
def test_windows_come_back(shape: tuple[int, ...], batch: int, high: int, wide: int) -> None:
    channels = shape[1]
    shape = (batch + 1, channels, 3 * high, 2 * wide)
    axes = image_axes(shape)
    parts = reshaped(axes, (batch + 1, channels, 3, high, 2, wide))
    assert parts is not None
    order = (0, 2, 4, 3, 5, 1)
    windows = reshaped(tuple(parts[place] for place in order), ((batch + 1) * 6, high * wide, channels))
    assert windows is not None
    tensor = indexed(shape).reshape(batch + 1, channels, 3, high, 2, wide).permute(*order)
    tensor = tensor.reshape((batch + 1) * 6, high * wide, channels)
    assert torch.equal(to_grid(tensor, arrangement(windows)), indexed(shape))
    # The same arrangement serves any other number of images.
    more = indexed((5, *shape[1:])).reshape(5, channels, 3, high, 2, wide).permute(*order)
    more = more.reshape(5 * 6, high * wide, channels)
    assert torch.equal(to_grid(more, arrangement(windows)), indexed((5, *shape[1:])))


@given(st.integers(1, 4), st.sampled_from([(2, 3), (4, 4), (7, 5)]), st.integers(2, 5))
def test_tokens_in_front_are_left_out(prefix: int, grid: tuple[int, int], channels: int) -> None:
    shape = (2, channels, *grid)
    merged = reshaped(image_axes(shape), (2, channels, math.prod(grid)))
    assert merged is not None
    tokens = (merged[0], merged[2], merged[1])
    joined = (tokens[0], concatenated([fresh("?", prefix), tokens[1]]), tokens[2])
    tensor = torch.cat([torch.full((2, prefix, channels), -1), indexed(shape).flatten(2).mT], dim=1)
    assert shape_of(joined) == list(tensor.shape)
    how = arrangement(joined)
    assert how.placeless == prefix
    assert torch.equal(to_grid(tensor, how), indexed(shape))
    # Splitting the channels into heads leaves the tokens alone; cutting them off leaves the grid.
    heads = reshaped(joined, (2, prefix + math.prod(grid), 1, channels))
    assert heads is not None
    assert heads[1] == joined[1]
    alone = cut(joined[1], prefix, joined[1].size, 1)
    assert alone == tokens[1]
    assert cut(joined[1], 0, prefix, 1).roles == {"?"} or prefix == 1


@pytest.mark.parametrize(
    ("shape", "view"),
    [
        ((2, 6, 4, 4), (2, 4, 6, 4, 1)),
        ((2, 3, 5, 5), (2, 3, 2, 5)),
        ((2, 3, 4, 4), (2, 3, 16, 2)),
        ((2, 3, 4, 4), (2, 48, 2)),
        ((3, 5, 7, 7), (5, 3, 7, 7)),
    ],
)
def test_uneven_cuts_are_refused(shape: tuple[int, ...], view: tuple[int, ...]) -> None:
    assert reshaped(image_axes(shape), view) is None


def test_a_view_that_would_split_the_prefix_is_refused() -> None:
    (batch, channels, tokens) = reshaped(image_axes((2, 3, 4, 4)), (2, 3, 16)) or ((), (), ())
    assert isinstance(tokens, Axis)
    joined = (batch, concatenated([fresh("?", 1), tokens]), channels)
    assert reshaped(joined, (2, 17 * 3)) is None
    assert reshaped(joined, (34, 3)) is None


def test_what_is_no_map() -> None:
    axes = image_axes((2, 3, 4, 4))
    assert is_map(axes)
    assert not is_map(None)
    assert not is_map(axes[:3])
    assert not is_map(axes[1:])
    assert not is_map((*axes, fresh("?", 3)))
    assert not is_map((*axes, axes[2]))  # scores of rows against rows
    with pytest.raises(ValueError, match="batch, height and width must be known"):
        arrangement(axes[:3])
