"""Attention inside windows and the block made of it."""

from typing import Any

import pytest
import torch
from torch import Tensor, nn

from reference.windows import local_attention
from visionscope.errors import ConfigError
from visionscope.models.windows import LocalAttention, MsaBlock


def attention(**arguments: Any) -> LocalAttention:
    torch.manual_seed(0)
    chosen = {"dim": 5, "dim_out": 7, "num_heads": 3, "head_dim": 4, "window_size": 3, **arguments}
    return LocalAttention(**chosen).double()


def maps(*shape: int) -> Tensor:
    return torch.randn(*shape, generator=torch.Generator().manual_seed(1), dtype=torch.float64)


@pytest.mark.parametrize("per_head_bias", [False, True])
@pytest.mark.parametrize("size", [(6, 6), (6, 9), (4, 7), (3, 1), (2, 2), (1, 1), (2, 8)])
def test_every_size_gives_what_loops_over_positions_give(size: tuple[int, int], per_head_bias: bool) -> None:
    module, x = attention(per_head_bias=per_head_bias), maps(2, 5, *size)
    with torch.no_grad():
        y = module(x)
    weights = (module.qkv.weight, module.relative_position_bias_table, module.proj.weight, module.proj.bias)
    arrays = [value.detach().numpy() for value in weights]
    for image, result in zip(x.numpy(), y, strict=True):
        expected = local_attention(image, *arrays, num_heads=3, window_size=3)
        torch.testing.assert_close(result, torch.from_numpy(expected), rtol=1e-12, atol=1e-12)


def test_what_a_window_holds_stays_in_it() -> None:
    module, x = attention(), maps(1, 5, 7, 8)
    changed = x.clone()
    changed[:, :, 3:6, 6:] += 1  # the window of rows 3 to 5 and the last two columns
    touched = (module(changed) - module(x)).abs().amax((0, 1)) > 0
    expected = torch.zeros(7, 8, dtype=torch.bool)
    expected[3:6, 6:] = True
    assert torch.equal(touched, expected)


def test_whole_windows_may_be_moved_and_single_positions_not() -> None:
    module, x = attention(), maps(1, 5, 6, 6)
    torch.testing.assert_close(module(x.roll((3, 3), (2, 3))), module(x).roll((3, 3), (2, 3)))
    assert not torch.allclose(module(x.roll(1, 3)), module(x).roll(1, 3))


def test_without_a_bias_the_positions_of_a_window_are_a_set() -> None:
    module, x = attention(window_size=4), maps(1, 5, 4, 4)
    order = torch.randperm(16, generator=torch.Generator().manual_seed(2))

    def shuffled(value: Tensor) -> Tensor:
        return value.flatten(2)[:, :, order].unflatten(2, (4, 4))

    assert not torch.allclose(module(shuffled(x)), shuffled(module(x)))
    nn.init.zeros_(module.relative_position_bias_table)
    torch.testing.assert_close(module(shuffled(x)), shuffled(module(x)))


def test_a_window_larger_than_the_map_is_cut_to_it() -> None:
    large, x = attention(window_size=7), maps(2, 5, 3, 4)
    small = attention(window_size=4)
    small.load_state_dict({**large.state_dict(), "relative_position_bias_table": torch.zeros(49, 1)})
    table = large.relative_position_bias_table.detach().reshape(13, 13)
    small.relative_position_bias_table.data = table[3:10, 3:10].reshape(-1, 1)
    torch.testing.assert_close(small(x), large(x))


def test_memory_layout_and_batch_change_nothing() -> None:
    module, x = attention(), maps(4, 5, 7, 7)
    y = module(x)
    torch.testing.assert_close(module(x.contiguous(memory_format=torch.channels_last)), y)
    torch.testing.assert_close(torch.cat([module(image[None]) for image in x]), y)


def _padded() -> tuple[LocalAttention, Tensor, Tensor]:
    # Windows of 3 on 4x7 positions, for two images and for five.
    return attention().eval(), maps(2, 5, 4, 7), maps(5, 5, 4, 7)


def test_an_export_takes_other_batches() -> None:
    module, two, five = _padded()
    exported = torch.export.export(module, (two,), dynamic_shapes=({0: torch.export.Dim("batch", min=1)},)).module()
    for x in (two, five, five[:1]):
        torch.testing.assert_close(exported(x), module(x))


@pytest.mark.filterwarnings("ignore::torch.jit.TracerWarning")  # the size of the map is fixed, as it says
@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_trace_takes_other_batches() -> None:
    module, two, five = _padded()
    torch.testing.assert_close(torch.jit.trace(module, (two,))(five), module(five))


