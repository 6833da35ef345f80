import dataclasses
import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch

from reference.found_as_it_was import snapshot
from running import losses
from running.conftest import NETWORKS, run, study_of
from running.losses import Losses
from visionscope.core.diagnostic import Cost
from visionscope.core.objective import Objective
from visionscope.core.sample import Batch
from visionscope.errors import ConfigError, DataError, StoreError
from visionscope.pages import write_report
from visionscope.running import measuring
from visionscope.running.measuring import Prospect, free_memory, measure, prospect
from visionscope.running.plan import PlannedSubject, plan
from visionscope.running.store import Store, data_text

CPU = torch.device("cpu")
PARTS = ("0000", "0001", "0002")


@pytest.fixture(autouse=True)
def registered(monkeypatch: pytest.MonkeyPatch) -> None:
    losses.register(monkeypatch)


def planned(**values: Any) -> PlannedSubject:
    (found,) = plan(study_of(**{"only": ["losses"], "images": 40, **values}))
    return found


def digest(**values: Any) -> str:
    (job,) = planned(**values).jobs
    return str(job.record["job"])


def test_what_numbers_do_not_depend_on_is_in_no_digest():
    asked = {"only": ["landscape"], "landscape": {"points": 3}}
    usual = digest(**asked)
    assert digest(**{**asked, "landscape": {"points": 3, "rise": 2.0, "radius": 0.25}}) == usual
    points = [point.name for point in planned().subject.points]
    assert digest(**asked, points=points[:1]) == usual
    assert digest(**{**asked, "landscape": {"points": 5}}) != usual


def test_tables_tell_samples_of_other_seeds_apart():
    told = [data_text(planned(seed=seed).jobs[0].record["data"]) for seed in (0, 1)]
    assert told == ["embedded:train, strong augmentation", "embedded:train, strong augmentation, seed 1"]


class Torn:
    """A sample one of whose images can't be read."""

    digest = "torn"

    def __init__(self, sample: Any, position: int) -> None:
        self.sample, self.position = sample, position

    def __len__(self) -> int:
        return len(self.sample)

    def batches(self, start: int, stop: int, batch_size: int) -> Iterator[Batch]:
        if start <= self.position < stop:
            raise DataError("cat.jpg can't be decoded")
        yield from self.sample.batches(start, stop, batch_size)


def torn(subject: PlannedSubject, position: int) -> PlannedSubject:
    (job,) = subject.measuring
    samples = {"train": Torn(job.subject.samples["train"], position)}
    return dataclasses.replace(
        subject, jobs=(dataclasses.replace(job, subject=dataclasses.replace(job.subject, samples=samples)),)
    )


def test_the_training_images_are_measured_with_the_paper_s_augmentation():
    subject = planned()
    (job,) = subject.jobs
    (sample,) = job.subject.samples.values()
    assert subject.observing == ()
    assert subject.subject.samples == {}
    assert job.parts == PARTS
    assert job.subject.augmentation == "strong"
    assert job.subject.objective == Objective(label_smoothing=0.1, weight_decay=0.05)
    assert (len(sample), sample.source.split, sample.augmentation.mixup) == (48, "train", 1.0)
    record = job.record
    assert (record["data"]["split"], record["data"]["augmentation"], record["data"]["images"]) == (
        "train",
        "strong",
        48,
    )
    assert record["objective"] == {"label_smoothing": 0.1, "weight_decay": 0.05, "decays": "all"}
    assert next(sample.batches(0, 16, 16)).shares is not None


def test_clean_images_and_another_split_are_options():
    (job,) = planned(augmentation="none", data="embedded:val").jobs
    (sample,) = job.subject.samples.values()
    assert (sample.source.split, sample.augmentation) == ("val", None)
    assert job.subject.objective.label_smoothing == 0


def test_observers_and_measurers_have_samples_of_their_own(tmp_path):
    subject = planned(only=["variance", "losses"])
    variance, own = subject.jobs
    assert (subject.observing, subject.measuring) == ((variance,), (own,))
    assert (variance.record["data"]["split"], variance.record["data"]["images"]) == ("test", 40)
    assert variance.record["objective"] is None
    (alone,) = planned(only=["variance"]).jobs
    assert variance.record["job"] == alone.record["job"]
    assert run((subject,), tmp_path) == []
    assert set(Store(tmp_path).table("variance")["data"].to_pylist()) == {"embedded"}
    assert set(Store(tmp_path).table("losses")["data"].to_pylist()) == {"embedded:train, strong augmentation"}
    write_report(tmp_path)
    # Different samples of different diagnostics make no two models of one.
    assert "cnn (" not in (tmp_path / "tables" / "losses.csv").read_text()
    assert (tmp_path / "tables" / "losses_summary.csv").read_text().startswith('"model","nll_mean"')


