"""Parquet files that are broken, lie, or point where they must not."""

import json
import os
import random
import resource
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from pictures import png, structs

from visionscope.data import parquet, parquet_files
from visionscope.data.sources import open_source
from visionscope.errors import DataError

Write = Callable[..., Path]
IMAGE = {"image": {"_type": "Image"}}
NAMED = {**IMAGE, "label": {"_type": "ClassLabel", "names": ["owl", "elk"]}}


def _info(features: Any) -> str:
    return json.dumps({"info": {"features": features}})


@pytest.mark.parametrize(
    ("metadata", "told"),
    [
        ("{", "its Hugging Face metadata are not valid JSON"),
        ("", "are not valid JSON"),
        ("[" * 100_000, "are not valid JSON"),
        ('{"info": ' + "9" * 5000 + "}", "are not valid JSON"),
        (b"\xff\xfe", "are not valid JSON"),
        ("[]", "must hold info, and that features"),
        ("3", "must hold info, and that features"),
        ('{"info": [1]}', "must hold info"),
        ('{"info": {"features": [1]}}', "must hold info"),
        ('{"info": {"features": "image"}}', "must hold info"),
        (
            _info({**IMAGE, "label": {"_type": "ClassLabel", "names": [1, 2]}}),
            "must name its classes by a list of texts",
        ),
        (
            _info({**IMAGE, "label": {"_type": "ClassLabel", "names": "owl"}}),
            "must name its classes by a list of texts",
        ),
        (_info({**IMAGE, "label": {"_type": "ClassLabel", "names": {"0": "owl"}}}), "by a list of texts"),
        (_info({**IMAGE, "label": {"_type": "ClassLabel", "names": ["owl", "owl"]}}), "name two classes alike"),
        (_info({"gone": {"_type": "Image"}}), "lacks the column 'gone'"),
    ],
)
def test_broken_metadata_are_refused_since_labels_may_mean_anything(
    metadata: Any, told: str, parquet_folder: Write
) -> None:
    root = parquet_folder({"image": structs(2), "label": [0, 1]}, metadata=metadata)
    with pytest.raises(DataError, match=told):
        open_source(str(root))


@pytest.mark.parametrize("metadata", ["{}", '{"info": {}}', '{"info": {"features": null}}', _info({"label": [1]})])
def test_metadata_that_say_nothing_are_none(metadata: str, parquet_folder: Write) -> None:
    source = open_source(str(parquet_folder({"image": structs(2), "label": [0, 1]}, metadata=metadata)))
    assert (source.classes, source.label(1)) == ((), 1)


@pytest.mark.parametrize(
    "path",
    [
        "/dev/zero",
        "/etc/passwd",
        "../outside.png",
        "a/../../outside.png",
        "link.png",
        "folder/inside.png",
        "\0",
        "x" * 5000,
    ],
)
def test_no_path_leads_out_of_the_folder(path: str, parquet_folder: Write, tmp_path: Path) -> None:
    root = parquet_folder({"image": [{"bytes": None, "path": path}]})
    (tmp_path / "outside.png").write_bytes(png())
    (root / "link.png").symlink_to("/dev/zero")
    (tmp_path / "elsewhere").mkdir()
    (tmp_path / "elsewhere" / "inside.png").write_bytes(png())
    (root / "folder").symlink_to(tmp_path / "elsewhere")
    with pytest.raises(
        DataError, match=r"image test-.* row 0 points to .*(is outside of its folder|not a path|can't be read)"
    ):
        open_source(str(root)).content(0)


def test_paths_inside_the_folder_are_followed(parquet_folder: Write) -> None:
    cells = [{"bytes": None, "path": path} for path in ("../images/a.png", "b.png", "../images/pipe.png")]
    root = parquet_folder({"image": cells}, "data/test-00000-of-00001.parquet")
    (root / "images").mkdir()
    (root / "images" / "a.png").write_bytes(png(1))
    (root / "data" / "b.png").write_bytes(png(2))
    os.mkfifo(root / "images" / "pipe.png")
    source = open_source(str(root))
    assert (source.content(0), source.content(1)) == (png(1), png(2))
    with pytest.raises(DataError, match="can't be read: it is a named pipe, not a file"):
        source.content(2)


@pytest.mark.parametrize(
    ("cells", "told"),
    [
        (pa.array([1, 2]), "must hold bytes, or structs with the fields bytes and path; not int64"),
        (pa.array(["a.png", "b.png"]), "must hold bytes, or structs .* not string"),
        (pa.array([[{"bytes": b"x"}]] * 2), "must hold bytes, or structs .* not list"),
        (pa.array([{"bytes": [1, 2]}] * 2), "must hold bytes, or structs .* not struct"),
        (pa.array([{"path": "a.png"}] * 2), "must hold bytes, or structs"),
        (pa.array([[1.5]] * 2), "must hold bytes, or structs"),
    ],
)
def test_columns_of_images_of_another_type_are_refused(cells: pa.Array, told: str, parquet_folder: Write) -> None:
    root = parquet_folder({"photo": cells})
    with pytest.raises(DataError, match=told):
        open_source(str(root), image_column="photo")


