"""An experiment is carried out: nothing twice, nothing lost, whatever dies; tables outlive what they were made of."""

import dataclasses
import json
import shutil
import subprocess
import sys
from collections import Counter
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from experiments.conftest import WIDE, Inline, carried_out, changed
from training.conftest import SMALL
from training.test_loop import same_bits
from visionscope.errors import StoreError
from visionscope.experiments.done import known_results, stored_tables
from visionscope.experiments.driver import ATTEMPTS, Driver, standing
from visionscope.experiments.executors.work import File
from visionscope.experiments.experiment import Experiment
from visionscope.experiments.lock import alone
from visionscope.experiments.plan import plan_of, question_key
from visionscope.experiments.reading import experiment_from
from visionscope.experiments.tables import gather
from visionscope.experiments.work import DiagnoseWork, TrainWork
from visionscope.training.train import train

ASKED = {"threads": 1, "epochs": 2.0, "batch_size": 32, "warm_up": 0.4}


def done(executor: Inline) -> Counter[str]:
    return Counter(type(work).__name__ for work in executor.submitted)


def test_tables_hold_every_result_by_variant_seed_and_moment_and_nothing_is_done_twice(
    experiment: Experiment, data: str
) -> None:
    first, again = Inline(), Inline()
    plan, driver, tables = carried_out(experiment, first)
    assert done(first) == {"TrainWork": 3, "DiagnoseWork": 6}
    assert driver.failed == []
    places = [("small", 0), ("wide", 1), ("small", 1)]
    rows = tables["training"]
    assert sorted(zip(rows["variant"], rows["seed"], strict=True)) == sorted(places)
    assert ((rows["top_1"] + rows["error"]).round(12) == 1).all()
    assert (rows["images"] == 384).all()
    assert dict(zip(rows["variant"], rows["gmacs"], strict=True))["wide"] > rows["gmacs"].min() > 0
    for name, snapshot in (("hessian", "warmup"), ("fourier", "last"), ("lesion_summary", "last")):
        found = tables[name]
        assert set(zip(found["variant"], found["seed"], found["snapshot"], strict=True)) == {
            (variant, seed, snapshot) for variant, seed in places
        }
    assert len(tables["hessian"]) == 3 * 2 * 2
    assert {"high frequencies after conv", "accuracy"} <= set(tables["measures"]["measure"])
    assert len(tables["curves"]) == 3 * 2
    assert tables["failures"].empty

    _, _, repeated = carried_out(experiment, again)
    assert again.submitted == []
    assert {name: len(table) for name, table in repeated.items()} == {
        name: len(table) for name, table in tables.items()
    }

    # The same seeds and settings give what `train` gives alone, under the same name.
    small = next(task for task in plan.trainings if task.text == "small, seed 1")
    alone_ = train(
        SMALL, data, Path(experiment.out).parent / "alone", threads=1, seed=1, epochs=2, batch_size=32, warm_up=0.4
    )
    assert alone_.checkpoint.parent.name == small.training
    assert same_bits(alone_.checkpoint, small.weights(Path(experiment.out), "last"))


def test_the_reliability_diagram_is_kept_by_variant_and_seed(values: dict[str, Any]) -> None:
    asked = {"last": {"only": "calibration", "calibration": {"sample_size": 64}}}
    few = changed(changed(values, "train/variants/wide", None), "diagnose", asked)
    _, _, tables = carried_out(experiment_from(few))
    bins = tables["calibration_bins"]
    assert set(zip(bins["variant"], bins["seed"], bins["snapshot"], strict=True)) == {
        ("small", 0, "last"),
        ("small", 1, "last"),
    }
    for name, own in bins.groupby("scaling"):
        assert list(own.groupby("seed")["images"].sum()) == [64, 64], name


def test_tables_alone_are_enough_and_what_they_lack_is_trained_for_again(
    values: dict[str, Any], finished: Path
) -> None:
    experiment = experiment_from(values)
    run = Path(experiment.out)
    shutil.copytree(finished, run)
    plan, _, tables = carried_out(experiment)
    for path in run.iterdir():
        if path.is_dir() and path.name != "tables":
            shutil.rmtree(path)
    left = standing(plan, run)
    assert (left.trainings, left.diagnoses) == ([], [])
    kept = gather(plan, run)
    assert all(kept[name].equals(tables[name]) for name in tables if name != "failures")

    more = experiment_from(changed(values, "diagnose/last/only", ["fourier", "lesion", "variance"]))
    executor = Inline()
    _, _, tables = carried_out(more, executor)
    assert done(executor) == {"TrainWork": 3, "DiagnoseWork": 3}
    assert [list(work.keys) for work in executor.submitted if isinstance(work, DiagnoseWork)] == [["variance"]] * 3
    assert set(tables["variance"]["variant"]) == {"small", "wide"}
    assert not tables["lesion"].duplicated().any()


