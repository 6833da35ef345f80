import dataclasses
import hashlib
from pathlib import Path
from typing import Any, ClassVar

import pytest
from hypothesis import given
from hypothesis import strategies as st

from running.conftest import NETWORKS, study_of
from running.losses import Losses
from visionscope.core.spans import span_of, spans_of
from visionscope.data.sources import open_source
from visionscope.diagnostics.variance.question import Variance
from visionscope.errors import ConfigError, NotApplicableError
from visionscope.running.devices import device_of
from visionscope.running.plan import job_digest, plan
from visionscope.running.study import Study

CNN, VIT = f"cnn={NETWORKS}:convolutions", f"vit={NETWORKS}:tokens"


def digests(**values: Any) -> list[str]:
    return [job.record["job"] for subject in plan(study_of(**{"images": 8, **values})) for job in subject.jobs]


@dataclasses.dataclass(frozen=True, kw_only=True)
class Question:
    name: ClassVar[str] = "question"
    version: ClassVar[int] = 1
    labelling: str = "true"
    bins: int = 5


@dataclasses.dataclass(frozen=True, kw_only=True)
class NewerQuestion(Question):
    version: ClassVar[int] = 2


BASE: dict[str, Any] = {
    "model": "m",
    "sample": "s",
    "diagnostic": Question(),
    "precision": "fp32",
    "points": [("stem", ""), ("blocks.0+msa", "stem")],
}


@pytest.mark.parametrize(
    "change",
    [
        {"model": "other"},
        {"sample": "other"},
        {"diagnostic": Question(labelling="paper")},
        {"diagnostic": Question(bins=6)},
        {"diagnostic": NewerQuestion()},
        {"precision": "bf16"},
        {"points": [("stem", "")]},
        {"points": [("stem", ""), ("blocks.0+msa", "")]},
    ],
)
def test_digest_changes_with_what_the_numbers_depend_on(change):
    assert job_digest(**{**BASE, **change}) != job_digest(**BASE)


def test_digest_is_the_same_on_every_machine():
    spelt_out = (
        '{"diagnostic": "question", "fields": {"bins": 5, "labelling": "true"}, "model": "m", "objective": null, '
        '"points": [["stem", ""], ["blocks.0+msa", "stem"]], "precision": "fp32", "sample": "s", "version": 1}'
    )
    assert job_digest(**BASE) == hashlib.sha256(spelt_out.encode()).hexdigest()


@pytest.fixture(scope="module")
def usual() -> list[str]:
    return digests()


@pytest.mark.parametrize(
    "change",
    [
        {"batch": 7},
        {"device": "auto"},
        {"out": "elsewhere"},
        {"models": [f"another={NETWORKS}:convolutions"]},
        {"only": ["fourier", "variance"]},
        {"fourier": {}},
    ],
)
def test_device_batch_label_and_folder_are_no_identity(usual, change):
    assert digests(**change) == usual


@pytest.mark.parametrize(
    "change",
    [
        {"models": [f"cnn={NETWORKS}:convolutions?seed=1"]},
        {"models": [f"cnn={NETWORKS}:convolutions?width=4"]},
        {"images": 9},
        {"seed": 1},
        {"data": "embedded:conflict"},
        {"precision": "fp64"},
        {"size": [24, 24]},
        {"mean": [0.4, 0.5, 0.5]},
        {"points": ["stem"]},
    ],
)
def test_everything_else_is(usual, change):
    changed = digests(**change)
    assert len(changed) == len(usual)
    assert not set(changed) & set(usual)


def test_the_calls_that_are_removed_are_identity():
    removals = [digests(only=["lesion"], lesion=fields) for fields in ({}, {"calls": "each"}, {"calls": "all"})]
    assert removals[0] == removals[1] != removals[2]


def test_fields_change_their_own_diagnostic_alone(usual):
    changed = digests(fourier={"labelling": "paper"})
    assert changed[0] != usual[0]
    assert changed[1] == usual[1]


def test_weights_make_the_identity_not_the_file(tmp_path, usual):
    copy = tmp_path / "elsewhere.py"
    copy.write_bytes(NETWORKS.read_bytes())
    changed = copy.with_name("changed.py")
    changed.write_bytes(NETWORKS.read_bytes() + b"# another network?\n")
    assert digests(models=[f"cnn={changed}:convolutions"]) != usual


def test_one_network_is_loaded_once_for_all_its_diagnostics():
    (cnn, vit) = plan(study_of(models=[CNN, VIT], only=["fourier", "variance", "similarity"], images=8))
    assert [job.diagnostic.name for job in cnn.jobs] == ["fourier", "variance", "similarity"]
    assert [subject.subject.label for subject in (cnn, vit)] == ["cnn", "vit"]
    assert cnn.jobs[0].record["data"]["image_digest"] == vit.jobs[0].record["data"]["image_digest"]


def test_record_says_all_that_a_reader_needs():
    (subject,) = plan(study_of())
    record = subject.jobs[0].record
    assert record["model"]["label"] == "cnn"
    assert record["model"]["parameters"] == sum(p.numel() for p in subject.subject.model.parameters())
    assert record["data"] | {"digest": "", "image_digest": "", "input": {}} == {
        "spec": "embedded",
        "split": "test",
        "augmentation": None,
        "images": 300,
        "seed": 0,
        "digest": "",
        "image_digest": "",
        "input": {},
    }
    assert record["parts"] == ["0000-0256", "0256-0300"]
    assert [point["name"] for point in record["points"]] == [point.name for point in subject.subject.points]
    assert {"python", "torch", "visionscope"} <= set(record["versions"])


