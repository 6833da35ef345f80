"""A study of the same images twice, with a class for each and with a class for each pixel."""

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import yaml
from PIL import Image

from experiments.conftest import WIDE, Inline, carried_out
from training.conftest import SMALL
from visionscope.claims.own import claim_in
from visionscope.errors import ConfigError
from visionscope.experiments.figures.own import measured_figure
from visionscope.experiments.merging import merged
from visionscope.experiments.plan import plan_of
from visionscope.experiments.reading import experiment_from

STUDIES = Path(__file__).parents[2] / "studies" / "segmentation"
TASKS = ("pixels", "classes")


@pytest.fixture(scope="module")
def scenes(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A light or a dark box."""
    folder, random = tmp_path_factory.mktemp("scenes"), np.random.default_rng(0)
    for split, count in (("train", 32), ("test", 8)):
        for index in range(count):
            light = index % 2
            pixels, mask = random.integers(90, 150, (16, 16, 3)), np.zeros((16, 16), np.uint8)
            pixels[4:12, 4:12], mask[4:12, 4:12] = (20, 230)[light], 1 + light
            for place, values in (
                (f"classes/{split}/{('dark', 'light')[light]}", pixels.astype(np.uint8)),
                (f"pixels/images/{split}", pixels.astype(np.uint8)),
                (f"pixels/masks/{split}", mask),
            ):
                (folder / place).mkdir(parents=True, exist_ok=True)
                Image.fromarray(values).save(folder / place / f"{index}.png")
    return folder


def values_of(scenes: Path, run: Path) -> dict[str, Any]:
    """The study of the repository with small networks, few images and one step."""
    values = yaml.safe_load((STUDIES / "embedded.yaml").read_text())
    models = {"cnn": SMALL, "alternet": WIDE}
    variants = {}
    for name, own in values["train"]["variants"].items():
        kind, task = name.split("_")
        if kind in models:
            variants[name] = {"model": models[kind], "data": str(scenes / task)}
            if isinstance(own, dict):
                variants[name]["task"] = own["task"]
    train = {**values["train"], "seeds": 2, "epochs": 1, "batch_size": 16, "fraction": 0.5, "variants": variants}
    return {**values, "data": str(scenes / "classes"), "out": str(run), "train": train}


def test_it_is_carried_out_and_its_claims_have_their_numbers(scenes: Path, tmp_path: Path) -> None:
    experiment = experiment_from(values_of(scenes, tmp_path / "run"))
    models = {variant.name: variant.model for variant in experiment.variants}
    assert models["cnn_pixels"].startswith("timm:segmenter?backbone='resnet_nano'&decoder='linear'&channels=(8, 8, 8)")
    assert models["cnn_classes"] == SMALL
    again = experiment_from(merged([experiment], title="both", out=str(tmp_path / "run")).values)
    assert [(one.model, one.task) for one in again.variants] == [(one.model, one.task) for one in experiment.variants]
    plan, driver, tables = carried_out(experiment, Inline())
    assert driver.failed == []
    assert len(plan.trainings) == 8

    rows = tables["training"].set_index(["variant", "seed"])
    pixels = rows.loc[["cnn_pixels", "alternet_pixels"]]
    assert pixels["top_1"].isna().all()
    assert pixels["mean_iou"].between(0, 1).all()
    assert ((pixels["pixel_accuracy"] + pixels["error"]).round(12) == 1).all()
    assert rows.loc["cnn_classes"]["mean_iou"].isna().all()
    assert pixels["gmacs"].min() > 0
    assert set(tables["measures"].query("variant == 'cnn_pixels'")["measure"]) == {"NLL", "mean IoU", "pixel accuracy"}
    assert set(tables["measures"].query("variant == 'cnn_classes'")["measure"]) == {"NLL", "accuracy"}

    claim = claim_in("helps_pixels_more", experiment.claims["helps_pixels_more"], models)
    nll = rows["nll"]
    for seed, number in claim.estimand(tables).items():
        shares = [nll[f"alternet_{task}", seed] / nll[f"cnn_{task}", seed] for task in TASKS]
        assert number == pytest.approx(100 * (shares[0] - shares[1]))
    for name in ("helps_pixels", "helps_classes"):
        assert len(claim_in(name, experiment.claims[name], models).estimand(tables)) == 2

    figure = measured_figure(claim, tables)
    assert figure is not None
    ratios, single = figure.panels
    assert ratios.x_names == ("alternet_pixels / cnn_pixels", "alternet_classes / cnn_classes")
    wanted = [100 * nll[f"alternet_{task}", seed] / nll[f"cnn_{task}", seed] for task in TASKS for seed in (0, 1)]
    assert ratios.lines[0].y == pytest.approx(wanted)
    assert len(single.x_names) == 4


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"data": "classes", "task": "segmentation"}, "--task segmentation needs a mask for each image"),
        ({"data": "pixels"}, "has a class for each pixel, not each image; add --task segmentation"),
    ],
)
def test_tasks_and_data_that_do_not_go_together(
    change: dict[str, str], message: str, scenes: Path, tmp_path: Path
) -> None:
    values = values_of(scenes, tmp_path / "run")
    own = {"model": SMALL, **change, "data": str(scenes / change["data"])}
    values["train"]["variants"] = {"one": own}
    values["claims"] = {}
    with pytest.raises(ConfigError, match=message):
        plan_of(experiment_from(values))


def test_a_task_is_one_of_two(scenes: Path, tmp_path: Path) -> None:
    values = values_of(scenes, tmp_path / "run")
    values["train"]["variants"]["cnn_pixels"]["task"] = "segment"
    with pytest.raises(ConfigError, match=r"train\.variants\.cnn_pixels\.task: must be one of .*'segmentation'\?"):
        experiment_from(values)


@pytest.mark.parametrize("name", ["embedded.yaml", "scenes.yaml", "large.yaml"])
def test_all_studies_ask_the_same(name: str) -> None:
    values, other = (yaml.safe_load((STUDIES / one).read_text()) for one in (name, "embedded.yaml"))
    assert values["claims"] == other["claims"]
    without = {"vit_classes", "vit_pixels"} if name == "large.yaml" else set()
    assert set(values["train"]["variants"]) == set(other["train"]["variants"]) - without
    for claim in values["claims"]:
        assert claim_in(claim, values["claims"][claim], values["train"]["variants"]).name == claim