def test_a_training_that_another_study_had_is_shared_and_goes_on_from_its_warm_up(values: dict[str, Any]) -> None:
    executor, then = Inline(), Inline()
    curvature = changed(values, "diagnose/last", None)
    _, _, tables = carried_out(experiment_from(curvature), executor)
    assert done(executor) == {"TrainWork": 3, "DiagnoseWork": 3}
    assert {work.asked["until"] for work in executor.submitted if isinstance(work, TrainWork)} == {"warmup"}
    assert "training" not in tables
    renamed = changed(values, "train/variants", {"narrow": SMALL, "wide": {"model": WIDE, "seeds": [1]}})
    plan, _, tables = carried_out(experiment_from(changed(renamed, "diagnose/warmup", None)), then)
    assert done(then) == {"TrainWork": 3, "DiagnoseWork": 3}
    assert set(tables["training"]["variant"]) == {"narrow", "wide"}
    narrow = next(task for task in plan.trainings if task.text == "narrow, seed 0")
    whole = train(
        SMALL, values["data"], Path(values["out"]).parent / "whole", threads=1, epochs=2, batch_size=32, warm_up=0.4
    )
    assert same_bits(whole.checkpoint, narrow.weights(Path(values["out"]), "last"))
    # Each study reads its own variants' rows alone.
    assert "hessian" not in tables


def test_two_variants_that_are_one_training_share_it_and_have_their_rows_each(values: dict[str, Any]) -> None:
    values = changed(values, "train/variants", {"small": SMALL, "again": SMALL})
    executor = Inline()
    _, _, tables = carried_out(experiment_from(values), executor)
    assert done(executor) == {"TrainWork": 2, "DiagnoseWork": 4}
    for name in ("training", "hessian_summary", "fourier", "curves"):
        rows = tables[name]
        counts = rows.groupby(["variant", "seed"]).size()
        assert set(counts.index) == {(variant, seed) for variant in ("small", "again") for seed in (0, 1)}
        assert not rows.duplicated().any()
        own = [rows[rows["variant"] == variant].drop(columns="variant") for variant in ("small", "again")]
        pd.testing.assert_frame_equal(*(one.reset_index(drop=True) for one in own))


def test_rows_of_a_result_that_was_not_written_in_full_are_made_anew(experiment: Experiment, finished: Path) -> None:
    shutil.copytree(finished, experiment.out)
    _, _, whole = carried_out(experiment)
    folder = Path(experiment.out) / "tables"
    # As if a kill had come between two tables.
    results = pd.read_parquet(folder / "results.parquet")
    results[results["result"] != "hessian"].to_parquet(folder / "results.parquet")
    pd.read_parquet(folder / "hessian_summary.parquet").iloc[:0].to_parquet(folder / "hessian_summary.parquet")
    assert "hessian_summary" not in {name for name, table in stored_tables(folder.parent).items() if len(table)}
    _, _, found = carried_out(experiment)
    for name in ("hessian", "hessian_summary", "training"):
        keys = ["variant", "seed"]
        sorted_ = [table[name].sort_values(keys, kind="stable").reset_index(drop=True) for table in (found, whole)]
        pd.testing.assert_frame_equal(*sorted_, check_dtype=False)


def test_a_worker_that_dies_loses_its_task_alone_and_the_bits_stay(experiment: Experiment, finished: Path) -> None:
    deaths = ["warmup.safetensors", "job.json"]
    executor = Inline(lambda path: bool(deaths) and path.endswith(deaths[0]) and bool(deaths.pop(0)))
    plan, driver, tables = carried_out(experiment, executor)
    assert driver.failed == []
    assert done(executor) == {"TrainWork": 4, "DiagnoseWork": 7}
    for task in plan.trainings:
        assert same_bits(task.weights(finished, "last"), task.weights(Path(experiment.out), "last"))
    other = gather(plan, finished)
    pd.testing.assert_frame_equal(tables["hessian"], other["hessian"])


def test_a_worker_that_dies_every_time_is_given_up(experiment: Experiment) -> None:
    executor = Inline(lambda path: path.endswith("init.safetensors"))
    _, driver, tables = carried_out(experiment, executor)
    assert done(executor) == {"TrainWork": 3 * ATTEMPTS}
    assert [reason for _, reason in driver.failed if "its worker died 3 times" in reason]
    assert len(driver.failed) == 3 + 6
    assert set(tables["failures"]["diagnostic"]) == {""}


