import hashlib
import math

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from visionscope.data import embedded, shapes
from visionscope.data.embedded import CLASSES, SPLITS, EmbeddedSource, draw, labels
from visionscope.data.shapes import SHAPES, TEXTURES
from visionscope.data.sources import open_source
from visionscope.errors import ConfigError, DataError

# Of the first 40 images of each split at 32 pixels, and of 4 at other sizes. A change here changes everybody's data.
SHA256 = {
    ("train", 40, 32): "bda4b907a76f6351d9c36e198f7e9584b3524f7f674c37a58c2212cbe7c71ee0",
    ("val", 40, 32): "6e59685cf032f63dbd4535cf7d9b019935987cf05dfc4c8dd079347ac17f69b7",
    ("test", 40, 32): "3cba482f78be8d03182d41e4b37f4643f13d9dde7ab09e57190ef92e1963c091",
    ("conflict", 40, 32): "328d4ddca867d13e66fe5125fd97818b16ac779251db05b2bc89c7574e1adfbd",
    ("test", 4, 9): "026111da47a2fbbe73ab7ff2ddba16e85889654f865d31fa68e3d8173bc4f0e7",
    ("test", 4, 224): "01693aed4e382ceaca38f33d98537e3284a33aad5785caaf9c98018752f9e643",
}


@pytest.mark.parametrize(("split", "count", "size"), SHA256)
def test_the_bytes_are_the_same_everywhere(split: str, count: int, size: int) -> None:
    images = draw(split, range(count), size=size)
    assert images.dtype == np.uint8
    assert images.shape == (count, size, size, 3)
    assert hashlib.sha256(images.tobytes()).hexdigest() == SHA256[split, count, size]


@given(
    split=st.sampled_from(list(SPLITS)),
    indices=st.lists(st.integers(0, 999), min_size=1, max_size=6),
    size=st.integers(8, 24),
    seed=st.integers(0, 2**70),
)
def test_an_image_depends_on_seed_split_and_number_alone(split: str, indices: list[int], size: int, seed: int) -> None:
    together = draw(split, indices, size=size, seed=seed)
    for image, index in zip(together, indices, strict=True):
        assert (image == draw(split, [index], size=size, seed=seed)[0]).all()


def test_seeds_splits_and_numbers_give_different_images() -> None:
    images = [draw(split, [0, 10], size=8, seed=seed) for split in SPLITS for seed in (0, 1, 2**33)]
    assert len({image.tobytes() for pair in images for image in pair}) == 24


def test_another_size_shows_the_same_picture() -> None:
    small, large = draw("test", range(20), size=16), draw("test", range(20), size=64)
    shrunk = large.reshape(20, 16, 4, 16, 4, 3).mean(axis=(2, 4))
    difference = np.abs(shrunk - small).mean(axis=(1, 2, 3))
    shuffled = np.abs(shrunk - np.roll(small, 1, axis=0)).mean(axis=(1, 2, 3))
    # What differs are edges and noise; another image differs by far more.
    assert difference.max() < 12
    assert shuffled.min() > 2 * difference.max()


