"""Folders and Parquet files of images with masks."""

import io
import struct
import zlib
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pictures import png, structs
from PIL import Image

from visionscope.data.decode import decode_mask
from visionscope.data.masks import checked_mask
from visionscope.data.sources import Source, has_masks, open_source
from visionscope.errors import DataError

Write = Callable[..., Path]


def mask_values(seed: int, width: int = 20, height: int = 16, classes: int = 4) -> np.ndarray:
    values = np.random.default_rng(seed).integers(0, classes, (height, width)).astype(np.uint8)
    values[0, 0] = 255
    return values


def mask_png(values: np.ndarray, mode: str = "L") -> bytes:
    image = Image.fromarray(values)
    if mode == "P":
        image.putpalette([number * 7 % 256 for number in range(768)])
    elif mode == "I;16":
        image = Image.fromarray(values.astype(np.uint16))
    file = io.BytesIO()
    image.save(file, "PNG")
    return file.getvalue()


def narrow_png(values: np.ndarray, depth: int, colour: int) -> bytes:
    """A PNG of `depth` bits a pixel, grey (`colour` 0) or with a palette (3), which Pillow writes none of in grey."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))

    rows = []
    for row in values:
        bits = "".join(f"{value:0{depth}b}" for value in row)
        rows.append(b"\0" + int(bits.ljust(-(-len(bits) // 8) * 8, "0"), 2).to_bytes(-(-len(bits) // 8), "big"))
    header = struct.pack(">IIBBBBB", values.shape[1], values.shape[0], depth, colour, 0, 0, 0)
    palette = chunk(b"PLTE", bytes(number * 7 % 256 for number in range(3 * 2**depth))) if colour else b""
    content = chunk(b"IHDR", header) + palette + chunk(b"IDAT", zlib.compress(b"".join(rows))) + chunk(b"IEND", b"")
    return b"\x89PNG\r\n\x1a\n" + content


@pytest.mark.parametrize("colour", [0, 3], ids=["grey", "palette"])
@pytest.mark.parametrize("depth", [1, 2, 4, 8])
def test_class_numbers_of_few_bits_are_not_stretched(depth: int, colour: int) -> None:
    values = np.random.default_rng(0).integers(0, 2**depth, (5, 7)).astype(np.uint8)
    values[0, :2] = 0, 2**depth - 1
    assert (np.asarray(decode_mask(narrow_png(values, depth, colour), "few.png")) == values).all()


def write(
    root: Path, pairs: dict[str, np.ndarray], images: str = "images", masks: str = "masks", mode: str = "L"
) -> Path:
    for number, (stem, values) in enumerate(pairs.items()):
        for folder, suffix, content in ((images, "jpg.png", png(number)), (masks, "png", mask_png(values, mode))):
            path = root / folder / f"{stem}.{suffix.split('.')[-1]}"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(content)
    return root


def masks_in(source: Source) -> list[np.ndarray]:
    assert has_masks(source)
    return [np.asarray(source.mask(index)) for index in range(len(source))]


@pytest.mark.parametrize("mode", ["L", "P", "I;16"])
def test_images_and_masks_of_the_same_name(tmp_path: Path, mode: str) -> None:
    values = {"b2": mask_values(1), "b10": mask_values(2), "sea/a": mask_values(3)}
    source = open_source(str(write(tmp_path / "scenes", values, mode=mode)))
    assert (source.split, source.label(0)) == ("all", None)
    assert [source.name(index) for index in range(3)] == ["images/b2.png", "images/b10.png", "images/sea/a.png"]
    for found, expected in zip(masks_in(source), values.values(), strict=True):
        assert (found == expected).all()
    assert source.content(1) == (tmp_path / "scenes/images/b10.png").read_bytes()
    assert source.image(1).size == (20, 16)


@pytest.mark.parametrize(
    ("images", "masks"), [("{}/images", "{}/masks"), ("images/{}", "masks/{}")], ids=["split first", "split last"]
)
def test_splits_have_the_same_classes(tmp_path: Path, images: str, masks: str) -> None:
    for split, classes, count in (("train", 5, 3), ("val", 2, 2)):
        values = {f"x{number}": mask_values(number, classes=classes) for number in range(count)}
        write(tmp_path, values, images.format(split), masks.format(split))
    train, test = open_source(f"{tmp_path}:train"), open_source(str(tmp_path))
    assert (train.split, len(train), test.split, len(test)) == ("train", 3, "val", 2)
    assert train.classes == test.classes == ("class 0", "class 1", "class 2", "class 3", "class 4")
    with pytest.raises(DataError, match=r"has no split 'tran', only: train, val\. Did you mean 'train'\?"):
        open_source(f"{tmp_path}:tran")


def test_a_changed_mask_is_counted_anew(tmp_path: Path) -> None:
    write(tmp_path, {"a": mask_values(0, classes=2)})
    assert len(open_source(str(tmp_path)).classes) == 2
    (tmp_path / "masks/a.png").write_bytes(mask_png(mask_values(0, classes=9)))
    assert len(open_source(str(tmp_path)).classes) == 9


def test_names_of_classes(tmp_path: Path) -> None:
    write(tmp_path, {"a": mask_values(0, classes=2)})
    (tmp_path / "classes.txt").write_text("sky\nsea\nland\n")
    source = open_source(str(tmp_path), num_classes=3)
    assert source.classes == ("sky", "sea", "land")
    assert len(masks_in(source)) == 1
    other = open_source(str(tmp_path), num_classes=21)
    assert has_masks(other)
    assert other.mask(0) is None
    (tmp_path / "classes.txt").write_text("sky\nsky\n")
    with pytest.raises(DataError, match=r"classes\.txt must name 1 to 255 different classes, one a line"):
        open_source(str(tmp_path))


def test_of_named_classes_no_more_masks_are_read_than_show_two(tmp_path: Path) -> None:
    write(tmp_path, {name: mask_values(number) for number, name in enumerate("abc")})
    (tmp_path / "classes.txt").write_text("sky\nsea\nland\nfog\n")
    (tmp_path / "masks/b.png").write_bytes(b"no picture")
    assert len(open_source(str(tmp_path))) == 3


def _no_mask(root: Path) -> None:
    (root / "masks/a.png").unlink()


def _no_image(root: Path) -> None:
    (root / "images/a.png").unlink()


def _two_images(root: Path) -> None:
    (root / "images/a.jpg").write_bytes(png(9))


def _jpeg(root: Path) -> None:
    (root / "masks/a.png").rename(root / "masks/a.jpg")


def _colours(root: Path) -> None:
    (root / "masks/a.png").write_bytes(png(0))


def _broken(root: Path) -> None:
    (root / "masks/a.png").write_bytes(b"no picture")


def _high(root: Path) -> None:
    file = io.BytesIO()
    Image.fromarray(np.full((16, 20), 300, np.uint16)).save(file, "PNG")
    (root / "masks/a.png").write_bytes(file.getvalue())


def _split_of_one(root: Path) -> None:
    for folder in ("images", "masks"):
        (root / folder / "train").mkdir()
        (root / folder / "a.png").rename(root / folder / "train" / "a.png")
    (root / "masks/train").rename(root / "masks/val")


def _loose(root: Path) -> None:
    for split in ("train", "test"):
        write(root, {"c": mask_values(2)}, f"images/{split}", f"masks/{split}")


def _loose_mask(root: Path) -> None:
    _loose(root)
    for path in (root / "images").glob("*.png"):
        path.unlink()


def _split_of_masks(root: Path) -> None:
    for path in root.glob("*/?.png"):
        path.unlink()
    write(root, {"c": mask_values(2)}, "images/train", "masks/train")
    write(root, {"d": mask_values(2)}, "other", "masks/test")


def _of_one_class(value: int) -> Callable[[Path], None]:
    def spoil(root: Path) -> None:
        for path in (root / "masks").iterdir():
            values = np.full((16, 20), value, np.uint8)
            values[3:9] = 255
            path.write_bytes(mask_png(values))

    return spoil


def _named_of_one_class(root: Path) -> None:
    _of_one_class(0)(root)
    (root / "classes.txt").write_text("background\ncell\n")


def _split_beside(root: Path) -> None:
    write(root, {"c": mask_values(2)}, "train/images", "train/masks")


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (_named_of_one_class, r"masks have only class 0 and 255, which is ignored; save the second class as 1$"),
        (_split_beside, r"train lies beside images and masks, .*; move its images to .*images/train and its masks to"),
        (_loose, r"images/a\.png lies beside the folders of splits \(test, train\); move it into one"),
        (_loose_mask, r"masks/a\.png lies beside the folders of splits \(test, train\); move it into one"),
        (_split_of_masks, r"there is .*masks/test, but no .*images/test"),
        (_of_one_class(0), r"masks have only class 0 and 255, which is ignored; save the second class as 1$"),
        (_of_one_class(3), r"masks have only class 3 and 255, which is ignored; save the second class as 0$"),
        (_of_one_class(255), r"masks have no class and 255, which is ignored; save the second class as 1$"),
        (_no_mask, r"images/a\.png has no mask .*masks/a\.png"),
        (_no_image, r"masks/a\.png has no image .*images/a\.jpg"),
        (_two_images, r"images/a\.png and .*images/a\.jpg have one name|images/a\.jpg and .*a\.png have one name"),
        (_jpeg, r"masks/a\.jpg must be a PNG, which keeps class numbers"),
        (_colours, r"mask .*masks/a\.png has colours \(mode 'RGB'\); it must hold class numbers, as a grey or palette"),
        (_broken, r"mask .*masks/a\.png can't be decoded: not a PNG"),
        (_high, r"mask .*masks/a\.png has the value 300; it must be 0 to 254, or 255"),
        (_split_of_one, r"its split 'train' has images, but there is no .*masks/train"),
    ],
)
def test_folders_that_are_refused(tmp_path: Path, spoil: Callable[[Path], None], reason: str) -> None:
    write(tmp_path, {"a": mask_values(0), "b": mask_values(1)} if spoil is not _split_of_one else {"a": mask_values(0)})
    spoil(tmp_path)
    with pytest.raises(DataError, match=reason):
        open_source(str(tmp_path))


def test_a_split_without_masks_is_refused(tmp_path: Path) -> None:
    write(tmp_path, {"a": mask_values(0)}, "train/images", "train/masks")
    (tmp_path / "test/images").mkdir(parents=True)
    with pytest.raises(DataError, match="its split 'test' must have the folders images and masks"):
        open_source(f"{tmp_path}:train")


def test_a_mask_of_another_size_and_one_beyond_the_classes(tmp_path: Path) -> None:
    write(tmp_path, {"a": mask_values(0, width=18), "b": mask_values(1, classes=9)})
    (tmp_path / "classes.txt").write_text("sky\nsea\n")
    source = open_source(str(tmp_path))
    assert has_masks(source)
    with pytest.raises(DataError, match=r"mask of images/a\.png has 18 x 16 pixels, its image 20 x 16; save both"):
        checked_mask(source, 0, source.image(0).size)
    with pytest.raises(DataError, match=r"images/b\.png has the value 8; there are 2 classes, 0 to 1, and 255 for"):
        checked_mask(source, 1, source.image(1).size)


def test_class_folders_are_no_masks(class_folder: Write) -> None:
    assert not has_masks(open_source(str(class_folder({"images": 1, "others": 1}))))


def test_a_column_of_masks(parquet_folder: Write) -> None:
    values = [mask_values(seed) for seed in range(4)]
    cells = [{"bytes": mask_png(value, "P"), "path": None} for value in values]
    root = parquet_folder({"mask": cells, "id": ["a", "b", "c", "d"], "image": structs(4)})
    source = open_source(str(root))
    assert source.classes == ("class 0", "class 1", "class 2", "class 3")
    assert (source.content(2), source.label(2)) == (png(2), None)
    for found, expected in zip(masks_in(source), values, strict=True):
        assert (found == expected).all()


def test_a_column_of_masks_of_one_class_is_refused(parquet_folder: Write) -> None:
    values = np.where(mask_values(0) > 1, 255, 0).astype(np.uint8)
    cells = [{"bytes": mask_png(values), "path": None}] * 2
    root = parquet_folder({"mask": cells, "image": structs(2)})
    with pytest.raises(DataError, match="masks have only class 0 and 255, which is ignored; save the second class as"):
        open_source(str(root))


def test_labels_come_before_masks_unless_masks_are_asked_for(parquet_folder: Write) -> None:
    cells = [{"bytes": mask_png(mask_values(seed)), "path": None} for seed in range(3)]
    root = str(parquet_folder({"image": structs(3), "outline": cells, "label": [0, 1, 0]}))
    source = open_source(root, image_column="image")
    assert not has_masks(source)
    assert source.label(1) == 1
    asked = open_source(root, mask_column="outline")
    assert (masks_in(asked)[1] == mask_values(1)).all()
    assert asked.content(1) == png(1)
    with pytest.raises(DataError, match=r"mask_column must be a column of image files of .*, not 'outlin'.*'outline'"):
        open_source(root, mask_column="outlin")
