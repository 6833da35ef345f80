"""Robustness: rows against a direct loop, the summary by hand, published sets paired and unpaired."""

import base64
import dataclasses
import io

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch import nn

from visionscope.core.sample import Batch, InputConfig
from visionscope.core.subject import Subject
from visionscope.core.table import LEADING, to_table, with_leading_of
from visionscope.data.corruption_types import ALEXNET_ERRORS, TYPES
from visionscope.data.corruptions import corrupt, to_images, to_pixels
from visionscope.data.sample import Sample
from visionscope.data.sources import open_source
from visionscope.diagnostics.corruption.question import Corruption
from visionscope.diagnostics.outcomes.pooling import pooled
from visionscope.errors import ConfigError, DataError, NotApplicableError

INPUT = InputConfig(size=(16, 16), mean=(0.4, 0.5, 0.6), std=(0.2, 0.25, 0.3))
CLASSES = 3
CELLS = {"types": ("gaussian_noise", "contrast"), "severities": (1, 4)}


@pytest.fixture
def library(warm_server):
    for name in ("torch_uncertainty", "kornia", "cv2", "lightning"):
        pytest.importorskip(name, reason="needs the extra corruptions")


class Looks(nn.Module):
    """Logits that depend on every pixel a little."""

    def __init__(self):
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weight = nn.Parameter(torch.randn(CLASSES, 3 * 16 * 16, generator=generator) / 10)

    def forward(self, images):
        return images.flatten(1) @ self.weight.T


class AlwaysFirst(nn.Module):
    """Says class 0, whatever it sees."""

    def forward(self, images):
        return torch.tensor([2.0, 0.0, 0.0]).expand(len(images), -1)


@dataclasses.dataclass(frozen=True)
class Images:
    """Random 8-bit images, normalised."""

    count: int = 260
    digest: str = "fixed"

    def __len__(self):
        return self.count

    @property
    def pixels(self):
        return np.random.default_rng(0).integers(0, 256, (self.count, 16, 16, 3)).astype(np.uint8)

    @property
    def labels(self):
        return torch.arange(self.count) % CLASSES

    def batches(self, start, stop, batch_size):
        images = normalised(self.pixels)
        for first in range(start, stop, batch_size):
            own = slice(first, min(first + batch_size, stop))
            yield Batch(images[own], self.labels[own], torch.arange(first, own.stop))


def normalised(pixels):
    values = torch.from_numpy(pixels).permute(0, 3, 1, 2).float() / 255
    mean, std = (torch.tensor(one).view(3, 1, 1) for one in (INPUT.mean, INPUT.std))
    return (values - mean) / std


def subject(sample=None, model=None, **fields):
    network = (model or Looks()).eval()
    given = {"label": "net", "points": (), "watch": lambda callback: None, "input": INPUT, **fields}
    return Subject(model=network, samples={"eval": sample or Images()}, **given)


def table_of(asked, given, label="net"):
    rows = [row for _, some in asked.measure(given, asked.parts(given)) for row in some]
    leading = {**dict.fromkeys(LEADING, "x"), "model": label}
    return with_leading_of(to_table(asked.row, rows), [leading] * len(rows))


@pytest.mark.usefixtures("library")
def test_rows_equal_a_direct_loop_over_images():
    given, sample = subject(), Images()
    table = table_of(Corruption(**CELLS, seed=5), given)
    assert table["part"].to_pylist() == ["0000-0256"] * 5 + ["0256-0260"] * 5
    found_images = pooled(table, ("corruption", "severity"))
    for (_, _, kind, severity), found in found_images.items():
        rights, losses = [], []
        for position in range(len(sample)):
            pixels = sample.pixels[position : position + 1]
            damaged = corrupt(pixels, [position], kind, severity, 5) if kind else pixels
            with torch.no_grad():
                logits = given.model(normalised(damaged))[0].double()
            label = int(sample.labels[position])
            rights.append(int(logits.argmax()) == label)
            losses.append(float(torch.logsumexp(logits, 0) - logits[label]))
        assert found.right.tolist() == rights
        assert found.nll == pytest.approx(np.mean(losses), rel=1e-6)
    assert len(found_images) == 5
    assert table["origin"][0].as_py().startswith("torch-uncertainty 0.")
    assert all(table["paired"].to_pylist())


