"""What hides its operations is known as such, and what merely looks so is not."""

import warnings

import pytest
import torch
from torch import nn

from reference import hidden_networks as networks
from visionscope.errors import TraceError
from visionscope.tracing import trace
from visionscope.tracing.opaque import check_ready, check_runs, hidden, rounded_weights, straight_through

IMAGES = torch.zeros(2, 3, 16, 16)


@pytest.mark.parametrize(
    ("made", "said", "gradients", "fixed"),
    [
        (networks.dynamic, r"quantised \(module 'widen', Linear\) hides its operations and has no gr", False, True),
        (
            networks.static,
            r"quantised \(module '.*', .*\) hides its operations and has no gradients; pass",
            False,
            True,
        ),
        (networks.exported, "exported hides its operations; pass the nn.Module that was exported", True, True),
        (networks.exported_inside, r"exported \(module '1'\) hides its operations", True, True),
        (networks.scripted, "scripted hides its operations; pass the nn.Module that was scripted", True, False),
        (networks.frozen, "scripted hides its operations", True, False),
        (networks.traced, "scripted hides its operations", True, False),
    ],
)
def test_what_hides_its_operations_is_known_and_refused(made, said, gradients, fixed):
    model = made()
    found = hidden(model)
    assert (found.gradients, found.fixed) == (gradients, fixed)
    with pytest.raises(TraceError, match=f"model: a model that is {said}"):
        trace(model, IMAGES)
    check_ready(model)
    check_runs(model, IMAGES)


@networks.factory
def scripted_and_quantised():
    return torch.jit.script(networks.dynamic())


def test_a_script_of_a_quantised_network_has_no_gradients():
    assert not hidden(scripted_and_quantised()).gradients


class _Packed(torch.Tensor):
    """A subclass that says it is a float and keeps 8 bits, as quantising libraries make them."""

    @staticmethod
    def __new__(cls, numbers, scale):
        return torch.Tensor._make_wrapper_subclass(cls, numbers.shape, dtype=scale.dtype)

    def __init__(self, numbers, scale):
        self.numbers, self.scale = numbers, scale

    def __tensor_flatten__(self):
        return ["numbers", "scale"], None

    @staticmethod
    def __tensor_unflatten__(inner, context, size, stride):
        return _Packed(inner["numbers"], inner["scale"])

    @classmethod
    def __torch_dispatch__(cls, func, types, args=(), kwargs=None):
        if func is torch.ops.aten.detach.default:
            return _Packed(args[0].numbers, args[0].scale)
        opened = [one.numbers * one.scale if isinstance(one, _Packed) else one for one in args]
        return func(*opened, **(kwargs or {}))


def test_a_weight_that_is_a_subclass_of_8_bits_is_quantised():
    model = networks.plain()
    packed = _Packed(torch.ones(16, 8, dtype=torch.int8), torch.tensor(0.1))
    model.widen.weight = nn.Parameter(packed, requires_grad=False)
    assert hidden(model).what == "quantised (module 'widen', Linear)"


@pytest.mark.parametrize("made", [networks.plain, networks.graph, networks.eight_bits])
def test_what_shows_its_operations_is_looked_into(made):
    model = made()
    assert hidden(model) is None
    assert trace(model, IMAGES).sums == 2


def test_a_graph_with_an_operator_of_torch_among_functions_is_no_exported_one():
    class Operator(nn.Module):
        def forward(self, x):
            return torch.ops.aten.add.Tensor(nn.functional.relu(x), 1)

    assert hidden(torch.fx.symbolic_trace(Operator())) is None


def test_weights_in_few_bits_are_found_by_name():
    assert rounded_weights(networks.plain()) == ""
    assert rounded_weights(networks.eight_bits()) == "widen.numbers"
    model = networks.plain()
    model.register_buffer("mask", torch.ones(4, 4, dtype=torch.uint8))
    model.register_buffer("position_index", torch.ones(4, 4, dtype=torch.int64))
    assert rounded_weights(model) == ""
    model.register_buffer("qweight", torch.ones(4, 4, dtype=torch.int32))
    assert rounded_weights(model) == "qweight"


@pytest.mark.parametrize(
    ("made", "said"),
    [
        (networks.on_meta, r"Residual: weights are on the meta device, such as 'stem.weight'; load them first"),
        (networks.observed, r"Stubbed: the observer 'quantised\.\w+' records every pass .*; convert the model first"),
        (networks.exported_in_training, r"made in training mode \((batch_norm|dropout) is on\); call eval\(\)"),
        (networks.traced_in_training, r"made in training mode \((batch_norm|dropout) is on\); call eval\(\)"),
    ],
)
def test_what_can_not_even_predict_is_refused(made, said):
    with pytest.raises(TraceError, match=said):
        check_ready(made())


def test_rounding_in_training_counts_and_its_observers_have_to_be_off():
    model = networks.plain()
    model.mix.weight_fake_quant = torch.ao.quantization.FakeQuantize()
    with pytest.raises(
        TraceError, match=r"observer 'mix.weight_fake_quant' .*apply\(torch.ao.quantization.disable_obs"
    ):
        check_ready(model)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.apply(torch.ao.quantization.disable_observer)
    check_ready(model)
    assert straight_through(model) == "mix.weight_fake_quant"
    assert straight_through(networks.plain()) == ""


def test_a_batch_of_one_size_is_told():
    with pytest.raises(TraceError, match=r"does not run on images of 3x16x16: .*: make it with a dynamic batch axis"):
        check_runs(networks.exported_for_two(), IMAGES)
