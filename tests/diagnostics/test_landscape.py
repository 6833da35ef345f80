"""Landscapes against a direct evaluation, and the laws that they obey."""

import copy
import dataclasses
import math

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from reference import landscape as twin
from reference.found_as_it_was import snapshot
from reference.small_subjects import CLASSES, SMALL, Images, convolutional, measured, subject, table, transformer
from visionscope.core.sample import InputConfig
from visionscope.curvature.plane import batch_norms
from visionscope.curvature.weights import weights_of
from visionscope.diagnostics.landscape.evaluation import Evaluation
from visionscope.diagnostics.landscape.question import Landscape
from visionscope.errors import ConfigError, DataError, NondeterminismError
from visionscope.models.checkpoint import save_checkpoint


@pytest.mark.parametrize("normalization", ["filter", "official"])
@pytest.mark.parametrize("make", [convolutional, transformer])
@pytest.mark.parametrize(("precision", "tolerance"), [("fp32", 1e-6), ("fp64", 1e-12)])
def test_every_place_equals_a_direct_evaluation(make, normalization, precision, tolerance):
    model = make()
    given = subject(model, precision=precision, label_smoothing=0.1)
    rows = measured(Landscape(**SMALL, normalization=normalization), given)
    convention = "official" if normalization == "official" else "reviewed"
    scaled = twin.officially_normalized if normalization == "official" else twin.filter_normalized
    weights = weights_of(model, convention)
    sample = Images()
    sample.images = sample.images.to(next(model.parameters()))
    for row in rows:
        axes = [
            {name: scaled(value, f"0/{row.draw}/{axis}/{name}") for name, value in weights.items()} for axis in "xy"
        ]
        wanted = twin.loss_at(model, axes, (row.x, row.y), sample.as_given(32), 0.05, 0.1)
        assert row.nll == pytest.approx(wanted["nll"], rel=tolerance)
        assert row.accuracy == wanted["accuracy"]
        assert row.l2 == pytest.approx(wanted["l2"], rel=1e-6)
        assert row.l2_official == pytest.approx(wanted["l2_official"], rel=1e-6)
    assert len(rows) == 12
    assert {(row.draw, row.y) for row in rows} == {(0, -1.0), (0, 0.0), (0, 1.0), (1, 0.0)}


def test_without_mixup_accuracy_is_that_of_the_labels():
    given = subject(convolutional(), Images(mixed=False))
    centre = next(row for row in measured(Landscape(**SMALL), given) if row.x == row.y == 0)
    sample = given.samples["train"]
    right = (given.model(sample.images).argmax(1) == sample.labels).sum().item()
    assert centre.accuracy == right / 40


@settings(max_examples=8)
@given(seed=st.integers(0, 99), factor=st.floats(0.05, 20))
def test_a_scaled_filter_with_its_norm_leaves_the_surface(seed, factor):
    """Running mean by the factor, variance and eps by its square: the network computes the same everywhere."""
    model = convolutional(seed)
    scaled = copy.deepcopy(model)
    with torch.no_grad():
        scaled[0].weight.mul_(factor)
        scaled[1].running_mean.mul_(factor)
        scaled[1].running_var.mul_(factor**2)
        scaled[1].eps *= factor**2
    one, other = (measured(Landscape(**SMALL), subject(network, precision="fp64")) for network in (model, scaled))
    for before, after in zip(one, other, strict=True):
        assert after.nll == pytest.approx(before.nll, rel=1e-6)


@pytest.mark.parametrize("fails", [False, True])
def test_the_model_is_found_as_it_was(fails, monkeypatch):
    model = convolutional()
    model.train()
    model[1].eval()
    before = snapshot(model)
    landscape, given = Landscape(**SMALL, batch_norm="reestimated"), subject(model)
    if fails:
        calls = iter([False, False, True])
        true = Evaluation.loss

        def breaking(self, *args, **kwargs):
            if next(calls):
                raise RuntimeError("in the middle")
            return true(self, *args, **kwargs)

        monkeypatch.setattr(Evaluation, "loss", breaking)
        with pytest.raises(RuntimeError, match="in the middle"):
            measured(landscape, given)
    else:
        measured(landscape, given)
    assert snapshot(model) == before


