"""One output is the logits for every diagnostic: found, chosen, read as binary or as probabilities, or refused."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
import torch
from PIL import Image
from torch import Tensor, nn

import visionscope as vs
from running.conftest import NETWORKS, run, study_of
from running.networks import convolutions, pair, returning, single, softmax, twice
from visionscope.core.diagnostic import MeasuringDiagnostic
from visionscope.core.registry import diagnostic_class, diagnostic_names
from visionscope.core.sample import InputConfig
from visionscope.errors import ConfigError, NotApplicableError
from visionscope.running.plan import plan
from visionscope.running.readouts import Reading
from visionscope.running.store import Store

FEW: dict[str, dict[str, Any]] = {
    "hessian": {"mini_batches": 1, "k": 1},
    "density": {"mini_batches": 1, "probes": 2, "steps": 3, "sketch": 2},
    "landscape": {"sample_size": 16, "points": 3, "axes": 1, "draws": 0},
    "lesion": {"sample_size": 32},
    "frequency_noise": {"frequencies": (0.5,), "sample_size": 32},
    "adversarial": {"eps": (4.0,), "steps": 1, "sample_size": 16},
    "fourier_heatmap": {"half_size": 1, "step": 1, "sample_size": 16},
    "calibration": {"sample_size": 32, "fit_size": 8},
    "fit": {"sample_size": 32, "test_size": 32},
    "shape_bias": {"sample_size": 32},
    "sharpness": {"batches": 1, "batch_size": 16, "draws": 2, "steps": 1},
}
OBJECTIVES = ("hessian", "density", "landscape", "sharpness")
IMAGES = torch.randn(40, 3, 16, 16, generator=torch.Generator().manual_seed(0))
INPUT = InputConfig(size=(16, 16), mean=(0.5,) * 3, std=(0.5,) * 3)
MEASURING = [name for name in diagnostic_names() if isinstance(diagnostic_class(name), MeasuringDiagnostic)]


def asked(name: str, model: nn.Module, labels: Tensor, **more: Any) -> pa.Table:
    return vs.measure(name, model, IMAGES, labels, input=INPUT, fields=FEW[name], **more).table


def same(one: pa.Table, other: pa.Table, tolerance: float = 0.0) -> None:
    """Equal but for the model's name, numbers within a tolerance."""
    assert one.num_rows == other.num_rows > 0
    for name in set(one.column_names) - {"model", "residual", "products", "temperature"}:
        for a, b in zip(one[name].to_pylist(), other[name].to_pylist(), strict=True):
            if isinstance(a, float | list) and tolerance:
                np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance, err_msg=name)
            else:
                assert a == b, name


LABELS = torch.arange(40) % 10
IN_MEMORY = [name for name in FEW if name not in ("fit", "shape_bias")]  # these two read splits of a data spec


def test_every_diagnostic_that_reads_logits_is_asked_here() -> None:
    reading = {name for name in MEASURING if getattr(diagnostic_class(name), "needs_logits", True)}
    assert reading - {"corruption"} == set(FEW)  # corruption predicts and scores as these do, with a library
    assert set(MEASURING) - reading == {"attention", "compression", "receptive_field"}


@pytest.mark.parametrize("name", FEW)
def test_features_beside_the_logits_change_no_number(name: str) -> None:
    spec = f"m={NETWORKS}"
    plain, beside = (
        vs.measure(name, f"{spec}:{function}", "embedded", fields=FEW[name]).table
        for function in ("convolutions", "pair")
    )
    same(plain.drop_columns(["weights"]), beside.drop_columns(["weights"]))


@pytest.mark.parametrize("name", IN_MEMORY)
def test_of_two_heads_one_must_be_chosen(name: str) -> None:
    with pytest.raises(NotApplicableError, match=r"Returning: 2 of its outputs could be the logits: first \(batch, 10"):
        asked(name, twice(), LABELS)
    for output in ("second", 1, "-1"):
        same(asked(name, twice(), LABELS, output=output), asked(name, returning(lambda _, z: 2 * z), LABELS))


@pytest.mark.parametrize("name", IN_MEMORY)
def test_one_logit_is_two_classes(name: str) -> None:
    two = returning(lambda _, z: torch.cat([torch.zeros_like(z[:, :1]), z[:, :1]], 1))
    one, labels = asked(name, single(), LABELS % 2), LABELS % 2
    same(one, asked(name, two, labels), 1e-5)
    same(one, asked(name, returning(lambda _, z: z[:, 0]), labels), 1e-5)
    assert min(one["nll"].to_pylist() if "nll" in one.column_names else [1.0]) > 0.1


