"""The weights that ship can be made again: the commands of docs/nano.md end within a point of their accuracy."""

import json
from pathlib import Path

import pytest

from visionscope.models.shipped import SHIPPED, card
from visionscope.training.train import train


@pytest.mark.slow
@pytest.mark.parametrize("name", SHIPPED)
def test_a_training_by_the_card_ends_within_a_point_of_it(name: str, tmp_path: Path) -> None:
    asked = json.loads(card(name)["asked"])
    recipe = {**asked["recipe"], "snapshots": tuple(asked["recipe"]["snapshots"])}
    scores = train(name, asked["data"], tmp_path, seed=asked["seed"], validation=asked["validation"], **recipe).scores
    assert scores.top_1 == pytest.approx(json.loads(card(name)["scores"])["top_1"], abs=0.01)
