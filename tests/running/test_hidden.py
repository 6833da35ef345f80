"""Networks that hide their operations, in a notebook and in a study: predictions are asked, all else is left out."""

import dataclasses
from pathlib import Path
from typing import Any

import pytest
import torch

import visionscope
from reference import hidden_networks as networks
from reference.found_as_it_was import snapshot
from visionscope.config import study_from
from visionscope.core.sample import InputConfig
from visionscope.errors import ConfigError, NotApplicableError, TraceError
from visionscope.running.devices import device_of
from visionscope.running.execute import execute
from visionscope.running.plan import job_digest, plan
from visionscope.running.store import Store
from visionscope.running.study import Study

FILE = Path(networks.__file__)
IMAGES, LABELS = torch.randn(32, 3, 16, 16, generator=torch.Generator().manual_seed(0)), torch.arange(32) % 10
INPUT = InputConfig(size=(16, 16), mean=(0.5,) * 3, std=(0.25,) * 3)
HIDDEN = ["dynamic", "static", "exported", "exported_inside", "scripted", "frozen", "traced"]
SAME = ["exported", "exported_inside", "scripted", "frozen", "traced", "graph"]


def nll(model: Any, name: str, **asked: Any) -> list[float]:
    return list(getattr(visionscope, name)(model, IMAGES, LABELS, **asked).table["nll"].to_pylist())


def study_of(*names: str, only: str, **values: Any) -> Study:
    few = {
        "calibration": {"sample_size": 10, "fit_size": 4},
        "fit": {"sample_size": 8},
        "shape_bias": {"sample_size": 8},
    }
    few = {name: fields for name, fields in few.items() if name in only.split(",") or only == "all"}
    models = [f"{name}={FILE}:{name}" for name in names]
    return study_from(
        {"models": models, "data": "embedded", "only": only, "images": 8, "device": "cpu", **few, **values}
    )


@pytest.mark.parametrize("made", SAME)
def test_predictions_are_those_of_the_network_that_it_was_made_from(made):
    model = getattr(networks, made)()
    with torch.no_grad():
        expected = networks.plain()(IMAGES)
    torch.testing.assert_close(model(IMAGES), expected)
    assert nll(model, "calibration") == pytest.approx(nll(networks.plain(), "calibration"), rel=1e-5)
    noise = {"input": INPUT, "frequencies": (0.1, 1.0)}
    assert nll(model, "frequency_noise", **noise) == pytest.approx(
        nll(networks.plain(), "frequency_noise", **noise), 1e-5
    )


@pytest.mark.parametrize("made", ["dynamic", "static"])
def test_a_quantised_network_has_predictions_of_its_own(made):
    model = getattr(networks, made)()
    with torch.no_grad():
        own = torch.nn.functional.cross_entropy(model(IMAGES[:16]).double(), LABELS[:16])
    found = visionscope.frequency_noise(model, IMAGES[:16], LABELS[:16], input=INPUT, frequencies=(1.0,))
    assert found.table["nll"][0].as_py() == pytest.approx(float(own), rel=1e-5)
    assert found.table.num_rows > 1


@pytest.mark.parametrize("made", HIDDEN)
@pytest.mark.parametrize("name", ["fourier", "variance", "lesion", "attention", "hessian", "density", "landscape"])
def test_what_looks_inside_is_refused_in_one_line(made, name):
    with pytest.raises(
        NotApplicableError, match=r"a model that is (quantised|exported|scripted).* hides its operations"
    ):
        visionscope.measure(name, getattr(networks, made)(), IMAGES, LABELS)


@pytest.mark.parametrize("made", ["exported", "dynamic", "traced"])
def test_it_is_left_as_it_was(made):
    model = getattr(networks, made)()
    before = snapshot(model)
    nll(model, "calibration")
    assert snapshot(model) == before


@pytest.mark.parametrize("made", ["dynamic", "static"])
def test_an_attack_on_a_quantised_network_is_refused(made):
    with pytest.raises(NotApplicableError, match="an attack follows gradients, and a model that is quantised"):
        visionscope.measure("adversarial", getattr(networks, made)(), IMAGES, LABELS, input=INPUT)


@pytest.mark.parametrize("made", ["on_meta", "observed", "traced_in_training", "exported_for_two"])
@pytest.mark.parametrize("name", ["calibration", "fourier", "hessian"])
def test_what_can_not_predict_is_refused_whatever_is_asked(made, name):
    with pytest.raises(TraceError, match=r"meta device|records every pass|training mode|dynamic batch axis"):
        visionscope.measure(name, getattr(networks, made)(), IMAGES, LABELS)