@pytest.mark.parametrize("kind", ["binary", "large_binary", "dictionary"])
def test_bytes_of_any_type_are_read(kind: str, parquet_folder: Write) -> None:
    cells = pa.array([png(0), png(1)], pa.large_binary() if kind == "large_binary" else pa.binary())
    cells = cells.dictionary_encode() if kind == "dictionary" else cells
    assert open_source(str(parquet_folder({"photo": cells}))).content(1) == png(1)


@pytest.mark.parametrize(
    ("labels", "told"),
    [
        (pa.array([0.0, 1.0]), "must hold integers or texts, not double"),
        (pa.array([True, False]), "must hold integers or texts, not bool"),
        (pa.array([0, 1], pa.timestamp("s")), "not timestamp"),
        (pa.array([[0], [1]]), "not list"),
        (pa.array([b"a", b"b"]), "not binary"),
        (pa.array([None, None]), "not null"),
    ],
)
def test_columns_of_labels_of_another_type_are_refused(labels: pa.Array, told: str, parquet_folder: Write) -> None:
    root = parquet_folder({"image": structs(2), "label": labels})
    with pytest.raises(DataError, match=told):
        open_source(str(root), label_column="label")


def test_labels_that_no_class_can_have_are_named_by_row(parquet_folder: Write) -> None:
    root = parquet_folder({"image": structs(3), "label": pa.array([2**63, 2**31, 2**31 - 1], pa.uint64())})
    source = open_source(str(root))
    for index in range(2):
        with pytest.raises(DataError, match=f"row {index} is out of range: it must be 0 to 2147483647"):
            source.label(index)
    assert source.label(2) == 2**31 - 1


def test_files_that_do_not_belong_together_are_refused(parquet_folder: Write) -> None:
    def pair(folder: str, columns: dict[str, Any], metadata: str | None = None) -> str:
        parquet_folder({"image": structs(1), "label": [0]}, "test-00000-of-00002.parquet", folder, _info(NAMED))
        return str(parquet_folder(columns, "test-00001-of-00002.parquet", folder, metadata))

    with pytest.raises(DataError, match=r"00001-of-00002.parquet lacks the column 'label'"):
        open_source(pair("lacking", {"image": structs(1)}, _info(NAMED)))
    with pytest.raises(DataError, match=r"column 'label' of .* holds string; in test-00000-of-00002.parquet .* int64"):
        open_source(pair("typed", {"image": structs(1), "label": ["owl"]}, _info(NAMED)))
    swapped = {**IMAGE, "label": {"_type": "ClassLabel", "names": ["elk", "owl"]}}
    with pytest.raises(DataError, match="names other classes than test-00000"):
        open_source(pair("named", {"image": structs(1), "label": [0]}, _info(swapped)))
    with pytest.raises(DataError, match="names other classes than test-00000"):
        open_source(pair("unnamed", {"image": structs(1), "label": [0]}))


def test_a_column_that_is_there_twice_is_refused(tmp_path: Path) -> None:
    cells = pa.array(structs(2))
    table = pa.Table.from_arrays([cells, cells, pa.array([0, 1])], names=["image", "image", "label"])
    pq.write_table(table, tmp_path / "x.parquet")
    with pytest.raises(DataError, match=r"has 2 columns 'image'; it must have one"):
        open_source(str(tmp_path / "x.parquet"), image_column="image")


def test_files_without_rows_or_columns_have_no_images(parquet_folder: Write, tmp_path: Path) -> None:
    empty = pa.table({"image": pa.array([], pa.binary())})
    pq.write_table(empty, tmp_path / "rows.parquet")
    pq.write_table(pa.table({}), tmp_path / "columns.parquet")
    with pytest.raises(DataError, match="no images in its split"):
        open_source(str(tmp_path / "rows.parquet"))
    with pytest.raises(DataError, match="has no image column among: ; name it"):
        open_source(str(tmp_path / "columns.parquet"))


