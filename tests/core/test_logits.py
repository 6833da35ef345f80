"""Which output is the logits, and how it is read; what can't be is refused."""

import dataclasses
from collections import OrderedDict, namedtuple

import pytest
import torch
from torch import nn

from visionscope.core.classes import ClassCounts
from visionscope.core.logits import Readout, find_readout
from visionscope.errors import ConfigError, DataError

IMAGES = torch.zeros(4, 3, 2, 2)
LOGITS = torch.tensor([[1.0, -2.0, 3.0], [0.5, 0.1, -0.2], [2.0, 2.0, 1.0], [-1.0, 0.0, 4.0]])
FEATURES = torch.arange(20.0).reshape(4, 5)
MAPS = torch.zeros(4, 3, 2, 2)
OTHER = 2 * LOGITS
THREE = ClassCounts(stated=(3,))

Pair = namedtuple("Pair", "logits aux")


@dataclasses.dataclass
class Fields:
    embedding: torch.Tensor
    pred: torch.Tensor


@dataclasses.dataclass(slots=True)
class Slots:
    feats: torch.Tensor
    scores: torch.Tensor


class Plain:
    def __init__(self):
        self.hidden_states = (MAPS, FEATURES)
        self.out = LOGITS


def found(returned, counts=THREE, **asked):
    return find_readout(lambda images: returned, IMAGES, counts, **asked)


@pytest.mark.parametrize(
    ("returned", "place"),
    [
        (LOGITS, ()),
        ((FEATURES, LOGITS), (1,)),
        ([LOGITS, FEATURES, MAPS], (0,)),
        ((MAPS, (LOGITS, MAPS)), (1, 0)),
        ({"aux": LOGITS, "out": OTHER}, ("out",)),
        ({"aux_logits": LOGITS, "main": OTHER}, ("main",)),
        (Pair(LOGITS, OTHER), ("logits",)),
        (Fields(FEATURES, LOGITS), ("pred",)),
        (Slots(FEATURES, LOGITS), ("scores",)),
        (Plain(), ("out",)),
        (OrderedDict(loss=torch.tensor(1.0), logits=LOGITS, cls_logits=OTHER, distillation_logits=OTHER), ("logits",)),
        ({"heads": {"logits": LOGITS, "aux": OTHER}, "features": {"logits": OTHER}}, ("heads", "logits")),
        ((LOGITS, LOGITS[:, :1]), (0,)),
        ((LOGITS, LOGITS), (0,)),
        ({"classes": LOGITS.argmax(1), "y": LOGITS}, ("y",)),
        ({"logits": LOGITS, "maps": MAPS}, ("logits",)),
    ],
)
def test_the_class_count_decides_and_then_the_name(returned, place):
    some = found(returned)
    assert some.place == place
    wanted = OTHER if place in (("out",), ("main",)) and isinstance(returned, dict) else LOGITS
    assert torch.equal(some.logits(returned), wanted)


@pytest.mark.parametrize(
    "counts", [ClassCounts(heads=(3,)), ClassCounts(likely=(3,)), ClassCounts(stated=(1000,), heads=(3,))]
)
def test_heads_and_data_tell_where_the_stated_number_fits_nothing(counts):
    assert found((FEATURES, LOGITS), counts).place == (1,)


def test_what_is_stated_goes_before_what_the_data_say():
    assert found((FEATURES, LOGITS), ClassCounts(stated=(3,), likely=(5,))).place == (1,)
    with pytest.raises(DataError, match=r"2 of its outputs could be the logits: 0 \(batch, 5\), 1 \(batch, 3\)"):
        found((FEATURES, LOGITS), ClassCounts(heads=(3,), likely=(5,)))


@pytest.mark.parametrize(
    ("returned", "counts", "told"),
    [
        (
            (LOGITS, OTHER),
            THREE,
            r"2 of its outputs could be the logits: 0 \(batch, 3\), 1 \(batch, 3\); name one, such",
        ),
        ({"color": LOGITS, "shape": OTHER}, THREE, r"could be the logits: color .* such as --output shape"),
        ({"a": {"logits": LOGITS}, "b": {"logits": OTHER}, "out": LOGITS + 1}, THREE, r"3 of its outputs could be"),
        ((FEATURES, FEATURES[:, :4]), THREE, r"as many columns as classes \(3\), or a name that tells the logits: 0"),
        ((FEATURES, MAPS), THREE, r"none of its outputs has as many columns as classes \(3\)"),
        ({"aux": LOGITS}, THREE, r"none of its outputs has .*; name one with --output \(output= in Python\)"),
        ({"pooler_output": FEATURES, "last_hidden_state": MAPS}, ClassCounts(), r"none of its outputs has a name"),
        ((FEATURES, LOGITS), ClassCounts(), r"2 of its outputs could be the logits"),
        (
            {"out": MAPS[..., 0], "aux": MAPS[..., 0]},
            THREE,
            r"must be logits \(batch, classes\) for a loss; got out \(batch, 3, 2\)",
        ),
        (MAPS[..., 0], THREE, r"must be logits \(batch, classes\) for a loss; got shape \(4, 3, 2\)"),
        (MAPS[:, :, :0], THREE, r"must be logits \(batch, classes\) for a loss; got shape \(4, 3, 0, 2\)"),
        ([MAPS, MAPS + 1], THREE, r"2 of its outputs could be the logits: 0 \(batch, 3, 2, 2\), 1"),
        ([MAPS[:, :2], MAPS[:, :1]], THREE, r"none of its outputs has as many columns as classes \(3\)"),
        (LOGITS.argmax(1), THREE, r"for a loss; got shape \(4,\) of int64"),
        (LOGITS.mean(), THREE, r"got shape \(\)"),
        ("cat", THREE, r"for a loss; got str"),
        (None, THREE, r"for a loss; got NoneType"),
    ],
)
def test_two_that_fit_or_none_are_refused_with_the_remedy(returned, counts, told):
    with pytest.raises(DataError, match=told):
        found(returned, counts)


