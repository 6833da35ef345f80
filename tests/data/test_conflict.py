"""Cue-conflict images on disk, and the ImageNet classes of the 16 entry-level ones."""

import numpy as np
import pytest
from PIL import Image
from timm.data.imagenet_info import ImageNetInfo

from visionscope.data import conflict
from visionscope.data.conflict import ENTRY_LEVEL, ConflictFolder, open_conflict
from visionscope.errors import DataError, NotApplicableError

PAPER = (
    ("airplane", "airplane1-bicycle2"), ("airplane", "airplane10-airplane1"), ("airplane", "airplane2-cat1"),
    ("bicycle", "bicycle3-airplane2"), ("cat", "cat7-bicycle1"), ("cat", "cat7-cat2"),
)  # fmt: skip


def write(root, names=PAPER):
    for number, (folder, name) in enumerate(names):
        (root / folder).mkdir(parents=True, exist_ok=True)
        Image.fromarray(np.full((16, 16, 3), 10 * number, np.uint8)).save(root / folder / f"{name}.png")
    return str(root)


def test_images_tell_shape_and_texture_and_those_of_one_class_are_left_out(tmp_path):
    source = ConflictFolder(write(tmp_path), 1000)
    assert source.classes == tuple(ENTRY_LEVEL)
    assert [source.name(index) for index in range(len(source))] == [
        "airplane/airplane1-bicycle2.png", "airplane/airplane2-cat1.png", "bicycle/bicycle3-airplane2.png",
        "cat/cat7-bicycle1.png",
    ]  # fmt: skip
    cues = [(source.classes[source.label(index)], source.classes[source.texture(index)]) for index in range(4)]
    assert cues == [("airplane", "bicycle"), ("airplane", "cat"), ("bicycle", "airplane"), ("cat", "bicycle")]
    assert int(np.asarray(source.image(3))[0, 0, 0]) == 40


def test_other_classes_are_the_folders(tmp_path):
    root = write(tmp_path, (("disc", "disc1-star2"), ("star", "star1-disc3"), ("star", "star2-disc3")))
    source = ConflictFolder(root, 2)
    assert source.classes == ("disc", "star")
    assert [(source.label(index), source.texture(index)) for index in range(3)] == [(0, 1), (1, 0), (1, 0)]
    with pytest.raises(NotApplicableError, match=r"must have 2 classes for these images; it has 1000"):
        ConflictFolder(root, 1000)


def test_heads_of_other_sizes_are_refused(tmp_path):
    root = write(tmp_path)
    assert len(ConflictFolder(root, 16)) == 4
    for classes, told in ((10, "10"), (21841, "21841"), (None, "an unknown number")):
        with pytest.raises(NotApplicableError, match=rf"must have 16 or 1000 classes for these images; it has {told}"):
            ConflictFolder(root, classes)


@pytest.mark.parametrize(
    ("names", "message"),
    [
        ((("cat", "cat1"),), r"must be named SHAPE/SHAPE1-TEXTURE2\.png after the folders cat; got cat/cat1\.png"),
        ((("cat", "dog1-cat2"), ("dog", "dog1-cat1")), r"got cat/dog1-cat2\.png"),
        ((("cat", "cat1-cow2"),), r"got cat/cat1-cow2\.png"),
        ((("cat", "cat1-cat2"),), r"no cue-conflict images in"),
    ],
)
def test_folders_of_another_layout_are_refused(tmp_path, names, message):
    with pytest.raises(DataError, match=message):
        ConflictFolder(write(tmp_path, names), 16)


def test_a_folder_that_is_not_there_is_named(tmp_path):
    for opened in (lambda place: ConflictFolder(place, 16), conflict.names_digest):
        with pytest.raises(DataError, match=r"shape_bias\.folder: must be an existing folder; got '.*nowhere'"):
            opened(str(tmp_path / "nowhere"))


def test_embedded_data_has_images_of_its_own():
    source = open_conflict("", "embedded:test", 10)
    assert len(source) == 2000
    assert all(source.label(index) != source.texture(index) for index in range(50))
    with pytest.raises(NotApplicableError, match=r"the 10 classes of the embedded data; it has 1000"):
        open_conflict("", "embedded", 1000)
    with pytest.raises(NotApplicableError, match=r"shape_bias\.folder: must name a folder .* data 'photos' has none"):
        open_conflict("", "photos", 1000)


def test_names_are_identified(tmp_path):
    digest = conflict.names_digest(write(tmp_path / "one"))
    assert digest == conflict.names_digest(write(tmp_path / "two"))
    assert digest != conflict.names_digest(write(tmp_path / "three", PAPER[:-1]))


def test_the_entry_level_classes_are_those_of_the_paper():
    """Counts as the authors' lists have them; the names of timm's table say what the indices are."""
    counts = {name: len(indices) for name, indices in ENTRY_LEVEL.items()}
    assert counts == {
        "airplane": 1, "bear": 4, "bicycle": 2, "bird": 49, "boat": 5, "bottle": 7, "car": 3, "cat": 6, "chair": 4,
        "clock": 3, "dog": 109, "elephant": 2, "keyboard": 2, "knife": 1, "oven": 1, "truck": 8,
    }  # fmt: skip
    every = [index for indices in ENTRY_LEVEL.values() for index in indices]
    assert len(every) == len(set(every)) == 207
    assert list(ENTRY_LEVEL) == sorted(ENTRY_LEVEL)
    table = ImageNetInfo("imagenet-1k")
    described = {
        name: [table.index_to_description(index) for index in indices] for name, indices in ENTRY_LEVEL.items()
    }
    for name in ("bear", "clock", "elephant", "keyboard"):
        assert all(name in text for text in described[name]), name
    assert described["airplane"] == ["airliner"]
    assert described["knife"] == ["cleaver, meat cleaver, chopper"]
    assert described["oven"] == ["rotisserie"]
    assert [text.split(",")[0] for text in described["boat"]] == ["canoe", "fireboat", "lifeboat", "speedboat", "yawl"]
    assert [text.split(",")[0] for text in described["truck"]] == [
        "fire engine", "garbage truck", "minivan", "moving van", "pickup", "police van", "tow truck", "trailer truck",
    ]  # fmt: skip
    # WordNet's ids go up within a family: dogs lie between n02085 and n02114, birds between n015 and n0206.
    ids = table.label_names()
    assert all("n02085" < ids[index] < "n02114" for index in ENTRY_LEVEL["dog"])
    assert all("n01514" < ids[index] < "n02057" for index in ENTRY_LEVEL["bird"])
    assert all("n02122" < ids[index] < "n02126" for index in ENTRY_LEVEL["cat"])