@pytest.mark.parametrize("kind", ["pipe", "device", "folder", "dangling", "empty", "text", "footer", "cut"])
def test_what_is_no_parquet_file_is_told_in_one_line(kind: str, parquet_folder: Write) -> None:
    root = parquet_folder({"image": structs(2)}, "test-00000-of-00002.parquet")
    whole = (root / "test-00000-of-00002.parquet").read_bytes()
    path = root / "test-00001-of-00002.parquet"
    if kind == "pipe":
        os.mkfifo(path)
    elif kind in ("device", "dangling"):
        path.symlink_to("/dev/zero" if kind == "device" else "nowhere")
    elif kind == "folder":
        path.mkdir()
    else:
        contents = {
            "empty": b"",
            "text": b"x" * 100,
            "cut": whole[:-20],
            "footer": whole[:-8] + b"\xff\xff\xff\x7fPAR1",
        }
        path.write_bytes(contents[kind])
    with pytest.raises(DataError, match=r"test-00001-of-00002\.parquet can't be read as Parquet: ") as caught:
        open_source(str(root))
    assert "\n" not in str(caught.value)


def test_names_that_steer_a_terminal_are_escaped(parquet_folder: Write) -> None:
    names = ["\x1b[31mred", "[/bold]", "half \ud800"[:5] + "line\nbreak"]
    features = {**IMAGE, "label": {"_type": "ClassLabel", "names": names}}
    source = open_source(str(parquet_folder({"image": structs(3), "label": [0, 1, 2]}, metadata=_info(features))))
    assert source.classes == ("\\x1b[31mred", "[/bold]", "half line break")
    halves = '{"info": {"features": {"label": {"_type": "ClassLabel", "names": ["\\ud800", "b"]}}}}'
    root = parquet_folder({"image": structs(2), "label": [0, 1]}, folder="halves", metadata=halves)
    assert open_source(str(root)).classes == ("\\ud800", "b")


def test_declared_sizes_are_bounded_before_anything_is_read(
    parquet_folder: Write, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = str(parquet_folder({"image": structs(3), "label": [0, 1, 2]}))
    with monkeypatch.context() as small:
        small.setattr(parquet_files, "_MOST_DECLARED", 100)
        with pytest.raises(DataError, match=r"row group 0 of .* declares [\d,]+ bytes; at most 100 are read"):
            open_source(root).content(0)
    with monkeypatch.context() as small:
        small.setattr(parquet, "_MOST_IMAGES", 2)
        with pytest.raises(DataError, match="declares 3 images; at most 2 are opened"):
            open_source(root)
    with monkeypatch.context() as small:
        small.setattr(parquet_files, "_MOST_FILES", 0)
        with pytest.raises(DataError, match="has 1 Parquet files; at most 0 are opened"):
            open_source(root)


def test_a_value_repeated_without_end_is_not_unpacked(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A dictionary keeps one large value; the rows that repeat it take some bits each."""
    value = os.urandom(2**20) * 8
    cells = pa.DictionaryArray.from_arrays(pa.array([0] * 20_000, pa.int32()), pa.array([value], pa.binary()))
    path = tmp_path / "x.parquet"
    pq.write_table(pa.table({"image": cells}), path, dictionary_pagesize_limit=2**28, store_schema=False)
    assert path.stat().st_size < 2 * len(value)
    monkeypatch.setattr(parquet_files, "_MOST_GROUP_BYTES", 2**26)
    source = open_source(str(path))
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    with pytest.raises(DataError, match=r"unpacks to [\d,]+ bytes of images or more; at most 67,108,864 are read"):
        source.content(0)
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 1_500_000  # KiB, of 160 GB


def test_more_files_than_a_process_may_open(parquet_folder: Write) -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    count = 150
    for number in range(count):
        root = parquet_folder({"image": structs(1, number)}, f"test-{number:05}-of-{count:05}.parquet")
    resource.setrlimit(resource.RLIMIT_NOFILE, (len(os.listdir("/proc/self/fd")) + 20, hard))
    try:
        source = open_source(str(root))
        assert [source.content(index) for index in (0, count - 1)] == [png(0), png(count - 1)]
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


def test_bytes_that_changed_give_images_or_one_line(parquet_folder: Write) -> None:
    root = parquet_folder({"image": structs(8), "label": [0, 1] * 4}, metadata=_info(NAMED))
    (path,) = root.glob("*.parquet")
    whole = path.read_bytes()
    footer = int.from_bytes(whole[-8:-4], "little") + 8
    draws = random.Random(0)
    for _ in range(300):
        spoiled = bytearray(whole)
        for _ in range(draws.choice((1, 3))):
            place = len(whole) - draws.randrange(footer if draws.random() < 0.8 else len(whole)) - 1
            spoiled[place] = draws.choice((0, 127, 255, draws.randrange(256)))
        path.write_bytes(spoiled)
        with suppress(DataError):
            source = open_source(str(path))
            for index in range(min(8, len(source))):
                with suppress(DataError):
                    source.label(index)
                    source.content(index)
