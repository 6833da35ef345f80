"""Parameters and multiply-accumulates of the paper's networks, as the authors' code has them (PAPER.md, 1.0.2)."""

from typing import Any

import pytest
import timm
import torch

import visionscope.models.alternet
import visionscope.models.convvit
import visionscope.models.paper  # noqa: F401
from visionscope.building.measure import costs

# Name, arguments, edge of the images, parameters in units of 1e6, MACs in units of 1e9; as many decimals as published.
PUBLISHED: list[tuple[str, dict[str, Any], int, str, str]] = [
    ("resnet_18_cifar", {}, 32, "11.22", "0.555"),
    ("resnet_50_cifar", {}, 32, "23.705", "1.298"),
    ("resnext_50_cifar", {}, 32, "23.18", "1.344"),
    ("vit_ti_cifar", {}, 32, "5.403", "1.669"),
    ("pit_ti_cifar", {}, 32, "4.58", "0.95"),
    ("swin_ti_cifar", {}, 32, "27.56", "1.431"),
    ("mixer_ti_cifar", {}, 32, "4.77", "1.209"),
    ("alternet_50_cifar", {"msa": (0, 0, 0, 0)}, 32, "28.16", "1.369"),
    ("alternet_50_cifar", {"msa": (0, 0, 0, 1)}, 32, "30.26", "1.404"),
    ("alternet_50_cifar", {"msa": (0, 0, 0, 2)}, 32, "32.36", "1.438"),
    ("alternet_50_cifar", {"msa": (0, 0, 1, 2)}, 32, "32.88", "1.473"),
    ("alternet_50_cifar", {}, 32, "33.01", "1.510"),
    ("alternet_50_cifar", {"msa": (0, 1, 3, 2)}, 32, "34.06", "1.580"),
    ("alternet_18_cifar", {}, 32, "9.50", "0.498"),
    ("alternet_34_cifar", {}, 32, "22.36", "1.119"),
    ("alternet_18", {}, 224, "9.97", "1.67"),
    ("alternet_50", {}, 224, "35.92", "5.01"),
    ("alternet_101", {}, 224, "54.9", "8.73"),
    ("resnet50", {}, 224, "25.56", "4.09"),
]


def places(published: str) -> int:
    return len(published.partition(".")[2])


@pytest.mark.parametrize(("name", "arguments", "edge", "millions", "billions"), PUBLISHED)
def test_costs_are_those_published(
    name: str, arguments: dict[str, Any], edge: int, millions: str, billions: str
) -> None:
    with torch.device("meta"):
        found = costs(timm.create_model(name, **arguments), (edge, edge))
    assert f"{found.parameters / 1e6:.{places(millions)}f}" == millions
    # To half a unit of the last place, and a hundredth: alternet_101 has 8.72494, where 8.73 is published.
    assert found.gmacs == pytest.approx(float(billions), rel=0, abs=0.51 * 10 ** -places(billions))


@pytest.mark.parametrize(("kernel", "billions"), [(3, "0.343"), (5, "0.348")])
def test_convvit_computes_all_pairs_of_tokens_where_the_published_count_has_neighbours_alone(
    kernel: int, billions: str
) -> None:
    with torch.device("meta"):
        found = costs(timm.create_model("convvit_ti_cifar", kernel_size=kernel), (32, 32))
    tokens, width, depth = 8 * 8, 192, 12
    pairs_too_many = tokens**2 - tokens * kernel**2
    assert f"{found.parameters / 1e6:.2f}" == "5.37"
    assert f"{(found.macs - 2 * pairs_too_many * width * depth) / 1e9:.3f}" == billions