@pytest.mark.parametrize(
    "change",
    [
        {"augmentation": "weak"},
        {"augmentation": "none"},
        {"label_smoothing": 0.2},
        {"weight_decay": 0.0},
        {"decays": "matrices"},
        {"losses": {"mini_batches": 2}},
        {"seed": 1},
        {"data": "embedded:test"},
        {"precision": "fp64"},
    ],
)
def test_identity_holds_all_that_the_numbers_depend_on(change):
    assert digest(**change) != digest()


def test_number_of_observed_images_is_no_part_of_it():
    assert digest(images=8, batch=7) == digest()


def test_what_a_diagnostic_says_stands_for_its_fields(monkeypatch):
    before = digest()
    monkeypatch.setattr(Losses, "identity", lambda self: {"file": "content"}, raising=False)
    assert digest() != before
    assert digest(losses={"memory": 7}) == digest()


def test_precision_that_the_numbers_cannot_be_trusted_in():
    message = r"precision: losses is measured in fp32 or fp64 only; got 'bf16', take fp32"
    with pytest.raises(ConfigError, match=message):
        planned(precision="bf16")


def test_parts_are_prepared_once_and_stored_one_by_one(tmp_path):
    assert run((planned(),), tmp_path) == []
    assert Losses.prepared == [PARTS]
    assert sorted(path.name for path in tmp_path.glob("losses/*/*.parquet")) == [f"{part}.parquet" for part in PARTS]
    table = Store(tmp_path).table("losses")
    assert table["mini_batch"].to_pylist() == [0, 1, 2]
    assert Store(tmp_path).jobs()[0]["times"].keys() == {"planned", "finished", "seconds"}
    assert run((planned(),), tmp_path) == []
    assert Losses.prepared == [PARTS]


def test_only_missing_parts_are_computed_and_the_bits_are_the_same(tmp_path):
    run((planned(),), tmp_path / "whole")
    for keep in PARTS:
        folder = tmp_path / keep
        run((planned(),), folder)
        for path in folder.glob("losses/*/*.parquet"):
            if path.stem != keep:
                path.unlink()
        Losses.prepared.clear()
        assert run((planned(),), folder) == []
        assert Losses.prepared == [tuple(part for part in PARTS if part != keep)]
        assert Store(folder).table("losses").equals(Store(tmp_path / "whole").table("losses"))


@pytest.mark.parametrize("number", [0, 1, 2])
def test_part_that_fails_leaves_the_others_alone(tmp_path, number):
    failures = run((torn(planned(), 16 * number + 3),), tmp_path)
    assert [(failure.diagnostic, failure.part, failure.message) for failure in failures] == [
        ("losses", PARTS[number], "cat.jpg can't be decoded")
    ]
    assert Losses.prepared == [PARTS, PARTS[number + 1 :]][: 2 if number < 2 else 1]
    (path,) = tmp_path.glob("losses/*/*.error.json")
    assert json.loads(path.read_text())["type"] == "DataError"
    assert Store(tmp_path).table("losses")["mini_batch"].to_pylist() == [n for n in range(3) if n != number]
    assert re.search(rf"failed losses/\w+/{PARTS[number]} model=cnn", (tmp_path / "log.txt").read_text())
    assert run((planned(),), tmp_path) == []
    assert not list(tmp_path.glob("losses/*/*.error.json"))


@pytest.mark.parametrize(
    ("handed", "message"),
    [
        (["0001"], "RuntimeError: losses handed over part '0001' out of turn"),
        (["0000", "0000"], "RuntimeError: losses handed over part '0000' out of turn"),
        (["0000"], "RuntimeError: losses handed over no part '0001'"),
        ([], "RuntimeError: losses handed over no part '0000'"),
    ],
)
def test_diagnostic_that_does_not_hand_over_what_was_asked(tmp_path, monkeypatch, handed, message):
    monkeypatch.setattr(Losses, "measure", lambda self, subject, parts: ((part, []) for part in handed))
    failures = run((planned(losses={"mini_batches": 2}),), tmp_path)
    assert failures[0].message == message