@pytest.mark.parametrize("split", SPLITS)
def test_classes_are_equally_frequent(split: str) -> None:
    shape, texture = labels(split, range(SPLITS[split]))
    assert np.bincount(shape).tolist() == np.bincount(texture).tolist() == [SPLITS[split] // CLASSES] * CLASSES
    if split == "conflict":
        pairs = np.bincount(shape * CLASSES + texture, minlength=100).reshape(CLASSES, CLASSES)
        assert (np.diag(pairs) == 0).all()
        frequency = pairs[~np.eye(CLASSES, dtype=bool)]
        assert frequency.max() - frequency.min() <= 1
    else:
        assert (shape == texture).all()


def test_the_source_gives_the_drawn_images_and_both_labels() -> None:
    source = open_source("embedded:conflict", size=20)
    assert isinstance(source, EmbeddedSource)
    assert (len(source), source.split, source.classes) == (2000, "conflict", SHAPES)
    shape, texture = labels("conflict", [137])
    assert (source.label(137), source.texture(137)) == (shape[0], texture[0])
    expected = draw("conflict", [137], size=20)[0]
    assert (np.asarray(source.image(137)) == expected).all()
    assert source.content(137) == expected.tobytes()
    assert source.name(137) == "embedded conflict image 137"
    assert open_source("embedded", num_classes=1000).label(3) is None


def test_what_is_kept_in_memory_is_what_is_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("visionscope.data.embedded._CACHE_BYTES", 3 * 3 * 10 * 10)
    embedded._kept.cache_clear()
    source = EmbeddedSource("embedded", "test", size=10)
    source.image(4)
    order = [9, 4, 4, 2, 7, 9, 1]
    for _ in range(2):
        assert (source.arrays(order) == draw("test", order, size=10)).all()
    assert len(source._cache) == 3
    assert source.arrays([]).shape == (0, 10, 10, 3)


def test_what_one_has_drawn_another_finds(monkeypatch: pytest.MonkeyPatch) -> None:
    embedded._kept.cache_clear()
    order = [3, 1, 4]
    drawn = EmbeddedSource("embedded", "test", size=10).arrays(order)
    monkeypatch.setattr(embedded, "draw", None)  # nothing is drawn again
    assert (EmbeddedSource("embedded", "test", size=10).arrays(order) == drawn).all()
    for split, size, seed in (("val", 10, 0), ("test", 12, 0), ("test", 10, 1)):
        with pytest.raises(TypeError, match="not callable"):
            EmbeddedSource("embedded", split, size=size, seed=seed).arrays(order)


def test_defaults() -> None:
    assert open_source("embedded").split == "test"
    assert open_source("embedded", default_split="train").split == "train"
    assert open_source("embedded:validation").split == "val"
    assert open_source("embedded").image(0).size == (32, 32)
    assert open_source("embedded", seed=1).content(0) != open_source("embedded").content(0)


@pytest.mark.parametrize(
    ("split", "size", "seed", "error", "reason"),
    [
        ("conflct", 32, 0, DataError, r"no split 'conflct', only: train, val, test, conflict. Did you mean 'conflict'"),
        ("test", 7, 0, ConfigError, "size must be 8 to 1024 pixels for embedded data, not 7"),
        ("test", 0, 0, ConfigError, "size must be 8 to 1024 pixels for embedded data, not 0"),
        ("test", 1025, 0, ConfigError, "size must be 8 to 1024 pixels for embedded data, not 1025"),
        ("test", 32, -1, ConfigError, "seed: must be an integer from 0 to 4294967295; got -1"),
    ],
)
def test_wrong_parameters(split: str, size: int, seed: int, error: type[Exception], reason: str) -> None:
    with pytest.raises(error, match=reason):
        open_source(f"embedded:{split}", size=size, seed=seed)


@pytest.mark.parametrize("index", [-1, 2000])
def test_an_image_outside_the_split(index: int) -> None:
    with pytest.raises(IndexError, match=f"embedded test has images 0 to 1999, not {index}"):
        open_source("embedded:test").image(index)


def test_every_shape_and_texture_is_drawn_somewhere() -> None:
    """Each of the 100 pairs differs from the others in the same place, so no formula is used twice."""
    line = (np.arange(48) + 0.5) / 24 - 1
    x, y = np.meshgrid(line, -line)
    insides = [shapes.outside(number, x, y) < 0 for number in range(CLASSES)]
    key = np.full_like(x, 12345, dtype=np.uint64)
    patterns = [shapes.pattern(number, 3 * x, 3 * y, key) for number in range(CLASSES)]
    for number in range(CLASSES):
        assert 0.15 < insides[number].mean() < 0.65
        assert (np.hypot(x, y)[insides[number]] < 1.12).all()
        assert patterns[number].min() >= 0
        assert patterns[number].max() <= 1
        for other in range(number):
            assert (insides[number] != insides[other]).mean() > 0.06
            assert np.abs(patterns[number] - patterns[other]).mean() > 0.1


def _star() -> list[tuple[float, float]]:
    """A pentagram with tips at 0.34 / cos(72 deg), and inner corners at 0.34 / cos(36 deg)."""
    corners = []
    for k in range(10):
        radius = 0.34 / math.cos(math.radians(72 if k % 2 == 0 else 36))
        angle = math.radians(90 + 36 * k)
        corners.append((radius * math.cos(angle), radius * math.sin(angle)))
    return corners


CORNERS = {
    "square": [(0.7, 0.7), (-0.7, 0.7), (-0.7, -0.7), (0.7, -0.7)],
    "triangle": [(math.cos(math.radians(a)), math.sin(math.radians(a))) for a in (90, 210, 330)],
    "star": _star(),
    "cross": [
        (x, y)
        for x, y in [
            (0.92, 0.29), (0.29, 0.29), (0.29, 0.92), (-0.29, 0.92), (-0.29, 0.29), (-0.92, 0.29),
            (-0.92, -0.29), (-0.29, -0.29), (-0.29, -0.92), (0.29, -0.92), (0.29, -0.29), (0.92, -0.29),
        ]
    ],
    "arrow": [(0, 1), (0.78, 0.1), (0.26, 0.1), (0.26, -0.95), (-0.26, -0.95), (-0.26, 0.1), (-0.78, 0.1)],
    "hourglass": [(0.737, 0.82), (0.04, 0), (0.737, -0.82), (-0.737, -0.82), (-0.04, 0), (-0.737, 0.82)],
}  # fmt: skip


def _is_inside(corners: list[tuple[float, float]], x: float, y: float) -> bool:
    """Whether a ray to the right crosses the polygon's edges an odd number of times."""
    inside = False
    for (ax, ay), (bx, by) in zip(corners, corners[1:] + corners[:1], strict=True):
        if (ay > y) != (by > y) and x < ax + (y - ay) * (bx - ax) / (by - ay):
            inside = not inside
    return inside


@pytest.mark.parametrize("name", CORNERS)
def test_polygons_against_ray_casting(name: str) -> None:
    points = np.random.default_rng(0).uniform(-1.2, 1.2, (2000, 2))
    distance = shapes.outside(SHAPES.index(name), points[:, 0], points[:, 1])
    for (x, y), outside in zip(points, distance, strict=True):
        assert abs(outside) < 1e-9 or _is_inside(CORNERS[name], x, y) == (outside < 0)


def test_round_shapes_against_angles_and_circles() -> None:
    points = np.random.default_rng(1).uniform(-1.2, 1.2, (2000, 2))
    x, y = points.T

    def within(cx: float, cy: float, radius: float) -> np.ndarray:
        return (x - cx) ** 2 + (y - cy) ** 2 < radius**2

    lobe = 0.5 / math.sqrt(2)
    expected = {
        "disc": within(0, 0, 0.85),
        "ring": within(0, 0, 0.89) & ~within(0, 0, 0.43),
        "crescent": within(0, 0, 0.9) & ~within(0.45, 0, 0.72),
        # A square that stands on its corner, with discs around the middles of its upper edges.
        "heart": (abs(x) + abs(y) < math.sqrt(0.5)) | within(lobe, lobe, 0.5) | within(-lobe, lobe, 0.5),
    }
    for name, inside in expected.items():
        assert ((shapes.outside(SHAPES.index(name), x, y) < 0) == inside).all()


@given(u=st.floats(-20, 20), v=st.floats(-20, 20))
def test_textures_repeat_with_their_period(u: float, v: float) -> None:
    key = np.zeros((1, 1), dtype=np.uint64)

    def value(name: str, across: float, up: float) -> float:
        return float(shapes.pattern(TEXTURES.index(name), np.array([[across]]), np.array([[up]]), key)[0, 0])

    for name, period in (("stripes", 1.0), ("dots", 1.0), ("checks", 1 / 0.7), ("mesh", 1.25), ("zigzag", 1 / 0.45)):
        assert value(name, u + period, v) == pytest.approx(value(name, u, v), abs=1e-9)
    for name, period in (("dots", 1.0), ("checks", 1 / 0.7), ("mesh", 1.25), ("zigzag", 1.0)):
        assert value(name, u, v + period) == pytest.approx(value(name, u, v), abs=1e-9)
    turned = value("target", math.hypot(u, v), 0.0)
    assert value("target", u, v) == pytest.approx(turned, abs=1e-6)


def test_raw_pixels_do_not_give_the_class_away() -> None:
    images = draw("test", range(400), size=16).astype(np.float64)
    shape = labels("test", range(400))[0]
    halves = images[:200].reshape(200, -1), images[200:].reshape(200, -1)
    means = np.stack([halves[0][shape[:200] == number].mean(axis=0) for number in range(CLASSES)])
    guesses = ((halves[1][:, None] - means[None]) ** 2).sum(axis=2).argmin(axis=1)
    # Colour, place and rotation carry no information on the class, so raw pixels stay near chance.
    assert (guesses == shape[200:]).mean() < 0.25
