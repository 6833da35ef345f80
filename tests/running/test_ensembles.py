"""Ensembles in a study: what is asked of them, what is left out, what makes two of them different jobs."""

import dataclasses
import json
from pathlib import Path

import pytest

import visionscope
from visionscope.config import study_from
from visionscope.core.diagnostic import MeasuringDiagnostic
from visionscope.core.registry import diagnostic_class, diagnostic_names
from visionscope.errors import ConfigError, NotApplicableError
from visionscope.models.checkpoint import save_checkpoint
from visionscope.models.load import load_model
from visionscope.running.devices import device_of
from visionscope.running.execute import execute
from visionscope.running.plan import plan
from visionscope.running.store import Store
from visionscope.running.study import Study

DROPPING = "vit_nano?num_classes=10&proj_drop_rate=0.2"
PREDICTS = {"adversarial", "calibration", "corruption", "fit", "fourier_heatmap", "frequency_noise", "shape_bias"}


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> list[Path]:
    folder, found = tmp_path_factory.mktemp("weights"), []
    for seed in (0, 1):
        loaded = load_model("vit_nano?num_classes=10", random_weights=seed)
        found.append(folder / f"{seed}.safetensors")
        save_checkpoint(found[-1], loaded.model, num_classes=10, arguments={}, config=loaded.input)
    return found


def asked(files: list[Path], only: str, **values: object) -> Study:
    spec = f"both={DROPPING}@{','.join(map(str, files))}"
    return study_from({"models": [spec], "data": "embedded", "only": only, "images": 8, "device": "cpu", **values})


def test_only_what_asks_for_predictions_alone_takes_ensembles() -> None:
    measuring = [name for name in diagnostic_names() if isinstance(diagnostic_class(name), MeasuringDiagnostic)]
    assert {name for name in measuring if getattr(diagnostic_class(name), "ensembles", False)} == PREDICTS


def test_an_ensemble_is_measured_and_what_looks_inside_is_left_out(files: list[Path]) -> None:
    few = {"calibration": {"sample_size": 10, "fit_size": 4}}
    both = asked(files, "fourier,hessian,calibration", **few)
    planned = plan(dataclasses.replace(both, models=(*both.models, f"one={DROPPING}@{files[0]}")))
    assert [[job.diagnostic.name for job in some.jobs] for some in planned] == [
        ["calibration"],
        ["fourier", "hessian", "calibration"],
    ]
    assert [name for name, _ in planned[0].skipped] == ["fourier", "hessian"]
    assert all("looks inside one network, and this is an ensemble" in reason for _, reason in planned[0].skipped)


def test_the_store_says_what_the_prediction_was_made_of(files: list[Path], tmp_path: Path) -> None:
    study = asked(files, "calibration", n_forward=2, calibration={"sample_size": 10, "fit_size": 4})
    store = Store(tmp_path)
    assert execute(plan(study), store, batch=8, device=device_of("cpu")) == []
    table = store.table("calibration")
    assert table.num_rows == 2
    weights = "mean of 2 checkpoints: 0.safetensors, 1.safetensors; 2 passes with dropout"
    assert set(table["weights"].to_pylist()) == {weights}
    (record,) = [json.loads(path.read_text()) for path in tmp_path.glob("calibration/*/job.json")]
    assert "members=2 n_forward=2" in record["model"]["architecture"]


def test_passes_and_members_are_part_of_the_job(files: list[Path]) -> None:
    few = {"calibration": {"sample_size": 10, "fit_size": 4}}
    studies = [
        asked(files, "calibration", **few),
        asked(files, "calibration", n_forward=2, **few),
        asked(files, "calibration", n_forward=3, **few),
        asked(files[:1], "calibration", n_forward=3, **few),
        asked(files[:1], "calibration", **few),
    ]
    jobs = {plan(study)[0].jobs[0].record["job"] for study in studies}
    assert len(jobs) == len(studies)


def test_what_can_never_work_is_one_line(files: list[Path]) -> None:
    with pytest.raises(NotApplicableError, match=r"fourier of both: looks inside one network, and this"):
        plan(asked(files, "fourier"))
    with pytest.raises(ConfigError, match=r"n_forward: must be an integer from 1 to 100000; got 0"):
        asked(files, "fourier", n_forward=0)
    plain = study_from({"models": [f"vit_nano@{files[0]}"], "data": "embedded", "only": "calibration", "n_forward": 2})
    with pytest.raises(ConfigError, match=r"vit_nano@0: n_forward: needs a network with dropout"):
        plan(plain)


def test_in_memory_they_are_measured_alike(files: list[Path]) -> None:
    spec = f"vit_nano@{files[0]},{files[1]}"
    found = visionscope.measure("calibration", spec, "embedded", fields={"sample_size": 10, "fit_size": 4})
    assert found.table["weights"].to_pylist()[0] == "mean of 2 checkpoints: 0.safetensors, 1.safetensors"
    for name in ("fourier", "density"):
        with pytest.raises(NotApplicableError, match="looks inside one network, and this is an ensemble"):
            visionscope.measure(name, spec, "embedded")
