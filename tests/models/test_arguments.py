"""Arguments that a network does not have, or not with such a value: one line says the rule."""

from pathlib import Path

import pytest

from visionscope.errors import ConfigError
from visionscope.models.load import load_model

NET = """
from __future__ import annotations
from collections.abc import Sequence
from typing import Literal, Optional
from torch import nn

def net(depth: int = 2, rate: float = 0.5, name: str = "a", wide: bool = False, sizes: Sequence[int] = (1, 2),
        kind: Literal["conv", "mlp"] = "conv", more: Optional[int] = None, free=None):
    return nn.Sequential(*(nn.Conv2d(3, 3, 1) for _ in range(depth)))

def needy(depth, /, width=3): ...

def needed(depth, width=3):
    return nn.Linear(depth, width)

def open_ended(depth=2, **kwargs):
    return net(depth, **kwargs)

def broken(depth=2):
    raise ValueError("no such luck")

def strange(depth: Unknown = 2):
    return net(depth)
"""


@pytest.fixture
def net(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(NET)
    return f"{tmp_path}/net.py"


@pytest.mark.parametrize(
    ("spec", "message"),
    [
        (
            "resnet_20_cifar?depth=5",
            "its name fixes depth, 3 blocks per stage; got 5, take resnet_32_cifar. It takes num",
        ),
        ("resnet_110_cifar?depth=9", "its name fixes depth, 18 blocks per stage; got 9, take resnet_56_cifar"),
        ("resnet_20_cifar?depth=4", "got 4, the names there are: resnet_20_cifar has 3, resnet_32_cifar has 5, "),
        ("resnet_20_cifar?depht=3", "it has no argument 'depht'. Did you mean 'depth'[?]"),
        ("resnet_20_cifar?num_classes=ten", "num_classes must be int; got 'ten'"),
        ("resnet_20_cifar?num_classes=-1", "num_classes must be at least 0; got -1"),
        ("resnet18?in_chans=0", "in_chans must be at least 1; got 0"),
        ("resnet_nano?img_size=3", "it has no argument 'img_size'. .*num_classes"),
        ("vit_nano?depth=abc", "vit_nano can't be built with depth='abc': depth must be int; got 'abc'"),
        ("vit_nano?depth=2.5", "depth must be a whole number; got 2.5"),
        ("resnet10t?drop_rate=much", "resnet10t: drop_rate must be float; got 'much'"),
        (
            "efficientnet_b0?depth=5",
            "efficientnet_b0 can't be built with depth=5: it has no argument 'depth'. Choose from",
        ),
        ("torchvision:resnet18?depth=3", "it has no argument 'depth'. .*width_per_group"),
        ("torchvision:resnet18?num_classes=ten", "num_classes must be int; got 'ten'"),
        ("torchvision:squeezenet1_1?dropuot=0.1", "it has no argument 'dropuot'. Did you mean 'dropout'[?]"),
    ],
)
def test_arguments_of_named_networks(spec: str, message: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        load_model(spec, random_weights=0)
    assert "\n" not in str(raised.value)
    assert "TypeError" not in str(raised.value)


@pytest.mark.parametrize(
    ("query", "message"),
    [
        ("net?dept=3", "net: it has no argument 'dept'. Did you mean 'depth'[?]"),
        ("net?depth=abc", "net: depth must be int, 2 by default; got 'abc'"),
        ("net?depth=True", "net: depth must be int, 2 by default; got True"),
        ("net?rate=high", "net: rate must be float, 0.5 by default; got 'high'"),
        ("net?name=3", "net: name must be str, 'a' by default; got 3"),
        ("net?wide=very", "net: wide must be bool, False by default; got 'very'"),
        ("net?sizes=3", "net: sizes must be .*Sequence.*; got 3"),
        ("net?kind=pool", "net: kind must be Literal.'conv', 'mlp'., 'conv' by default; got 'pool'"),
        ("net?more=few", "net: more must be .*int.*; got 'few'"),
        ("needed", "needed: needs the argument 'depth'; give it as [?]depth=VALUE"),
        ("needed?width=3", "needed: needs the argument 'depth'"),
        ("open_ended?dept=3", "open_ended failed with TypeError: .*unexpected keyword argument 'dept'"),
        ("broken", "broken failed with ValueError: no such luck"),
    ],
)
def test_arguments_of_a_python_files_function(query: str, message: str, net: str) -> None:
    with pytest.raises(ConfigError, match=message) as raised:
        load_model(f"{net}:{query}", random_weights=0, size=32, normalised=False)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize(
    "query",
    [
        "net?depth=1&rate=1&name=b&wide=1&sizes=(1,2)&kind=mlp&more=3&free=abc",
        "net?more=None&wide=False&sizes=[1]",
        "needed?depth=3",
        "open_ended?depth=1&rate=0.1",
        "strange?depth=1",
    ],
)
def test_what_suits_the_annotations_is_let_through(query: str, net: str) -> None:
    assert load_model(f"{net}:{query}", random_weights=0, size=32, normalised=False).spec.arguments
