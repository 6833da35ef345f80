"""The parts of a study on workers: the same files as in one process, and what dies or fails costs itself alone."""

from pathlib import Path
from typing import Any

import pytest
import torch

from experiments.conftest import Inline
from visionscope.cli import main
from visionscope.config import study_from
from visionscope.core.documents import document_text
from visionscope.core.failures import Failure
from visionscope.experiments.sharing import pieces, shared_out
from visionscope.running.execute import execute
from visionscope.running.plan import plan
from visionscope.running.store import Store

MODELS = ["resnet_nano?channels=(8,8,8)&stem_width=4&layers=(1,1,1)", "vit_nano?embed_dim=24&depth=2"]


def asked(tmp_path: Path, **more: Any) -> dict[str, Any]:
    return {
        "models": MODELS,
        "data": "embedded",
        "only": ["fourier", "variance", "hessian"],
        "images": 300,
        "random_weights": 0,
        "hessian": {"mini_batches": 2, "k": 2},
        "out": str(tmp_path),
        **more,
    }


def parts_of(run: Path) -> dict[str, bytes]:
    return {str(path.relative_to(run)): path.read_bytes() for path in run.glob("*/*/*.parquet")}


def share(values: dict[str, Any], executor: Inline) -> list[Failure]:
    study = study_from(values)
    return shared_out(study, plan(study), Store(Path(study.out)), executor)  # type: ignore[arg-type]


@pytest.fixture(scope="module")
def alone(tmp_path_factory: pytest.TempPathFactory) -> Path:
    run = tmp_path_factory.mktemp("alone")
    study = study_from(asked(run))
    assert execute(plan(study), Store(run), batch=study.batch, device=torch.device("cpu")) == []
    return run


def test_workers_make_the_same_files(alone: Path, tmp_path: Path) -> None:
    executor = Inline()
    assert share(asked(tmp_path), executor) == []
    # Of each network two spans of images, which its observers share, and two mini-batches.
    expected = [(model, jobs) for model in (0, 1) for jobs in (2, 2, 1, 1)]
    assert [(piece.model, len(piece.jobs)) for piece in executor.submitted] == expected
    assert parts_of(tmp_path) == parts_of(alone)
    study = study_from(asked(tmp_path))
    assert list(pieces(plan(study), Store(tmp_path))) == []


def test_a_piece_whose_worker_dies_is_done_again_and_those_that_came_are_not(alone: Path, tmp_path: Path) -> None:
    deaths = ["parquet"]
    executor = Inline(lambda path: bool(deaths) and path.endswith(deaths[0]) and bool(deaths.pop()))
    assert share(asked(tmp_path), executor) == []
    assert len(executor.submitted) == 8 + 1
    assert parts_of(tmp_path) == parts_of(alone)


def test_what_dies_every_time_and_what_fails_is_told_by_part(tmp_path: Path) -> None:
    values = asked(tmp_path, only=["fourier"], images=32, models=MODELS[:1])
    del values["hessian"]
    failures = share(values, Inline(lambda path: True))
    assert [(one.diagnostic, one.message) for one in failures] == [("fourier", "WorkerDied: killed")]


def test_two_processes_make_them_from_the_command_line(
    alone: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "study.yaml").write_text(document_text(asked(tmp_path / "run", models=MODELS[:1])))
    assert main(["run", str(tmp_path / "study.yaml"), "--workers", "2"]) == 0
    found, expected = parts_of(tmp_path / "run"), parts_of(alone)
    assert len(found) == len(expected) / 2  # of the first of two networks
    assert found.items() <= expected.items()
    assert capsys.readouterr().out.splitlines()[-1].endswith("report.html")
