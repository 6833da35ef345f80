"""What is handed over equals, to the last bit, what an independent recording of the additions saw in the same pass."""

import math
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

import pytest
import timm
import torch
from einops import rearrange
from timm.models.cait import Cait
from timm.models.convnext import ConvNeXt
from timm.models.swin_transformer import SwinTransformer
from timm.models.swin_transformer_v2 import SwinTransformerV2
from timm.models.vgg import VGG
from timm.models.vision_transformer import ParallelScalingBlock, ParallelThingsBlock, VisionTransformer
from torch import Tensor, nn
from torch.utils._python_dispatch import TorchDispatchMode

from reference.found_as_it_was import snapshot
from visionscope.core.subject import Point
from visionscope.tracing import trace, watch

_VIT = {"img_size": 32, "patch_size": 8, "embed_dim": 32, "depth": 2, "num_heads": 2, "num_classes": 5}
_SWIN = {"img_size": 64, "patch_size": 4, "embed_dim": 16, "depths": (2, 2), "num_heads": (2, 4), "window_size": 4}

# Model, image height and width, and for layouts that split the grid the sizes of all parts but the first, by hand.
MODELS: dict[str, tuple[Callable[[], nn.Module], tuple[int, int], dict[str, int]]] = {
    "layer scale": (lambda: Cait(**_VIT, depth_token_only=1), (32, 32), {}),
    "parallel branches, one sum": (lambda: VisionTransformer(**_VIT, block_fn=ParallelScalingBlock), (32, 32), {}),
    "parallel branches, stacked": (lambda: VisionTransformer(**_VIT, block_fn=ParallelThingsBlock), (32, 32), {}),
    "shifted windows": (lambda: SwinTransformer(**_SWIN), (64, 64), {}),
    "shifted windows, cosine": (lambda: SwinTransformerV2(**_SWIN), (64, 64), {}),
    "resnet18": (lambda: timm.create_model("resnet18"), (64, 96), {}),
    "resnet50": (lambda: timm.create_model("resnet50"), (96, 64), {}),
    "convnext": (lambda: ConvNeXt(depths=(1, 1, 2, 1), dims=(8, 16, 24, 32)), (96, 64), {}),
    "levit": (lambda: timm.create_model("levit_128s"), (224, 224), {}),
    "patches inside the batch": (lambda: timm.create_model("mobilevit_xxs"), (128, 192), {"h1": 2, "w1": 2}),
    "unrolled tokens": (
        lambda: timm.create_model("hiera_tiny_224", img_size=64, mask_unit_size=(8, 8)),
        (64, 64),
        {f"{side}{part}": 2 for side in "hw" for part in (1, 2, 3)},
    ),
    "pooled tokens": (lambda: timm.create_model("pit_ti_224"), (224, 224), {}),
    "attention and convolution": (lambda: timm.create_model("coatnet_nano_rw_224"), (224, 224), {}),
}


class Additions(TorchDispatchMode):
    """Clones operands and results of every addition of two tensors of one shape, below all of Python's dispatch."""

    def __init__(self) -> None:
        super().__init__()
        self.seen: list[tuple[Tensor, Tensor, Tensor]] = []

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        added = func in {torch.ops.aten.add.Tensor, torch.ops.aten.add_.Tensor}
        if not added or not isinstance(args[1], Tensor) or args[0].shape != args[1].shape:
            return func(*args, **(kwargs or {}))
        operands = args[0].clone(), args[1].clone()
        result = func(*args, **(kwargs or {}))
        self.seen.append((*operands, result.clone()))
        return result


def shaken(model: nn.Module) -> nn.Module:
    """The model in eval mode with every weight and statistic random: no zero gain, no equal branches."""
    generator = torch.Generator().manual_seed(0)
    with torch.no_grad():
        for parameter in model.parameters():
            parameter.add_(torch.randn(parameter.shape, generator=generator) * 0.02)
        for name, buffer in model.named_buffers():
            if name.endswith(("running_mean", "running_var")):
                buffer.add_(torch.rand(buffer.shape, generator=generator))
    return model.eval()


@contextmanager
def plain_attention() -> Iterator[None]:
    torch.backends.mha.set_fastpath_enabled(False)
    yield
    torch.backends.mha.set_fastpath_enabled(True)