@pytest.mark.parametrize("autocast", [False, True])
def test_half_precision_is_near(autocast: bool) -> None:
    module, _, x = _padded()
    expected = module(x)
    module, x = (module.float(), x.float()) if autocast else (module.bfloat16(), x.bfloat16())
    with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
        y = module(x)
    assert y.dtype == torch.bfloat16
    assert y.isfinite().all()
    torch.testing.assert_close(y.double(), expected, rtol=2e-2, atol=2e-2)


def test_the_index_of_offsets_is_no_weight_but_moves_with_the_module() -> None:
    module = attention()
    assert set(module.state_dict()) == {"relative_position_bias_table", "qkv.weight", "proj.weight", "proj.bias"}
    assert "relative_position_index" in dict(module.named_buffers())
    assert module.relative_position_bias_table.shape == (25, 1)
    assert attention(per_head_bias=True).relative_position_bias_table.shape == (25, 3)


def test_first_and_second_derivatives_are_those_of_differences() -> None:
    module = attention(dim=2, dim_out=2, num_heads=2, head_dim=2, window_size=2)
    x = maps(1, 2, 3, 2).requires_grad_()
    for tensor in module.parameters():
        tensor.requires_grad_(False)
    table = module.relative_position_bias_table
    table.requires_grad_()
    with torch.nn.attention.sdpa_kernel(torch.nn.attention.SDPBackend.MATH):
        assert torch.autograd.gradcheck(lambda x, _: module(x), (x, table))
        assert torch.autograd.gradgradcheck(lambda x, _: module(x), (x, table))


def test_dropped_attention_is_for_training() -> None:
    module, x = attention(attn_drop=0.5), maps(1, 5, 6, 6)
    assert not torch.equal(module(x), module(x))
    module.eval()
    assert torch.equal(module(x), module(x))


@pytest.mark.parametrize("name", ["num_heads", "head_dim", "window_size"])
@pytest.mark.parametrize("value", [0, 1.5])
def test_counts_are_positive_integers(name: str, value: float) -> None:
    with pytest.raises(ConfigError, match=f"{name} must be a positive integer; got {value}. The smallest is 1"):
        attention(**{name: value})


@pytest.mark.parametrize("stride", [1, 2, 3, 4])
@pytest.mark.parametrize("size", [(8, 8), (7, 5), (1, 2)])
def test_a_block_of_any_stride_halves_as_a_strided_convolution_does(stride: int, size: tuple[int, int]) -> None:
    block = MsaBlock(8, 12, num_heads=2, head_dim=4, stride=stride, window_size=3)
    expected = nn.Conv2d(8, 12, 1, stride=stride)(torch.zeros(2, 8, *size)).shape
    assert block(torch.randn(2, 8, *size)).shape == expected


def test_every_position_reaches_the_attention_of_a_strided_block() -> None:
    block = MsaBlock(4, 8, num_heads=2, head_dim=4, stride=2, window_size=2).eval()
    x = torch.randn(1, 4, 4, 4, generator=torch.Generator().manual_seed(3), requires_grad=True)
    block(x).square().sum().backward()
    assert x.grad is not None
    assert (x.grad.abs().amax(1) > 0).all()


def test_a_block_is_its_formula() -> None:
    block = MsaBlock(8, 12, num_heads=2, head_dim=4, stride=2, window_size=2).eval()
    x = torch.randn(1, 8, 4, 4, generator=torch.Generator().manual_seed(3))
    block.norm1.bias.data.normal_()
    active = nn.functional.gelu(nn.functional.batch_norm(x, torch.zeros(8), torch.ones(8), bias=block.norm1.bias))
    narrow = nn.functional.conv2d(nn.functional.avg_pool2d(active, 2), block.conv.weight) / (1 + 1e-5) ** 0.5
    assert block.downsample is not None
    skip = nn.functional.conv2d(active, block.downsample.conv.weight, stride=2)
    torch.testing.assert_close(block(x), skip + block.attn(narrow), rtol=1e-5, atol=1e-5)


def test_the_branch_is_left_out_in_training_alone() -> None:
    block, x = MsaBlock(8, 8, num_heads=1, head_dim=4, drop_path=0.999999), torch.randn(2, 8, 4, 4)
    assert torch.equal(block.train()(x), x)
    assert not torch.equal(block.eval()(x), x)
    assert isinstance(MsaBlock(8, 8, num_heads=1).drop_path, nn.Identity)