@pytest.mark.usefixtures("library")
def test_robustness_is_the_mean_of_the_cells():
    asked = Corruption(**CELLS)
    summary = asked.summary(table_of(asked, subject())).to_pylist()
    cells = [row for row in summary if row["corruption"] and row["severity"]]
    assert [(row["corruption"], row["severity"]) for row in cells] == [
        ("gaussian_noise", 1), ("gaussian_noise", 4), ("contrast", 1), ("contrast", 4),
    ]  # fmt: skip
    clean, overall = summary[0], summary[-1]
    assert (clean["corruption"], clean["severity"], clean["change"]) == ("", 0, None)
    assert (overall["corruption"], overall["severity"]) == ("all", None)
    assert overall["accuracy"] == pytest.approx(np.mean([row["accuracy"] for row in cells]))
    assert overall["nll"] == pytest.approx(np.mean([row["nll"] for row in cells]))
    assert overall["error"] == pytest.approx(1 - overall["accuracy"])
    assert overall["change"] == pytest.approx(100 * (overall["accuracy"] - clean["accuracy"]))
    assert overall["accuracy_low"] < overall["accuracy"] < overall["accuracy_high"]
    assert overall["p_holm"] == overall["p"]
    by_type = [row for row in summary if row["severity"] is None and row["corruption"] != "all"]
    assert [row["accuracy"] for row in by_type] == pytest.approx(
        [np.mean([row["accuracy"] for row in cells if row["corruption"] == kind]) for kind in CELLS["types"]]
    )
    assert all(row["mce"] is None for row in summary)
    assert {row["images"] for row in summary} == {260}


@pytest.mark.usefixtures("library")
def test_the_contact_sheet_shows_a_drawn_image_or_the_user_s_first():
    for with_images in (False, True):
        asked = Corruption(**CELLS, with_images=with_images)
        table = table_of(asked, subject())
        shown = [row for row in table.to_pylist() if row["picture"]]
        assert len(shown) == 5
        assert {row["start"] for row in shown} == {0}
        clean = np.asarray(Image.open(io.BytesIO(base64.b64decode(shown[0]["picture"]))))
        assert (clean == Images().pixels[0]).all() == with_images
        for row in shown[1:]:
            wanted = corrupt(clean[None], [0], row["corruption"], row["severity"], 0)[0]
            assert (np.asarray(Image.open(io.BytesIO(base64.b64decode(row["picture"])))) == wanted).all()
        *_, sheet = asked.figure(table).panels
        assert [[one.title for one in row] for row in sheet.pictures] == [
            ["gaussian noise 1", "gaussian noise 4"], ["contrast 1", "contrast 4"],
        ]  # fmt: skip


@pytest.mark.usefixtures("library")
def test_the_figure_draws_what_the_table_says():
    asked = Corruption(**CELLS)
    table = table_of(asked, subject())
    cells, lines, _ = asked.figure(table).panels
    summary = {(row["corruption"], row["severity"]): row for row in asked.summary(table).to_pylist()}
    assert cells.heat is not None
    assert cells.heat.names_y == ("contrast", "gaussian noise")  # the first at the top
    assert cells.heat.values == tuple(
        tuple(summary[kind, severity]["accuracy"] for severity in (1, 4)) for kind in ("contrast", "gaussian_noise")
    )
    [line] = lines.lines
    assert line.x == (0, 1, 4)
    by_severity = [np.mean([summary[kind, severity]["accuracy"] for kind in CELLS["types"]]) for severity in (1, 4)]
    assert line.y == pytest.approx((summary["", 0]["accuracy"], *by_severity))
    assert line.low is not None
    assert line.high is not None
    assert all(low < y < high for low, y, high in zip(line.low, line.y, line.high, strict=True))
    caption = asked.figure(table).caption
    assert "260 images" in caption
    assert "not comparable" in caption


def photographs(root, count=12):
    """A folder of class folders, as a study's data."""
    for index in range(count):
        place = root / "abc"[index % CLASSES]
        place.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(index).integers(0, 256, (16, 16, 3)).astype(np.uint8)
        Image.fromarray(pixels).save(place / f"{index:02d}.png")
    return open_source(str(root), num_classes=CLASSES)


def arrays_of(root, source, types=("fog", "snow"), damage=0):
    root.mkdir()
    images = np.stack([np.asarray(source.image(index)) for index in range(len(source))])
    for kind in types:
        levels = [np.clip(images.astype(int) + damage * severity, 0, 255) for severity in range(5)]
        np.save(root / f"{kind}.npy", np.concatenate(levels).astype(np.uint8))
    np.save(root / "labels.npy", np.tile([source.label(index) for index in range(len(source))], 5))
    return str(root)