def on_the_grid(tensor: Tensor, point: Point, inner: dict[str, int]) -> Tensor:
    """A recorded tensor as (batch, channel, height, width), arranged by the point's layout and sizes given by hand."""
    axes = re.findall(r"\([^)]*\)|\S+", point.layout)
    place = next((index for index, axis in enumerate(axes) if re.search(r"[hw]", axis)), 0)
    if point.prefix_tokens:
        tensor = tensor.narrow(place, point.prefix_tokens, tensor.shape[place] - point.prefix_tokens)
    names = re.findall(r"[bchw]\d*", point.layout)
    sizes: dict[str, int] = {}
    for role, extent in zip("hw", point.grid, strict=True):
        parts = sorted(name for name in names if name[0] == role)
        sizes |= {part: inner[part] for part in parts[1:]}
        sizes[parts[0]] = extent // math.prod(sizes[part] for part in parts[1:])
    target = " ".join(f"({' '.join(sorted(name for name in names if name[0] == role))})" for role in "bchw")
    return rearrange(tensor, f"{point.layout} -> {target}", **sizes)


@pytest.mark.parametrize("name", MODELS)
def test_points_are_the_additions_bit_by_bit(name: str) -> None:
    build, size, inner = MODELS[name]
    torch.manual_seed(0)
    model = shaken(build())
    images = torch.randn(3, 3, *size)
    found = trace(model, images[:1])
    before = snapshot(model)
    captured: dict[str, Tensor] = {}
    with torch.no_grad(), plain_attention():
        expected = model(images)
        with (
            Additions() as additions,
            watch(model, found, lambda point, maps: captured.update({point.name: maps.clone()}), found.all_points),
        ):
            watched = model(images)
    assert torch.equal(expected, watched)
    assert snapshot(model) == before
    assert set(captured) == {point.name for point in found.all_points}

    sums = [point for point in found.all_points if "+" in point.name]
    assert len(sums) == found.sums - len(found.unwatched) >= 2
    order = list(captured)
    position = 0
    for point in sorted(sums, key=lambda point: order.index(point.name)):
        branch = next(other for other in found.all_points if other.name == point.name.replace("+", ".", 1))
        assert captured[point.name].shape == (3, point.channels, *point.grid)
        assert captured[point.name].std() > 0
        for index in range(position, len(additions.seen)):
            first, second, result = additions.seen[index]
            if result.shape.numel() < captured[point.name].numel() or result.dim() != len(
                re.findall(r"\([^)]*\)|\S+", point.layout)
            ):
                continue
            try:
                arranged = on_the_grid(result, point, inner)
            except Exception:  # an addition of another shape
                continue
            if torch.equal(arranged, captured[point.name]):
                break
        else:
            pytest.fail(f"{point.name}: no recorded addition from number {position} on has its values")
        position = index + 1
        assert torch.equal(first + second, result)
        operands = [on_the_grid(operand, point, inner) for operand in (first, second)]
        matching = [torch.equal(operand, captured[branch.name]) for operand in operands]
        assert sum(matching) == 1
        skip = operands[matching.index(False)]
        assert torch.equal(skip + captured[branch.name], captured[point.name])


def test_the_list_holds_at_least_12_models() -> None:
    assert len(MODELS) >= 12


def test_a_network_without_sums_is_watched_bit_by_bit() -> None:
    torch.manual_seed(0)
    model = shaken(VGG([8, "M", 16, "M", 16, 16, "M"], num_classes=5, mlp_ratio=1 / 64))
    images = torch.randn(2, 3, 64, 32)
    found = trace(model, images)
    modules = dict(model.named_modules())
    hooked: dict[str, Tensor] = {}
    for point in found.points:
        modules[point.name].register_forward_hook(
            lambda module, args, output, name=point.name: hooked.update({name: output.clone()})
        )
    captured: dict[str, Tensor] = {}
    with torch.no_grad(), watch(model, found, lambda point, maps: captured.update({point.name: maps.clone()})):
        model(images)
    assert list(captured) == list(hooked) == [point.name for point in found.points]
    assert all(torch.equal(captured[name], hooked[name]) for name in captured)


@pytest.mark.parametrize("name", ["shifted windows", "resnet18", "layer scale"])
def test_an_error_in_the_callback_leaves_the_model_as_it_was(name: str) -> None:
    build, size, _ = MODELS[name]
    torch.manual_seed(0)
    model = build().train()
    for parameter in list(model.parameters())[::3]:
        parameter.requires_grad_(False)
    before = snapshot(model)
    found = trace(model, torch.zeros(1, 3, *size))
    assert snapshot(model) == before

    def fail(point: Point, maps: Tensor) -> None:
        if point.name == found.points[3].name:
            raise RuntimeError("the callback failed")

    model.eval()
    before = snapshot(model)
    images = torch.zeros(2, 3, *size)
    with pytest.raises(RuntimeError, match="the callback failed"), watch(model, found, fail):
        model(images)
    assert snapshot(model) == before
    seen: list[str] = []
    with torch.no_grad(), watch(model, found, lambda point, maps: seen.append(point.name)):
        model(images)
    assert seen == [point.name for point in found.points]
