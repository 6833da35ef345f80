"""Attention put into networks of several families: where it goes, what stays, and that the result trains and loads."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from visionscope.building.blocks import find_stages
from visionscope.building.harmonize import harmonize, plan_harmonize
from visionscope.building.placement import Placement
from visionscope.errors import ConfigError
from visionscope.models.checkpoint import save_checkpoint
from visionscope.models.load import LoadedModel, load_model
from visionscope.models.mixers.slot import MixerSlot
from visionscope.models.postactivation import PostActMsaBlock
from visionscope.models.surgery import changes_of
from visionscope.models.windows import MsaBlock
from visionscope.tracing import trace
from visionscope.training.networks import network_for
from visionscope.training.snapshots import Keeper

# The families of the command's promise, narrow and short, so that a step is fast; the path of each attention block.
FAMILIES: dict[str, tuple[tuple[int, ...], tuple[str, ...]]] = {
    "resnet50?channels=(8,16,24,32)&layers=(1,2,3,2)&num_classes=10": (
        (0, 1, 1, 1),
        ("layer2.1", "layer3.2", "layer4.1"),
    ),
    "resnext50_32x4d?channels=(32,32,32,32)&layers=(1,2,2,2)&num_classes=10": (
        (0, 1, 1, 1),
        ("layer2.1", "layer3.1", "layer4.1"),
    ),
    "regnety_002?num_classes=10": ((0, 0, 2, 1), ("s3.b2", "s3.b4", "s4.b7")),
    "convnext_tiny?depths=(1,2,3,2)&dims=(8,16,24,32)&num_classes=10": (
        (0, 1, 1, 1),
        ("stages.1.blocks.1", "stages.2.blocks.2", "stages.3.blocks.1"),
    ),
    "efficientnet_b0?num_classes=10": (
        (0, 1, 3, 2),
        ("blocks.2.1", "blocks.3.1", "blocks.4.0", "blocks.4.2", "blocks.5.2", "blocks.6.0"),
    ),
    "resnetv2_50?channels=(32,32,64,64)&layers=(1,2,3,2)&num_classes=10": (
        (0, 1, 1, 1),
        ("stages.1.blocks.1", "stages.2.blocks.2", "stages.3.blocks.1"),
    ),
    "resnet_nano": ((0, 1, 1), ("layer2.1", "layer3.1")),
    "resnet_20_cifar": ((0, 1, 1), ("layer2.2", "layer3.2")),
}
SIZE = (64, 64)


def _loaded(spec: str) -> LoadedModel:
    return load_model(spec, random_weights=0, size=SIZE)


def _images(size: tuple[int, int] = SIZE) -> Tensor:
    return torch.randn(8, 3, *size, generator=torch.Generator().manual_seed(1))


def _save(path: Path, model: nn.Module, loaded: LoadedModel) -> None:
    save_checkpoint(path, model, num_classes=10, arguments=loaded.spec.arguments, config=loaded.input)


def _step_lowers_the_loss(model: nn.Module, size: tuple[int, int] = SIZE) -> bool:
    images, labels = _images(size), torch.arange(8) % 4
    optimizer = torch.optim.SGD(model.parameters(), lr=0.01)
    losses = []
    for _ in range(2):
        torch.manual_seed(0)  # the same dropout
        loss = F.cross_entropy(model.train()(images), labels)
        losses.append(loss.item())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return losses[1] < losses[0]


@pytest.mark.parametrize("spec", FAMILIES)
def test_attention_goes_where_it_is_planned_and_the_result_trains_saves_and_loads(spec: str, tmp_path: Path) -> None:
    msa, paths = FAMILIES[spec]
    loaded = _loaded(spec)
    before = {name: value.clone() for name, value in loaded.model.state_dict().items()}
    changed = harmonize(loaded.model, Placement(msa=msa, window_size=4), input_size=SIZE, seed=3)

    points = trace(changed, torch.zeros(1, 3, *SIZE)).points
    assert tuple(point.name.partition("+")[0] for point in points if point.kind.value == "msa") == paths
    assert [block.stride for stage in find_stages(changed, SIZE) for block in stage] == [
        block.stride for stage in find_stages(loaded.model, SIZE) for block in stage
    ]
    after = changed.state_dict()
    kept = [name for name in before if not name.startswith(tuple(f"{path}." for path in paths))]
    assert 0 < len(kept) < len(before)
    assert [name for name in kept if not torch.equal(before[name], after[name])] == []
    assert [name for name, value in loaded.model.state_dict().items() if not torch.equal(before[name], value)] == []

    assert _step_lowers_the_loss(changed)
    _save(tmp_path / "changed.safetensors", changed, loaded)
    again = load_model(f"{spec.partition('?')[0]}@{tmp_path / 'changed.safetensors'}")
    assert json.dumps(again.spec.arguments) == json.dumps(loaded.spec.arguments)
    with torch.inference_mode():
        assert torch.equal(again.model(_images()), changed.eval()(_images()))


@pytest.mark.parametrize("spec", ["resnet_nano", "convnext_tiny?depths=(1,2,3,2)&dims=(8,16,24,32)&num_classes=10"])
def test_a_mixer_takes_the_places_of_attention(spec: str, tmp_path: Path) -> None:
    msa, paths = FAMILIES[spec]
    loaded, mixer = _loaded(spec), "learned_blur(kernel_size=3)"
    attention = harmonize(loaded.model, Placement(msa=msa, window_size=4), input_size=SIZE)
    changed = harmonize(loaded.model, Placement(msa=msa, window_size=4), mixer=mixer, input_size=SIZE, seed=3)
    plan = plan_harmonize(loaded.model, msa, mixer=mixer, input_size=SIZE)
    assert [kind for stage in plan.stages for kind in stage.after].count(f"mix:{mixer}") == len(paths)
    slots = [name for name, module in changed.named_modules() if isinstance(module, MixerSlot)]
    assert slots == [f"{path}.mixer" for path in paths]
    for path in paths:
        sizes = [sum(p.numel() for p in network.get_submodule(path).parameters()) for network in (attention, changed)]
        assert sizes[1] == pytest.approx(sizes[0], rel=0.1)

    assert _step_lowers_the_loss(changed)
    _save(tmp_path / "changed.safetensors", changed, loaded)
    again = load_model(f"{spec.partition('?')[0]}@{tmp_path / 'changed.safetensors'}")
    with torch.inference_mode():
        assert torch.equal(again.model(_images()), changed.eval()(_images()))


@pytest.mark.slow
@pytest.mark.parametrize("name", ["resnet50", "resnext50_32x4d", "regnety_016", "convnext_tiny"])
def test_the_networks_in_full_train_save_and_load(name: str, tmp_path: Path) -> None:
    loaded = _loaded(f"{name}?num_classes=10")
    changed = harmonize(loaded.model, (0, 1, 1, 1))
    assert [change.path for change in changes_of(changed)] != []
    assert _step_lowers_the_loss(changed)
    _save(tmp_path / "changed.safetensors", changed, loaded)
    with torch.inference_mode():
        again = load_model(f"{name}@{tmp_path / 'changed.safetensors'}").model(_images())
        assert torch.equal(again, changed.eval()(_images()))


def test_the_papers_network_comes_out_of_its_baseline() -> None:
    # ResNet-50 of 3-4-6-3 blocks, one more in the last stage, attention (0, 1, 1, 2): AlterNet, weight for weight.
    narrow = "channels=(32,64,128,256)"
    baseline = load_model(f"preresnet_50_cifar?{narrow}", random_weights=0)
    placement = Placement(msa=(0, 1, 1, 2), extend=(0, 0, 0, 1), head_dim=64)
    changed = harmonize(baseline.model, placement)
    alternet = load_model(f"alternet_50_cifar?{narrow}", random_weights=1)
    weights = alternet.model.state_dict()
    weights["head.fc.weight"] = weights["head.fc.weight"][:, :, None, None]  # there a 1x1 convolution
    changed.load_state_dict(weights)
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        torch.testing.assert_close(changed(images), alternet.model(images))


def test_the_new_weights_follow_from_the_seed_and_leave_the_generator_alone() -> None:
    model = load_model("resnet_nano", random_weights=0).model
    state = torch.random.get_rng_state()
    first, same, other = (harmonize(model, (0, 1, 1), seed=seed).state_dict() for seed in (0, 0, 1))
    assert torch.equal(torch.random.get_rng_state(), state)
    assert [name for name in first if not torch.equal(first[name], same[name])] == []
    differing = {name.rpartition(".")[0] for name in first if not torch.equal(first[name], other[name])}
    assert differing == {
        f"layer{stage}.1.{part}" for stage in (2, 3) for part in ("conv", "attn", "attn.qkv", "attn.proj")
    }


def test_an_added_convolution_block_is_a_fresh_copy_that_loads_again(tmp_path: Path) -> None:
    loaded = load_model("resnet_nano", random_weights=0)
    changed = harmonize(loaded.model, Placement(msa=(0, 0, 1), extend=(1, 0, 2)))
    assert [(change.path, change.like) for change in changes_of(changed)] == [
        ("layer1.2", "layer1.1"),
        ("layer3.2", "layer3.1"),
        ("layer3.3", "layer3.1"),
    ]
    own, given = changed.get_submodule("layer1.2"), loaded.model.get_submodule("layer1.1")
    assert type(own) is type(given)
    assert not torch.equal(own.conv1.weight, given.conv1.weight)
    assert isinstance(changed.get_submodule("layer3.3"), PostActMsaBlock)
    _save(tmp_path / "longer.safetensors", changed, loaded)
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        again = load_model(f"resnet_nano@{tmp_path / 'longer.safetensors'}").model
        assert torch.equal(again(images), changed(images))


def test_drop_path_of_a_block_goes_over_to_its_replacement() -> None:
    model = load_model("resnet50?channels=(8,8,8,8)&drop_path_rate=0.3", random_weights=0).model
    rates = {path: model.get_submodule(path).drop_path.drop_prob for path in ("layer2.3", "layer4.2")}
    changed = harmonize(model, (0, 1, 1, 1), input_size=SIZE)
    assert {path: changed.get_submodule(path).drop_path.drop_prob for path in rates} == rates
    assert max(rates.values()) == pytest.approx(0.3)


def test_training_keeps_the_blocks_in_its_files_and_rates_them(tmp_path: Path) -> None:
    loaded = load_model("preresnet_50_cifar?channels=(8,8,8,8)&num_classes=10", random_weights=0)
    _save(tmp_path / "start.safetensors", harmonize(loaded.model, (0, 1, 1, 1)), loaded)
    spec = f"preresnet_50_cifar@{tmp_path / 'start.safetensors'}"
    start = network_for(spec, 10, seed=0, drop_path=0.2, note=lambda line: None)
    assert start.model.get_submodule("stages.3.blocks.2").drop_path.drop_prob == pytest.approx(0.2)
    Keeper(tmp_path, start, 10, metadata={}).keep("last", start.model)
    again = load_model(f"preresnet_50_cifar@{tmp_path / 'last.safetensors'}")
    assert [change.path for change in changes_of(again.model)] == [
        "stages.1.blocks.3",
        "stages.2.blocks.5",
        "stages.3.blocks.2",
    ]
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(again.model(images), start.model(images))


class Add(nn.Module):
    def forward(self, one: Tensor, other: Tensor) -> Tensor:
        return one + other


class Own(nn.Module):
    """A block of one's own: the sum in a module, the activation a function."""

    def __init__(self, channels: int, out: int, stride: int, *, active: bool) -> None:
        super().__init__()
        self.branch = nn.Sequential(
            nn.Conv2d(channels, out, 3, stride, 1), nn.BatchNorm2d(out), nn.Hardswish(), nn.Conv2d(out, out, 3, 1, 1)
        )
        self.skip = nn.Conv2d(channels, out, 1, stride)
        self.add = Add()
        self.active = active

    def forward(self, x: Tensor) -> Tensor:
        x = self.add(self.skip(x), self.branch(x))
        return F.hardswish(x) if self.active else x


