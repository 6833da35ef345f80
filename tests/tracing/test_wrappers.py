"""A wrapper around a network changes no point but its prefix."""

import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import timm
import torch
import torchvision
from torch import Tensor, nn

from reference.small_networks import CLASSES, Residual, Transformer, drawn
from visionscope.tracing import trace

ROOT = Path(__file__).parent.parent.parent
sys.path.append(str(ROOT))

from benchmarks.model_families import TIMM  # noqa: E402
from benchmarks.wrappers import WRAPPERS, WithHead, described, differing  # noqa: E402


def layer(given: int, made: int, *, pool: bool = False) -> nn.Sequential:
    return nn.Sequential(nn.Conv2d(given, made, 3, padding=1), nn.ReLU(), *([nn.MaxPool2d(2)] if pool else []))


class Flat(nn.Module):
    """Additions in the network's own forward, with layers in between that change the grid and the channels."""

    def __init__(self) -> None:
        super().__init__()
        self.a, self.b, self.one = layer(3, 4), layer(4, 8, pool=True), layer(8, 8)
        self.d, self.e, self.other = layer(8, 8, pool=True), layer(8, 16), layer(16, 16)
        self.head = nn.Linear(16, CLASSES)

    def forward_features(self, x: Tensor) -> Tensor:
        x = self.b(self.a(x))
        x = x + self.one(x)
        x = self.e(self.d(x))
        return x + self.other(x)

    def forward_head(self, x: Tensor) -> Tensor:
        return self.head(x.mean((2, 3)))

    def forward(self, x: Tensor) -> Tensor:
        return self.forward_head(self.forward_features(x))


class Encoder(Flat):
    def forward(self, x: Tensor) -> Tensor:
        return self.forward_features(x)


class Two(nn.Module):
    """An encoder that is a module of its own, and a head."""

    def __init__(self) -> None:
        super().__init__()
        self.encoder, self.head = Encoder(), nn.Linear(16, CLASSES)

    def forward(self, x: Tensor) -> Tensor:
        return self.head(self.encoder(x).mean((2, 3)))


class LongSkip(Flat):
    """Nothing goes through its sums alone: each map is handed to the head as well."""

    def forward(self, x: Tensor) -> Tensor:
        first = self.b(self.a(x))
        second = first + self.one(first)
        third = second + self.one(second)
        return torch.cat([first.mean((2, 3)), second.mean((2, 3)), third.mean((2, 3))], 1)


def flat_sequence() -> nn.Module:
    return nn.Sequential(
        *layer(3, 4), *layer(4, 8, pool=True), *layer(8, 8), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(8, 4)
    )


def without_activations() -> nn.Module:
    return nn.Sequential(nn.Conv2d(3, 4, 3), nn.Conv2d(4, 4, 3), nn.Flatten(), nn.Linear(4 * 28 * 28, 4))


NETWORKS: dict[str, tuple[Callable[[], nn.Module], int, list[str]]] = {
    "flat": (Flat, 32, ["stem", "+conv", "d", "e", "+conv#2"]),
    "encoder": (Encoder, 32, ["stem", "+conv", "d", "e", "+conv#2"]),
    "encoder and head": (Two, 32, ["stem", "encoder+conv", "encoder.d", "encoder.e", "encoder+conv#2"]),
    "long skip": (LongSkip, 32, ["stem", "+conv", "+conv#2"]),
    "residual": (Residual, 16, ["stem", "+conv", "+conv#2"]),
    "transformer": (
        Transformer,
        16,
        ["stem", *(f"{b}+{k}" for b in ("blocks.0", "blocks.1", "last") for k in ("msa", "mlp"))],
    ),
    "flat sequence": (flat_sequence, 32, ["1", "3", "4", "6"]),
    "without activations": (without_activations, 32, ["0", "1"]),
}


