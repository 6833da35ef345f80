"""Costs: every formula against a count by hand, against other counters, and what is refused."""

import copy
from collections.abc import Callable
from typing import Any

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

from visionscope.building.counting import Counter, count
from visionscope.building.formulas import FORMULAS
from visionscope.building.free import FREE
from visionscope.building.measure import costs
from visionscope.errors import ConfigError

MAPS = (2, 4, 6, 8)  # batch, channels, height, width

BY_HAND: dict[str, tuple[Callable[[Tensor], Any], tuple[int, ...], int]] = {
    # 2 images x 6 channels x 6 x 8 places, each a sum over 3 x 3 positions of 4 channels: 576 x 36
    "convolution": (nn.Conv2d(4, 6, 3, padding=1), MAPS, 20736),
    # two groups: each of the 576 outputs sums over 2 channels only
    "grouped convolution": (nn.Conv2d(4, 6, 3, padding=1, groups=2), MAPS, 10368),
    # stride 2, no padding: (6 - 3) // 2 + 1 = 2 by (8 - 3) // 2 + 1 = 3 places; 2 x 6 x 6 outputs x 36
    "strided convolution": (nn.Conv2d(4, 6, 3, stride=2), MAPS, 2592),
    # each of the 2 x 4 x 48 inputs is spread over 2 x 2 positions of 6 channels: 384 x 24
    "transposed convolution": (nn.ConvTranspose2d(4, 6, 2, stride=2), MAPS, 9216),
    # 2 x 5 rows x 7 outputs, each a sum over 3
    "linear": (nn.Linear(3, 7), (2, 5, 3), 210),
    # a vector per image: 2 x 7 outputs, each a sum over 3; `addmm` without a third axis
    "linear of vectors": (nn.Linear(3, 7), (2, 3), 42),
    # 2 matrices of 5 x 3 by 3 x 5: 2 x 25 outputs, each a sum over 3
    "batch of products": (lambda x: x @ x.mT, (2, 5, 3), 150),
    # 2 vectors of 3 by one vector of 3: 2 sums over 3
    "matrix and vector": (lambda x: x @ x[0], (2, 3), 6),
    # 2 images x 3 heads x 5 queries x 5 keys, once with 4 channels and once with 4 values
    "attention": (lambda x: F.scaled_dot_product_attention(x, x, x), (2, 3, 5, 4), 1200),
    # 5/2 x 64 points x log2 64 = 960, for 2 images x 3 channels
    "fft2": (torch.fft.fft2, (2, 3, 8, 8), 5760 // 2 + 5760 // 2),
    # half of it, since the input is real
    "rfft2": (torch.fft.rfft2, (2, 3, 8, 8), 2880),
    # 5 columns of a half spectrum become 8 x 8 real points: the same
    "irfft2": (lambda x: torch.fft.irfft2(torch.complex(x, x)), (2, 3, 8, 5), 2880),
    # 2 x 4 channels x 2 x 2 outputs of 3 x 3 inputs (6 x 8 with stride 3, the last two columns are left)
    "average pooling": (nn.AvgPool2d(3), MAPS, 288),
    # rows 6 into 4: windows 0-1, 1-2, 3-4, 4-5 of 2 each; columns 8 into 2: 4 each; 2 x 4 channels x (4 x 2) x (2 x 4)
    "adaptive average pooling": (nn.AdaptiveAvgPool2d((4, 2)), MAPS, 512),
    # one window: all 2 x 4 x 48 inputs are added up
    "global average pooling": (nn.AdaptiveAvgPool2d(1), MAPS, 384),
    # 2 x 4 x 12 x 16 outputs from 4 neighbours
    "bilinear": (lambda x: F.interpolate(x, scale_factor=2, mode="bilinear"), MAPS, 6144),
    # 2 x 4 x 12 x 16 outputs from 16 neighbours
    "bicubic": (lambda x: F.interpolate(x, scale_factor=2, mode="bicubic"), MAPS, 24576),
    # nothing is added up
    "nearest": (lambda x: F.interpolate(x, scale_factor=2), MAPS, 0),
    # to half the size with 2 x 2 taps an axis: 8 planes x (6 rows x 4 columns x 4 taps, then 3 x 4 x 4)
    "bilinear, antialiased": (
        lambda x: F.interpolate(x, scale_factor=0.5, mode="bilinear", antialias=True),
        MAPS,
        8 * (96 + 48),
    ),
    # 2 x 4 channels at 3 x 5 places from 4 neighbours
    "sampling": (
        lambda x: F.grid_sample(x, torch.zeros(2, 3, 5, 2, device=x.device), align_corners=False),
        MAPS,
        480,
    ),
    # the same from 16 neighbours
    "bicubic sampling": (
        lambda x: F.grid_sample(x, torch.zeros(2, 3, 5, 2, device=x.device), mode="bicubic", align_corners=False),
        MAPS,
        1920,
    ),
    # 2 x 4 x 12 outputs from 2 neighbours
    "linear resampling": (lambda x: F.interpolate(x, scale_factor=2, mode="linear"), (2, 4, 6), 192),
    # 1 x 2 x 4 x 4 x 4 outputs from 8 neighbours
    "trilinear": (lambda x: F.interpolate(x, scale_factor=2, mode="trilinear"), (1, 2, 2, 2, 2), 1024),
    # 1 x 2 channels at 3 places from 8 neighbours
    "sampling in three axes": (
        lambda x: F.grid_sample(x, torch.zeros(1, 1, 1, 3, 3, device=x.device), align_corners=False),
        (1, 2, 2, 2, 2),
        48,
    ),
    # 1 x 2 outputs of 2 x 2 x 2 inputs
    "average pooling in three axes": (lambda x: F.avg_pool3d(x, (2,)), (1, 2, 2, 2, 2), 16),
    # 2 products of 5 x 3 by 3 x 5, added up: each of 2 x 25 outputs sums over 3
    "added products": (lambda x: torch.addbmm(x.new_zeros(5, 5), x, x.mT), (2, 5, 3), 150),
    # a sum over 7
    "product of vectors": (lambda x: x @ x, (7,), 7),
    # 2 x 5 tokens of width 4: in 4 x 12, out 4 x 4, feed-forward 4 x 8 and 8 x 4 weights: 10 x 128 = 1280;
    # attention 2 images x 5 x 5 x 4, twice: 400. Heads share the width, so their number doesn't matter
    "encoder layer": (nn.TransformerEncoderLayer(4, 2, 8, batch_first=True), (2, 5, 4), 1680),
    # queries, keys, values and output: 10 tokens x 4 x 4 x 4 = 640; attention 400 as above;
    # the mean of 2 x 5 x 5 weights over 2 heads
    "attention layer": (
        lambda x: nn.MultiheadAttention(4, 2, batch_first=True).to(x.device).eval()(x, x, x)[0],
        (2, 5, 4),
        1140,
    ),
    # nobody asks for the weights
    "attention layer without weights": (
        lambda x: nn.MultiheadAttention(4, 2, batch_first=True).to(x.device).eval()(x, x, x, need_weights=False)[0],
        (2, 5, 4),
        1040,
    ),
    # 2 images x 5 steps x 4 gates of 3 units from 4 inputs and 3 units
    "LSTM": (lambda x: nn.LSTM(4, 3, batch_first=True).to(x.device)(x)[0], (2, 5, 4), 840),
    # free: normalisation, activation, maximum
    "no sums": (nn.Sequential(nn.BatchNorm2d(4), nn.GELU(), nn.MaxPool2d(2), nn.Softmax(1), nn.Flatten()), MAPS, 0),
}


class Called(nn.Module):
    """A module from a function."""

    def __init__(self, function: Callable[[Tensor], Any]) -> None:
        super().__init__()
        self.function = function

    def forward(self, images: Tensor) -> Any:
        return self.function(images)


@pytest.mark.parametrize("device", ["cpu", "meta"])
@pytest.mark.parametrize("name", BY_HAND)
def test_formulas_against_counts_by_hand(name: str, device: str) -> None:
    function, shape, macs = BY_HAND[name]
    model = Called(copy.deepcopy(function)).eval().to(device)
    assert count(model, torch.zeros(shape, device=device)).macs == macs


@pytest.mark.parametrize("name", ["encoder layer", "attention layer", "attention layer without weights", "LSTM"])
def test_fused_layers_count_as_much_as_their_pieces(name: str) -> None:
    function, shape, macs = BY_HAND[name]
    model = Called(function).eval()
    with Counter() as counter, torch.inference_mode():
        model(torch.zeros(shape))
    fused = {
        "encoder layer": "_transformer_encoder_layer_fwd",
        "attention layer": "_native_multi_head_attention",
        "attention layer without weights": "_native_multi_head_attention",
        "LSTM": "mkldnn_rnn_layer",
    }
    assert counter.operations[fused[name]].macs == macs == counter.macs


@pytest.mark.parametrize("backend", [SDPBackend.MATH, SDPBackend.FLASH_ATTENTION])
def test_attention_counts_the_same_in_every_form(backend: SDPBackend) -> None:
    query, key, value = torch.zeros(2, 3, 5, 4), torch.zeros(2, 3, 7, 4), torch.zeros(2, 3, 7, 4)
    with Counter() as counter, sdpa_kernel(backend), torch.no_grad():
        F.scaled_dot_product_attention(query, key, value)
    # 2 x 3 heads x 5 queries x 7 keys x (4 + 4)
    assert counter.macs == 1680
    fused = "_scaled_dot_product_flash_attention_for_cpu" in counter.operations
    assert fused == (backend is SDPBackend.FLASH_ATTENTION)


@pytest.mark.parametrize(
    ("function", "shape", "traffic"),
    [
        # 4 bytes each: 2 x 3 read and written
        (torch.relu, (2, 3), 48),
        # one tensor twice is read once
        (lambda x: x * x, (2, 3), 48),
        # 6 numbers and 1, and 6 written
        (lambda x: x + x.new_ones(1), (2, 3), 48 + 4 + 4),
        # overwriting reads only the source: 24 bytes of zeros, and 24 read and 24 written
        (lambda x: torch.zeros_like(x).copy_(x), (2, 3), 72),
        # a view is free, and so is what is expanded until it is written out: 12 bytes read, 48 written
        (lambda x: x.view(1, 3).expand(4, 3).clone(), (3,), 60),
        # weights of 2 x 3 and a bias of 2, 3 inputs, 2 outputs
        (nn.Linear(3, 2), (1, 3), 4 * (6 + 2 + 3 + 2)),
        # half precision: 2 bytes read, 2 written; the conversion reads 4 and writes 2 per number
        (lambda x: x.half().relu(), (6,), 36 + 24),
    ],
)
def test_traffic_by_hand(function: Callable[[Tensor], Tensor], shape: tuple[int, ...], traffic: int) -> None:
    assert count(Called(function), torch.ones(shape)).traffic == traffic


def test_an_unknown_operation_is_refused_by_name_and_place() -> None:
    @torch.library.custom_op("visionscope_test::double", mutates_args=())
    def double(x: Tensor) -> Tensor:
        return 2 * x

    model = nn.Sequential(nn.Conv2d(3, 3, 1), nn.Sequential(nn.ReLU(), Called(double)))
    with pytest.raises(ConfigError, match=r"visionscope_test::double, which runs in 1\.1\. Express it by") as caught:
        costs(model, (4, 4))
    assert "\n" not in str(caught.value)
    with pytest.raises(ConfigError, match="visionscope_test::double, which runs in the model itself"):
        costs(Called(double), (4, 4))


def test_an_operation_of_torchs_own_that_nobody_declared_is_refused() -> None:
    with pytest.raises(ConfigError, match="aten::_linalg_svd"):
        costs(Called(torch.linalg.svdvals), (4, 4))


def test_what_runs_on_real_tensors_only_is_counted_too() -> None:
    def branches(images: Tensor) -> Tensor:
        return images @ images.mT if images.sum().item() == 0 else images

    # 3 channels x 4 x 4 outputs, each a sum over 5, and the 60 additions of the sum
    assert costs(Called(branches), (4, 5)).macs == 300


def test_the_frequencies_of_a_transform_are_free() -> None:
    def numbered(images: Tensor) -> Tensor:
        return images * torch.fft.fftfreq(4)[:, None] * torch.fft.rfftfreq(8)

    assert costs(Called(numbered), (4, 5)).macs == 0


def test_nothing_is_both_counted_and_free_and_every_name_is_torchs() -> None:
    assert not FREE & set(FORMULAS)
    known = {name.removeprefix("aten::").partition(".")[0] for name in torch._C._dispatch_get_all_op_names()}
    known |= {name.removesuffix("_") for name in known}
    assert FREE | set(FORMULAS) <= known


@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_torch_counts_twice_as_much_where_there_are_only_products_and_convolutions(device: str) -> None:
    tokens = nn.Sequential(nn.Conv2d(3, 8, 4, 4), nn.Flatten(2), nn.TransformerEncoderLayer(16, 4, 32))
    network = nn.Sequential(tokens, nn.Flatten(), nn.Linear(128, 10)).eval().to(device)
    images = torch.zeros(2, 3, 16, 16, device=device)
    fused = torch.backends.mha.get_fastpath_enabled()
    torch.backends.mha.set_fastpath_enabled(False)
    try:
        with FlopCounterMode(display=False) as theirs, torch.no_grad():
            network(images)
    finally:
        torch.backends.mha.set_fastpath_enabled(fused)
    assert count(network, images).macs == theirs.get_total_flops() / 2 > 0


class _Skip(nn.Module):
    def __init__(self, *layers: nn.Module) -> None:
        super().__init__()
        self.layers = nn.Sequential(*layers)

    def forward(self, x: Tensor) -> Tensor:
        return x + self.layers(x)


PEAKS: dict[str, tuple[nn.Module, int]] = {
    # of one image each: a map of 4 channels x 6 x 8 x 4 bytes is 768 bytes, one of 6 channels 1,152
    "one result": (nn.Conv2d(4, 6, 3, padding=1), 1152),
    "a result is there while the next is made": (nn.Sequential(nn.Conv2d(4, 6, 1), nn.ReLU()), 2304),
    "what is overwritten takes nothing new": (nn.Sequential(nn.Conv2d(4, 6, 1), nn.ReLU(inplace=True)), 1152),
    "two results ago is gone": (nn.Sequential(*(nn.ReLU() for _ in range(5))), 2 * 768),
    "a skip keeps its input": (nn.Sequential(nn.ReLU(), _Skip(nn.ReLU(), nn.ReLU())), 3 * 768),
    "views are free, of weights too": (nn.Sequential(nn.Flatten(), nn.Linear(192, 3, bias=False)), 12),
}


@pytest.mark.parametrize("name", PEAKS)
@pytest.mark.parametrize("device", ["cpu", "meta"])
def test_peak_memory_is_that_of_a_count_by_hand(name: str, device: str) -> None:
    model, expected = PEAKS[name]
    found = count(copy.deepcopy(model).to(device).eval(), torch.zeros(1, 4, 6, 8, device=device)).peak
    assert found == expected


def test_peak_memory_takes_in_the_weights_of_attention() -> None:
    tokens = torch.zeros(1, 2, 100, 4)  # 2 heads of 100 x 100 weights of 4 bytes, before and after the softmax
    found = Counter()
    with sdpa_kernel(SDPBackend.MATH), found:
        F.scaled_dot_product_attention(tokens, tokens, tokens)
    assert 2 * 80_000 <= found.peak < 2 * 80_000 + 10 * tokens.numel() * 4
