"""Accuracy by JPEG quality: rows against a direct loop, paired changes, pictures, words, what is refused."""

import base64
import io

import numpy as np
import pytest
import torch
from PIL import Image
from torch import nn

from visionscope.core.sample import Batch, InputConfig
from visionscope.core.subject import Subject
from visionscope.core.table import LEADING, to_table, with_leading_of
from visionscope.data.corruptions import to_images
from visionscope.diagnostics.corruption.question import Corruption
from visionscope.diagnostics.corruption.results import ALL
from visionscope.diagnostics.outcomes.pooling import pooled
from visionscope.errors import ConfigError
from visionscope.numerics.paired import paired_shares

INPUT = InputConfig(size=(8, 8), mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))  # smaller than other corruptions take
QUALITIES = (10, 95, 40)
CHECKS = ((np.indices((8, 8)).sum(0) % 2) * 2 - 1)[:, :, None]


class Images:
    """Noise with a weak checkerboard or its opposite, which strong compression loses: 8-bit pixels, normalised."""

    digest = "fixed"
    image_digest = "fixed"

    def __init__(self, count=260):
        rng = np.random.default_rng(0)
        self.labels = torch.from_numpy(rng.integers(0, 2, count))
        pixels = (
            rng.integers(64, 192, (count, 8, 8, 1)) + CHECKS * (2 * self.labels.numpy() - 1)[:, None, None, None] * 12
        )
        self.pixels = np.repeat(pixels, 3, axis=3).astype(np.uint8)

    def __len__(self):
        return len(self.pixels)

    def batches(self, start, stop, batch_size):
        for first in range(start, stop, batch_size):
            own = slice(first, min(first + batch_size, stop))
            yield Batch(to_images(self.pixels[own], INPUT), self.labels[own], torch.arange(first, own.stop))


class Looks(nn.Module):
    """Which checkerboard it is."""

    def __init__(self):
        super().__init__()
        self.head = nn.Linear(192, 2)
        with torch.no_grad():
            self.head.bias.copy_(torch.tensor([0.0137, 0.0]))  # no image lies between the two
            self.head.weight[0] = 0
            self.head.weight[1] = torch.from_numpy(0.05 * np.tile(CHECKS.ravel(), 3))

    def forward(self, x):
        return self.head(x.flatten(1))


def subject(label="net"):
    return Subject(
        label=label,
        model=Looks().eval(),
        points=(),
        watch=lambda callback: None,
        samples={"eval": Images()},
        input=INPUT,
    )


def table_of(asked, given):
    rows = [row for _, some in asked.measure(given, asked.parts(given)) for row in some]
    leading = {**dict.fromkeys(LEADING, "x"), "model": given.label}
    return with_leading_of(to_table(asked.row, rows), [leading] * len(rows))


@pytest.fixture(scope="module")
def asked():
    return Corruption(types=("jpeg",), qualities=QUALITIES)


@pytest.fixture(scope="module")
def table(asked):
    return table_of(asked, subject())


def rights(quality):
    """Image by image, straight through Pillow."""
    model, found = Looks().eval(), []
    images = Images()
    for image, label in zip(images.pixels, images.labels.tolist(), strict=True):
        pixels = image
        if quality:
            stored = io.BytesIO()
            Image.fromarray(image).save(stored, format="JPEG", quality=quality)
            pixels = np.array(Image.open(stored))
        values = (pixels / 255 - np.array(INPUT.mean)) / np.array(INPUT.std)
        with torch.no_grad():
            logits = model(torch.from_numpy(values.transpose(2, 0, 1)[None]).float())
        found.append(int(logits.argmax()) == label)
    return np.array(found)


def test_outcomes_and_changes_are_those_of_a_direct_loop(asked, table):
    cells = pooled(table, ("corruption", "severity"))
    kinds = [(kind, level) for _, _, kind, level in cells]
    assert kinds == [("", 0), ("jpeg", 95), ("jpeg", 40), ("jpeg", 10)]
    assert all(origin.startswith("Pillow ") for origin in table["origin"].to_pylist())
    clean = rights(0)
    rows = {(row["corruption"], row["severity"]): row for row in asked.summary(table).to_pylist()}
    for (_, _, kind, quality), some in cells.items():
        np.testing.assert_array_equal(some.right, rights(quality))
        if kind:
            row, change = rows[kind, quality], paired_shares(rights(quality), clean)
            assert row["change"] == pytest.approx(100 * change.value)
            assert (row["change_low"], row["change_high"]) == pytest.approx((100 * change.low, 100 * change.high))
    means = [rights(quality).mean() for quality in QUALITIES]
    assert rows[ALL, None]["accuracy"] == pytest.approx(np.mean(means))
    assert clean.mean() > means[0]  # the worst quality costs something, so that there is something to tell


def test_figure_words_and_measure_speak_of_quality(asked, table):
    figure = asked.figure(table)
    lines, sheet = figure.panels
    assert figure.title == "Accuracy under JPEG compression"
    assert lines.x_names == ("clean", "95", "40", "10")
    assert lines.lines[0].y == pytest.approx([rights(quality).mean() for quality in (0, 95, 40, 10)])
    assert [one.title for row in sheet.pictures for one in row] == ["JPEG 95", "JPEG 40", "JPEG 10"]
    assert base64.b64encode(sheet.pictures[0][0].png).decode() in table["picture"].to_pylist()
    tables = {"rows": table, "summary": asked.summary(table)}
    (finding,) = asked.findings(tables)
    worst = 100 * (rights(10).mean() - rights(0).mean())
    assert finding.unit == "percentage points"
    assert finding.value == pytest.approx(worst)
    assert finding.headline.startswith("In net, JPEG lowers accuracy from quality 10 on, by ")
    assert "Quality 95: " in finding.detail
    assert "accuracy under JPEG" in [one.name for one in asked.measures(tables)]


def test_an_identity_holds_qualities_or_severities_never_both(asked):
    assert asked.identity()["qualities"] == QUALITIES
    assert "severities" not in asked.identity()
    assert asked.identity()["maker"].startswith("Pillow ")
    assert asked.levels == (95, 40, 10)
    folder_free = {**Corruption(types=("fog",)).__dict__}
    assert folder_free["qualities"] == (95, 75, 50, 30, 10)


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"types": ("jpeg", "fog")}, r"corruption.types: jpeg stands alone, .*Did you mean 'jpeg_compression'"),
        ({"types": ("jpeg",), "folder": "CIFAR-10-C"}, "corruption.types: jpeg is made on the fly; leave"),
        ({"types": ("jpeg",), "qualities": (0,)}, r"corruption.qualities: .*1 to 100.*got 0"),
        ({"types": ("jpeg",), "qualities": (50, 50)}, r"corruption.qualities: .*50"),
    ],
)
def test_what_does_not_go_together_is_refused(fields, said):
    with pytest.raises(ConfigError, match=said):
        Corruption(**fields)