@pytest.mark.parametrize("precision", ["fp32", "bf16"])
@pytest.mark.parametrize("make", [convolutional, transformer])
def test_parts_one_by_one_are_bit_for_bit_those_measured_together(make, precision):
    landscape, given = Landscape(**SMALL), subject(make(), precision=precision)
    together = measured(landscape, given)
    alone = [
        row for part in reversed(landscape.parts(given)) for _, rows in landscape.measure(given, [part]) for row in rows
    ]
    assert sorted(alone, key=lambda row: (row.part, row.x)) == sorted(together, key=lambda row: (row.part, row.x))


def test_bf16_tells_its_error_once_per_part():
    given = subject(convolutional(), precision="bf16")
    rows = measured(Landscape(**SMALL), given)
    exact = measured(Landscape(**SMALL), subject(convolutional()))
    known = [(low, full) for low, full in zip(rows, exact, strict=True) if low.bf16_error is not None]
    assert [low.part for low, _ in known] == ["row-00", "row-01", "row-02", "line-01"]
    for low, full in known:
        assert low.bf16_error == pytest.approx(abs(low.nll - full.nll) / full.nll, rel=1e-3)
        assert 0 < low.bf16_error < 0.05
    assert all(row.bf16_error is None for row in exact)


def test_what_is_not_finite_stays_in_the_table_and_is_counted():
    given = subject(convolutional())
    with torch.no_grad():
        given.model[8].weight[0] = 1e30
        given.model[8].weight[1] = -1e30
    rows = measured(Landscape(**SMALL, extent=1e9, normalization="none"), given)
    bad = [row for row in rows if not math.isfinite(row.nll)]
    assert 0 < len(bad) < len(rows)
    assert all(0 <= row.accuracy <= 1 for row in rows)
    landscape = Landscape(**SMALL, extent=1e9)
    summed = landscape.summary(table(rows)).to_pylist()
    assert {row["quantity"]: row["value"] for row in summed}["non-finite places"] == len(bad)
    figure = landscape.figure(table(rows))
    assert f"Holes: {len(bad)} places" in figure.caption


def test_an_image_with_nan_logits_has_no_top_class():
    sample = Images()
    sample.labels.zero_()
    sample.partners.zero_()
    given = subject(convolutional(), sample)
    nn.init.constant_(given.model[8].bias, math.nan)
    assert {row.accuracy for row in measured(Landscape(**SMALL), given)} == {0.0}


def test_reestimated_statistics_follow_the_weights():
    given = subject(convolutional(), Images(count=32), precision="fp64")
    rows = measured(Landscape(**{**SMALL, "sample_size": 32}, batch_norm="reestimated"), given)
    weights = weights_of(given.model)
    (row,) = [row for row in rows if (row.x, row.y, row.draw) == (1.0, -1.0, 0)]
    moved = copy.deepcopy(given.model)
    with torch.no_grad():
        for name, value in weights.items():
            for step, axis in ((1.0, "x"), (-1.0, "y")):
                moved.get_parameter(name).add_(step * twin.filter_normalized(value, f"0/0/{axis}/{name}"))
        for norm in batch_norms(moved):
            norm.reset_running_stats()
            norm.momentum = 1.0
            norm.train()
        sample = given.samples["train"]
        moved(sample.images.double())
    sample.images = sample.images.double()
    wanted = twin.loss_at(moved.eval(), [], (), sample.as_given(32), 0.05)
    assert row.nll == pytest.approx(wanted["nll"], rel=1e-9)
    assert row.batch_norm == "reestimated"
    assert measured(Landscape(**SMALL), subject(transformer()))[0].batch_norm == "none"


def test_a_line_is_the_middle_row():
    given = subject(convolutional())
    grid = measured(Landscape(**SMALL), given)
    line = measured(Landscape(**SMALL, axes=1), given)
    assert [row.nll for row in line] == [row.nll for row in grid if row.y == 0]
    assert {row.part for row in line} == {"line-00", "line-01"}


