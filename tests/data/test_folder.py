import shutil
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from pictures import png
from PIL import Image
from timm.data.imagenet_info import ImageNetInfo

from visionscope.data.folder import imagenet_labels
from visionscope.data.sources import open_source
from visionscope.errors import DataError

Write = Callable[..., Path]


def test_classes_are_numbered_in_natural_order(class_folder: Write) -> None:
    root = class_folder({"class10": 1, "class2": 2, "class1": 1})
    source = open_source(str(root))
    assert source.classes == ("class1", "class2", "class10")
    assert [source.label(index) for index in range(4)] == [0, 1, 1, 2]
    assert [source.name(index) for index in range(4)] == [
        "class1/0.png",
        "class2/0.png",
        "class2/1.png",
        "class10/0.png",
    ]
    assert (source.split, source.spec) == ("all", str(root))


def test_image_and_content_are_the_file(class_folder: Write) -> None:
    root = class_folder({"a": 2, "b": 1})
    source = open_source(str(root))
    for index in range(3):
        file = root / source.name(index)
        assert source.content(index) == file.read_bytes()
        assert (np.asarray(source.image(index)) == np.asarray(Image.open(file))).all()


def test_split_folders(class_folder: Write) -> None:
    for split, count in (("train", 3), ("val", 2)):
        class_folder({f"{split}/cat": count, f"{split}/dog": 1})
    root = class_folder({})
    assert (len(open_source(f"{root}:train")), len(open_source(f"{root}:val"))) == (4, 3)
    assert open_source(f"{root}:validation").split == "val"
    assert open_source(str(root)).split == "val"
    assert open_source(str(root), default_split="train").split == "train"
    assert open_source(f"{root}:val").classes == ("cat", "dog")


def test_a_wrong_split_lists_the_splits(class_folder: Write) -> None:
    root = class_folder({"train/cat": 1, "test/cat": 1})
    with pytest.raises(DataError, match=r"has no split 'tset', only: test, train\. Did you mean 'test'\?"):
        open_source(f"{root}:tset")


def test_no_default_split_asks_for_one(class_folder: Write) -> None:
    root = class_folder({"train/cat": 1})
    with pytest.raises(DataError, match=r"has no test split; name one of: train \(as in .*photos:train\)"):
        open_source(str(root))


def test_a_split_of_an_undivided_folder_is_refused(class_folder: Write) -> None:
    root = class_folder({"cat": 1})
    with pytest.raises(DataError, match="isn't divided into splits, so ':test' names nothing"):
        open_source(f"{root}:test")


def test_a_class_called_test_among_others_is_a_class(class_folder: Write) -> None:
    assert open_source(str(class_folder({"test": 1, "cat": 1}))).classes == ("cat", "test")


def test_images_without_class_folders_have_no_labels(class_folder: Write) -> None:
    root = class_folder({})
    for number in range(3):
        (root / f"{number}.png").write_bytes(png(number))
    source = open_source(str(root))
    assert (len(source), source.classes, source.label(1)) == (3, (), None)


def test_images_beside_class_folders_are_refused(class_folder: Write) -> None:
    root = class_folder({"cat": 1})
    (root / "stray.png").write_bytes(png())
    with pytest.raises(DataError, match="has images beside its class folders"):
        open_source(str(root))


def test_an_empty_class_is_named(class_folder: Write) -> None:
    root = class_folder({"cat": 1, "dog": 0, "owl": 1})
    with pytest.raises(DataError, match="class folder 'dog' has no images; fill it or remove it"):
        open_source(str(root))


def test_hidden_files_and_folders_are_no_images_and_no_classes(class_folder: Write) -> None:
    root = class_folder({"cat": 2, ".thumbnails": 1, "dog/.thumbnails": 1, "dog": 1})
    (root / ".cache").mkdir()
    (root / "cat" / "._0.png").write_bytes(b"what macOS leaves behind")
    source = open_source(str(root))
    assert source.classes == ("cat", "dog")
    assert [(source.name(index), source.label(index)) for index in range(len(source))] == [
        ("cat/0.png", 0),
        ("cat/1.png", 0),
        ("dog/0.png", 1),
    ]


