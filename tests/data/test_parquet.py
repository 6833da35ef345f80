import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pyarrow as pa
import pytest
from pictures import png, structs

from visionscope.data import parquet
from visionscope.data.sources import open_source
from visionscope.errors import DataError

Write = Callable[..., Path]


def _metadata(**features: dict) -> str:
    return json.dumps({"info": {"features": features}})


def test_columns_are_told_by_the_metadata(parquet_folder: Write) -> None:
    root = parquet_folder(
        {"id": [7, 8], "photo": structs(2), "mask": structs(2, 5), "fine": [1, 0], "coarse": [0, 0]},
        metadata=_metadata(
            id={"_type": "Value"},
            photo={"_type": "Image"},
            mask={"_type": "Image"},
            fine={"_type": "ClassLabel", "names": ["owl", "elk"]},
            coarse={"_type": "ClassLabel", "names": ["animal"]},
        ),
    )
    source = open_source(str(root))
    assert source.classes == ("owl", "elk")
    assert [source.label(index) for index in range(2)] == [1, 0]
    assert source.content(1) == png(1)
    coarse = open_source(str(root), image_column="mask", label_column="coarse")
    assert (coarse.content(1), coarse.label(0), coarse.classes) == (png(6), 0, ("animal",))


@pytest.mark.parametrize(
    ("columns", "label"),
    [
        ({"picture": structs(2), "kind": [3, 4]}, 4),
        ({"blob": [png(0), png(1)], "kind": [3, 4]}, 4),
        ({"blob": pa.array([png(0), png(1)], pa.large_binary()), "height": [16, 16], "label": [3, 4]}, 4),
        ({"image": structs(2), "height": [16, 16], "width": [20, 20]}, None),
        ({"image": structs(2)}, None),
    ],
)
def test_columns_are_told_by_their_types(parquet_folder: Write, columns: dict, label: int | None) -> None:
    source = open_source(str(parquet_folder(columns)))
    assert source.content(1) == png(1)
    assert source.label(1) == label
    assert source.image(1).size == (20, 16)


def test_text_labels_are_numbered_in_sorted_order(parquet_folder: Write) -> None:
    root = str(parquet_folder({"image": structs(3), "species": ["owl", None, "elk"]}))
    assert open_source(root).label(0) is None
    source = open_source(root, label_column="species")
    assert source.classes == ("elk", "owl")
    assert [source.label(index) for index in range(3)] == [1, None, 0]


def test_rows_run_through_files_and_row_groups(parquet_folder: Write) -> None:
    parquet_folder({"image": structs(5), "label": list(range(5))}, "test-00000-of-00002.parquet", rows=2)
    root = parquet_folder({"image": structs(4, 5), "label": list(range(5, 9))}, "test-00001-of-00002.parquet", rows=3)
    source = open_source(str(root))
    assert len(source) == 9
    for index in (8, 0, 5, 4, 7, 1):
        assert (source.content(index), source.label(index)) == (png(index), index)
    assert source.name(4) == "test-00000-of-00002.parquet row 4"
    assert source.name(7) == "test-00001-of-00002.parquet row 2"
    with pytest.raises(IndexError, match="index 9 of 9 images"):
        source.content(9)


def test_row_groups_are_dropped_when_memory_runs_out(parquet_folder: Write, monkeypatch: pytest.MonkeyPatch) -> None:
    root = parquet_folder({"image": structs(8)}, rows=1)
    monkeypatch.setattr(parquet, "_CACHE_BYTES", 3 * len(png()))
    source = parquet.ParquetSource(str(root), root, None)
    assert [source.content(index) for index in (0, 7, 3, 3, 0, 5)] == [png(index) for index in (0, 7, 3, 3, 0, 5)]
    assert 1 <= len(source._cache) <= 3


def test_splits_are_prefixes_of_file_names(parquet_folder: Write) -> None:
    for number, name in enumerate(("train-00000-of-00001", "data/validation-00000-of-00001", "validation")):
        parquet_folder({"image": structs(number + 1)}, f"{name}.parquet", folder=f"rows{number % 2}")
    root = str(parquet_folder({"image": structs(5)}, "unsupervised-00000-of-00001.parquet", folder="rows0"))
    assert len(open_source(f"{root}:train")) == 1
    assert len(open_source(f"{root}:val")) == 3
    assert open_source(root).split == "validation"
    assert len(open_source(f"{root}:unsupervised")) == 5
    with pytest.raises(DataError, match="no split 'test', only: train, unsupervised, validation"):
        open_source(f"{root}:test")
    assert len(open_source(str(Path(root).parent / "rows1"))) == 2


def test_files_without_split_names_are_one_whole(parquet_folder: Write) -> None:
    parquet_folder({"image": structs(2)}, "part1.parquet")
    root = parquet_folder({"image": structs(1)}, "part2.parquet")
    source = open_source(str(root))
    assert (len(source), source.split) == (3, "all")
    assert len(open_source(str(root / "part1.parquet"))) == 2