@pytest.mark.parametrize("name", IN_MEMORY)
def test_probabilities_are_refused_or_read_as_such(name: str) -> None:
    with pytest.raises(NotApplicableError, match=r"Returning: its outputs went through a softmax"):
        asked(name, softmax(), LABELS)
    logits = asked(name, convolutions(), LABELS)
    tolerance = 0.05 if name in OBJECTIVES else 1e-2 if name == "adversarial" else 1e-3
    same(asked(name, softmax(), LABELS, output_is="probabilities"), logits, tolerance)


class Coarse(nn.Module):
    """A second head, which the chosen output does not depend on."""

    def __init__(self) -> None:
        super().__init__()
        self.network = returning(lambda features, logits: (features, logits))
        self.coarse = nn.Linear(8, 4)

    def forward(self, images: Tensor) -> Any:
        features, logits = self.network(images)
        return {"fine": logits, "coarse": self.coarse(features)}


def test_a_head_that_is_not_read_counts_as_flat() -> None:
    torch.manual_seed(0)
    model = Coarse()
    found = {name: asked(name, model, LABELS, output="fine") for name in ("hessian", "density")}
    alone = asked("hessian", convolutions(), LABELS)
    assert found["hessian"]["eigenvalue"].to_pylist() == pytest.approx(alone["eigenvalue"].to_pylist(), rel=1e-3)
    assert found["density"].num_rows > 0


def test_one_logit_knows_no_third_class() -> None:
    with pytest.raises(vs.VisionscopeError, match=r"labels: must be 0 to 1 .* single logit .* class 0\); got 9"):
        asked("calibration", single(), LABELS)
    with pytest.raises(vs.VisionscopeError, match=r"a label is 9, but the model has 2 classes, 0 to 1"):
        asked("hessian", single(), LABELS)
    # In a study, before anything is computed.
    with pytest.raises(
        NotApplicableError, match=r"m: needs labels; .* of 10 classes, the model's head has 2 \(its sin"
    ):
        plan(planned_study("single"))


@pytest.fixture
def two_classes(tmp_path: Path) -> str:
    colours = np.random.default_rng(0)
    for name in ("cat", "dog"):
        (tmp_path / "photos" / name).mkdir(parents=True)
        for number in range(10):
            pixels = colours.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(tmp_path / "photos" / name / f"{number}.png")
    return str(tmp_path / "photos")


@pytest.mark.parametrize("function", ["single", "stale"])
def test_the_head_as_it_is_tells_which_data_fit(function: str, two_classes: str, tmp_path: Path) -> None:
    assert run(plan(planned_study(function, data=two_classes)), tmp_path / "run") == []
    stored = Store(tmp_path / "run").table("calibration").to_pylist()[0]
    memory = vs.measure(
        "calibration", f"m={NETWORKS}:{function}", two_classes, fields={"sample_size": 16, "fit_size": 4}
    )
    assert stored["nll"] == pytest.approx(memory.table.to_pylist()[0]["nll"])
    assert (stored["classes"], set(stored["label"])) == (2, {0.0, 1.0})


def test_labels_that_are_all_0_are_no_proof_of_anything() -> None:
    found = asked("calibration", returning(lambda _, z: 0.1 * z[:, :1]), LABELS * 0).to_pylist()[0]
    assert found["classes"] == 2
    assert found["nll"] == pytest.approx(0.69, abs=0.1)


@pytest.mark.parametrize("model", [convolutions(), pair()])
def test_a_network_without_its_head_has_no_classes(model: nn.Module) -> None:
    model.head = nn.Identity()
    told = "gives 8 features" if type(model).__name__ == "Convolutions" else "none of its outputs has|2 of its outputs"
    with pytest.raises(NotApplicableError, match=told):
        asked("calibration", model, LABELS)
    assert vs.variance(model, IMAGES).table.num_rows > 0  # which needs no classes


def planned_study(function: str, **more: Any) -> Any:
    few = {"calibration": {"sample_size": 16, "fit_size": 4}}
    return study_of(models=[f"m={NETWORKS}:{function}"], only=["calibration"], **{**few, **more})


def digest(function: str, **more: Any) -> str:
    (subject,) = plan(planned_study(function, **more))
    return str(subject.jobs[0].record["job"])


