"""Sharpness: against loops over single weights in float64, no rescaling changes it, what is refused, sentences."""

import dataclasses
import math

import numpy as np
import pyarrow as pa
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch import nn

from reference import sharpness as twin
from reference.found_as_it_was import snapshot
from reference.hessian import dense_hessian
from visionscope.core.objective import Objective
from visionscope.core.sample import Batch
from visionscope.core.subject import Subject
from visionscope.core.table import LEADING, to_table, with_leading_of
from visionscope.curvature.directions import gaussian
from visionscope.curvature.moving import movable
from visionscope.curvature.perturbations import average_rise, worst_rise
from visionscope.diagnostics.sharpness.question import KINDS, Sharpness
from visionscope.errors import ConfigError, VisionscopeError

CLASSES, SIDE = 3, 6


class Images:
    """Fixed labelled images in float64."""

    digest = "fixed"

    def __init__(self, count=64):
        generator = torch.Generator().manual_seed(3)
        self.images = torch.randn(count, 3, SIDE, SIDE, generator=generator, dtype=torch.float64)
        self.labels = torch.randint(CLASSES, (count,), generator=generator)

    def __len__(self):
        return len(self.images)

    def batches(self, start, stop, batch_size):
        for first in range(start, stop, batch_size):
            own = torch.arange(first, min(first + batch_size, stop))
            yield Batch(self.images[own], self.labels[own], own)


def network():
    with torch.random.fork_rng():
        torch.manual_seed(5)
        model = nn.Sequential(
            nn.Conv2d(3, 4, 3, stride=2), nn.Tanh(), nn.Flatten(), nn.Dropout(0.5), nn.Linear(16, CLASSES)
        )
    return model.double().eval()


def subject(model=None, *, count=64, label="net"):
    return Subject(
        label=label,
        model=model or network(),
        points=(),
        watch=lambda callback: pytest.fail("nothing is watched"),
        samples={"train": Images(count)},
        precision="fp64",
        objective=Objective(weight_decay=0.3),
    )


def rows_of(asked, given):
    return [row for _, some in asked.measure(given, asked.parts(given)) for row in some]


def along(loss, weights, gradient):
    return lambda step: float(loss(weights - step * gradient))


@pytest.mark.parametrize("norm", ["linf", "l2"])
def test_all_kinds_equal_loops_over_single_weights(norm):
    given = subject(count=96)  # 48 are loaded as 32 and 16
    asked = Sharpness(batches=2, batch_size=48, draws=3, steps=4, norm=norm, average_radius=0.2, worst_radius=0.1)
    before = snapshot(given.model)
    rows = rows_of(asked, given)
    assert snapshot(given.model) == before
    assert [(row.batch, row.kind) for row in rows] == [(batch, kind) for batch in (0, 1) for kind in KINDS]
    images, labels = given.samples["train"].images, given.samples["train"].labels
    weights = twin.flat_weights(given.model)
    for batch in (0, 1):
        own = slice(48 * batch, 48 * batch + 48)
        average, worst, critical = rows[3 * batch : 3 * batch + 3]
        loss = twin.loss_of(given.model, images[own], labels[own])
        draws = [
            torch.cat(
                [
                    gaussian(tuple(value.shape), f"0/{batch}/{draw}/{name}").reshape(-1)
                    for name, value in given.model.named_parameters()
                ]
            )
            for draw in range(3)
        ]
        rises = twin.rises(loss, weights, 0.2, draws)
        assert average.value == pytest.approx(np.mean(rises), rel=1e-9)
        assert average.standard_error == pytest.approx(np.std(rises, ddof=1) / math.sqrt(3), rel=1e-9)
        assert worst.value == pytest.approx(twin.worst(loss, weights, 0.1, 4, norm), rel=1e-9)
        assert worst.value > 0
        assert average.nll == worst.nll == critical.nll == pytest.approx(float(loss(weights)), rel=1e-12)
        gradient = torch.func.grad(loss)(weights)
        step = critical.step
        slow = twin.first_rise(along(loss, weights, gradient), float(loss(weights)), step / 500)
        assert critical.step_low <= slow <= critical.step_high * 1.01
        assert step == pytest.approx(slow, rel=0.03)
        assert critical.value == 2 / step
        assert (average.forward_passes, average.gradients) == (3, 0)
        assert (worst.forward_passes, worst.gradients) == (1, 4)
        assert critical.forward_passes <= 9
        assert critical.gradients == 1
        assert critical.direction == "negative gradient"


