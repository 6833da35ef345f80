"""A digest of data tells apart what differs, and nothing else."""

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest
from pictures import png, structs

from visionscope.core.sample import InputConfig
from visionscope.data.digest import source_digest
from visionscope.data.sample import Sample
from visionscope.data.sources import open_source
from visionscope.errors import DataError

Write = Callable[..., Path]
INPUT = InputConfig(size=(8, 8), mean=(0.5,) * 3, std=(0.5,) * 3)


def _digest(root: Path | str, **options: Any) -> str:
    return source_digest(open_source(str(root), **options))


def _both(root: Path) -> tuple[str, str]:
    source = open_source(str(root))
    return source_digest(source), Sample(source, INPUT, 3).digest


def test_images_labels_names_and_order_count_and_places_don_t(class_folder: Write, tmp_path: Path) -> None:
    root = class_folder({"cat": 2, "dog": 2})
    first = _digest(root)
    seen = {first}

    def changed(what: str) -> None:
        found = _digest(root)
        assert found not in seen, what
        seen.add(found)

    (root / "cat/0.png").write_bytes(png(99))
    changed("an image")
    (root / "cat/0.png").rename(root / "cat/2.png")
    changed("the order")
    (root / "cat/2.png").rename(root / "dog/2.png")
    changed("a label")
    (root / "dog/2.png").unlink()
    changed("the count")
    (root / "cat").rename(root / "zebra")
    changed("the order of the classes")
    (root / "zebra").rename(root / "yak")
    changed("a class's name alone")
    copy = tmp_path / "far" / "away"
    shutil.copytree(root, copy)
    assert _digest(copy) == _digest(root)
    assert _digest(class_folder({"cat": 2, "dog": 2}, folder="again")) == first


def test_a_moved_image_between_classes_of_equal_bytes_counts(class_folder: Write) -> None:
    """Two classes whose files are the same bytes: labels alone tell which goes where."""
    one, other = class_folder({"a": 0, "b": 0}, "one"), class_folder({"a": 0, "b": 0}, "other")
    for root, places in ((one, ("a/0.png", "a/1.png", "b/2.png")), (other, ("a/0.png", "b/1.png", "b/2.png"))):
        for place in places:
            (root / place).write_bytes(png(1))
    assert _digest(one) != _digest(other)
    assert Sample(open_source(str(one)), INPUT, 3).digest != Sample(open_source(str(other)), INPUT, 3).digest


def test_labels_and_names_in_parquet_count_and_shards_don_t(parquet_folder: Write) -> None:
    def written(folder: str, labels: list[int], names: list[str], count: int = 4) -> Path:
        features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": names}}
        columns = {"image": structs(count), "label": labels}
        return parquet_folder(columns, folder=folder, metadata=json.dumps({"info": {"features": features}}))

    first = written("first", [0, 1, 0, 1], ["cat", "dog"])
    labels = written("labels", [0, 1, 1, 1], ["cat", "dog"])
    names = written("names", [0, 1, 0, 1], ["cat", "elk"])
    assert len({_digest(root) for root in (first, labels, names)}) == 3
    assert _both(first)[1] != _both(labels)[1]
    features = {"image": {"_type": "Image"}, "label": {"_type": "ClassLabel", "names": ["cat", "dog"]}}
    for number in range(2):
        columns = {"image": structs(2, 2 * number), "label": [0, 1]}
        metadata = json.dumps({"info": {"features": features}})
        shards = parquet_folder(columns, f"test-0000{number}-of-00002.parquet", "shards", metadata)
    assert _digest(shards) == _digest(first)


def test_the_column_of_images_and_of_labels_count(parquet_folder: Write) -> None:
    root = parquet_folder(
        {
            "left": pa.array([png(1), png(2)], pa.binary()),
            "right": pa.array([png(3), png(4)], pa.binary()),
            "fine": [0, 1],
            "coarse": [1, 0],
        }
    )
    digests = {
        _digest(root, image_column=image, label_column=label)
        for image in ("left", "right")
        for label in ("fine", "coarse")
    }
    assert len(digests) == 4


def test_an_image_that_can_t_be_read_has_no_digest(class_folder: Write) -> None:
    root = class_folder({"cat": 2})
    source = open_source(str(root))
    (root / "cat/1.png").unlink()
    with pytest.raises(DataError, match=r"1\.png can't be read"):
        source_digest(source)


def test_embedded_splits_and_sizes_differ() -> None:
    small = {_digest(f"embedded:{split}", size=8) for split in ("val", "test")}
    assert len(small | {_digest("embedded:val", size=9)}) == 3
