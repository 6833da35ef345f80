"""Pastes thumbnails, cut out by drawn shapes, on photographs: real images that know the class of every pixel.

`python examples/compose_scenes.py THUMBNAILS PHOTOGRAPHS OUT` takes two data specs, such as `cifar10/` and a folder of
photographs, and writes the same scenes twice: to `OUT/classification/train/CLASS/`, and to
`OUT/segmentation/images/train/` with their masks in `masks/train/`; test lies beside train. Nothing is downloaded, and
the same command writes the same files.
"""

import argparse
import functools
from pathlib import Path

import numpy as np
from numpy.typing import NDArray
from PIL import Image

import visionscope as vs
from visionscope.data.shapes import SHAPES, outside
from visionscope.data.sources import Source

CROPS = (0.3, 1.0)  # of a photograph's shorter side
TEST_SHARE = 5  # of the photographs, every fifth is kept for test
_KEPT = 256  # photographs in memory


def cut(size: int, side: int, random: np.random.Generator) -> tuple[NDArray[np.bool_], int, int]:
    """The pixels whose centres a shape of any kind and rotation covers, and row and column of its box."""
    top, left = random.integers(0, size - side + 1, 2)
    angle = random.uniform(0, 2 * np.pi)
    row, column = np.mgrid[0:size, 0:size] + 0.5
    x, y = 2 * (column - left) / side - 1, 1 - 2 * (row - top) / side
    turned = np.cos(angle) * x + np.sin(angle) * y, np.cos(angle) * y - np.sin(angle) * x
    inside = outside(int(random.integers(len(SHAPES))), *turned) <= 0
    within = (np.abs(x) < 1) & (np.abs(y) < 1)  # corners that stand out of the thumbnail have nothing to show
    return inside & within, int(top), int(left)


def scene(
    thumbnail: Image.Image,
    photograph: Image.Image,
    size: int,
    sides: tuple[float, float],
    random: np.random.Generator,
) -> tuple[Image.Image, NDArray[np.bool_]]:
    """A square of the photograph with the thumbnail's cutting in it, and which pixels are the cutting's."""
    edge = max(1, round(min(photograph.size) * random.uniform(*CROPS)))
    left, top = (int(random.integers(0, length - edge + 1)) for length in photograph.size)
    canvas = photograph.resize((size, size), Image.Resampling.BICUBIC, box=(left, top, left + edge, top + edge))
    side = round(size * random.uniform(*sides))
    covered, row, column = cut(size, side, random)
    pasted = canvas.copy()
    pasted.paste(thumbnail.resize((side, side), Image.Resampling.BICUBIC), (column, row))
    pixels = np.where(covered[:, :, None], np.asarray(pasted), np.asarray(canvas))
    return Image.fromarray(pixels.astype(np.uint8)), covered


def compose(
    thumbnails: str,
    photographs: str,
    out: Path,
    *,
    train: int,
    test: int,
    size: int,
    sides: tuple[float, float],
    seed: int,
) -> None:
    """Writes the scenes of both splits; each thumbnail is used once, in a random order.

    Args:
        thumbnails: data spec with a train and a test split and classes.
        photographs: data spec of any images; their labels are not looked at.
        out: folder.
        train: how many scenes for training.
        test: how many for testing; their photographs are others.
        size: pixels per side.
        sides: the smallest and the largest side of a thumbnail, as a share of the scene's.
        seed: of all draws.
    """
    photos = vs.open_source(photographs)
    photograph = functools.lru_cache(maxsize=_KEPT)(photos.image)  # decoding one takes longer than the scene
    for number, (split, count) in enumerate((("train", train), ("test", test))):
        source: Source = vs.open_source(thumbnails, default_split=split)
        held = [index for index in range(len(photos)) if (index % TEST_SHARE == 0) == (split == "test")]
        if count > len(source) or not held:
            raise SystemExit(
                f"{split}: {count} scenes need as many thumbnails and photographs of their own; "
                f"there are {len(source)} and {len(held)}"
            )
        order = np.random.default_rng([seed, number]).permutation(len(source))[:count]
        for place, index in enumerate(map(int, order)):
            random = np.random.default_rng([seed, number, place])
            label = source.label(index)
            assert label is not None, source.name(index)
            image, covered = scene(source.image(index), photograph(int(random.choice(held))), size, sides, random)
            mask = Image.fromarray((covered * (1 + label)).astype(np.uint8))
            name = f"{place:06d}.png"
            for folder, one in (
                (out / "classification" / split / source.classes[label], image),
                (out / "segmentation" / "images" / split, image),
                (out / "segmentation" / "masks" / split, mask),
            ):
                folder.mkdir(parents=True, exist_ok=True)
                one.save(folder / name)
        names = "\n".join(("background", *source.classes))
        (out / "segmentation" / "classes.txt").write_text(f"{names}\n", encoding="utf-8")


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("thumbnails")
    parser.add_argument("photographs")
    parser.add_argument("out", type=Path)
    parser.add_argument("--train", type=int, default=10_000)
    parser.add_argument("--test", type=int, default=2_000)
    parser.add_argument("--size", type=int, default=32)
    parser.add_argument("--sides", type=float, nargs=2, default=(0.5, 0.9))
    parser.add_argument("--seed", type=int, default=0)
    given = parser.parse_args()
    compose(**vars(given))