class OwnNetwork(nn.Module):
    """Two stages of blocks, called one by one."""

    def __init__(self, *, active: bool = True) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 8, 3, 1, 1)
        self.one = Own(8, 8, 1, active=active)
        self.two = Own(8, 8, 1, active=active)
        self.three = Own(8, 16, 2, active=active)
        self.four = Own(16, 16, 1, active=active)
        self.head = nn.Linear(16, 4)

    def forward(self, x: Tensor) -> Tensor:
        x = self.four(self.three(self.two(self.one(self.stem(x)))))
        return self.head(x.mean((2, 3)))


@pytest.mark.parametrize("active", [True, False])
def test_a_network_of_ones_own(active: bool) -> None:
    model = OwnNetwork(active=active).eval()
    changed = harmonize(model, (1, 1), input_size=(16, 16))
    assert isinstance(changed.two, PostActMsaBlock if active else MsaBlock)
    if active:
        assert isinstance(changed.four.final_act, nn.Hardswish)
    assert changed.four.conv.out_channels == 16
    # torch 2.15 ends with a segmentation fault in oneDNN where these channels_last maps of 8 channels have 64 px.
    assert _step_lowers_the_loss(changed, (16, 16))


class Shared(OwnNetwork):
    def forward(self, x: Tensor) -> Tensor:
        x = self.four(self.four(self.three(self.two(self.one(self.stem(x))))))
        return self.head(x.mean((2, 3)))


