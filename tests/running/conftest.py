"""A small study and what it is run with."""

import functools
from pathlib import Path
from typing import Any

import pytest
import torch

from visionscope.config import study_from
from visionscope.running.execute import Failure, execute
from visionscope.running.plan import PlannedSubject, plan
from visionscope.running.store import Store
from visionscope.running.study import Study

NETWORKS = Path(__file__).with_name("networks.py")


def study_of(**values: Any) -> Study:
    """Two parts of fourier and variance on the convolutions."""
    given = {
        "models": [f"cnn={NETWORKS}:convolutions"],
        "data": "embedded",
        "only": ["fourier", "variance"],
        "images": 300,
        "batch": 64,
        "device": "cpu",
    }
    return study_from({**given, **values})


@functools.cache
def small_study() -> tuple[PlannedSubject, ...]:
    """The plan of the study as it stands; a plan may be carried out as often as one likes."""
    return plan(study_of())


def run(planned: tuple[PlannedSubject, ...], folder: Path) -> list[Failure]:
    """Computes what is missing of a study."""
    return execute(planned, Store(folder), batch=64, device=torch.device("cpu"))


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run folder of the small study that nothing disturbed; not to be changed."""
    folder = tmp_path_factory.mktemp("finished")
    assert run(small_study(), folder) == []
    return folder