@pytest.mark.parametrize("name", NETWORKS)
def test_a_wrapper_changes_no_point_but_its_prefix(name: str) -> None:
    build, size, names = NETWORKS[name]
    torch.manual_seed(0)
    model = build().eval()
    assert [point.name for point in trace(model, drawn(2, size)).points] == names
    alone = described(model, (3, size, size))
    for wrapper, prefix in WRAPPERS.values():
        if wrapper is not WithHead:
            assert described(wrapper(model).eval(), (3, size, size), prefix) == alone
            assert described(nn.Sequential(wrapper(model)).eval(), (3, size, size), f"0.{prefix}") == alone
    if type(model) is Flat:
        assert described(WithHead(model).eval(), (3, size, size), "model") == alone


@pytest.mark.parametrize("name", ["vgg11", "densenet121", "googlenet", "resnet18"])
def test_networks_of_torchvision_in_a_wrapper(name: str) -> None:
    arguments: dict[str, Any] = {"init_weights": False} if name == "googlenet" else {}
    model = torchvision.models.get_model(name, weights=None, **arguments).eval()
    alone = described(model, (3, 64, 64))
    assert len(alone) >= 9
    for wrapper, prefix in list(WRAPPERS.values())[:3]:
        assert described(wrapper(model).eval(), (3, 64, 64), prefix) == alone


@pytest.mark.parametrize("family", ["dpn", "hgnet", "inception_v3", "vovnet"])
def test_networks_of_timm_in_a_wrapper(family: str) -> None:
    assert differing(family) == {}


@pytest.mark.slow
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("family", sorted(TIMM))
def test_every_family_of_timm_in_a_wrapper(family: str) -> None:
    assert differing(family) == {}


def test_a_module_between_two_sums_is_a_point_of_its_own_and_the_next_sum_follows_it() -> None:
    with torch.device("meta"):
        model = timm.create_model("efficientnet_b0").eval()
    found = {point.name: point for point in trace(model, torch.zeros(1, 3, 64, 64, device="meta")).points}
    assert (found["blocks.4.0"].kind, found["blocks.4.0"].channels) == ("block", 112)
    assert found["blocks.4.0"].follows == "blocks.3.2+conv"
    assert found["blocks.4.1+conv"].follows == "blocks.4.0"
    assert found["blocks.5.0"].kind == "down"
    assert [point.name for point in found.values() if not point.follows] == ["stem"]


def test_a_norm_between_two_sums_leaves_the_next_one_without_a_point_to_follow() -> None:
    class Normed(Transformer):
        def forward(self, images: Tensor) -> Tensor:
            x = self.blocks[0](self.embed(images).flatten(2).mT)
            return self.head(self.last(self.last.norm(x)).mean(1))

    found = trace(Normed(), drawn())
    assert [(point.name, point.follows) for point in found.points] == [
        ("stem", ""),
        ("blocks.0+msa", "stem"),
        ("blocks.0+mlp", "blocks.0+msa"),
        ("last+msa", ""),
        ("last+mlp", "last+msa"),
    ]


def test_blocks_that_run_several_times_have_points_of_different_names() -> None:
    found = trace(Transformer(calls=(0, 0, 1, 0)), drawn())
    names = [point.name for point in found.all_points]
    assert len(set(names)) == len(names)
    assert [point.name for point in found.points if point.kind == "msa"] == [
        "blocks.0+msa",
        "blocks.0+msa#2",
        "blocks.1+msa",
        "blocks.0+msa#3",
        "last+msa",
    ]
    assert all(point.follows == before.name for before, point in zip(found.points, found.points[1:], strict=False))


def test_repeated_modules_without_sums_have_points_of_different_names() -> None:
    class Repeated(nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.first, self.again, self.head = layer(3, 4), layer(4, 4), nn.Linear(4, CLASSES)

        def forward(self, x: Tensor) -> Tensor:
            return self.head(self.again(self.again(self.first(x))).mean((2, 3)))

    found = trace(Repeated().eval(), drawn())
    assert [point.name for point in found.points] == ["first.1", "again.1", "again.1#2"]


def test_sums_that_are_no_residual_sums_are_listed() -> None:
    with torch.device("meta"):
        model = timm.create_model("res2next50").eval()
    found = trace(model, torch.zeros(1, 3, 64, 64, device="meta"))
    assert len(found.points) == 17
    assert {lost.reason.partition(":")[0] for lost in found.unwatched} == {"a side path"}
    assert len(found.unwatched) == 24