def test_critical_sharpness_is_below_the_largest_eigenvalue_where_the_loss_is_nearly_quadratic():
    given = subject()
    optimizer = torch.optim.LBFGS(given.model.parameters(), max_iter=40)
    images, labels = given.samples["train"].images, given.samples["train"].labels

    def loss():
        optimizer.zero_grad()
        value = nn.functional.cross_entropy(given.model(images), labels, label_smoothing=0.5)
        value.backward()
        return value

    for _ in range(3):
        optimizer.step(loss)
    given = dataclasses.replace(given, objective=Objective(label_smoothing=0.5))
    (row,) = rows_of(Sharpness(kinds=("critical",), batches=1, batch_size=64), given)
    targets = given.objective.targets(Batch(images, labels, torch.arange(64)), CLASSES)
    largest = float(torch.linalg.eigvalsh(dense_hessian(given.model, images, targets))[-1])
    assert 0 < row.value <= largest * 1.05


class Scaled(nn.Module):
    """A smooth loss of weights that are scaled one by one before they are used."""

    def __init__(self, weights, scale):
        super().__init__()
        self.own = nn.Parameter(weights / scale)
        self.scale = scale

    def forward(self):
        used = self.own * self.scale
        return (used * torch.arange(1, len(used) + 1)).sin().sum() + used.square().sum()

    def value(self):
        return float(self().detach())

    def gradient(self, parameters):
        with torch.enable_grad():
            value = self()
            return float(value.detach()), list(torch.autograd.grad(value, parameters))


@settings(deadline=None, max_examples=30)
@given(seed=st.integers(0, 2**31), size=st.integers(1, 6), norm=st.sampled_from(["linf", "l2"]))
def test_no_rescaling_of_single_weights_changes_adaptive_sharpness(seed, size, norm):
    rng = np.random.default_rng(seed)
    weights = torch.from_numpy(rng.standard_normal(size))
    scales = (torch.ones(size, dtype=torch.float64), torch.from_numpy(10 ** rng.uniform(-3, 3, size)))
    found = []
    for scale in scales:
        loss = Scaled(weights, scale)
        with movable(loss, ["own"]) as moving:
            start, gradient = loss.gradient([loss.own])
            average = average_rise(moving, loss.value, start, 0.3, ["one", "other"])
            how = {"radius": 0.2, "steps": 5, "norm": norm}
            worst = worst_rise(moving, loss, start, {"own": gradient[0]}, **how)
        found.append([*average, worst])
    np.testing.assert_allclose(found[1], found[0], rtol=1e-6, atol=1e-9)
    assert found[0][-1] >= 0


def test_a_loss_that_is_not_finite_has_no_value():
    class Explodes(nn.Module):
        """Infinite logits where a weight has left its place."""

        def __init__(self):
            super().__init__()
            self.weight = nn.Parameter(torch.ones(1, dtype=torch.float64))

        def forward(self, x):
            apart = (self.weight - 1).abs()
            return torch.where(apart > 1e-9, torch.inf, 1.0) * self.weight * x[:, :, 0, 0]

    rows = rows_of(Sharpness(batches=1, batch_size=32, draws=4, steps=2), subject(Explodes(), count=32))
    average, worst, _ = rows
    assert (average.value, worst.value) == (None, None)
    assert average.note == "the NLL is not finite in 4 of 4 draws"
    assert worst.note == "the NLL is not finite on the way"
    table = table_of(rows, "net")
    summary = Sharpness().summary(table).to_pylist()
    assert summary[0]["note"] == "1 of 1 batch: the NLL is not finite in 4 of 4 draws"
    assert (
        "net has no average: 1 of 1 batch: the NLL is not finite in 4 of 4 draws." in Sharpness().figure(table).caption
    )

    class Broken(Explodes):
        def forward(self, x):
            return super().forward(x) * torch.nan

    with pytest.raises(VisionscopeError, match="sharpness: the NLL of batch 0 is nan"):
        rows_of(Sharpness(batches=1, batch_size=32), subject(Broken(), count=32))


