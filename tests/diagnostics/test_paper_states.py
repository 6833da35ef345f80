"""How findings stand to what the paper reports: numbers turned round turn the state round."""

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any

import pyarrow as pa
import pytest

from report import curvature, outcomes, samples
from report.outcomes import Damaged
from report.telling import answer_of, changed, points_of
from visionscope.core.finding import AGAINST_THE_PAPER, AS_THE_PAPER, NO_CLEAR_CHANGE, Finding
from visionscope.core.reference import state_of
from visionscope.core.registry import diagnostic_class

KINDS = {"vit_nano": ("stem", "msa", "mlp"), "resnet_nano": ("stem", "conv", "down")}
RINGS = tuple(place / 10 for place in range(1, 10))


def between(name: str, rows: pa.Table, kinds: Mapping[str, Sequence[str]] = KINDS) -> list[Finding]:
    answer = answer_of(diagnostic_class(name)(), rows, points=points_of(kinds))
    return [one for one in answer.findings if not one.model]


@pytest.mark.parametrize("name", ["fourier", "variance"])
@pytest.mark.parametrize(
    ("attention", "mlp", "state"),
    [(-0.3, 0.3, AS_THE_PAPER), (0.3, -0.3, AGAINST_THE_PAPER), (-0.3, -0.3, AGAINST_THE_PAPER)],
)
def test_attention_lowers_and_mlps_raise(name: str, attention: float, mlp: float, state: str) -> None:
    for weights, told in (("trained", state), ("random, seed 0", "")):
        model = samples.vit(weights=weights)
        points = len(model.kinds)
        table = changed(samples.tables([model])[name], {"msa": [attention] * points, "mlp": [mlp] * points})
        (one,) = answer_of(diagnostic_class(name)(), table).findings
        assert one.state == told
        assert (one.value > 0) == (attention > 0)
        assert one.unit == "%"
        assert "self-attention" in one.measure


def test_changes_that_are_not_clear_are_no_clear_change() -> None:
    (one,) = answer_of(diagnostic_class("variance")(), samples.tables([samples.vit(error=5.0)])["variance"]).findings
    assert one.state == NO_CLEAR_CHANGE


def test_blocks_that_go_either_way_agree_with_nobody() -> None:
    table = samples.tables([samples.resnet(blocks=(3, 4))])["variance"]
    count = sum(row["kind"] == "conv" and row["change"] is not None for row in table.to_pylist())
    half = count // 2
    for rising, state in ((count, AS_THE_PAPER), (half + 1, AS_THE_PAPER), (half, NO_CLEAR_CHANGE)):
        moved = [0.3] * rising + [-0.02] * (count - rising)
        answer = answer_of(diagnostic_class("variance")(), changed(table, {"conv": moved}))
        (one,) = [finding for finding in answer.findings if "conv" in finding.kind]
        assert count % 2 == 0
        assert one.low > 0
        assert one.state == state


@pytest.mark.parametrize(("turned", "state"), [(False, AS_THE_PAPER), (True, AGAINST_THE_PAPER)])
def test_stages_are_blocks_of_alike_points(turned: bool, state: str) -> None:
    table = samples.tables([samples.resnet()])["similarity"]
    rows = [{**row, "cka": 1 - row["cka"] if turned else row["cka"]} for row in table.to_pylist()]
    (one,) = answer_of(diagnostic_class("similarity")(), pa.Table.from_pylist(rows, table.schema)).findings
    assert (one.state, one.value > 0) == (state, not turned)


def noise(vit: Sequence[float], resnet: Sequence[float], **more: Any) -> pa.Table:
    found = [
        Damaged(label=label, losses=dict(zip(RINGS, costs, strict=True)), **more)
        for label, costs in (("vit_nano", vit), ("resnet_nano", resnet))
    ]
    return outcomes.noise(found)["frequency_noise"]


RISING, EVEN = (2, 3, 4, 5, 6, 10, 30, 35, 40), (5,) * 9


def test_under_high_frequencies_a_transformer_loses_less_than_a_cnn() -> None:
    for vit, resnet, state in (
        (EVEN, RISING, AS_THE_PAPER),
        (RISING, EVEN, AGAINST_THE_PAPER),
        (EVEN, EVEN, NO_CLEAR_CHANGE),
    ):
        (one,) = between("frequency_noise", noise(vit, resnet))
        assert one.state == state
    (random,) = between("frequency_noise", noise(EVEN, RISING, weights="random, seed 0"))
    assert random.state == ""
    # Only of a pure transformer and a CNN does the paper tell.
    for kinds in (("msa", "mlp", "conv"), ("conv",), ("block",)):
        (other,) = between("frequency_noise", noise(EVEN, RISING), {**KINDS, "vit_nano": kinds})
        assert other.state == ""


@pytest.mark.parametrize("name", ["hessian", "landscape"])
def test_a_network_with_attention_is_flatter_and_has_more_negative_eigenvalues(name: str) -> None:
    vit, resnet = curvature.vit_and_resnet()
    swapped = dataclasses.replace(vit, label="resnet_nano"), dataclasses.replace(resnet, label="vit_nano")
    for models, state in (((vit, resnet), AS_THE_PAPER), (swapped, AGAINST_THE_PAPER)):
        found = between(name, curvature.tables(models)[name])
        assert {one.state for one in found} == {state}
        assert all(one.models and one.value is not None for one in found)
        without = between(name, curvature.tables(models)[name], {"vit_nano": ("conv",), "resnet_nano": ("conv",)})
        assert {one.state for one in without} == {""}


def test_one_part_that_disagrees_is_against_the_paper() -> None:
    assert state_of([]) == ""
    assert state_of([None, True]) == AS_THE_PAPER
    assert state_of([True, False]) == AGAINST_THE_PAPER
    assert state_of([None]) == NO_CLEAR_CHANGE