class Reaching(OwnNetwork):
    def forward(self, x: Tensor) -> Tensor:
        return super().forward(x) + self.four.branch[0].bias.sum()


class Indexed(nn.Module):
    """A stage that runs its own blocks and no other."""

    def __init__(self) -> None:
        super().__init__()
        self.blocks = nn.ModuleList([Own(3, 4, 1, active=True), Own(4, 4, 1, active=True)])

    def forward(self, x: Tensor) -> Tensor:
        return self.blocks[1](self.blocks[0](x)).mean((2, 3))


def _empty(spec: str) -> nn.Module:
    with torch.device("meta"):  # shapes are enough for these
        import timm

        return timm.create_model(spec)


REFUSED: dict[str, tuple[Any, dict[str, Any], str]] = {
    "no sums": (lambda: _empty("vgg11"), {"msa": (0, 1, 1, 1)}, "VGG can't be harmonized: no module .* residual sum"),
    "concatenation": (lambda: _empty("densenet121"), {"msa": (0, 1, 1, 1)}, "DenseNet can't be harmonized: no module"),
    "finer again": (
        lambda: _empty("hrnet_w18_small"),
        {"msa": (0, 1, 1, 1)},
        "the grid grows from 28x28 at stage2.0.branches.1.1 to 56x56 at stage3.0.branches.0.0",
    ),
    "attention": (
        lambda: _empty("vit_tiny_patch16_224"),
        {"msa": (1,)},
        r"stage 1: its blocks must all be convolutions; blocks.0 is msa",
    ),
    "behind": (
        lambda: _empty("rexnet_100"),
        {"msa": (0, 1, 1, 1), "extend": (0, 0, 0, 1)},
        "no block can be added behind features.15 in features: 16 follows it",
    ),
    "nothing to copy": (
        lambda: _empty("efficientnet_b0"),
        {"msa": (0, 1, 1, 0), "extend": (0, 0, 0, 1)},
        "stage 4 has no convolution block of 320 channels in and out to copy",
    ),
    "stages": (lambda: _empty("resnet18"), {"msa": (0, 1, 1)}, r"got 3 \(0,1,1\) for 4 stages of 2,2,2,2 blocks"),
    "half": (lambda: _empty("resnet18"), {"msa": (0, 1, 1, 2)}, "stage 4 .* m = 2 with n = 2. The largest is 1"),
    "twice": (Shared, {"msa": (1, 1)}, "block four can't be replaced by attention: it is called 2 times"),
    "reached into": (Reaching, {"msa": (0, 1)}, "with other blocks in their places, Reaching does not run"),
    "not run": (Indexed, {"msa": (0,), "extend": (1,)}, "blocks does not run a block that is added to it as blocks.2"),
    "no number": (OwnNetwork, {"msa": (0, 0), "extend": (0, 1)}, "behind four in OwnNetwork: head follows it"),
}


@pytest.mark.parametrize("case", REFUSED)
def test_what_cannot_be_replaced_says_why(case: str) -> None:
    make, placement, message = REFUSED[case]
    model = make()
    size = None if hasattr(model, "pretrained_cfg") else (16, 16)
    with pytest.raises(ConfigError, match=message):
        harmonize(model, Placement(**placement), input_size=size)


@pytest.mark.parametrize(
    ("norm", "expected"), [(nn.GroupNorm(2, 8), nn.GroupNorm), (nn.Identity(), nn.BatchNorm2d)], ids=["group", "none"]
)
def test_the_normalisation_is_of_the_kind_of_the_networks(norm: nn.Module, expected: type[nn.Module]) -> None:
    model = OwnNetwork()
    model.two.branch[1] = norm
    changed = harmonize(model, (1, 0), input_size=(16, 16))
    assert isinstance(changed.two.norm1, expected)
    assert changed(torch.zeros(2, 3, 16, 16)).shape == (2, 4)


def test_the_size_must_be_known() -> None:
    with pytest.raises(ConfigError, match=r"input_size: OwnNetwork does not say how large .* such as \(224, 224\)"):
        plan_harmonize(OwnNetwork(), (0, 1))