def test_paths_instead_of_bytes(parquet_folder: Write) -> None:
    root = parquet_folder({"image": [{"bytes": None, "path": "a.png"}, {"bytes": None, "path": "b.png"}]})
    (root / "a.png").write_bytes(png(3))
    source = open_source(str(root))
    assert source.content(0) == png(3)
    with pytest.raises(DataError, match=r"image test-.*parquet row 1 points to .*b\.png, which can't be read: No such"):
        source.image(1)


def test_a_corrupt_and_a_missing_image_are_named_by_row(parquet_folder: Write) -> None:
    cells = [*structs(4), None]
    cells[2] = {"bytes": png(2)[:50], "path": None}
    source = open_source(str(parquet_folder({"image": cells, "label": [0, 0, 0, 0, 0]})))
    source.image(3)
    with pytest.raises(DataError, match=r"image test-00000-of-00001\.parquet row 2 can't be decoded"):
        source.image(2)
    with pytest.raises(DataError, match=r"row 4 is missing: its column 'image' is empty there"):
        source.image(4)


def test_a_label_out_of_range_is_named_by_row(parquet_folder: Write) -> None:
    names = _metadata(image={"_type": "Image"}, label={"_type": "ClassLabel", "names": ["owl", "elk"]})
    source = open_source(str(parquet_folder({"image": structs(4), "label": [0, 2, -1, -3]}, metadata=names)))
    assert (source.label(0), source.label(2)) == (0, None)
    with pytest.raises(DataError, match=r"label 2 of test-.*parquet row 1 is out of range: it must be 0 to 1"):
        source.label(1)
    with pytest.raises(DataError, match=r"label -3 of test-.*parquet row 3 is out of range"):
        source.label(3)
    unnamed = open_source(str(parquet_folder({"image": structs(2), "label": [900, -2]}, folder="unnamed")))
    assert unnamed.label(0) == 900
    with pytest.raises(DataError, match=r"label -2 .* must be 0 to 2147483647"):
        unnamed.label(1)


def test_labels_of_another_number_of_classes_are_unknown(parquet_folder: Write) -> None:
    names = _metadata(image={"_type": "Image"}, label={"_type": "ClassLabel", "names": ["owl", "elk"]})
    root = str(parquet_folder({"image": structs(1), "label": [1]}, metadata=names))
    assert open_source(root, num_classes=2).label(0) == 1
    assert open_source(root, num_classes=1000).label(0) is None


@pytest.mark.parametrize(
    ("columns", "arguments", "reason"),
    [
        ({"image": structs(1)}, {"image_column": "imag"}, "image_column must be a column of .*, not 'imag'.*'image'"),
        ({"image": structs(1)}, {"label_column": "label"}, "label_column must be a column of .*, not 'label'"),
        ({"a": structs(1), "b": structs(1)}, {}, "several columns .* set image_column to one of: a, b"),
        ({"image": structs(1), "tags": [[1, 2]]}, {"label_column": "tags"}, "must hold integers or texts, not list"),
        ({"image": structs(1), "score": [0.5]}, {"label_column": "score"}, "must hold integers or texts, not double"),
        ({"text": ["x"], "label": [0]}, {}, "has no image column among: text, label; name it with image_column"),
    ],
)
def test_wrong_columns(parquet_folder: Write, columns: dict, arguments: dict, reason: str) -> None:
    with pytest.raises(DataError, match=reason):
        open_source(str(parquet_folder(columns)), **arguments)


def test_no_rows(parquet_folder: Write) -> None:
    root = parquet_folder({"image": pa.array([], pa.struct({"bytes": pa.binary(), "path": pa.string()}))})
    with pytest.raises(DataError, match="no images in its split 'test'"):
        open_source(str(root))


def test_a_broken_file_is_named(tmp_path: Path) -> None:
    (tmp_path / "test-00000-of-00001.parquet").write_bytes(b"PAR1 but no more")
    with pytest.raises(DataError, match=r"test-00000-of-00001\.parquet can't be read as Parquet: \S"):
        open_source(str(tmp_path))


def test_a_file_with_other_columns_is_named(parquet_folder: Write) -> None:
    parquet_folder({"image": structs(2), "label": [0, 1]}, "test-00000-of-00002.parquet")
    root = parquet_folder({"photo": structs(2), "kind": [0, 1]}, "test-00001-of-00002.parquet")
    with pytest.raises(DataError, match=r"00001-of-00002\.parquet lacks the column 'image' that test-00000-of-00002"):
        open_source(str(root))


def test_cifar10(shared: Path) -> None:
    source = open_source(str(shared / "cifar10"), num_classes=10)
    assert (len(source), source.split, source.classes[3]) == (10_000, "test", "cat")
    assert np.asarray(source.image(9_999)).shape == (32, 32, 3)
    assert np.bincount([source.label(index) for index in range(10_000)]).tolist() == [1000] * 10
    assert len(open_source(f"{shared / 'cifar10'}:train")) == 50_000
