"""The examples run, and what their first lines promise comes out."""

import importlib.util
import re
from pathlib import Path
from types import ModuleType

import numpy as np
import pytest
import torch
from PIL import Image

from visionscope.building.harmonize import harmonize
from visionscope.building.placement import Placement
from visionscope.data.sources import has_masks, open_source
from visionscope.models.load import load_model
from visionscope.models.windows import LocalAttention

EXAMPLES = Path(__file__).parent.parent / "examples"
LONGEST = 120


def _imported(path: Path) -> ModuleType:
    specification = importlib.util.spec_from_file_location(path.stem, path)
    assert specification is not None
    assert specification.loader is not None
    module = importlib.util.module_from_spec(specification)
    specification.loader.exec_module(module)
    return module


def test_the_examples_are_short() -> None:
    lengths = [len(path.read_text(encoding="utf-8").splitlines()) for path in EXAMPLES.glob("*.py")]
    assert lengths
    assert max(lengths) <= LONGEST


def test_resnet_vs_vit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    story = _imported(EXAMPLES / "resnet_vs_vit.py")
    monkeypatch.setattr(story, "STEPS", 4)
    monkeypatch.setattr(story, "IMAGES", 128)
    story.main(tmp_path)
    told = capsys.readouterr().out

    names = [
        f"{model}-{question}.png"
        for model in ("resnet_nano", "vit_nano")
        for question in ("fourier", "variance", "similarity")
    ]
    assert sorted(path.name for path in tmp_path.iterdir()) == sorted(names)
    assert all((tmp_path / name).stat().st_size > 5000 for name in names)

    # Hardly trained, but these hold from the first steps on; what training adds takes the full number of steps.
    assert re.search(r"^fourier of vit_nano\n(?:.*\n)*?msa +-\d\.\d+ +6 of 6$", told, re.MULTILINE)
    assert re.search(r"^variance of vit_nano\n(?:.*\n)*?mlp +\+\d\.\d+ +0 of 6$", told, re.MULTILINE)
    assert len(re.findall(r"^CKA of .*: [01]\.\d\d \+- 0\.\d\d$", told, re.MULTILINE)) == 2


def test_compose_scenes(tmp_path: Path) -> None:
    """Small classes on noise: a scene shows its class's colour where the mask says so, and the photograph elsewhere."""
    script, random = _imported(EXAMPLES / "compose_scenes.py"), np.random.default_rng(0)
    colours = {"red": (255, 0, 0), "sea": (0, 0, 255)}
    for split, count in (("train", 6), ("test", 3)):
        for name, colour in colours.items():
            (tmp_path / "small" / split / name).mkdir(parents=True)
            for index in range(count):
                Image.new("RGB", (8, 8), colour).save(tmp_path / "small" / split / name / f"{index}.png")
    (tmp_path / "photos").mkdir()
    for index in range(6):
        noise = random.integers(0, 200, (40, 60, 3)).astype(np.uint8)
        noise[:, :, 1] = 255
        Image.fromarray(noise).save(tmp_path / "photos" / f"{index}.png")

    sizes = {"train": 10, "test": 4, "size": 24, "sides": (0.5, 0.9), "seed": 0}
    for folder in ("scenes", "again"):
        script.compose(str(tmp_path / "small"), str(tmp_path / "photos"), tmp_path / folder, **sizes)
    written, again = (
        {str(path.relative_to(tmp_path / name)): path.read_bytes() for path in (tmp_path / name).rglob("*.png")}
        for name in ("scenes", "again")
    )
    assert written == again
    assert len(written) == 3 * 14

    masked = open_source(f"{tmp_path}/scenes/segmentation:train")
    assert has_masks(masked)
    assert masked.classes == ("background", "red", "sea")
    classes = open_source(f"{tmp_path}/scenes/classification:train")
    labels = {classes.name(index).partition("/")[2]: classes.label(index) for index in range(len(classes))}
    for index in range(10):
        pixels, mask = np.asarray(masked.image(index)).astype(int), np.asarray(masked.mask(index))
        label = labels[masked.name(index).rpartition("/")[2]]
        assert set(np.unique(mask)) == {0, 1 + label}
        assert 0.03 < (mask > 0).mean() < 0.8
        assert (pixels[mask > 0][:, 1] < 128).all()
        assert (pixels[mask == 0][:, 1] > 128).all()

    with pytest.raises(SystemExit, match="train: 100 scenes need as many thumbnails and photographs of their own"):
        script.compose(str(tmp_path / "small"), str(tmp_path / "photos"), tmp_path / "more", **{**sizes, "train": 100})


def test_narrow_resnet() -> None:
    """It takes attention in every stage, on the maps that its text says."""
    loaded = load_model(f"{EXAMPLES / 'narrow_resnet.py'}:narrow_resnet", random_weights=0)
    assert loaded.input.size == (32, 32)
    stem = loaded.model.maxpool(loaded.model.act1(loaded.model.conv1(torch.zeros(1, 3, 32, 32))))
    assert stem.shape == (1, 64, 16, 16)
    changed = harmonize(loaded.model, Placement(msa=(1, 1, 1, 1))).eval()
    assert changed(torch.zeros(2, 3, 32, 32)).shape == (2, 10)
    for stage in (1, 2, 3, 4):
        block = changed.get_submodule(f"layer{stage}.1")
        (msa,) = (part for part in block.modules() if isinstance(part, LocalAttention))
        assert msa.num_heads == 3 * 2 ** (stage - 1)
