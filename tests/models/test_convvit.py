"""ConvViT: who sees whom, the arithmetic, and what timm, export and tracing ask of a model."""

from pathlib import Path

import numpy as np
import pytest
import timm
import torch

import visionscope
from reference.neighbourhood import attend
from visionscope.errors import ConfigError
from visionscope.models.convvit import NeighbourAttention, neighbour_mask
from visionscope.models.load import load_model


def _tokens(count: int, dim: int = 12) -> torch.Tensor:
    return torch.randn(2, count, dim, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


def _attention(
    grid: tuple[int, int], kernel_size: int | str, *, zero: bool = False, prefix: int = 0
) -> NeighbourAttention:
    torch.manual_seed(1)
    attention = NeighbourAttention(12, num_heads=3).double().eval()
    attention.set_neighbourhood(grid, kernel_size, zero_padded_borders=zero, prefix_tokens=prefix)
    return attention


@pytest.fixture
def images() -> torch.Tensor:
    return torch.randn(2, 3, 32, 32, generator=torch.Generator().manual_seed(0))


@pytest.mark.parametrize("zero", [False, True])
@pytest.mark.parametrize("kernel_size", [1, 3, 5, 7])
@pytest.mark.parametrize("grid", [(4, 4), (3, 5)])
def test_attention_among_neighbours_equals_its_definition(grid: tuple[int, int], kernel_size: int, zero: bool) -> None:
    attention = _attention(grid, kernel_size, zero=zero)
    x = _tokens(grid[0] * grid[1])
    with torch.inference_mode():
        found = attention(x)
        heads = attention.qkv(x).reshape(2, *grid, 3, 3, 4).permute(3, 0, 4, 1, 2, 5).numpy()
        for sample in range(2):
            q, k, v = (heads[part, sample] for part in range(3))
            y = torch.from_numpy(attend(q, k, v, kernel_size, zero_padded_borders=zero))
            expected = attention.proj(y.permute(1, 2, 0, 3).reshape(-1, 12))
            torch.testing.assert_close(found[sample], expected, rtol=1e-12, atol=1e-12)


def test_zero_padding_damps_the_border_alone() -> None:
    x = _tokens(25)
    masked, padded = (_attention((5, 5), 3, zero=zero)(x).reshape(2, 5, 5, 12) for zero in (False, True))
    torch.testing.assert_close(masked[:, 1:-1, 1:-1], padded[:, 1:-1, 1:-1])
    # A corner's softmax has five places of weight exp(0) beyond its four neighbours.
    assert (masked - padded)[:, 0, 0].abs().min() > 1e-4


@pytest.mark.parametrize("kernel_size", ["global", 9])
def test_a_kernel_that_covers_the_map_is_timms_attention(kernel_size: int | str) -> None:
    attention = _attention((5, 5), kernel_size)
    plain = timm.layers.Attention(12, num_heads=3).double()
    plain.load_state_dict(attention.state_dict())
    torch.testing.assert_close(attention(_tokens(25)), plain(_tokens(25)))


def test_global_attention_takes_an_earlier_neighbourhood_back() -> None:
    for zero in (False, True):
        attention = _attention((5, 5), 3, zero=zero)
        attention.set_neighbourhood((5, 5), "global", zero_padded_borders=zero, prefix_tokens=0)
        assert attention.attention_bias is None
        torch.testing.assert_close(attention(_tokens(25)), _attention((5, 5), "global")(_tokens(25)))


def test_a_token_sees_its_neighbours_and_the_class_token_all() -> None:
    mask = neighbour_mask((3, 4), 3, prefix_tokens=1)
    assert mask.shape == (13, 13)
    assert mask[0].all()
    assert not mask[1:, 0].any()
    assert mask[1:, 1:].sum(1).tolist() == [4, 6, 6, 4, 6, 9, 9, 6, 4, 6, 6, 4]
    assert torch.equal(mask[1:, 1:], mask[1:, 1:].T)


@pytest.mark.parametrize(("kernel_size", "reach"), [(3, 2), (5, 4), ("global", 7)])
def test_information_travels_a_radius_per_block(kernel_size: int | str, reach: int, images: torch.Tensor) -> None:
    model = timm.create_model("convvit_ti_cifar", kernel_size=kernel_size, depth=2).eval()
    changed = images.clone()
    changed[:, :, :4, :4] += 1  # the first of 8x8 patches
    with torch.inference_mode():
        maps = [model.forward_intermediates(x, indices=1, intermediates_only=True)[0] for x in (images, changed)]
    moved = (maps[0] - maps[1]).abs().amax((0, 1))
    expected = torch.zeros(8, 8, dtype=torch.bool)
    expected[: reach + 1, : reach + 1] = True
    assert torch.equal(moved > 0, expected)


@pytest.mark.parametrize(
    ("kernel_size", "near"), [(4, "3, 5"), (2, "1, 3"), (0, "3, 5"), (-3, "3, 5"), ("all", "3, 5")]
)
def test_a_kernel_without_a_middle_is_refused(kernel_size: int | str, near: str) -> None:
    with pytest.raises(ConfigError, match=rf"kernel_size must be an odd number.*got .*Near it: {near}, global"):
        load_model(f"convvit_ti_cifar?kernel_size={kernel_size}", random_weights=0)


@pytest.mark.parametrize("name", ["patch_drop_rate", "dynamic_img_size"])
def test_what_changes_the_grid_is_refused_where_there_are_neighbours(name: str, images: torch.Tensor) -> None:
    value = {"patch_drop_rate": 0.25, "dynamic_img_size": True}[name]
    with pytest.raises(ConfigError, match=f"{name} must be .* with kernel_size=3.*got {value}. .*kernel_size=global"):
        timm.create_model("convvit_ti_cifar", depth=1, **{name: value})
    free = timm.create_model("convvit_ti_cifar", depth=1, kernel_size="global", **{name: value}).train()
    assert free(images[:, :, :24] if name.startswith("dynamic") else images).shape == (2, 100)


@pytest.mark.parametrize("autocast", [False, True])
@pytest.mark.parametrize("zero", [False, True])
def test_half_precision_is_near(zero: bool, autocast: bool, images: torch.Tensor) -> None:
    torch.manual_seed(0)
    model = timm.create_model("convvit_ti_cifar", depth=2, zero_padded_borders=zero).eval()
    with torch.inference_mode():
        expected = model(images)
        if not autocast:
            model, images = model.bfloat16(), images.bfloat16()
        with torch.autocast("cpu", torch.bfloat16, enabled=autocast):
            logits = model(images)
    assert logits.dtype == torch.bfloat16
    assert logits.isfinite().all()
    torch.testing.assert_close(logits.float(), expected, rtol=2e-2, atol=2e-2)


def test_kernels_share_their_weights(tmp_path: Path) -> None:
    three = load_model("convvit_ti_cifar?depth=1", random_weights=0)
    assert not any("bias" in name and "attention" in name for name in three.model.state_dict())
    torch.save(three.model.state_dict(), tmp_path / "three.pth")
    five = load_model(f"convvit_ti_cifar?depth=1&kernel_size=5@{tmp_path / 'three.pth'}")
    assert not torch.equal(
        five.model(torch.ones(1, 3, 32, 32).cumsum(3)), three.model(torch.ones(1, 3, 32, 32).cumsum(3))
    )


@pytest.mark.parametrize("zero", [False, True])
def test_other_sizes_get_their_own_neighbourhoods(zero: bool) -> None:
    arguments = {"depth": 1, "zero_padded_borders": zero, "num_classes": 3}
    model = timm.create_model("convvit_ti_cifar", **arguments).eval()
    model.set_input_size(img_size=(16, 24))
    built = timm.create_model("convvit_ti_cifar", img_size=(16, 24), **arguments).eval()
    built.load_state_dict(model.state_dict())
    x = torch.randn(1, 3, 16, 24, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(model(x), built(x))
    assert model.forward_intermediates(x, intermediates_only=True)[0].shape == (1, 192, 4, 6)


@pytest.mark.parametrize("zero", [False, True])
def test_its_attention_is_found_as_attention(zero: bool) -> None:
    model = timm.create_model("convvit_ti_cifar", depth=2, zero_padded_borders=zero)
    kinds = [point.kind for point in visionscope.points(model, size=(32, 32))]
    assert kinds.count("msa") == 2
    assert kinds.count("mlp") == 2


@pytest.mark.parametrize("zero", [False, True])
def test_one_step_lowers_the_loss(zero: bool, images: torch.Tensor) -> None:
    torch.manual_seed(0)
    model = timm.create_model("convvit_ti_cifar", depth=2, num_classes=5, zero_padded_borders=zero)
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    labels = torch.tensor([1, 4])
    losses = []
    for _ in range(2):
        loss = torch.nn.functional.cross_entropy(model(images), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        losses.append(loss.item())
    assert losses[1] < losses[0]
    assert all(parameter.grad is not None for parameter in model.parameters())


def test_it_is_listed_with_timm() -> None:
    assert timm.list_models("convvit*") == ["convvit_pico", "convvit_ti_cifar"]


@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("zero", [False, True])
def test_its_export_gives_the_same_logits(zero: bool, images: torch.Tensor, tmp_path: Path) -> None:
    onnxruntime = pytest.importorskip("onnxruntime")
    pytest.importorskip("onnxscript")
    model = timm.create_model("convvit_ti_cifar", depth=2, zero_padded_borders=zero).eval()
    path = tmp_path / "model.onnx"
    torch.onnx.export(model, (images,), str(path), dynamo=True, verbose=False)
    session = onnxruntime.InferenceSession(str(path), providers=["CPUExecutionProvider"])
    found = session.run(None, {session.get_inputs()[0].name: images.numpy()})[0]
    with torch.inference_mode():
        np.testing.assert_allclose(found, model(images).numpy(), atol=1e-4)


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("zero", [False, True])
def test_compiled_it_gives_the_same_logits(zero: bool, images: torch.Tensor) -> None:
    model = timm.create_model("convvit_ti_cifar", depth=2, zero_padded_borders=zero).eval()
    with torch.inference_mode():
        torch.testing.assert_close(torch.compile(model)(images), model(images), rtol=1e-4, atol=1e-4)
