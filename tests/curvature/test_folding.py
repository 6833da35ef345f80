"""Folding: what is a pair and what is none, the same function afterwards, all along a direction."""

import copy

import pytest
import timm
import torch
import torch.nn.functional as F
from hypothesis import given
from hypothesis import strategies as st
from torch import nn

import visionscope.models.cifar
import visionscope.models.nano  # noqa: F401  # registers the networks
from reference.found_as_it_was import snapshot
from visionscope.curvature.directions import random_direction
from visionscope.curvature.folding import Pair, find_pairs
from visionscope.curvature.plane import PlaneModel, batch_norms
from visionscope.curvature.weights import weights_of


def lively(model, seed=0):
    """Statistics, scales and shifts as training leaves them."""
    generator = torch.Generator().manual_seed(seed)
    for norm in batch_norms(model):
        for value, low, high in ((norm.running_mean, -0.3, 0.3), (norm.running_var, 0.5, 2.0)):
            value.uniform_(low, high, generator=generator)
        if norm.weight is not None:
            with torch.no_grad():
                norm.weight.uniform_(0.5, 1.5, generator=generator)
                norm.bias.uniform_(-0.3, 0.3, generator=generator)
    return model.eval()


def images(size, count=4, dtype=torch.float32):
    return torch.randn(count, 3, size, size, generator=torch.Generator().manual_seed(1)).to(dtype)


@pytest.mark.parametrize(
    ("name", "size", "pairs"),
    [
        ("resnet_20_cifar", 32, 19),
        ("mobilenetv3_small_050", 32, 34),  # norms that carry their activation
        ("regnety_002", 32, 44),
        ("resnetv2_18", 32, 8),  # norms ahead of their convolutions stay
        ("vit_nano", 32, 3),  # its stem
    ],
)
def test_networks_of_timm(name, size, pairs):
    torch.manual_seed(0)
    model = lively(timm.create_model(name)).double()
    shown = images(size, 2, torch.float64)
    weights = weights_of(model)
    direction = random_direction(weights, "filter", "0")
    before = snapshot(model)
    plain, folded = PlaneModel(model, weights), PlaneModel(model, weights, images=shown, along=direction)
    assert (plain.folded, folded.folded) == (0, pairs)
    assert len(batch_norms(folded.network)) == len(batch_norms(model)) - pairs
    for step in (0.0, -0.3, 1.0):
        outputs = []
        for network in (plain, folded):
            network.move([(step, network.prepared(direction))])
            with torch.no_grad():
                outputs.append(network.network(shown))
        torch.testing.assert_close(outputs[1], outputs[0], rtol=1e-9, atol=1e-9 * float(outputs[0].abs().max()))
    assert snapshot(model) == before


