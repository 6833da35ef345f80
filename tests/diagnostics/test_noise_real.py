"""The public ResNet-20 on CIFAR-10's test images, damaged."""

import importlib.util
import os
from pathlib import Path

import pytest

from visionscope.core.subject import Subject
from visionscope.data.sample import Sample
from visionscope.data.sources import open_source
from visionscope.diagnostics.adversarial.question import Adversarial
from visionscope.diagnostics.fourier_heatmap.question import FourierHeatmap
from visionscope.diagnostics.frequency_noise.question import FrequencyNoise
from visionscope.diagnostics.outcomes.rows import flags
from visionscope.models.load import load_model

SHARED = Path(os.environ.get("VISIONSCOPE_SHARED", Path(__file__).parents[2].parent / "shared"))
RESNET_20 = SHARED / "reference" / "resnet20_cifar10-12fca82f.th"
IMAGES = 64

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(not RESNET_20.exists(), reason=f"needs {RESNET_20} (VISIONSCOPE_SHARED)"),
]


def accuracies(diagnostic):
    loaded = load_model(f"resnet_20_cifar@{RESNET_20}")
    sample = Sample(open_source(f"{SHARED / 'data' / 'cifar10'}:test"), loaded.input, diagnostic.images(10_000))
    model = loaded.model.eval()
    given = Subject(
        label="m", model=model, points=(), watch=lambda callback: None, samples={"eval": sample}, input=loaded.input
    )
    found = diagnostic.measure(given, diagnostic.parts(given))
    return [(row, float(flags(row.right, row.images).mean())) for _, rows in found for row in rows]


def test_noise_of_high_frequency_is_worse_than_of_low():
    (_, clean), (_, low), (_, high) = accuracies(
        FrequencyNoise(frequencies=(0.1, 0.9), energy="equal_eps", sample_size=IMAGES)
    )
    assert clean > 0.8
    assert low > clean - 0.15
    assert high < low - 0.2


def test_the_published_norm_does_most_harm_off_the_centre():
    found = accuracies(FourierHeatmap(half_size=16, step=8, sample_size=IMAGES))
    by_frequency = {(row.row_frequency, row.column_frequency): accuracy for row, accuracy in found}
    assert by_frequency[None, None] > 0.8
    assert by_frequency[0, 0] > min(by_frequency.values()) + 0.3


@pytest.mark.skipif(importlib.util.find_spec("foolbox") is None, reason="needs foolbox")
def test_accuracy_falls_with_eps_and_pgd_is_no_weaker_than_fgsm():
    (_, clean), *rows = accuracies(Adversarial(eps=(0.5, 2.0, 8.0), sample_size=IMAGES))
    fgsm, pgd = ([accuracy for row, accuracy in rows if row.attack == name] for name in ("fgsm", "pgd"))
    assert clean > fgsm[0] > fgsm[1] > fgsm[2]
    assert clean > pgd[0] > pgd[1] >= pgd[2]
    assert pgd[2] < 0.05
    assert all(strong <= weak for strong, weak in zip(pgd, fgsm, strict=True))