def test_a_network_that_draws_is_refused():
    class Drawing(nn.Module):
        def forward(self, x):
            return x + torch.randn_like(x)

    with pytest.raises(NondeterminismError, match="two passes over the same images differ"):
        measured(Landscape(**SMALL), subject(nn.Sequential(Drawing(), convolutional())))


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"points": 4}, r"landscape\.points: must be odd; got 4\. Take 5\."),
        ({"points": 1}, r"landscape\.points: must be an integer from 3 to 1001; got 1"),
        (
            {"plane": "randon"},
            r"landscape.plane: must be one of random, .*; got 'randon'\. Did you mean 'random'\?",
        ),
        ({"normalization": "filters"}, "landscape.normalization: .* Did you mean 'filter'?"),
        ({"batch_norm": "eval"}, r"landscape\.batch_norm: must be one of kept, reestimated; got 'eval'"),
        ({"axes": 3}, r"landscape\.axes: must be one of 1, 2; got 3\. Did you mean 2\?"),
        ({"draws": -1}, r"landscape\.draws: must be an integer from 0 to 10000; got -1"),
        ({"sample_size": 0}, r"landscape\.sample_size: must be an integer from 1 to 1000000000; got 0"),
        ({"extent": math.nan}, r"landscape\.extent: must be a number above 0 and at most 1000000000000; got nan"),
        ({"radius": 2.0}, "landscape.radius: must be at most extent = 1; got 2"),
        ({"plane": "checkpoints"}, "landscape.checkpoints: must be 2 files where plane is checkpoints; got 0"),
        ({"checkpoints": ("a",)}, "landscape.checkpoints: must be no files where plane is random; got 1"),
    ],
)
def test_wrong_values_are_refused(wrong, told):
    with pytest.raises(ConfigError, match=told):
        Landscape(**wrong)


def test_a_subject_that_lacks_something():
    given = subject(convolutional())
    with pytest.raises(ConfigError, match="landscape: needs an objective"):
        measured(Landscape(**SMALL), dataclasses.replace(given, objective=None))
    with pytest.raises(DataError, match="landscape: needs at least one image; the data have none"):
        Landscape().images(0)
    assert Landscape(sample_size=10).images(4) == 4


def test_cost_counts_passes_and_bytes():
    given = subject(convolutional())
    cost = Landscape(**SMALL).cost(given)
    assert cost.passes == 40 * 3
    assert Landscape(**SMALL, batch_norm="reestimated").cost(given).passes == 2 * 40 * 3
    weights = sum(value.numel() for value in given.model.parameters()) * 4
    assert cost.memory == 8 * weights + 40 * 3 * 8 * 8 * 4
    assert Landscape(**SMALL, plane="eigenvectors").cost(given).memory > cost.memory + 100 * weights
    assert "--landscape.sample_size" in cost.advice


def by_a_nat(unit, value):
    unit = unit / unit.norm() * math.sqrt(2 / abs(value))
    return unit * unit[unit.abs().argmax()].sign()


@pytest.mark.filterwarnings("ignore:.*torch.jit.script:FutureWarning")  # raised inside torch.func.hessian
def test_eigenvectors_are_those_of_the_dense_hessian():
    model = nn.Sequential(nn.Conv2d(3, 3, 5), nn.Tanh(), nn.Flatten(), nn.Linear(48, CLASSES)).double()
    torch.manual_seed(1)
    for value in model.parameters():
        nn.init.normal_(value, 0, 0.3)
    given = subject(model.eval(), Images(count=40), precision="fp64")
    sample = given.samples["train"]
    (batch,) = sample.batches(0, 40, 40)
    names = [name for name, _ in model.named_parameters()]
    flat = torch.cat([value.detach().reshape(-1) for value in model.parameters()])

    def loss(vector):
        pieces = vector.split([model.get_parameter(name).numel() for name in names])
        moved = {name: piece.view_as(model.get_parameter(name)) for name, piece in zip(names, pieces, strict=True)}
        logits = torch.func.functional_call(model, moved, (batch.images.double(),))
        return given.objective.nll(logits, given.objective.targets(batch, CLASSES)).mean()

    values, vectors = torch.linalg.eigh(torch.func.hessian(loss)(flat))
    order = values.abs().argsort(descending=True)[:2]
    rows = measured(Landscape(plane="eigenvectors", points=3, extent=0.1, radius=0.1, sample_size=40), given)
    assert len(rows) == 9
    axes = [by_a_nat(vectors[:, place], float(values[place])) for place in order]
    for row in rows:
        assert row.nll == pytest.approx(float(loss(flat + row.x * axes[0] + row.y * axes[1])), rel=1e-5)
    assert rows[0].normalization == "curvature"