@pytest.mark.parametrize(
    ("returned", "output", "place"),
    [
        ((LOGITS, OTHER), "1", (1,)),
        ((LOGITS, OTHER), "-1", (1,)),
        ({"color": LOGITS, "shape": OTHER}, "shape", ("shape",)),
        ({"color": LOGITS, "shape": OTHER}, "1", ("shape",)),
        ({"heads": {"color": LOGITS, "shape": OTHER}}, "heads.shape", ("heads", "shape")),
        ({"heads": {"color": LOGITS, "shape": OTHER}}, "shape", ("heads", "shape")),
        ({"out": LOGITS, "aux": {"logits": OTHER, "features": FEATURES}}, "aux", ("aux", "logits")),
        ((LOGITS, FEATURES), "1", (1,)),
    ],
)
def test_the_user_chooses_by_name_or_index(returned, output, place):
    some = found(returned, output=output)
    assert some.place == place
    assert some.columns == (5 if place == (1,) and returned[1] is FEATURES else 3)


@pytest.mark.parametrize(
    ("returned", "output", "told"),
    [
        ((LOGITS, OTHER), "2", r"output: must be one of 0 \(batch, 3\), 1 \(batch, 3\); got '2'"),
        ({"out": LOGITS, "aux": OTHER}, "auxx", r"got 'auxx'. Did you mean 'aux'\?"),
        ((LOGITS, MAPS[..., 0]), "1", r"must be logits \(batch, classes\) for a loss; got shape \(4, 3, 2\)"),
    ],
)
def test_a_choice_that_is_not_there_is_refused(returned, output, told):
    with pytest.raises(DataError, match=told):
        found(returned, output=output)


@pytest.mark.parametrize(
    "returned", [LOGITS[:, :1], LOGITS[:, 0], (FEATURES, LOGITS[:, :1]), {"out": LOGITS[:, 0], "features": FEATURES}]
)
def test_one_logit_is_the_second_of_two_classes(returned):
    some = found(returned, ClassCounts(likely=(2,)))
    assert (some.columns, some.classes) == (1, 2)
    logits = some.logits(returned)
    assert torch.allclose(logits.softmax(1)[:, 1], LOGITS[:, 0].sigmoid())
    assert logits[:, 0].tolist() == [0.0] * 4
    assert logits.argmax(1).tolist() == (LOGITS[:, 0] > 0).long().tolist()


def test_a_squeezing_head_gives_one_image_as_well():
    one = found(LOGITS[:, 0], ClassCounts())
    assert one.logits(torch.tensor(2.0)).tolist() == [[0.0, 2.0]]
    many = found(LOGITS)
    assert many.logits(LOGITS[0]).tolist() == [LOGITS[0].tolist()]


def large(values):
    return (20 * values).softmax(1)


@pytest.mark.parametrize(
    "values",
    [
        large(LOGITS),
        large(LOGITS.double()),
        large(LOGITS).half(),
        large(LOGITS).bfloat16().float(),
        torch.full((4, 3), 1 / 3),
        torch.full((4, 1000), 1e-3),
        torch.eye(3)[[0, 1, 2, 0]],
        torch.stack([LOGITS[:, 0].sigmoid(), 1 - LOGITS[:, 0].sigmoid()], 1),
    ],
    ids=["float32", "float64", "half", "rounded", "uniform", "wide", "one-hot", "sigmoid and rest"],
)
def test_what_went_through_a_softmax_is_refused_and_can_be_read_as_probabilities(values):
    counts = ClassCounts(stated=(values.shape[1],))
    with pytest.raises(DataError, match=r"went through a softmax, .* --output-is probabilities \(output_is=\), which"):
        found(values, counts)
    with pytest.raises(DataError, match="went through a softmax"):
        found({"probs": values, "features": FEATURES}, counts)
    with pytest.raises(DataError, match="went through a softmax"):
        Readout().logits(values)  # of a network that was not tried
    logits = found(values, counts, output_is="probabilities").logits(values)
    assert logits.isfinite().all()
    assert torch.allclose(logits.softmax(1).double(), values.double(), atol=1e-2)
    assert found(values, counts, output_is="logits").logits(values) is values