def test_a_published_set_is_paired_where_the_data_are_seen_to_be_its_origin(tmp_path):
    source = photographs(tmp_path / "data")
    folder = arrays_of(tmp_path / "set", source, damage=40)
    given = subject(Sample(source, INPUT, 5, seed=9))
    asked = Corruption(folder=folder, types=("snow", "fog"), severities=(1, 3), sample_size=7, seed=2)
    assert asked.parts(given) == ["clean", "snow-1", "snow-3", "fog-1", "fog-3"]
    table = table_of(asked, given)
    assert table["origin"].to_pylist() == ["published"] * 5
    assert table["paired"].to_pylist() == [True] * 5
    assert table["images"].to_pylist() == [7] * 5
    rows = table.to_pylist()
    # Severity 1 is undamaged here, so that it must be the clean images, in the same order.
    assert rows[0]["right"] == rows[1]["right"] == rows[3]["right"]
    assert rows[0]["nll"] == rows[1]["nll"]
    assert rows[0]["nll"] != rows[2]["nll"]
    changes = [row["change"] for row in asked.summary(table).to_pylist()]
    assert changes[1] == 0
    assert not any(change is None for change in changes[1:])


@pytest.mark.parametrize("cause", ["labels", "number", "memory"])
def test_a_published_set_of_other_images_is_told_apart(tmp_path, cause):
    source = photographs(tmp_path / "data")
    folder = arrays_of(tmp_path / "set", source)
    other = photographs(tmp_path / "other", count=9 if cause == "number" else 12)
    sample = Sample(other, INPUT, 5, seed=9)
    if cause == "labels":
        shifted = (np.load(tmp_path / "set" / "labels.npy") + 1) % CLASSES
        np.save(tmp_path / "set" / "labels.npy", shifted)
    given = subject(Images(12) if cause == "memory" else sample)
    asked = Corruption(folder=folder, types=("fog",), severities=(2,))
    table = table_of(asked, given)
    assert table["paired"].to_pylist() == [False, False]
    clean, cell, by_type, overall = asked.summary(table).to_pylist()
    assert clean["images"] == (12 if cause == "memory" else 5)
    for row in (cell, by_type, overall):
        assert row["accuracy"] is not None
        assert row["change"] is row["p"] is row["p_holm"] is row["change_low"] is None
    assert asked.figure(table).panels


def trees_of(root, count=4):
    classes = ("n01440764", "n01443537")
    for kind in TYPES:
        for severity in (1, 2):
            for number, name in enumerate(classes):
                place = root / kind / str(severity) / name
                place.mkdir(parents=True)
                for index in range(count):
                    Image.fromarray(np.full((16, 16, 3), 9 * severity + number, np.uint8)).save(place / f"{index}.png")
    return str(root)


class Thousand(nn.Module):
    """Says class 0 of ImageNet's thousand."""

    def forward(self, images):
        return 10 * torch.eye(1000)[:1].expand(len(images), -1)


def test_the_mean_corruption_error_is_alexnet_s_measure_of_errors(tmp_path):
    """A network that says class 0 is wrong on half of these images, in every cell."""
    asked = Corruption(folder=trees_of(tmp_path / "set"), severities=(1, 2), reference="alexnet")
    given = subject(Sample(open_source(str(tmp_path / "set" / "fog" / "1"), num_classes=1000), INPUT), Thousand())
    table = table_of(asked, given)
    summary = asked.summary(table).to_pylist()
    ratios = {kind: (0.5 + 0.5) / (errors[0] + errors[1]) for kind, errors in ALEXNET_ERRORS.items()}
    found = {row["corruption"]: row["mce"] for row in summary if row["severity"] is None}
    assert found.pop("all") == pytest.approx(np.mean(list(ratios.values())))
    assert found == pytest.approx(ratios)
    assert all(row["mce"] is None for row in summary if row["severity"] is not None)
    assert all(table["paired"].to_pylist())  # same names, same labels


def test_published_images_are_not_cropped_again(tmp_path):
    source = photographs(tmp_path / "data")
    folder = arrays_of(tmp_path / "set", source)
    seen = []

    class Records(AlwaysFirst):
        def forward(self, images):
            seen.append(images.clone())
            return super().forward(images)

    cropping = dataclasses.replace(INPUT, crop=0.875)
    given = subject(Sample(source, cropping, 12), Records(), input=cropping)
    asked = Corruption(folder=folder, types=("fog",), severities=(1,))
    seen.clear()
    dict(asked.measure(given, ["fog-1"]))
    [whole] = Sample(source, INPUT, 12).batches(0, 12, 12)
    assert torch.equal(seen[-1], whole.images)


