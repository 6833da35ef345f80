"""Shape bias: hand-counted decisions, the 16 classes of ImageNet networks, what is refused."""

import dataclasses
import math

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch import nn

from visionscope.core.sample import InputConfig
from visionscope.core.subject import Subject
from visionscope.core.table import LEADING, tidy, to_table, with_leading_of
from visionscope.data.conflict import ENTRY_LEVEL
from visionscope.data.sample import Sample
from visionscope.diagnostics.outcomes.pooling import pooled
from visionscope.diagnostics.shape_bias.measure import entry_level_scores
from visionscope.diagnostics.shape_bias.question import ShapeBias
from visionscope.errors import ConfigError, DataError, NotApplicableError
from visionscope.numerics.paired import wilson

INPUT = InputConfig(size=(16, 16), mean=(0.0,) * 3, std=(1.0,) * 3)
# Shape, texture, and what the network will say: 3 for shape, 2 for texture, 1 for neither.
SAID = (
    ("cat", "dog", "cat"), ("cat", "truck", "cat"), ("cat", "dog", "dog"), ("dog", "cat", "dog"),
    ("dog", "truck", "truck"), ("truck", "cat", "dog"),
)  # fmt: skip


class Reads(nn.Module):
    """Says the class that is written into an image's first pixel."""

    def __init__(self, classes):
        super().__init__()
        self.classes = classes

    def forward(self, images):
        said = (images[:, 0, 0, 0] * 255).round().long()
        return 4.0 * nn.functional.one_hot(said, self.classes).float()


def folder_of(root, place):
    """Images that carry the number of what the network will say."""
    for number, (shape, texture, said) in enumerate(SAID):
        (root / shape).mkdir(parents=True, exist_ok=True)
        pixels = np.full((16, 16, 3), place[said], np.uint8)
        Image.fromarray(pixels).save(root / shape / f"{shape}{number}-{texture}1.png")
    return str(root)


def subject(asked, model, classes, **fields):
    source = asked.source("anything", classes)
    sample = Sample(source, INPUT, asked.images(len(source)))
    given = {"label": "net", "points": (), "watch": lambda callback: None, "input": INPUT, **fields}
    return Subject(model=model, samples={"conflict": sample}, **given)


def table_of(asked, given, label="net"):
    rows = [row for _, some in asked.measure(given, asked.parts(given)) for row in some]
    leading = {**dict.fromkeys(LEADING, "x"), "model": label}
    return with_leading_of(to_table(asked.row, rows), [leading] * len(rows))


@pytest.mark.parametrize("classes", [3, 16, 1000])
def test_decisions_are_counted_by_hand(tmp_path, classes):
    names = ("cat", "dog", "truck")
    if classes == 3:
        names = ("xcat", "xdog", "xtruck")  # none of the paper's, so that the head's own classes count
    said = {name: index for index, name in enumerate(names)}
    if classes == 16:
        said = {name: list(ENTRY_LEVEL).index(name) for name in names}
    if classes == 1000:
        # An 8-bit pixel holds no index above 255; the network of this case takes truck's from a table.
        said = {"cat": 0, "dog": 1, "truck": 2}
    root = tmp_path / "set"
    for number, (shape, texture, decision) in enumerate(SAID):
        prefix = "x" if classes == 3 else ""
        (root / (prefix + shape)).mkdir(parents=True, exist_ok=True)
        pixels = np.full((16, 16, 3), said[prefix + decision], np.uint8)
        Image.fromarray(pixels).save(root / (prefix + shape) / f"{prefix}{shape}{number}-{prefix}{texture}1.png")

    class Indexed(Reads):
        def forward(self, images):
            table = torch.tensor([281, 200, 867])
            said = table[(images[:, 0, 0, 0] * 255).round().long()]
            # Evidence enough for the mean over all dogs, of which there are 109, to win.
            return 40.0 * nn.functional.one_hot(said, 1000).float()

    asked = ShapeBias(folder=str(root))
    model = Indexed(1000) if classes == 1000 else Reads(classes)
    table = table_of(asked, subject(asked, model, classes))
    overall, *by_class = asked.summary(table).to_pylist()
    assert (overall["shape"], overall["texture"], overall["other"], overall["images"]) == (3, 2, 1, 6)
    assert overall["shape_bias"] == 3 / 5
    assert (overall["low"], overall["high"]) == wilson(3, 5)
    counted = [(row["shape_class"].strip("x"), row["shape"], row["texture"], row["other"]) for row in by_class]
    assert counted == [("cat", 2, 1, 0), ("dog", 1, 1, 0), ("truck", 0, 0, 1)]
    assert by_class[2]["shape_bias"] is None
    assert by_class[2]["low"] is None
    assert ("ImageNet" in overall["decision"]) == (classes == 1000)