def test_what_is_no_module_is_told_what_to_pass():
    for asked in (lambda model: visionscope.points(model), lambda model: visionscope.fourier(model, IMAGES)):
        with pytest.raises(ConfigError, match=r"got ExportedProgram; pass its \.module\(\)"):
            asked(networks.program())
    with pytest.raises(ConfigError, match=r"it returned ExportedProgram; return its \.module\(\)"):
        plan(study_of("program", only="calibration"))


class Restless(networks.Residual):
    """Adds once more in every other pass."""

    passes = 0

    def forward(self, x):
        Restless.passes += 1
        x = self.stem(x)
        x = x + self.mix(x)
        x = x + self.mix(x) if Restless.passes % 2 else x
        return self.head(x.mean((2, 3)))


def test_a_network_that_can_not_be_traced_may_predict():
    assert len(nll(Restless().eval(), "calibration")) > 0
    with pytest.raises(TraceError, match="two dry runs saw different residual sums"):
        visionscope.measure("hessian", Restless().eval(), IMAGES, LABELS)


def test_a_study_asks_predictions_of_all_and_looks_into_those_that_it_can(tmp_path):
    study = study_of(
        "plain", "dynamic", "static", "exported", "frozen", only="fourier,calibration,fit,shape_bias,hessian"
    )
    planned = plan(study)
    predicted = ["calibration", "fit", "shape_bias"]
    assert [[job.diagnostic.name for job in some.jobs] for some in planned] == [
        ["fourier", *predicted, "hessian"],
        *[predicted] * 4,
    ]
    for some in planned[1:]:
        assert [name for name, _ in some.skipped] == ["fourier", "hessian"]
        assert all("hides its operations" in reason for _, reason in some.skipped)
    assert execute(planned[1:], Store(tmp_path), batch=8, device=device_of("cpu")) == []
    exact = [float(Store(tmp_path).table("fit")["nll"][place].as_py()) for place in range(2)]
    assert exact[0] != exact[1]


def test_what_applies_to_no_model_is_one_line():
    with pytest.raises(NotApplicableError, match="fourier of exported: a model that is exported hides its operations"):
        plan(study_of("exported", only="fourier,hessian"))
    with pytest.raises(ConfigError, match="weights are on the meta device"):
        plan(study_of("on_meta", only="calibration"))
    with pytest.raises(
        ConfigError, match=r"precision: static is quantised .* stays as it was made; got fp64, take fp32"
    ):
        plan(study_of("static", only="calibration", precision="fp64"))


def test_a_frozen_network_is_another_job_of_curvature_and_the_same_of_all_else():
    study = study_of("plain", "half_frozen", "wholly_frozen", only="fourier,hessian,density,landscape")
    jobs = []
    for name, model in zip(("plain", "half_frozen", "wholly_frozen"), study.models, strict=True):
        (planned,) = plan(dataclasses.replace(study, models=(model,)))
        jobs.append({job.diagnostic.name: job for job in planned.jobs})
        assert planned.subject.label == name
    for name in ("hessian", "density", "landscape"):
        told = [some[name].diagnostic.identity_in(some[name].subject) for some in jobs]
        assert told[0] == []
        assert told[1][0] == "trainable"
        assert told[2][0] == "all"
    identity = {"model": "m", "sample": "s", "precision": "fp32", "points": ()}
    hessian = jobs[0]["hessian"].diagnostic
    digests = {
        job_digest(
            **identity, diagnostic=hessian, measured=job["hessian"].diagnostic.identity_in(job["hessian"].subject)
        )
        for job in jobs
    }
    assert len(digests) == 3
    assert job_digest(**identity, diagnostic=hessian) in digests


class Lazy(torch.nn.Module):
    def __init__(self):
        super().__init__()
        self.stem, self.head = torch.nn.LazyConv2d(4, 3), torch.nn.LazyLinear(10)

    def forward(self, x):
        return self.head(self.stem(x).mean((2, 3)))


@networks.factory
def lazy():
    return Lazy()


def test_a_network_without_shapes_is_told_to_see_images_first():
    for name in ("calibration", "hessian"):
        with pytest.raises(
            TraceError, match=r"Lazy: 'stem.weight' has no shape yet; show the network some images once"
        ):
            visionscope.measure(name, lazy(), IMAGES, LABELS)


def test_images_made_in_inference_mode_are_as_good_as_others():
    with torch.inference_mode():
        images = IMAGES.clone()
    found, wanted = (
        visionscope.hessian(networks.plain(), some, LABELS, mini_batches=1, k=1).table["eigenvalue"].to_pylist()
        for some in (images, IMAGES)
    )
    assert found == wanted
