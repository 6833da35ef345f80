"""What the tests of experiments share: data that cost nothing, a toy experiment, an executor without processes."""

import contextlib
import copy
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from training.conftest import SMALL, data  # noqa: F401  # the fixture
from visionscope.experiments import session
from visionscope.experiments.buildup import running
from visionscope.experiments.buildup.search import Question, Search, search_for
from visionscope.experiments.done import Tables
from visionscope.experiments.driver import Driver, standing
from visionscope.experiments.executors.work import File, Held, WorkerDied
from visionscope.experiments.experiment import Experiment
from visionscope.experiments.plan import Plan, plan_of
from visionscope.experiments.reading import experiment_from
from visionscope.experiments.tables import gather

WIDE = SMALL.replace("(8,8,8)", "(12,12,12)")


class Inline:
    """Does a task when it is submitted, and dies where it is told to.

    Attributes:
        submitted: the works, in order.
    """

    workers = 1

    def __init__(self, dies_after: Callable[[str], bool] = lambda path: False) -> None:
        self.submitted: list[Any] = []
        self._dies_after = dies_after

    def submit(
        self,
        work: Callable[..., Iterator[File]],
        *args: Any,
        receive: Callable[[File], None],
        held: Held | None = None,
        gpus: float = 0.0,
    ) -> Future[None]:
        self.submitted.append(args[0])
        future: Future[None] = Future()
        try:
            for file in work(*([held.make(*held.args)] if held else []), *args):
                receive(file)
                if self._dies_after(file.path):
                    raise WorkerDied("killed")
            future.set_result(None)
        except Exception as error:
            future.set_exception(error)
        return future


def _values(data: str, out: Path) -> dict[str, Any]:  # noqa: F811
    return {
        "title": "Narrow or wide",
        "data": data,
        "out": str(out),
        "train": {
            "seeds": 2,
            "epochs": 2,
            "batch_size": 32,
            "warm_up": 0.4,
            "variants": {"small": SMALL, "wide": {"model": WIDE, "seeds": [1]}},
        },
        "diagnose": {
            "warmup": {"only": "hessian", "hessian": {"mini_batches": 2, "k": 2}},
            "last": {"only": ["fourier", "lesion"], "images": 32, "lesion": {"sample_size": 32}},
        },
    }


@pytest.fixture
def values(data: str, tmp_path: Path) -> dict[str, Any]:  # noqa: F811
    """Keys and values of an experiment of two small networks, as YAML has them."""
    return _values(data, tmp_path / "run")


@pytest.fixture(scope="session")
def finished(data: str, tmp_path_factory: pytest.TempPathFactory) -> Path:  # noqa: F811
    """The run folder of that experiment, carried out once for all: a copy of it is done wherever `out` is."""
    run = tmp_path_factory.mktemp("finished") / "run"
    _, driver, _ = carried_out(experiment_from(_values(data, run)))
    assert driver.failed == []
    return run


def changed(values: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    """The values with one replaced, named as in `train/variants/small`; None removes it."""
    copied = copy.deepcopy(values)
    *path, last = key.split("/")
    inner = copied
    for name in path:
        if isinstance(inner[name], str):
            inner[name] = {"model": inner[name]}
        inner = inner[name]
    if value is None:
        inner.pop(last, None)
    else:
        inner[last] = value
    return copied


def carried_out(experiment: Experiment, executor: Inline | None = None) -> tuple[Plan, Driver, Tables]:
    """An experiment after one sitting without processes."""
    plan, run = plan_of(experiment), Path(experiment.out)
    driver = Driver(run, executor or Inline(), standing(plan, run), lambda driver: None)  # type: ignore[arg-type]
    driver.carry_out()
    return plan, driver, gather(plan, run)


@pytest.fixture
def experiment(values: dict[str, Any]) -> Experiment:
    """The same as an experiment."""
    return experiment_from(values)


@pytest.fixture
def executor(monkeypatch: pytest.MonkeyPatch) -> Inline:
    """What `run` and `replicate` give their tasks to, whatever `--on` says."""
    made = Inline()
    monkeypatch.setattr(session, "executor_for", lambda *_, **__: contextlib.nullcontext(made))
    return made


@pytest.fixture(scope="module")
def few(tmp_path_factory: pytest.TempPathFactory) -> str:
    """Few images of noise: what a search does with its trainings is tested, not what they learn."""
    folder, random = tmp_path_factory.mktemp("few"), np.random.default_rng(0)
    for split, count in (("train", 20), ("test", 4)):
        for name in ("dark", "light"):
            (folder / split / name).mkdir(parents=True)
            for index in range(count):
                pixels = random.integers(0, 255, (16, 16, 3)).astype(np.uint8)
                Image.fromarray(pixels).save(folder / split / name / f"{index}.png")
    return str(folder)


@pytest.fixture
def inline(monkeypatch: pytest.MonkeyPatch) -> Callable[[Inline], Inline]:
    """Trains in this process."""

    def chosen(made: Inline) -> Inline:
        monkeypatch.setattr(running, "executor_for", lambda *_, **__: contextlib.nullcontext(made))
        return made

    return chosen


@pytest.fixture
def rulings(monkeypatch: pytest.MonkeyPatch) -> list[int]:
    """The first candidate is dropped, the next one kept: what a test of a few steps can't bring about."""
    asked: list[int] = []

    def ruled(gains: tuple[float, ...], most: int, least: float) -> str:
        asked.append(len(gains))
        return "drop" if len(asked) == 1 else "keep"

    monkeypatch.setattr(running, "ruling", ruled)
    return asked


@pytest.fixture(scope="module")
def small(data: str, tmp_path_factory: pytest.TempPathFactory) -> Search:  # noqa: F811
    """A search of two candidates on their longest path, and eight seeds."""
    from experiments.buildups import CNN, SEEDS

    question = Question(model=CNN, data=data, recipe="pico", changes={"epochs": 1.0})
    folder = tmp_path_factory.mktemp("small")
    return search_for(question, seeds=SEEDS, budget=None, run=folder, note=lambda line: None, command="visionscope x")