def test_probabilities_of_a_class_s_imagenet_classes_are_averaged():
    """Twin: means of softmax probabilities in float64, one image and one class at a time."""
    logits = 3 * torch.randn(20, 1000, generator=torch.Generator().manual_seed(0))
    found = entry_level_scores(logits).double()
    for image, scores in zip(logits.double(), found, strict=True):
        weights = [math.exp(value) for value in image.tolist()]
        means = [sum(weights[i] for i in indices) / sum(weights) / len(indices) for indices in ENTRY_LEVEL.values()]
        assert scores.exp().tolist() == pytest.approx(means, rel=1e-4)
    assert entry_level_scores(logits.double()).dtype == torch.float64
    # A class of many dogs has no advantage: even probabilities are a tie.
    assert entry_level_scores(torch.zeros(1, 1000))[0].tolist() == pytest.approx([math.log(1 / 1000)] * 16, rel=1e-5)
    # Nothing underflows.
    assert entry_level_scores(torch.tensor([[2000.0] + [0.0] * 999])).isfinite().all()


class Half(nn.Module):
    """Looks at colours alone."""

    def __init__(self):
        super().__init__()
        self.weight = nn.Parameter(torch.randn(3, 10, generator=torch.Generator().manual_seed(0)))

    def forward(self, images):
        return images.mean((2, 3)) @ self.weight


def test_embedded_images_against_a_direct_count():
    asked = ShapeBias(sample_size=300)
    source = asked.source("embedded", 10)
    sample = Sample(source, INPUT, 300)
    given = Subject(label="net", model=Half(), points=(), watch=lambda callback: None, samples={"conflict": sample})
    table = table_of(asked, given)
    assert table["part"].to_pylist() == ["0000-0256", "0256-0300"]
    shape = texture = 0
    for position, index in enumerate(sample.indices):
        [batch] = sample.batches(position, position + 1, 1)
        said = int(given.model(batch.images).argmax())
        shape += said == source.label(int(index))
        texture += said == source.texture(int(index))
    overall, *by_class = asked.summary(table).to_pylist()
    assert (overall["shape"], overall["texture"]) == (shape, texture)
    assert shape
    assert texture
    assert sum(row["images"] for row in by_class) == 300
    assert [row["shape_class"] for row in by_class] == sorted(source.classes)
    some = next(iter(pooled(table, ()).values()))
    assert int(some.right.sum()) == shape
    long = asked.outcomes(table).to_pylist()
    assert [row["image"] for row in long] == list(range(300))
    assert [row["shape_class"] for row in long] == [source.classes[source.label(int(i))] for i in sample.indices]
    for row in by_class:
        own = [one for one in long if one["shape_class"] == row["shape_class"]]
        counts = sum(one["shape"] for one in own), sum(one["texture"] for one in own), len(own)
        assert counts == (row["shape"], row["texture"], row["images"])
    assert not {"right", "texture", "shapes", "classes"} & set(tidy(table).column_names)


def test_the_figure_has_a_point_with_its_interval_for_all_and_each_class(tmp_path):
    asked = ShapeBias(folder=folder_of(tmp_path / "set", {"cat": 7, "dog": 10, "truck": 15}))
    given = subject(asked, Reads(16), 16)
    table = pa.concat_tables([table_of(asked, given, "one"), table_of(asked, given, "other")])
    figure = asked.figure(table)
    [panel] = figure.panels
    assert [line.name for line in panel.lines] == ["one", "other"]
    for line in panel.lines:
        assert line.role == "points"
        assert line.y == (3 / 5, 2 / 3, 1 / 2)  # truck's only image went to neither
        assert line.low is not None
        assert line.high is not None
        assert line.low[0] == pytest.approx(wilson(3, 5)[0])
        assert line.hover[0] == "all: 3 for shape, 2 for texture, 1 for neither"
    assert [round(x) for x in panel.lines[0].x] == [0, 1, 2]
    assert panel.lines[0].x != panel.lines[1].x
    assert panel.x_names == ("all", "cat", "dog", "truck")
    assert "6 images" in figure.caption


def test_the_identity_is_of_names_not_of_the_place(tmp_path):
    place = {"cat": 0, "dog": 1, "truck": 2}
    one, two = (ShapeBias(folder=folder_of(tmp_path / name, place)) for name in ("one", "two"))
    assert one.identity() == two.identity()
    (tmp_path / "two" / "cat" / "cat0-dog1.png").rename(tmp_path / "two" / "cat" / "cat0-truck1.png")
    assert one.identity() != two.identity()
    assert one.identity() != ShapeBias(folder=one.folder, sample_size=3).identity()


def test_what_can_not_be_asked_is_told(tmp_path):
    with pytest.raises(ConfigError, match=r"shape_bias\.sample_size: must be an integer from 1 to 1000000000; got 0"):
        ShapeBias(sample_size=0)
    with pytest.raises(NotApplicableError, match=r"shape_bias\.folder: must name a folder"):
        ShapeBias().source("photos", 1000)
    asked = ShapeBias(sample_size=5)
    source = asked.source("embedded", None)
    given = Subject(
        label="net", model=Reads(256), points=(), watch=lambda callback: None,
        samples={"conflict": Sample(source, INPUT, 5)},
    )  # fmt: skip
    with pytest.raises(DataError, match=r"net: the head must have 10 classes for these images; it has 256"):
        table_of(asked, given)

    class Plain:
        def __len__(self):
            return 5

    with pytest.raises(NotApplicableError, match=r"net: shape_bias needs images that tell the class of their texture"):
        asked.parts(dataclasses.replace(given, samples={"conflict": Plain()}))