def test_named_points_are_taken_in_model_order():
    (subject,) = plan(study_of(points=["blocks.1.conv", "stem"], images=8))
    assert [point.name for point in subject.subject.points] == ["stem", "blocks.1.conv"]


def test_points_may_belong_to_one_of_several_models():
    cnn, vit = plan(study_of(models=[CNN, VIT], points=["blocks.1+conv", "blocks.1+msa"], images=8))
    assert [point.name for point in cnn.subject.points] == ["blocks.1+conv"]
    assert [point.name for point in vit.subject.points] == ["blocks.1+msa"]


@pytest.mark.parametrize(
    ("values", "message"),
    [
        (
            {"models": [CNN, f"cnn={NETWORKS}:tokens"]},
            r"models: 'cnn=.*' have one label, 'cnn'; write 'cnn-2=",
        ),
        ({"models": [CNN, f"twin={NETWORKS}:convolutions"]}, r"'cnn' and 'twin' are the same network with the same"),
        ({"points": ["blocks.1.msa"]}, r"points: cnn has none called 'blocks.1.msa'. Did you mean 'blocks.1.conv'\?"),
        ({"points": ["stem", "blocks.9"]}, r"points: no model has one called 'blocks.9'; `visionscope points MODEL"),
    ],
)
def test_refused(values, message):
    with pytest.raises(ConfigError, match=message):
        plan(study_of(**{"images": 8, **values}))


@pytest.mark.parametrize("name", ["gpu", "cuda:99", "cpu:x"])
def test_device_that_is_not_there(name):
    with pytest.raises(ConfigError, match=rf"device: must be auto, cpu, cuda or cuda:N, if available; got '{name}'"):
        device_of(name)


@given(st.integers(1, 20_000))
def test_spans_cover_all_images_once(images):
    spans = [span_of(part) for part in spans_of(images)]
    assert [stop for _, stop in spans[:-1]] == [start for start, _ in spans[1:]]
    assert (spans[0][0], spans[-1][1]) == (0, images)
    assert all(stop - start == 256 for start, stop in spans[:-1])
    assert 1 <= spans[-1][1] - spans[-1][0] <= 256


def test_networks_are_where_the_tests_say():
    assert Path(NETWORKS).is_file()


class OnlyTokens(Losses):
    """Has nothing to ask of a network without the label `vit`."""

    def parts(self, subject):
        if subject.label != "vit":
            raise NotApplicableError("it has no tokens")
        return super().parts(subject)


def planned_with(models, *diagnostics):
    return plan(Study(models=models, data="embedded", diagnostics=diagnostics, images=8))


def test_what_does_not_apply_is_listed_and_the_rest_goes_on():
    cnn, vit = planned_with((CNN, VIT), OnlyTokens(), Variance())
    assert cnn.skipped == (("losses", "cnn: it has no tokens"),)
    assert [job.diagnostic.name for job in cnn.jobs] == ["variance"]
    assert cnn.jobs[0].record["not_applicable"] == [{"diagnostic": "losses", "reason": "cnn: it has no tokens"}]
    assert vit.skipped == ()
    assert [job.diagnostic.name for job in vit.jobs] == ["losses", "variance"]


def test_a_model_may_be_left_without_any_job():
    cnn, vit = planned_with((CNN, VIT), OnlyTokens())
    assert cnn.jobs == ()
    assert len(vit.jobs) == 1


def test_what_applies_to_no_model_costs_the_rest_nothing():
    (cnn,) = planned_with((CNN,), OnlyTokens(), Variance())
    assert cnn.skipped == (("losses", "cnn: it has no tokens"),)
    assert [job.diagnostic.name for job in cnn.jobs] == ["variance"]


def test_a_study_of_which_nothing_applies_is_refused():
    with pytest.raises(NotApplicableError, match=r"losses of cnn: it has no tokens"):
        planned_with((CNN,), OnlyTokens())


class WithMore(Losses):
    """Reads images beside its own."""

    sample = "eval"
    beside = ("calibration",)

    def images_beside(self, available):
        return 10


class WithFewer(WithMore):
    def images_beside(self, available):
        return 9


def test_a_calibration_sample_has_none_of_the_images_of_the_first():
    (subject,) = planned_with((CNN,), WithMore())
    samples = subject.jobs[0].subject.samples
    assert list(samples) == ["eval", "calibration"]
    assert len(samples["calibration"]) == 10
    assert not set(samples["eval"].indices) & set(samples["calibration"].indices)
    again = planned_with((CNN,), WithFewer())
    assert again[0].jobs[0].record["job"] != subject.jobs[0].record["job"]


class FromElsewhere(Losses):
    """Brings its own images."""

    sample = "conflict"

    def source(self, spec, num_classes):
        return open_source(f"{spec}:conflict", num_classes=num_classes)


def test_a_diagnostic_may_bring_its_own_images():
    (subject,) = planned_with((CNN,), FromElsewhere())
    assert subject.jobs[0].subject.samples["conflict"].source.split == "conflict"
    assert subject.jobs[0].record["data"]["split"] == "conflict"