@pytest.fixture
def checkpoints(tmp_path):
    """A network and two others of its kind, in files."""
    paths = []
    for seed in (1, 2):
        paths.append(tmp_path / f"epoch-{seed}.safetensors")
        config = InputConfig(size=(8, 8), mean=(0.5,) * 3, std=(0.5,) * 3)
        save_checkpoint(paths[-1], convolutional(seed), num_classes=CLASSES, arguments={}, config=config)
    return tuple(map(str, paths))


def test_the_plane_through_checkpoints_meets_them(checkpoints):
    given = subject(convolutional(), precision="fp64")
    rows = measured(Landscape(plane="checkpoints", checkpoints=checkpoints, points=5, sample_size=40), given)
    assert len(rows) == 28
    places = {row.place: row for row in rows if row.place}
    assert list(places) == ["model", "epoch-1", "epoch-2"]
    sample = given.samples["train"]
    sample.images = sample.images.double()
    for seed, row in enumerate(places.values()):
        there = copy.deepcopy(given.model)
        for name, value in convolutional(seed).named_parameters():
            there.get_parameter(name).data = value.data.double()
        wanted = twin.loss_at(there, [], (), sample.as_given(32), 0.05)
        assert row.nll == pytest.approx(wanted["nll"], rel=1e-9)
        assert row.l2 == pytest.approx(wanted["l2"], rel=1e-9)
    grid = [row for row in rows if not row.place]
    for axis in ("x", "y"):
        steps = {getattr(row, axis) for row in grid}
        inside = [getattr(row, axis) for row in places.values()]
        assert min(steps) < min(inside) <= max(inside) < max(steps)
        assert 0.0 in steps
    figure = Landscape().figure(table(rows))
    assert [name for *_, name in figure.panels[0].surface.marks] == ["model", "epoch-1", "epoch-2"]
    (line,) = figure.panels[-1].lines
    assert line.y == tuple(row.nll for row in grid if row.y == 0)
    assert "m: the line is that of the first direction." in figure.caption


def test_files_count_by_their_content(checkpoints, tmp_path):
    moved = tuple(str(tmp_path / f"{index}.safetensors") for index in range(2))
    for old, new in zip(checkpoints, moved, strict=True):
        (tmp_path / new).write_bytes((tmp_path / old).read_bytes())
    here, there = (Landscape(plane="checkpoints", checkpoints=paths) for paths in (checkpoints, moved))
    assert here.identity() == there.identity()
    assert here.identity()["checkpoints"] != here.identity()["checkpoints"][::-1]
    assert Landscape(seed=1).identity() != Landscape().identity()
    with pytest.raises(ConfigError, match="checkpoint gone: it can't be read: No such file"):
        Landscape(plane="checkpoints", checkpoints=("gone", "gone")).identity()


@pytest.mark.parametrize(("count", "sizes"), [(33, [33]), (127, [127]), (129, [65, 64]), (200, [67, 67, 66])])
def test_statistics_are_measured_over_batches_that_no_device_chooses(count, sizes):
    given = subject(convolutional(), Images(count=count))
    evaluation = Evaluation(given, "train", count, given.objective)
    assert [len(batch) for batch in evaluation.equal_batches()] == sizes
    assert torch.equal(torch.cat(evaluation.equal_batches()), torch.cat(evaluation.batches()))


def test_statistics_of_positionless_maps_can_be_measured_whatever_the_remainder():
    model = nn.Sequential(nn.Flatten(), nn.Linear(3 * 8 * 8, 6), nn.BatchNorm1d(6), nn.Tanh(), nn.Linear(6, CLASSES))
    given = subject(model.eval(), Images(count=33))
    rows = measured(Landscape(**{**SMALL, "sample_size": 33}, batch_norm="reestimated"), given)
    assert all(math.isfinite(row.nll) for row in rows)