def test_one_training_that_fails_costs_itself_alone_and_says_why(values: dict[str, Any]) -> None:
    wild = changed(values, "train/variants/wide/learning_rate", 1e3)
    wild = changed(wild, "train/variants/wide/clip_norm", 0)
    wild = changed(wild, "train/variants/wide/optimizer", "sgd")
    executor = Inline()
    _, driver, tables = carried_out(experiment_from(wild), executor)
    failed = {task.text: reason for task, reason in driver.failed}
    assert "not finite" in failed["wide, seed 1"] or "loss is" in failed["wide, seed 1"]
    assert (
        "its training failed" in failed["wide, seed 1, warmup: hessian"]
        or "wide, seed 1, warmup: hessian" not in failed
    )
    assert set(tables["training"]["variant"]) == {"small"}
    assert set(tables["failures"]["variant"]) == {"wide"}
    assert list(tables["failures"]["reason"]) == [failed["wide, seed 1"]]


def test_a_question_is_known_by_what_changes_its_answer(experiment: Experiment) -> None:
    asked = experiment.asked[1]
    fourier, lesion = asked.diagnostics
    batch = dataclasses.replace(asked, settings={**asked.settings, "batch": 7})
    more = dataclasses.replace(asked, settings={**asked.settings, "images": 33})
    other = dataclasses.replace(fourier, labelling="paper")
    assert question_key(fourier, asked) == question_key(fourier, batch)
    assert len({question_key(one, asked) for one in (fourier, lesion, other)} | {question_key(fourier, more)}) == 4


def test_the_training_is_known_by_its_images_wherever_they_lie(values: dict[str, Any], tmp_path: Path) -> None:
    shutil.copytree(values["data"], tmp_path / "moved")
    here, there = (
        plan_of(experiment_from(changed(values, "data", str(path)))) for path in (values["data"], tmp_path / "moved")
    )
    assert [task.digest for task in here.trainings] == [task.digest for task in there.trainings]
    assert [task.text for task in here.trainings] == ["small, seed 0", "small, seed 1", "wide, seed 1"]
    (next((tmp_path / "moved").glob("train/*/*.png"))).unlink()
    fewer = plan_of(experiment_from(changed(values, "data", str(tmp_path / "moved"))))
    assert {task.digest for task in here.trainings}.isdisjoint(task.digest for task in fewer.trainings)


def test_another_machine_that_makes_another_training_of_it_is_told(experiment: Experiment) -> None:
    plan = plan_of(experiment)
    wrong = dataclasses.replace(
        plan, trainings=(dataclasses.replace(plan.trainings[0], digest="0" * 64),), diagnoses=()
    )
    run = Path(experiment.out)
    driver = Driver(run, Inline(), standing(wrong, run), lambda driver: None)  # type: ignore[arg-type]
    driver.carry_out()
    assert "this machine makes another training of it" in driver.failed[0][1]
    assert not (run / "train" / plan.trainings[0].training).exists()


def test_a_second_driver_is_kept_out(tmp_path: Path) -> None:
    code = "import sys; from pathlib import Path; from visionscope.experiments.lock import alone\n"
    code += "with alone(Path(sys.argv[1])): pass"
    command = [sys.executable, "-c", code, str(tmp_path)]
    with alone(tmp_path):
        other = subprocess.run(command, check=False, capture_output=True, text=True)
    assert "another process carries out an experiment there; wait for it" in other.stderr
    assert subprocess.run(command, check=False).returncode == 0  # the lock is gone with its holder


def test_a_file_outside_of_the_run_folder_is_refused(experiment: Experiment) -> None:
    class Sends(Inline):
        def submit(self, work: Any, *args: Any, **more: Any) -> Any:
            return super().submit(lambda *_: iter([File("../elsewhere", b"")]), *args, **more)

    with pytest.raises(StoreError, match=r"outside of the run folder: \.\./elsewhere"):
        carried_out(experiment, Sends())


def test_a_table_that_can_not_be_read_is_named(experiment: Experiment) -> None:
    path = Path(experiment.out) / "tables" / "fourier.parquet"
    path.parent.mkdir(parents=True)
    path.write_bytes(b"torn")
    with pytest.raises(StoreError, match=r"fourier\.parquet: can't be read .*; move it away to make it anew"):
        stored_tables(Path(experiment.out))


def test_files_say_what_an_experiment_asked(experiment: Experiment, finished: Path) -> None:
    plan, run = plan_of(experiment), finished
    told = [json.loads(path.read_bytes())["experiment"] for path in run.glob("hessian/*/job.json")]
    assert {(one["training"], one["snapshot"]) for one in told} == {
        (task.training, "warmup") for task in plan.trainings
    }
    hessian = json.loads(next(run.glob("hessian/*/job.json")).read_bytes())
    assert hessian["data"]["augmentation"] == "weak"  # as the recipe's own, crop and flip
    assert hessian["objective"]["label_smoothing"] == plan.trainings[0].variant.trained_by.label_smoothing
    assert "training" in {place[2] for place in known_results(stored_tables(run))}
