"""Networks for grey images, for four channels, for thirteen: what their input configuration is, and which data suit."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import visionscope as vs
from visionscope.data.sample import Sample
from visionscope.data.sources import open_source
from visionscope.errors import ConfigError
from visionscope.models.checkpoint import save_checkpoint
from visionscope.models.load import load_model

NET = """
from torch import nn

class Small(nn.Module):
    def __init__(self, channels):
        super().__init__()
        self.stem = nn.Conv2d(channels, 4, 3, 2, 1)
        self.blocks = nn.ModuleList(nn.Conv2d(4, 4, 3, 1, 1) for _ in range(2))
        self.head = nn.Linear(4, 10)
    def forward(self, x):
        x = self.stem(x)
        for block in self.blocks:
            x = x + block(x)
        return self.head(x.mean((2, 3)))

def any(channels: int = 3): return Small(channels)
def grey(): return Small(1)
def bands(): return Small(13)
def told(): return Small(4)
def wrong(): return Small(1)
grey.pretrained_cfg = {"input_size": (1, 32, 32), "mean": (0.4,), "std": (0.2,)}
bands.pretrained_cfg = {"input_size": (13, 64, 64)}
told.pretrained_cfg = {"input_size": (4, 32, 32), "mean": (0.1, 0.2, 0.3, 0.4), "std": (0.5,)}
wrong.pretrained_cfg = {"input_size": (3, 32, 32), "mean": (0.3, 0.4, 0.5), "std": (0.1, 0.2, 0.3)}
"""


@pytest.fixture
def net(tmp_path: Path) -> str:
    (tmp_path / "net.py").write_text(NET)
    return f"{tmp_path}/net.py"


@pytest.mark.parametrize(
    ("function", "mean", "std"),
    [
        ("grey", (0.4,), (0.2,)),
        ("bands", (0.0,) * 13, (1.0,) * 13),
        ("told", (0.1, 0.2, 0.3, 0.4), (0.5,) * 4),
        ("wrong", (0.4,), (0.2,)),  # three colours are said, and one channel is what it takes
    ],
)
def test_the_channels_of_a_python_file_are_what_its_network_takes(
    function: str, mean: tuple[float, ...], std: tuple[float, ...], net: str
) -> None:
    config = load_model(f"{net}:{function}", random_weights=0).input
    assert (config.mean, config.std) == (pytest.approx(mean), pytest.approx(std))


@pytest.mark.parametrize(
    ("spec", "mean"),
    [
        ("resnet_nano?in_chans=1", (0.5,)),
        ("resnet18.a1_in1k?in_chans=1", (0.449,)),
        ("resnet_nano?in_chans=4", (0.0,) * 4),
        ("resnet_20_cifar?in_chans=3", (0.485, 0.456, 0.406)),
        ("resnet_20_cifar?in_chans=1", (0.449,)),
        ("vit_nano?in_chans=13", (0.0,) * 13),
    ],
)
def test_the_channels_of_a_timm_network_are_its_argument(spec: str, mean: tuple[float, ...]) -> None:
    assert load_model(spec, random_weights=0).input.mean == pytest.approx(mean, abs=2e-3)


def test_what_the_user_says_is_taken_once_for_all_channels_or_for_each(net: str) -> None:
    for mean in ((0.3,), (0.3,) * 13):
        config = load_model(f"{net}:bands", random_weights=0, mean=mean, std=(0.5,)).input
        assert (config.mean, config.std) == ((0.3,) * 13, (0.5,) * 13)
    config = load_model(f"{net}:any?channels=1", random_weights=0, size=16, mean=(0.3,), std=(0.5,)).input
    assert (config.mean, config.std, config.size) == ((0.3,), (0.5,), (16, 16))


@pytest.mark.parametrize(
    ("function", "mean", "message"),
    [
        ("bands", (0.1, 0.2, 0.3), r"--mean must be one number, or 13, one per channel; got \(0.1, 0.2, 0.3\)"),
        ("grey", (0.1, 0.2, 0.3), r"--mean must be one number, the network's images are grey; got \(0.1, 0.2, 0.3\)"),
        ("any", (0.1,), r"--mean must be three numbers, one per colour channel; got \(0.1,\)"),
    ],
)
def test_another_number_of_values_is_refused(function: str, mean: tuple[float, ...], message: str, net: str) -> None:
    with pytest.raises(ConfigError, match=message):
        load_model(f"{net}:{function}", random_weights=0, size=32, mean=mean, std=mean)


def test_a_checkpoint_keeps_its_channels(net: str, tmp_path: Path) -> None:
    first = load_model("resnet_nano?in_chans=1", random_weights=0, mean=(0.3,), std=(0.1,))
    path = tmp_path / "grey.safetensors"
    save_checkpoint(path, first.model, num_classes=10, arguments=first.spec.arguments, config=first.input)
    assert load_model(f"resnet_nano@{path}").input == first.input
    torch.save(first.model.state_dict(), tmp_path / "grey.pth")
    with pytest.raises(ConfigError, match=r"its images have 1 channels: MODEL\?in_chans=1"):
        load_model(f"resnet_nano@{tmp_path}/grey.pth")


def test_a_grey_network_gets_the_luminance_of_photographs(net: str) -> None:
    loaded, source = load_model(f"{net}:grey", random_weights=0), open_source("embedded")
    sample = Sample(source, loaded.input, images=3, seed=0)
    images = next(iter(sample.batches())).images
    assert images.shape == (3, 1, 32, 32)
    pixels = np.asarray(source.image(int(sample.indices[0])).convert("L")) / 255
    torch.testing.assert_close(images[0, 0], torch.tensor((pixels - 0.4) / 0.2, dtype=torch.float32))


def test_a_study_of_a_grey_network(net: str, tmp_path: Path) -> None:
    run = vs.diagnose(
        f"{net}:grey", data="embedded", images=16, random_weights=0, out=str(tmp_path / "run"),
        only=["variance", "lesion", "frequency_noise", "calibration"],
    )  # fmt: skip
    assert run.failures == ()
    assert run.store.table("lesion").num_rows


@pytest.mark.parametrize("spec", ["bands", "told", "any?channels=2"])
def test_photographs_are_refused_where_a_network_takes_other_images(spec: str, net: str, tmp_path: Path) -> None:
    arguments: dict[str, Any] = {"random_weights": 0, "size": (32, 32), "out": str(tmp_path / "run")}
    with pytest.raises(
        ConfigError, match=r"photographs have 3 channels, or 1 .*; this network takes (13|4|2): hand"
    ) as raised:
        vs.diagnose(f"{net}:{spec}", data="embedded", **arguments)
    assert "\n" not in str(raised.value)


@pytest.mark.parametrize("channels", [1, 2, 4, 13])
def test_a_tensor_of_any_channels_is_measured(channels: int, net: str) -> None:
    model = load_model(f"{net}:any?channels={channels}", random_weights=0, size=16, normalised=False).model
    images, labels = torch.randn(16, channels, 16, 16), torch.arange(16) % 6
    assert vs.fourier(model, images).table.num_rows
    assert vs.hessian(model, images, labels, mini_batches=1, k=1).table.num_rows
    assert vs.measure("lesion", model, images, labels).table.num_rows