@pytest.mark.parametrize("end", ["well", "error", "interrupted", "abandoned"])
def test_model_and_generator_are_left_as_they_were_found(end, monkeypatch):
    subject = planned() if end == "well" else torn(planned(), 20)
    if end == "interrupted":
        monkeypatch.setattr(Torn, "batches", lambda *_: (_ for _ in ()).throw(KeyboardInterrupt))
    (job,) = subject.measuring
    model = job.subject.model
    model.train()
    model.stem.eval()
    torch.manual_seed(3)
    before = snapshot(model)
    parts = measure(job.diagnostic, job.subject, PARTS)
    if end == "well":
        assert [part for part, _ in parts] == [*PARTS]
    elif end == "abandoned":
        next(parts)
        parts.close()
    else:
        with pytest.raises(KeyboardInterrupt if end == "interrupted" else DataError, match=r"^$|cat.jpg"):
            list(parts)
    assert snapshot(model) == before


def test_interruption_passes_and_keeps_what_is_done(tmp_path, monkeypatch):
    real = Losses.measure

    def interrupted(self: Losses, subject: Any, parts: Any) -> Iterator[Any]:
        yield next(iter(real(self, subject, parts)))
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(Losses, "measure", interrupted)
        with pytest.raises(KeyboardInterrupt):
            run((planned(),), tmp_path)
    assert not list(tmp_path.glob("losses/*/*.error.json"))
    assert [path.stem for path in tmp_path.glob("losses/*/*.parquet")] == ["0000"]
    assert run((planned(),), tmp_path) == []


def test_full_disk_stops_at_once(tmp_path, monkeypatch):
    def refuse(self: Store, record: Any, part: str, row_type: type, rows: Any) -> None:
        raise StoreError("the disk is full")

    monkeypatch.setattr(Store, "write_part", refuse)
    with pytest.raises(StoreError, match="the disk is full"):
        run((planned(),), tmp_path)
    assert Losses.prepared == [PARTS]
    assert not list(tmp_path.glob("losses/*/*.error.json"))


def test_prospect_counts_what_is_missing(tmp_path):
    (job,) = planned().measuring
    whole = prospect(job, Store(tmp_path), device=CPU)
    assert whole.parts == 3
    assert 0 < whole.seconds < 1
    assert whole.cost == job.diagnostic.cost(job.subject)
    assert not list(tmp_path.iterdir())
    run((planned(),), tmp_path)
    assert prospect(job, Store(tmp_path), device=CPU) == Prospect(parts=0, seconds=0.0, cost=None)


def test_prospect_of_images_that_cannot_be_read(tmp_path):
    (job,) = torn(planned(), 2).measuring
    assert prospect(job, Store(tmp_path), device=CPU).seconds is None


def test_cost_that_cannot_be_told_stops_nothing(tmp_path, monkeypatch):
    def fail(self: Losses, subject: Any) -> Cost:
        raise DataError("no image can be read")

    monkeypatch.setattr(Losses, "cost", fail)
    (job,) = planned().measuring
    assert prospect(job, Store(tmp_path), device=CPU) == Prospect(parts=3, seconds=None, cost=None)
    assert run((planned(),), tmp_path) == []


def test_too_little_memory_is_said_before_it_starts(tmp_path, capsys):
    subject = planned(losses={"memory": 2**60})
    run((subject,), tmp_path)
    line = capsys.readouterr().err
    told = r"losses of cnn needs about 1073741824.0 GiB of memory on cpu, where \d+\.\d GiB are free; take fewer mini-"
    assert re.match(rf"visionscope: warning: {told}", line)
    assert line.count("\n") == 1
    log = (tmp_path / "log.txt").read_text()
    assert re.search(rf"warning {told}", log)
    assert log.index("warning losses") < log.index("computed losses")
    run((subject,), tmp_path)
    assert capsys.readouterr().err == ""


def test_free_memory_is_what_the_system_says(tmp_path, monkeypatch):
    assert 2**20 < free_memory(CPU) < 2**50
    table = tmp_path / "meminfo"
    table.write_text("MemTotal: 16 kB\nMemAvailable:      12 kB\n")
    monkeypatch.setattr(measuring, "_MEMORY_TABLE", table)
    assert free_memory(CPU) == 12 * 1024
    monkeypatch.setattr(measuring, "_MEMORY_TABLE", Path("/nowhere"))
    assert free_memory(CPU) is None


def test_labels_are_those_of_the_model(tmp_path):
    factory = tmp_path / "mine.py"
    text = NETWORKS.read_text().replace("nn.Linear(width, 10)", "nn.Linear(width, 7)")
    factory.write_text(
        text.replace("model.pretrained_cfg = _CONFIG", "model.pretrained_cfg = _CONFIG; model.num_classes = 7")
    )
    failures = run((planned(models=[f"cnn={factory}:convolutions"]),), tmp_path / "run")
    assert {failure.message for failure in failures} == {
        "the images have no labels that the model knows; a loss needs them (its head has 7 classes: "
        "MODEL?num_classes=N makes another)"
    }
