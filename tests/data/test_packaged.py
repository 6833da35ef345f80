import json
import pickle
from collections.abc import Callable
from pathlib import Path
from typing import Any

import datasets
import numpy as np
import pyarrow as pa
import pytest
from pictures import png, structs

from visionscope.data.sources import open_source
from visionscope.errors import DataError

Write = Callable[..., Path]


@pytest.fixture
def small_cifar(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """CIFAR-10's files as torchvision wants them, with 4 images in each batch and their real checksums patched."""
    from torchvision.datasets import CIFAR10

    folder = tmp_path / CIFAR10.base_folder
    folder.mkdir()
    names = [name for name, _ in CIFAR10.train_list + CIFAR10.test_list]
    for number, name in enumerate(names):
        pixels = np.random.default_rng(number).integers(0, 256, (4, 3 * 32 * 32), dtype=np.uint8)
        (folder / name).write_bytes(pickle.dumps({"data": pixels, "labels": [number, 1, 2, 9]}))
    (folder / "batches.meta").write_bytes(pickle.dumps({"label_names": [f"class{number}" for number in range(10)]}))
    monkeypatch.setattr("torchvision.datasets.cifar.check_integrity", lambda path, md5=None: Path(path).is_file())
    return tmp_path


def test_torchvision_data(small_cifar: Path) -> None:
    source = open_source("torch/cifar10", root=small_cifar)
    assert (len(source), source.split, source.classes[9]) == (4, "test", "class9")
    assert [source.label(index) for index in range(4)] == [5, 1, 2, 9]
    pixels = np.random.default_rng(5).integers(0, 256, (4, 3, 32, 32), dtype=np.uint8)[3].transpose(1, 2, 0)
    assert (np.asarray(source.image(3)) == pixels).all()
    assert source.content(3) == b"RGB 32 32 " + pixels.tobytes()
    assert source.name(3) == "torch/cifar10 test image 3"
    with pytest.raises(IndexError, match="index 4 of 4 images"):
        source.image(4)
    assert len(open_source("torch/CIFAR10:train", root=small_cifar)) == 20
    assert open_source("torch/cifar10", root=small_cifar, num_classes=1000).label(0) is None


def test_the_data_folder_can_be_set_by_the_environment(small_cifar: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("VISIONSCOPE_DATA", str(small_cifar))
    assert len(open_source("torch/cifar10")) == 4


def test_a_wrong_torchvision_split_lists_the_splits(small_cifar: Path) -> None:
    with pytest.raises(DataError, match="has no split 'val', only: train, test"):
        open_source("torch/cifar10:val", root=small_cifar)


def test_an_unknown_torchvision_name() -> None:
    with pytest.raises(DataError, match=r"no torchvision data set 'cifar11'. Did you mean 'cifar10'"):
        open_source("torch/cifar11")


def test_torchvision_without_network_says_so_in_one_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise OSError("Name or service not known\nand more lines")

    monkeypatch.setattr("torchvision.datasets.cifar.download_and_extract_archive", unreachable)
    with pytest.raises(
        DataError, match=r"'torch/cifar10' can't be fetched and isn't complete in .* \(Name or"
    ) as caught:
        open_source("torch/cifar10", root=tmp_path / "new")
    assert "\n" not in str(caught.value)
    assert "'embedded'" in str(caught.value)


def test_imagenet_is_never_downloaded(tmp_path: Path) -> None:
    with pytest.raises(DataError, match="'torch/imagenet' can't be fetched and isn't complete in"):
        open_source("torch/imagenet", root=tmp_path)


@pytest.fixture
def hub_folder(parquet_folder: Write, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """A local folder that `datasets.load_dataset` opens like one from the hub."""
    features = {"img": {"_type": "Image"}, "fine": {"_type": "ClassLabel", "names": ["owl", "elk"]}}
    metadata = json.dumps({"info": {"features": features}})
    cells = [*structs(3), {"bytes": png(3)[:40], "path": None}]
    for split in ("train", "test"):
        columns: dict[str, Any] = {"img": cells, "fine": pa.array([1, 0, -1, 1], pa.int64())}
        parquet_folder(columns, f"{split}-00000-of-00001.parquet", folder="hub", metadata=metadata)
    monkeypatch.setattr(datasets.config, "HF_HUB_OFFLINE", True)
    datasets.disable_progress_bars()
    return tmp_path / "hub"


def test_hugging_face_data(hub_folder: Path, tmp_path: Path) -> None:
    spec = f"hfds/{hub_folder}"
    source = open_source(spec, root=tmp_path / "cache")
    assert (len(source), source.split, source.classes) == (4, "test", ("owl", "elk"))
    assert [source.label(index) for index in range(3)] == [1, 0, None]
    assert source.content(1) == png(1)
    assert source.image(2).size == (20, 16)
    with pytest.raises(DataError, match=r"image hfds/.* test row 3 can't be decoded"):
        source.image(3)
    assert open_source(spec, root=tmp_path / "cache", num_classes=1000).label(0) is None
    with pytest.raises(DataError, match="has no split 'val', only: train, test"):
        open_source(f"{spec}:val", root=tmp_path / "cache")
    with pytest.raises(DataError, match=r"image_column must be a column of .*, not 'image'.*'img'"):
        open_source(spec, root=tmp_path / "cache", image_column="image")


def test_the_hub_out_of_reach_says_so_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def unreachable(*_: Any, **__: Any) -> None:
        raise ConnectionError("Couldn't reach 'uoft-cs/cifar100' on the Hub\ntraceback")

    monkeypatch.setattr(datasets, "get_dataset_split_names", unreachable)
    with pytest.raises(
        DataError, match=r"'hfds/uoft-cs/cifar100:train' can't be fetched \(Couldn't reach .* on the Hub\)"
    ):
        open_source("hfds/uoft-cs/cifar100:train")


@pytest.mark.parametrize("spec", ["wds/shards", "tfds/cifar10", "hfids/timm/imagenet"])
def test_streams_are_refused(spec: str) -> None:
    with pytest.raises(DataError, match=f"{spec!r} is a stream, but a frozen sample needs random access"):
        open_source(spec)


@pytest.mark.parametrize(("spec", "meant"), [("embeded", "embedded"), ("cifar10", "torch/cifar10")])
def test_a_misspelt_name_gets_a_hint(spec: str, meant: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=f"there is no {spec}. Did you mean '{meant}'"):
        open_source(spec)