class Block(nn.Module):
    """A pair, and what a subclass makes of it."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, bias=False)
        self.norm = nn.BatchNorm2d(4)
        self.head = nn.Linear(4, 5)

    def forward(self, x):
        return self.head(self.norm(self.conv(x)).relu().mean((2, 3)))


class ReadTwice(Block):
    def forward(self, x):
        y = self.conv(x)
        return self.head((self.norm(y) + y).mean((2, 3)))


class UsedTwice(Block):
    def forward(self, x):
        return self.head((self.norm(self.conv(x)) + self.norm(self.conv(x.flip(2)))).mean((2, 3)))


class WeightRead(Block):
    def forward(self, x):
        return self.head(self.norm(self.conv(x)).mean((2, 3)) + self.conv.weight.sum())


class Standardized(Block):
    def forward(self, x):
        weight = self.conv.weight / self.conv.weight.norm()
        return self.head(self.norm(F.conv2d(x, weight)).mean((2, 3)))


class Transposed(Block):
    def forward(self, x):
        y = F.conv_transpose2d(x, self.conv.weight.transpose(0, 1))
        return self.head(self.norm(y).mean((2, 3)))


class AsksTheNorm(Block):
    """Its pair is one, but it needs an attribute of the norm, which is gone after folding."""

    def forward(self, x):
        return super().forward(x) + self.norm.eps


class OwnNorm(nn.BatchNorm2d):
    def forward(self, x):
        return super().forward(x).relu()


class Subclassed(Block):
    def __init__(self):
        super().__init__()
        self.norm = OwnNorm(4)


class WithoutStatistics(Block):
    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm2d(4, track_running_stats=False)


def test_a_pair():
    assert find_pairs(lively(Block()), images(8)) == (Pair("conv", "norm"),)


@pytest.mark.parametrize(
    "kind", [ReadTwice, UsedTwice, WeightRead, Standardized, Transposed, Subclassed, WithoutStatistics]
)
def test_what_is_no_pair(kind):
    assert find_pairs(lively(kind()), images(8)) == ()


def test_a_linear_layer_is_folded_where_the_norm_runs_over_its_outputs():
    pair = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    assert find_pairs(lively(pair), torch.randn(5, 3)) == (Pair("0", "1"),)
    tokens = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(7))  # (b, 7, 4): the norm's channels are the tokens
    assert find_pairs(lively(tokens), torch.randn(5, 7, 3)) == ()


def test_a_norm_without_scale_and_a_convolution_with_bias():
    model = Block()
    model.conv, model.norm = nn.Conv2d(3, 4, 3), nn.BatchNorm2d(4, affine=False)
    weights = weights_of(lively(model).double())
    copied = PlaneModel(
        model, weights, images=images(8, dtype=torch.float64), along=random_direction(weights, "filter", "0")
    )
    assert copied.folded == 1
    shown = images(8, dtype=torch.float64)
    torch.testing.assert_close(copied.network(shown), model(shown))


def test_folding_that_does_not_work_out_is_left_undone():
    model = lively(AsksTheNorm())
    weights = weights_of(model)
    shown = images(8)
    copied = PlaneModel(model, weights, images=shown, along=random_direction(weights, "filter", "0"))
    assert copied.folded == 0
    torch.testing.assert_close(copied.network(shown), model(shown), rtol=1e-6, atol=1e-6)


class Doubling(Block):
    """Whether the norm is there changes what it computes, as the check must notice."""

    def forward(self, x):
        return super().forward(x) * (1.0 if isinstance(self.norm, nn.BatchNorm2d) else 2.0)


def test_folding_that_changes_the_function_is_noticed():
    model = lively(Doubling())
    weights = weights_of(model)
    copied = PlaneModel(model, weights, images=images(8), along=random_direction(weights, "filter", "0"))
    assert copied.folded == 0


@given(seed=st.integers(0, 50), steps=st.tuples(st.floats(-2, 2), st.floats(-2, 2)))
def test_moving_is_adding(seed, steps):
    torch.manual_seed(seed)
    model = lively(Block(), seed).double()
    weights = weights_of(model)
    axes = [random_direction(weights, "filter", key) for key in "xy"]
    plane = PlaneModel(model, weights)
    ready = [plane.prepared(axis) for axis in axes]
    plane.move(list(zip((9.0, 9.0), ready, strict=True)))
    plane.move(list(zip(steps, ready, strict=True)))
    for name, value in plane.network.named_parameters():
        wanted = model.get_parameter(name).detach()
        if name in weights:
            wanted = wanted + steps[0] * axes[0][name] + steps[1] * axes[1][name]
        torch.testing.assert_close(value.detach(), wanted, rtol=1e-12, atol=1e-12)
    plane.move([])
    assert all(torch.equal(value, model.get_parameter(name)) for name, value in plane.network.named_parameters())


def test_a_network_that_keeps_what_it_made_from_weights_is_moved():
    model = timm.create_model("levit_128s", num_classes=5)
    shown, path = images(224, 2), "stages.0.blocks.0.attn"
    keeping = model.get_submodule(path)
    nn.init.normal_(keeping.attention_biases)
    direction = {f"{path}.attention_biases": torch.randn(keeping.attention_biases.shape)}
    plane = PlaneModel(model, direction)
    ready = plane.prepared(direction)
    moved = copy.deepcopy(model.eval()).get_submodule(path)
    with torch.no_grad():
        plane.network(shown)
        plane.move([(1.0, ready)])
        moved.attention_biases.add_(direction[f"{path}.attention_biases"])
        found = plane.network.get_submodule(path).get_attention_biases(torch.device("cpu"))
        wanted = moved.attention_biases[:, moved.attention_bias_idxs]
    torch.testing.assert_close(found, wanted)


def test_reestimated_statistics_are_those_of_the_images():
    model = lively(Block()).double()
    plane = PlaneModel(copy.deepcopy(model), weights_of(model))
    shown = images(8, 12, torch.float64)
    plane.reestimate(shown.split(6))
    with torch.no_grad():
        outputs = [model.conv(some) for some in shown.split(6)]
    (norm,) = batch_norms(plane.network)
    assert not norm.training
    torch.testing.assert_close(norm.running_mean, torch.stack([out.mean((0, 2, 3)) for out in outputs]).mean(0))
    torch.testing.assert_close(norm.running_var, torch.stack([out.var((0, 2, 3)) for out in outputs]).mean(0))
    first = norm.running_mean.clone()
    plane.reestimate(shown.split(6))
    assert torch.equal(norm.running_mean, first)
