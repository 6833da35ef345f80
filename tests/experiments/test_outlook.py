"""What a plan says that trainings take: of steps as the loop takes them."""

from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from training.conftest import SMALL, data  # noqa: F401  # the fixture
from visionscope.building.measure import Throughput
from visionscope.experiments import outlook
from visionscope.experiments.driver import standing
from visionscope.experiments.outlook import outlook_of
from visionscope.experiments.plan import plan_of
from visionscope.experiments.reading import experiment_from


def test_a_step_is_timed_as_the_loop_takes_it_and_hours_follow_from_it(
    data: str,  # noqa: F811
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timed: dict[str, tuple[int, tuple[int, int], bool]] = {}

    def throughput(networks: dict[str, nn.Module], size: tuple[int, int], channels: int, **how: Any) -> Any:
        ((name, network),) = networks.items()
        weight = next(one.weight for one in network.modules() if isinstance(one, nn.Conv2d))
        last = weight.is_contiguous(memory_format=torch.channels_last) and not weight.is_contiguous()
        timed[name] = (how["batch"], size, last)
        return {name: Throughput(forward=1.0, training=48.0, batch=1, threads=1, device="cpu", repeats=1)}

    monkeypatch.setattr(outlook, "throughput", throughput)
    variants = {
        "pico": SMALL,
        "few": {"model": SMALL, "batch_size": 8},
        "large": {"model": "timm:test_resnet.r160_in1k", "epochs": 0.5},
    }
    train = {"recipe": "pico", "epochs": 3, "seeds": 2, "variants": variants}
    values = {"data": data, "out": str(tmp_path / "run"), "train": train}
    plan = plan_of(experiment_from(values))
    found = outlook_of(plan, standing(plan, tmp_path / "run"), {})
    assert timed == {"pico": (64, (32, 32), True), "few": (8, (32, 32), True), "large": (16, (160, 160), True)}
    images = 3 * 128
    assert found.training_seconds == {"pico": images * 3 / 48, "few": images * 3 / 48, "large": images * 0.5 / 48}
    assert found.seconds == 2 * (24 + 24 + 4)