@pytest.mark.parametrize(
    "values",
    [
        LOGITS,
        LOGITS.log_softmax(1),
        LOGITS.abs() / 4,  # in [0, 1], of other sums, and no sigmoid made them
        torch.zeros(4, 3),
        LOGITS[:, :1].sigmoid() / 2,
        torch.full((4, 3), float("nan")),
    ],
)
def test_what_is_no_distribution_is_taken_for_logits(values):
    counts = ClassCounts(stated=(values.shape[1],))
    assert found(values, counts).place == ()


def test_the_logarithm_of_probabilities_is_finite_and_exact():
    values = torch.tensor([[1.0, 0.0, 0.0], [0.25, 0.25, 0.5]])
    logits = found(values, output_is="probabilities").logits(values)
    assert logits[1].exp().tolist() == pytest.approx([0.25, 0.25, 0.5])
    assert logits[0].tolist() == pytest.approx([0.0, -87.33655, -87.33655])
    one = torch.tensor([[0.9], [0.0]])
    both = found(one, ClassCounts(), output_is="probabilities").logits(one)
    assert both.exp().tolist() == [pytest.approx([0.1, 0.9]), pytest.approx([1.0, 0.0])]


class Ending(nn.Module):
    def __init__(self, columns, end):
        super().__init__()
        self.head = nn.Linear(12, columns)
        self.end = end

    def forward(self, x):
        return self.end(self.head(x.flatten(1)))


@pytest.mark.parametrize(
    ("columns", "end", "told"),
    [
        (1, torch.sigmoid, r"its output went through a sigmoid, so it is not a logit; .* --output-is probabilities"),
        (1, lambda z: z.sigmoid().squeeze(1), r"its output went through a sigmoid"),
        (1, nn.Sigmoid(), r"its output went through a sigmoid"),
        (3, torch.sigmoid, r"went through a sigmoid each, as for several labels per image, .* --output-is logits"),
        (3, lambda z: z.sigmoid_(), r"went through a sigmoid each"),
        (3, torch.export.export(nn.Sigmoid(), (torch.zeros(4, 3),)).module(), r"went through a sigmoid each"),
    ],
)
@torch.no_grad()
def test_sigmoids_at_the_end_are_seen(columns, end, told):
    model, images = Ending(columns, end), torch.randn(4, 3, 2, 2, generator=torch.Generator().manual_seed(0))
    with pytest.raises(DataError, match=told):
        find_readout(model, images, ClassCounts())
    assert find_readout(model, images, ClassCounts(), output_is="logits").columns == columns
    gated = Ending(columns, lambda z: z * z.sigmoid())
    assert find_readout(gated, images, ClassCounts()).columns == columns


@pytest.mark.parametrize(
    ("values", "told"),
    [
        (LOGITS, r"probabilities must lie in \[0, 1\] and sum to 1 in each row; those of this network go from -2 to 4"),
        (LOGITS.sigmoid(), r"sum to 1 in each row"),
        (LOGITS[:, :1], r"output_is: probabilities must lie in \[0, 1\]; those"),
    ],
)
def test_what_is_no_probability_is_not_taken_for_one(values, told):
    with pytest.raises(DataError, match=told):
        found(values, output_is="probabilities")


def test_there_are_two_ways_to_say_what_an_output_is():
    with pytest.raises(
        ConfigError, match=r"output_is: must be one of logits, probabilities; got 'logit'. Did you mean"
    ):
        Readout(output_is="logit")


@pytest.mark.parametrize("headless", ["its fc is nn.Identity", "its num_classes is 0"])
def test_features_of_a_network_without_a_head_are_refused(headless):
    counts = ClassCounts(heads=(3,), headless=headless)
    with pytest.raises(DataError, match=f"gives 5 features, not logits: {headless}; give it a head"):
        found(FEATURES, counts)
    assert found(FEATURES, counts, output_is="logits").columns == 5
    assert found(LOGITS, counts).columns == 3  # a head of somebody else's


@pytest.mark.parametrize("returned", [LOGITS, {"logits": LOGITS}, (LOGITS, FEATURES), Pair(LOGITS, OTHER)])
def test_digests_of_what_was_always_read_so_stay(returned):
    assert found(returned).identity() is None


def test_digests_tell_another_output_and_another_reading():
    assert found((FEATURES, LOGITS)).identity() == {"output": "1", "is": "logits", "of": "classes"}
    assert found((LOGITS, OTHER), output="0").identity() is None
    assert found(LOGITS[:, :1]).identity() == {"output": "", "is": "logits", "of": "the second of two classes"}
    assert found(large(LOGITS), output_is="probabilities").identity() == {
        "output": "",
        "is": "probabilities",
        "of": "classes",
    }


def test_an_output_that_is_missing_this_time_is_told():
    with pytest.raises(DataError, match="output 'out' is missing this time"):
        found({"out": LOGITS, "aux": OTHER}).logits({"aux": OTHER})
