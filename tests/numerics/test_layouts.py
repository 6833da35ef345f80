"""Views of feature maps keep their memory where they can, and never mix up axes."""

import pytest
import torch

from visionscope.numerics.layouts import empty_maps, image_chunks, join_features, join_positions

MAPS = torch.arange(2 * 3 * 4 * 5, dtype=torch.float32).reshape(2, 3, 4, 5)
TOKENS = torch.cat([torch.zeros(2, 1, 3), MAPS.flatten(2).mT], dim=1)[:, 1:].mT.unflatten(2, (4, 5))
LAST = MAPS.contiguous(memory_format=torch.channels_last)


@pytest.mark.parametrize(("maps", "axis"), [(MAPS, 2), (LAST, 1), (TOKENS, 1)])
def test_joined_positions_and_features_are_views(maps, axis):
    values, positions = join_positions(maps)
    assert positions == axis
    assert values.data_ptr() == join_features(maps).data_ptr() == maps.data_ptr()
    assert torch.equal(values if axis == 2 else values.mT, MAPS.flatten(2))
    assert torch.equal(join_features(maps).sort(1).values, MAPS.flatten(1))


@pytest.mark.parametrize("maps", [MAPS, LAST, TOKENS, MAPS.permute(0, 1, 3, 2)])
def test_room_has_shape_and_order_of_the_maps(maps):
    room = empty_maps(maps, 7)
    assert room.shape == (7, *maps.shape[1:])
    assert torch.equal(join_features(room.copy_(maps[:1])), join_features(maps)[:1].expand(7, -1))


def test_chunks_cover_the_batch_once_in_order():
    maps = torch.randn(7, 2, 3, 3).bfloat16()
    chunks = list(image_chunks(maps, elements=40))
    assert [len(chunk) for _, chunk in chunks] == [2, 2, 2, 1]
    assert torch.equal(torch.cat([chunk for _, chunk in chunks]), maps.float())
    assert torch.equal(torch.cat([maps[part] for part, _ in chunks]), maps)