def test_the_chosen_output_is_part_of_a_job_and_saying_what_is_so_anyway_is_none() -> None:
    assert digest("twice", output="first") != digest("twice", output="second")
    assert digest("twice", output="second") == digest("twice", output=1)
    assert digest("pair") == digest("pair", output=1) != digest("convolutions")
    assert (
        digest("convolutions") == digest("convolutions", output="logits") == digest("convolutions", output_is="logits")
    )
    assert digest("softmax", output_is="logits") != digest("softmax", output_is="probabilities")


def test_a_study_goes_on_without_the_network_that_has_two_heads(tmp_path: Path) -> None:
    models = [f"{function}={NETWORKS}:{function}" for function in ("twice", "pair")]
    study = dataclasses.replace(planned_study("pair"), models=tuple(models))
    planned = plan(study)
    assert [len(subject.jobs) for subject in planned] == [0, 1]
    assert planned[0].skipped[0][1].startswith("twice: 2 of its outputs could be the logits")
    assert run(planned, tmp_path) == []
    (path,) = tmp_path.glob("calibration/*/job.json")
    assert json.loads(path.read_text())["readout"] == {"output": "1", "is": "logits", "of": "classes"}


def test_a_study_file_chooses_for_all_its_networks(tmp_path: Path) -> None:
    study = dataclasses.replace(
        planned_study("twice", output=1), models=(f"a={NETWORKS}:twice", f"b={NETWORKS}:convolutions")
    )
    assert study.plain()["output"] == "1"
    assert run(plan(study), tmp_path) == []
    nll = {row["model"]: row["nll"] for row in Store(tmp_path).table("calibration").to_pylist()}
    assert nll["a"] != pytest.approx(nll["b"], rel=1e-3)  # twice the logits, not the first of them


def test_an_ensemble_reads_its_members(tmp_path: Path) -> None:
    def nll(function: str, **more: Any) -> float:
        (subject,) = planned = plan(planned_study(function, n_forward=2, **more))
        folder = tmp_path / f"{function} {more}"
        assert run(planned, folder) == []
        assert (subject.jobs[0].record["readout"] is None) == (function == "convolutions")
        return float(Store(folder).table("calibration")["nll"][0].as_py())

    assert nll("pair") == pytest.approx(nll("convolutions"), rel=1e-6)
    assert nll("twice", output="second") != pytest.approx(nll("twice", output="first"), rel=1e-3)
    with pytest.raises(NotApplicableError, match="its outputs went through a softmax"):
        plan(planned_study("softmax", n_forward=2))


@pytest.mark.parametrize(
    ("values", "told"),
    [
        ({"output_is": "probs"}, r"output_is: must be one of logits, probabilities; got 'probs'. Did you mean 'prob"),
        ({"output": [1]}, r"output: must be text that is not empty; got \[1\]"),
        ({"output": True}, r"output: must be text that is not empty; got True"),
    ],
)
def test_wrong_values_are_told_at_once(values: dict[str, Any], told: str) -> None:
    with pytest.raises(ConfigError, match=told):
        planned_study("pair", **values)
    with pytest.raises(ConfigError, match=r"output_is: must be one of logits, probabilities; got 'both'"):
        asked("calibration", pair(), LABELS, output_is="both")


def test_a_choice_that_no_network_has_ends_the_command() -> None:
    with pytest.raises(NotApplicableError, match=r"calibration of m: output: must be one of 0 .*, 1 .*; got 'logits'"):
        plan(planned_study("pair", output="logits"))


class Demanding(nn.Module):
    """Runs with as many images as it was exported for, so that it can't be tried on others."""

    def __init__(self) -> None:
        super().__init__()
        self.network = softmax()

    def forward(self, images: Tensor) -> Tensor:
        if len(images) not in (2, 8, 32):
            raise RuntimeError("the batch must be 2, 8 or 32")
        return self.network(images)


def test_what_cannot_be_tried_is_looked_at_as_it_comes() -> None:
    with pytest.raises(vs.VisionscopeError, match="its outputs went through a softmax"):
        asked("calibration", Demanding(), LABELS)


def test_a_network_without_a_classifier_gives_no_predictions() -> None:
    reading = Reading("bare", nn.Identity(), (3, 8, 8), output=None, output_is=None, stated=0)
    with pytest.raises(NotApplicableError, match=r"bare: has no classifier \(num_classes=0\)"):
        reading.classes()


def test_attention_needs_no_classifier() -> None:
    planned = plan(study_of(models=["vit_nano?num_classes=0"], only=["attention"], images=8))
    assert [job.diagnostic.name for one in planned for job in one.jobs] == ["attention"]
