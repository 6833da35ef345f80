"""Maps of compressed images: against passes of their own and definitions in float64, notes, words, what is refused."""

import functools
import math
import operator

import numpy as np
import pytest
import torch

from reference import feature_maps as twin
from reference.found_as_it_was import snapshot
from running.networks import convolutions
from visionscope.core.sample import Batch, InputConfig
from visionscope.core.subject import Subject
from visionscope.core.table import LEADING, to_table, with_leading_of
from visionscope.data.corruptions import to_images
from visionscope.data.jpeg import recompressed
from visionscope.diagnostics.compression import measure as measuring
from visionscope.diagnostics.compression.question import Compression
from visionscope.errors import ConfigError, NotApplicableError, VisionscopeError
from visionscope.tracing import trace, watch

INPUT = InputConfig(size=(8, 8), mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
QUALITIES = (20, 80)


class Images:
    """8-bit pixels, normalised."""

    digest = "fixed"

    def __init__(self, count):
        self.pixels = np.random.default_rng(0).integers(0, 256, (count, 8, 8, 3)).astype(np.uint8)

    def __len__(self):
        return len(self.pixels)

    def batches(self, start, stop, batch_size):
        for first in range(start, stop, batch_size):
            own = slice(first, min(first + batch_size, stop))
            yield Batch(to_images(self.pixels[own], INPUT), None, torch.arange(first, own.stop))


def subject(count=42, **fields):
    model = convolutions(width=3).double().eval()
    found = trace(model, torch.zeros(2, 3, 8, 8))
    given = {"points": found.points, "watch": functools.partial(watch, model, found), "input": INPUT, **fields}
    return Subject(label="net", model=model, samples={"eval": Images(count)}, precision="fp64", **given)


def table_of(asked, given):
    rows = [row for _, some in asked.measure(given, asked.parts(given)) for row in some]
    leading = {**dict.fromkeys(LEADING, "x"), "model": "net"}
    return with_leading_of(to_table(asked.row, rows), [leading] * len(rows))


def maps_of(given, pixels):
    """By point, from the network's parts, image by image."""
    found = {name: [] for name in ("stem", "blocks.0+conv", "blocks.1+conv")}
    with torch.no_grad():
        for image in pixels:
            maps = given.model.stem(to_images(image[None], INPUT).double())
            found["stem"].append(maps[0])
            for place, block in enumerate(given.model.blocks):
                maps = maps + block.body(maps)
                found[f"blocks.{place}+conv"].append(maps[0])
    return found


def inner(a, b):
    return math.fsum(map(operator.mul, a, b))


def test_all_numbers_equal_their_definitions(monkeypatch):
    monkeypatch.setattr(measuring, "GROUP", 8)
    given, asked = subject(), Compression(qualities=QUALITIES)
    before = snapshot(given.model)
    summary = asked.summary(table_of(asked, given)).to_pylist()
    assert snapshot(given.model) == before
    pixels = given.samples["eval"].pixels
    clean = maps_of(given, pixels)
    assert [(row["point"], row["quality"]) for row in summary] == [
        (point.name, quality) for point in given.points for quality in (80, 20)
    ]
    for row in summary:
        own, other = clean[row["point"]], maps_of(given, recompressed(pixels, row["quality"]))[row["point"]]
        changes, cosines = [], []
        for x, y in zip(own, other, strict=True):
            profiles = [twin.diagonal_log_amplitude(maps) for maps in (x, y)]
            changes.append((profiles[1][-1] - profiles[1][0]) - (profiles[0][-1] - profiles[0][0]))
            a, b = (maps.flatten().tolist() for maps in (x, y))
            cosines.append(inner(a, b) / math.sqrt(inner(a, a) * inner(b, b)))
        for name, values in (("high_change", changes), ("cosine", cosines)):
            assert row[name] == pytest.approx(np.mean(values), abs=1e-9)
            reach = 2.0195409704 * np.std(values, ddof=1) / math.sqrt(42)  # Student's t with 41 degrees of freedom
            ends = (np.mean(values) - reach, np.mean(values) + reach)
            assert (row[f"{name}_low"], row[f"{name}_high"]) == pytest.approx(ends, abs=1e-8)
        features = [torch.stack(maps[:40]).flatten(1).numpy() for maps in (own, other)]
        assert row["cka"] == pytest.approx(twin.minibatch_cka(*features, 8), abs=1e-9)
        reach = 2.7764451052 * twin.jackknife_error(*features, 8)  # with 4, of 5 groups
        assert row["cka_high"] - row["cka"] == pytest.approx(reach, abs=1e-8)
        assert (row["images"], row["dropped"]) == (42, 2)


def test_few_images_have_no_cka_and_the_best_quality_changes_least():
    given, asked = subject(count=10), Compression(qualities=QUALITIES)
    table = table_of(asked, given)
    rows = asked.summary(table).to_pylist()
    assert {row["cka"] for row in rows} == {None}
    assert {row["dropped"] for row in rows} == {10}
    for better, worse in zip(rows[::2], rows[1::2], strict=True):
        assert better["cosine"] > worse["cosine"]
    tables = {"rows": table, "summary": asked.summary(table)}
    (finding,) = asked.findings(tables)
    assert finding.measure == "cosine"
    worst = min((row for row in rows if row["quality"] == 20), key=lambda row: row["cosine"])
    assert finding.value == worst["cosine"]
    start = f"In net, maps of clean and JPEG images of quality 20 differ most at {worst['point']}: cosine "
    assert finding.headline.startswith(start)
    (measure,) = asked.measures(tables)
    assert (measure.name, measure.value) == ("CKA under JPEG 20", None)
    assert measure.note
    panels = asked.figure(table).panels
    assert [panel.y_label for panel in panels] == [
        "change of high-frequency log-amplitude",
        "cosine, clean with compressed",
    ]
    assert [line.name for line in panels[0].lines] == ["quality 80", "quality 20"]
    assert asked.limits(tables)


def test_what_it_cannot_be_asked_of_is_refused():
    with pytest.raises(NotApplicableError, match="needs the size and normalisation"):
        Compression().parts(subject(input=None))
    many = InputConfig(size=(8, 8), mean=(0.5,) * 4, std=(0.5,) * 4)
    with pytest.raises(NotApplicableError, match=r"photographs alone are compressed, .* have 4 channels"):
        Compression().parts(subject(input=many))
    with pytest.raises(NotApplicableError, match="has no feature maps to compare"):
        Compression().parts(subject(points=()))
    with pytest.raises(ConfigError, match=r"compression.qualities: .*1 to 100.*got 101"):
        Compression(qualities=(101,))
    broken = subject()
    with torch.no_grad():
        broken.model.blocks[1].body[2].bias.fill_(torch.nan)
    with pytest.raises(
        VisionscopeError, match=r"compression at 'blocks.1\+conv': non-finite values in image position 0"
    ):
        table_of(Compression(), broken)