def test_a_forward_without_gradients_is_refused():
    class Cut(nn.Sequential):
        def forward(self, x):
            return super().forward(x).detach()

    with pytest.raises(VisionscopeError, match="Cut: no gradient of the loss reaches the parameters"):
        rows_of(Sharpness(batches=1, batch_size=32), subject(Cut(*network()).double().eval()))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"batch_size": 40}, r"sharpness.batch_size: must be a multiple of 16, such as 32; got 40"),
        ({"kinds": ("avarage",)}, r"sharpness.kinds: .*got 'avarage'.*average"),
        ({"norm": "l1"}, r"sharpness.norm: must be one of linf, l2; got 'l1'"),
        ({"average_radius": 0.0}, r"sharpness.average_radius: must be .*above 0.*got 0"),
        ({"draws": 1}, r"sharpness.draws: must be .*2.*got 1"),
    ],
)
def test_bad_values_are_named(fields, said):
    with pytest.raises(ConfigError, match=said):
        Sharpness(**fields)


def test_whole_batches_alone_are_read_unless_there_is_not_even_one():
    asked = Sharpness(batches=2, batch_size=64)
    assert [asked.images(count) for count in (1000, 100, 63, 16)] == [128, 64, 48, 16]
    assert len(asked.parts(subject(count=128))) == 2
    assert Sharpness(norm="l2").identity()["worst_radius"] == 0.5
    assert Sharpness(worst_radius=0.002).identity() == Sharpness().identity()


def table_of(rows, label):
    leading = {**dict.fromkeys(LEADING, "x"), "model": label}
    return with_leading_of(to_table(Sharpness.row, rows), [leading] * len(rows))


def test_means_over_batches_are_told_in_words_and_as_measures():
    asked = Sharpness(batches=2, batch_size=32, draws=2, steps=2)
    rows = rows_of(asked, subject())
    table = pa.concat_tables([table_of(rows, "one"), table_of(rows, "other")])
    tables = {"rows": table, "summary": asked.summary(table)}
    first = tables["summary"].to_pylist()[0]
    values = [row.value for row in rows if row.kind == "average"]
    reach = 12.706204736 * np.std(values, ddof=1) / math.sqrt(2)  # Student's t with one degree of freedom
    assert first["value"] == pytest.approx(np.mean(values))
    assert (first["low"], first["high"]) == pytest.approx((np.mean(values) - reach, np.mean(values) + reach), rel=1e-6)
    findings = asked.findings(tables)
    assert len(findings) == 4
    assert findings[0].headline.startswith("In one, random changes of weights by 10.0 % raise the NLL by ")
    assert findings[1].headline.startswith("In one, steps along the negative gradient longer than ")
    assert all(len(one.headline.split()) <= 25 for one in findings)
    assert [one.name for one in asked.measures(tables)][:3] == [f"{kind} sharpness" for kind in KINDS]
    assert len(asked.limits(tables)) == 2
    alone = Sharpness(kinds=("worst",), batches=2, batch_size=32, steps=2)
    table = table_of(rows_of(alone, subject()), "one")
    (finding,) = alone.findings({"rows": table, "summary": alone.summary(table)})
    assert finding.headline.startswith("In one, the worst change within 0.200 % raises the NLL by ")