@pytest.mark.usefixtures("library")
def test_the_identity_is_of_the_content(tmp_path):
    source = photographs(tmp_path / "data")
    one, two = (arrays_of(tmp_path / name, source) for name in ("one", "two"))
    three = arrays_of(tmp_path / "three", source, damage=1)
    wanted = {"types": ("fog", "snow")}
    assert Corruption(folder=one, **wanted).identity() == Corruption(folder=two, **wanted).identity()
    assert Corruption(folder=one, **wanted).identity() != Corruption(folder=three, **wanted).identity()
    assert Corruption(folder=one, **wanted).identity() != Corruption(folder=one, **wanted, seed=1).identity()
    assert (
        Corruption(folder=one, **wanted).identity() == Corruption(folder=one, **wanted, reference="alexnet").identity()
    )
    assert Corruption().identity()["maker"].startswith("torch-uncertainty")
    assert {"torch-uncertainty", "kornia", "numpy"} <= Corruption().identity()["libraries"].keys()


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"types": ("fogg",)}, r"corruption.types: each must be one of 16 names; got 'fogg'. Did you mean 'fog'\?"),
        ({"types": ()}, r"corruption.types: must be a list of one or more, .*, without repeats; got \[\]"),
        ({"types": ("fog", "fog")}, r"corruption\.types: must not repeat an item; got 'fog' twice"),
        ({"severities": (0,)}, r"corruption\.severities: each must be one of 1, 2, 3, 4, 5; got 0\. Did you mean 1\?"),
        ({"sample_size": 0}, r"corruption\.sample_size: must be an integer from 1 to 1000000000; got 0"),
        ({"seed": -1}, r"corruption\.seed: must be an integer from 0 to 4294967295; got -1"),
        ({"reference": "resnet"}, r"corruption\.reference: must be one of none, alexnet; got 'resnet'"),
        ({"reference": "alexnet"}, r"corruption\.reference: .* name its folder"),
    ],
)
def test_fields_have_rules(fields, message):
    with pytest.raises(ConfigError, match=message):
        Corruption(**fields)


def test_what_does_not_fit_is_refused_at_planning(tmp_path):
    source = photographs(tmp_path / "data")
    folder = arrays_of(tmp_path / "set", source)
    given = subject(Sample(source, INPUT, 5))
    with pytest.raises(DataError, match=r"there is no .*frost\.npy"):
        Corruption(folder=folder, types=("fog", "frost")).parts(given)
    with pytest.raises(ConfigError, match=r"corruption\.reference: alexnet's errors are on ImageNet-C"):
        Corruption(folder=folder, types=("fog",), reference="alexnet").parts(given)
    with pytest.raises(NotApplicableError, match="mean and standard deviation"):
        Corruption().parts(dataclasses.replace(given, input=None))
    bands = dataclasses.replace(INPUT, mean=(0.5,) * 13, std=(0.5,) * 13)
    with pytest.raises(
        NotApplicableError, match="photographs, in colour or grey; this network's images have 13 channels"
    ):
        Corruption().parts(dataclasses.replace(given, input=bands))


@pytest.mark.usefixtures("library")
def test_a_grey_network_sees_colours_corrupted_then_made_grey(tmp_path):
    grey = dataclasses.replace(INPUT, mean=(0.4,), std=(0.2,))
    given = subject(Sample(photographs(tmp_path / "data"), grey, 5), input=grey)
    seen = []

    class Recording(torch.nn.Module):
        def forward(self, images):
            seen.append(images.clone())
            return torch.zeros(len(images), 3) + images.mean((1, 2, 3))[:, None]

    asked = Corruption(types=("contrast",), severities=(5,))
    rows = [
        row for _, some in asked.measure(dataclasses.replace(given, model=Recording()), ["0000-0005"]) for row in some
    ]
    clean, damaged = seen[-2:]
    assert clean.shape == damaged.shape == (5, 1, *grey.size)
    assert torch.equal(to_images(to_pixels(clean, grey), grey), clean)
    photos = to_pixels(clean, grey)
    assert (photos[..., 0] == photos[..., 2]).all()
    expected = to_images(corrupt(photos, range(5), "contrast", 5, 0), grey)
    assert torch.equal(damaged, expected)
    for row in rows:
        picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(row.picture))))
        assert (picture[..., 0] == picture[..., 1]).all()


@pytest.mark.usefixtures("library")
def test_images_too_small_to_corrupt_are_refused():
    with pytest.raises(NotApplicableError, match=r"at least 16 pixels a side; this network sees 15 x 16"):
        Corruption().parts(subject(input=dataclasses.replace(INPUT, size=(15, 16))))


def test_models_are_told_apart_in_summary_and_figure(tmp_path):
    source = photographs(tmp_path / "data")
    folder = arrays_of(tmp_path / "set", source)
    asked = Corruption(folder=folder, types=("fog",), severities=(1,))
    given = subject(Sample(source, INPUT, 12))
    tables = [
        table_of(asked, given, "one"),
        table_of(asked, dataclasses.replace(given, model=AlwaysFirst()), "other"),
    ]
    table = pa.concat_tables(tables)
    overall = [row for row in asked.summary(table).to_pylist() if row["corruption"] == "all"]
    assert [row["model"] for row in overall] == ["one", "other"]
    assert overall[1]["accuracy"] == pytest.approx(4 / 12)
    heats = [panel for panel in asked.figure(table).panels if panel.heat]
    assert [panel.model for panel in heats] == ["one", "other"]
