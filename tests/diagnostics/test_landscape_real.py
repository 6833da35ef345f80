"""The public ResNet-20 on CIFAR-10's training images: its landscape against a direct evaluation."""

import functools
import os
from pathlib import Path

import pytest
import torch

from reference import landscape as twin
from visionscope.core.objective import Objective
from visionscope.core.subject import Subject
from visionscope.curvature.weights import weights_of
from visionscope.data.augmentation import paper_augmentation
from visionscope.data.sample import Sample
from visionscope.data.sources import open_source
from visionscope.diagnostics.landscape.question import Landscape
from visionscope.models.load import load_model

SHARED = Path(os.environ.get("VISIONSCOPE_SHARED", Path(__file__).parents[2].parent / "shared"))
RESNET_20 = SHARED / "reference" / "resnet20_cifar10-12fca82f.th"
IMAGES = 64

pytestmark = pytest.mark.skipif(not RESNET_20.exists(), reason=f"needs {RESNET_20} (VISIONSCOPE_SHARED)")


@functools.cache
def resnet_20(precision):
    loaded = load_model(f"resnet_20_cifar@{RESNET_20}")
    source = open_source(f"{SHARED / 'data' / 'cifar10'}:train")
    sample = Sample(source, loaded.input, IMAGES, 0, paper_augmentation("strong", loaded.input))
    return Subject(
        label="resnet_20_cifar",
        model=loaded.model.double() if precision == "fp64" else loaded.model,
        points=(),
        watch=lambda callback: None,
        samples={"train": sample},
        precision=precision,
        objective=Objective(),
        augmentation="strong",
    )


@functools.cache
def rows_of(precision, **fields):
    subject = resnet_20(precision)
    landscape = Landscape(**{"points": 3, "draws": 0, "sample_size": IMAGES, **fields})
    return [row for _, rows in landscape.measure(subject, landscape.parts(subject)) for row in rows]


def test_folded_it_equals_a_direct_evaluation_on_augmented_images():
    subject = resnet_20("fp32")
    batches = [
        (batch.images, batch.labels, batch.partners, batch.shares)
        for batch in subject.samples["train"].batches(0, IMAGES, 32)
    ]
    assert any(float(shares.min()) < 1 for *_, shares in batches)
    weights = weights_of(subject.model)
    axes = [
        {name: twin.filter_normalized(value, f"0/0/{axis}/{name}") for name, value in weights.items()} for axis in "xy"
    ]
    for row in rows_of("fp32", extent=0.5):
        wanted = twin.loss_at(subject.model, axes, (row.x, row.y), batches, 0.05)
        assert row.nll == pytest.approx(wanted["nll"], rel=1e-6)
        assert row.accuracy == wanted["accuracy"]


def test_bf16_is_near_and_says_how_near():
    low, full = rows_of("bf16", extent=0.5), rows_of("fp32", extent=0.5)
    for one, other in zip(low, full, strict=True):
        assert one.nll == pytest.approx(other.nll, rel=0.02)
        assert other.bf16_error is None
    errors = [row.bf16_error for row in low if row.bf16_error is not None]
    assert len(errors) == 3
    assert 0 < max(errors) < 0.02


def test_the_loss_rises_from_the_centre_of_a_trained_network():
    by_place = {(row.x, row.y): row.nll for row in rows_of("fp32", extent=0.5)}
    assert min(by_place.values()) == by_place[0.0, 0.0]
    assert torch.tensor(list(by_place.values())).isfinite().all()