def test_common_kinds_of_images_are_read(class_folder: Write) -> None:
    root = class_folder({"cat": 1})
    for ending in ("JPG", "webp", "bmp", "tif", "gif"):
        Image.new("RGB", (8, 8), "red").save(root / "cat" / f"1.{ending}")
    source = open_source(str(root))
    assert {source.name(index).split(".")[1] for index in range(6)} == {"png", "JPG", "webp", "bmp", "tif", "gif"}
    assert all(source.image(index).mode == "RGB" for index in range(6))


def test_no_images_at_all(class_folder: Write) -> None:
    root = class_folder({})
    (root / "readme.txt").write_text("nothing")
    with pytest.raises(DataError, match=r"no images in .*photos"):
        open_source(str(root))


def test_a_missing_folder_names_its_nearest_sibling(class_folder: Write) -> None:
    root = class_folder({"cat": 1}, folder="pictures")
    with pytest.raises(DataError, match=f"there is no .*/picturs.* Did you mean '{root}'"):
        open_source(str(root.parent / "picturs"))
    with pytest.raises(DataError, match=f"there is no .*/picturs/cat.* Did you mean '{root}'"):
        open_source(str(root.parent / "picturs" / "cat"))


def test_a_file_is_no_folder(tmp_path: Path) -> None:
    file = tmp_path / "photo.png"
    file.write_bytes(png())
    with pytest.raises(DataError, match=r"photo\.png is a file; give a folder"):
        open_source(str(file))


def test_a_corrupt_image_is_named_when_it_is_read(class_folder: Write) -> None:
    root = class_folder({"cat": 3})
    (root / "cat" / "1.png").write_bytes(png()[:60])
    source = open_source(str(root))
    source.image(0)
    source.image(2)
    with pytest.raises(DataError, match=r"image .*photos/cat/1\.png can't be decoded"):
        source.image(1)


def test_a_file_that_went_away_is_named(class_folder: Write) -> None:
    root = class_folder({"cat": 2})
    source = open_source(str(root))
    (root / "cat" / "1.png").unlink()
    with pytest.raises(DataError, match=r"image .*photos/cat/1\.png can't be read: No such file"):
        source.image(1)


def test_a_colon_in_the_path_is_no_split(class_folder: Write) -> None:
    root = class_folder({"cat": 1}, folder="shot:one")
    assert len(open_source(str(root))) == 1


def test_wordnet_folders_have_imagenet_labels(class_folder: Write) -> None:
    root = class_folder({"n01443537": 1, "n01440764": 1, "n00000001": 1})
    source = open_source(str(root))
    assert {source.name(index)[:9]: source.label(index) for index in range(3)} == {
        "n01440764": 0,  # tench
        "n01443537": 1,  # goldfish
        "n00000001": None,
    }
    assert len(source.classes) == 1000


def test_larger_imagenets_have_their_own_numbers() -> None:
    names = ["n01440764", "n01443537"]
    for classes, subset in (
        (1000, "imagenet-1k"),
        (11821, "imagenet-12k"),
        (21841, "imagenet-22k"),
        (7, "imagenet-1k"),
    ):
        table, place = imagenet_labels(names, classes)
        info = ImageNetInfo(subset)
        assert len(table) == info.num_classes()
        assert {info.index_to_label_name(place[name]) for name in names} == set(names)
    assert imagenet_labels(names, 11821)[1] != imagenet_labels(names, 1000)[1]


def test_labels_of_another_number_of_classes_are_unknown(class_folder: Write) -> None:
    root = str(class_folder({"cat": 1, "dog": 1}))
    assert open_source(root, num_classes=2).label(1) == 1
    assert open_source(root, num_classes=1000).label(1) is None


def test_the_photographs(shared: Path, tmp_path: Path) -> None:
    source = open_source(str(shared / "imagenet_sample"), num_classes=1000)
    assert len(source) == 100
    labels = [source.label(index) for index in range(100)]
    assert None not in labels
    assert len(set(labels)) == 100
    hammerhead = next(index for index in range(100) if source.name(index).startswith("n01494475"))
    assert source.label(hammerhead) == 4
    assert min(source.image(hammerhead).size) == 256
    copy = tmp_path / "copy"
    shutil.copytree(shared / "imagenet_sample" / "n01494475", copy / "val" / "n01494475")
    assert open_source(str(copy)).label(0) == 4
