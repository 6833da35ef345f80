"""Two networks share a digest only if they are the same function with the same numbers."""

import pytest
import torch
from torch import nn

from reference import hidden_networks as networks
from visionscope.models.load import state_digest


@networks.factory
def dynamic(seed):
    return torch.ao.quantization.quantize_dynamic(networks.plain(seed), {nn.Linear}, dtype=torch.qint8)


@networks.factory
def frozen(seed):
    return torch.jit.freeze(torch.jit.script(networks.plain(seed)))


@networks.factory
def exported(seed):
    return torch.export.export(networks.plain(seed), (torch.zeros(2, 3, 16, 16),)).module()


def shifted(build):
    """The same with one number of the widest layer changed where no `repr` shows it."""
    plain = networks.plain

    def other(seed):
        model = plain(seed)
        with torch.no_grad():
            model.widen.weight[9, 4] += 0.05
        return model

    networks.plain = other
    try:
        return build(0)
    finally:
        networks.plain = plain


@pytest.mark.parametrize("build", [dynamic, frozen, exported])
def test_hidden_weights_count(build):
    assert state_digest(build(0), "") == state_digest(build(0), "")
    assert len({state_digest(one, "") for one in (build(0), build(1), shifted(build))}) == 3


def test_the_graph_counts_where_the_network_is_one():
    class Add(nn.Module):
        def forward(self, x):
            return x + 1

    class Multiply(nn.Module):
        def forward(self, x):
            return x * 2

    for build in (torch.fx.symbolic_trace, networks.factory(torch.jit.script)):
        assert state_digest(build(Add()), "") != state_digest(build(Multiply()), "")


def test_what_a_state_dict_of_its_own_leaves_out_counts():
    class Silent(nn.Sequential):
        def state_dict(self, *arguments, **values):
            return {}

    def build(seed):
        torch.manual_seed(seed)
        return Silent(nn.Conv2d(3, 4, 1), nn.BatchNorm2d(4))

    assert state_digest(build(0), "") == state_digest(build(0), "")
    assert state_digest(build(0), "") != state_digest(build(1), "")
    other = build(0)
    other[1].running_mean += 1
    assert state_digest(build(0), "") != state_digest(other, "")
