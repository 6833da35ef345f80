"""The table of results of a study of mixers, number by number from tables made by hand, and its page in the docs."""

import importlib.util
import math
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import yaml
from PIL import Image

from experiments.mixers.tables_of_mixers import mixer_tables
from visionscope.claims.claim import EXPLORATORY
from visionscope.experiments.folder import Kept, write_tasks
from visionscope.experiments.mixers.choosing import FINAL, SCREENING
from visionscope.experiments.mixers.factorial import effects_of
from visionscope.experiments.mixers.networks import networks_of, pooled_half_width
from visionscope.experiments.mixers.results import results_of

KEYS = {"snapshot": "last", "question": "asked"}


def measured(tables, seeds=(0, 1)):
    """Tables of diagnostics beside those of `mixer_tables`; a number is the variant's place, plus a tenth per seed."""
    names = list(dict.fromkeys(tables["training"]["variant"]))
    places = [(place, name, seed) for place, name in enumerate(names) for seed in seeds]

    def rows(*more, **same):
        return pd.DataFrame(
            [
                {"variant": name, "seed": seed, **KEYS, **same, **{key: make(place + 0.1 * seed) for key, make in more}}
                for place, name, seed in places
            ]
        )

    def measures(diagnostic, measure, make, **same):
        return rows(("value", make), diagnostic=diagnostic, measure=measure, **same)

    slots = [
        rows(("change", lambda x, own=own: own(x)), point=f"stages.{stage}.blocks.{block}+msa", unit=f"{stage}.{block}")
        for stage, block, own in (
            (0, 1, lambda x: 99.0),  # the first stage has no slot
            (1, 1, lambda x: 77.0),  # no last block
            (1, 2, lambda x: x),
            (2, 2, lambda x: x + 1),
        )
    ]
    # What a mixer has within itself is no slot.
    inner = rows(("change", lambda x: 55.0), point="stages.1.blocks.2.mixer.mix+msa", unit="1.2 inner")
    variance = pd.concat([*slots, inner])
    lesion = variance.assign(unit=variance["point"].str.replace("+", "."), change=-variance["change"])
    return {
        **tables,
        "variance": variance,
        "lesion_summary": lesion,
        "measures": pd.concat(
            [
                measures("calibration", "ECE", lambda x: x),
                measures("calibration", "NLL", lambda x: -5.0),
                measures("hessian", "NEP", lambda x: 2 * x, **{"snapshot": "warmup"}),
                measures("hessian", "NEP", lambda x: -5.0),
                measures("hessian", "APE", lambda x: 3 * x, **{"snapshot": "warmup"}),
            ]
        ),
        "corruption_summary": pd.concat(
            [
                rows(("accuracy", lambda x: x / 100), corruption="all"),
                rows(("accuracy", lambda x: -5.0), corruption="snow"),
            ]
        ),
    }


def test_every_number_is_the_mean_over_seeds_and_slots_of_its_own_network():
    tables = measured(mixer_tables())
    names = list(dict.fromkeys(tables["training"]["variant"]))
    speeds = pd.DataFrame({"variant": names[1:], "forward": range(1, len(names)), "latency": 2.5, "peak": 4096})
    speeds["training_step"] = 7.0
    found = results_of(tables, speeds).set_index("network")
    assert set(found.index) == set(names)
    assert list(found["accuracy"]) == sorted(found["accuracy"], reverse=True)
    networks = {one.name: one for one in networks_of(tables)}
    widths = pooled_half_width([list(one.accuracy.values()) for one in networks.values()])
    for place, (name, width) in enumerate(zip(names, widths, strict=True)):
        row, middle = found.loc[name], place + 0.05
        assert row["accuracy"] == pytest.approx(networks[name].mean)
        assert (row["high"] - row["low"]) / 2 == pytest.approx(width)
        assert (row["seeds"], row["nll"], row["parameters"]) == (2, 1.2, 202_000)
        assert row["macs"] == pytest.approx(networks[name].macs)
        assert row["high_frequencies"] == pytest.approx(networks[name].change)
        assert row["ece"] == pytest.approx(middle)
        assert row["negative_eigenvalues"] == pytest.approx(2 * middle)
        assert row["positive_eigenvalues"] == pytest.approx(3 * middle)
        assert row["corrupted"] == pytest.approx(middle)
        assert row["variance"] == pytest.approx(middle + 0.5)
        assert row["removal"] == pytest.approx(-middle - 0.5)
        assert row[["forward", "training_step", "latency", "peak"]].tolist() == (
            [place, 7.0, 2.5, 4096] if place else pytest.approx([math.nan] * 4, nan_ok=True)
        )


def test_what_was_not_measured_is_none_and_other_experiments_have_no_such_table():
    tables = mixer_tables(seeds=(0,))
    found = results_of({"training": tables["training"]})
    lacking = ["low", "corrupted", "ece", "high_frequencies", "variance", "removal", "negative_eigenvalues", "latency"]
    assert found[lacking].isna().all(axis=None)
    assert np.isfinite(found[["accuracy", "nll", "macs"]]).all(axis=None)
    trained = tables["training"]
    assert results_of({"training": trained[trained["variant"] == "alternet"]}).empty


@pytest.fixture
def script(tmp_path, monkeypatch):
    """docs/make_mixers.py, which writes elsewhere, and draws nothing worth looking at."""
    source = Path(__file__).parents[3] / "docs" / "make_mixers.py"
    spec = importlib.util.spec_from_file_location("make_mixers", source)
    made = importlib.util.module_from_spec(spec)
    monkeypatch.syspath_prepend(source.parent)
    spec.loader.exec_module(made)
    monkeypatch.setattr(made, "OUT", tmp_path / "docs" / "mixers")
    monkeypatch.setattr(made, "PAGE", tmp_path / "docs" / "mixers.md")

    def draw(folder, name, figure):
        Image.new("RGB", (2160, 600), "white").save(folder / f"{name}.png")

    monkeypatch.setattr(made, "write_figure", draw)
    monkeypatch.setattr(sys, "argv", ["make_mixers.py", str(tmp_path / "run")])
    return made


def training_of(variant, seed):
    return f"{variant}/{seed}"


def keep(run, part, seeds):
    """A study that was carried out, as its run folder holds it."""
    values = yaml.safe_load(part.read_text())
    if part == FINAL:
        text = part.read_text()
        for place, mixer in enumerate(BEST, 1):
            text = text.replace(f"best_{place}", mixer)
        values = yaml.safe_load(text)
    variants = list(values["train"]["variants"])
    questions = (("last", "fourier", "asked"), ("last", "corruption", "asked"), ("warmup", "hessian", "asked"))
    tasks = [Kept(name, seed, training_of(name, seed), "", questions) for name in variants for seed in seeds]
    write_tasks(run, values, tasks, f"visionscope run {part.name}")
    return variants


BEST = ("halo", "guided", "unet", "afno")


@pytest.fixture
def run(tmp_path):
    """Both studies, a training of another study, and an answer to another question about one of theirs."""
    run, tables = tmp_path / "run", measured(mixer_tables(seeds=range(10)), range(10))
    keep(run, SCREENING, (0, 1))
    final = keep(run, FINAL, range(2, 10))
    trained = tables["training"]
    trained.loc[(trained["variant"] == "halo") & (trained["seed"] > 1), "top_1"] += 0.1
    screened = trained["seed"].isin((0, 1)) | trained["variant"].isin(final)
    tables["training"] = pd.concat([trained[screened], trained.head(1).assign(seed=99, top_1=0.9)])
    tables["training"]["question"] = "training"
    other = tables["corruption_summary"].assign(question="another", accuracy=0.99)
    tables["corruption_summary"] = pd.concat([tables["corruption_summary"], other])
    results = []
    for name, table in tables.items():
        table = table.assign(training=[training_of(*one) for one in zip(table["variant"], table["seed"], strict=True)])
        table = table.assign(question=table.get("question", "asked"))
        tables[name] = table = table.drop_duplicates(ignore_index=True)
        results.append(table[["variant", "seed", "snapshot", "training", "question"]].assign(result=name))
    tables["results"] = pd.concat(results, ignore_index=True).drop_duplicates(ignore_index=True)
    (run / "tables").mkdir()
    for name, table in tables.items():
        table.to_parquet(run / "tables" / f"{name}.parquet", index=False)
    return run


def test_the_docs_script_writes_both_studies_from_tables_alone(script, run, tmp_path):
    script.main()
    page = (tmp_path / "docs" / "mixers.md").read_text()
    screening, final = page.split("## The best four")
    assert "64 of 64 trainings went to their end" in screening
    assert "64 of 64 trainings went to their end" in final
    tables = script._own(script._kept(run, SCREENING), script.stored_tables(run))
    best = results_of(tables).iloc[0]
    told = f"{best['accuracy']:.1f} ({best['low']:.1f} to {best['high']:.1f})"
    assert f"| {best['network']} | {best['sort']} | {told} | 1.200 | {best['corrupted']:.1f} |" in screening
    assert best["corrupted"] < 40  # the answer to another question says 99
    for one in effects_of(networks_of(tables)):
        assert f"| {one.term} | {one.effect:+.2f} ({one.low:+.2f} to {one.high:+.2f}) |" in screening
    assert "ms of an image" not in page  # no speeds were measured
    halo = "halo is right more often than attention in its place (the family best_four)"
    assert f"| {halo} | **replicated** | +1" in final
    assert final.count("| **") == 16 + 3  # attention's own, added after the results
    assert "without lambda and nonlocal" in screening
    assert final.count(EXPLORATORY) == 1
    assert f"mixers/{FINAL.stem.removeprefix('mixers-')}.png" in final
    kept = pd.read_parquet(tmp_path / "docs" / "mixers" / "tables" / "training.parquet")
    assert 99 not in set(kept["seed"])
    assert len(kept) == 64 + 64
    assert (tmp_path / "docs" / "mixers" / "screening.png").stat().st_size > 0
    assert len(pd.read_csv(tmp_path / "docs" / "mixers" / "screening.csv")) == 32


def test_the_docs_script_says_what_it_lacks(script, tmp_path):
    (tmp_path / "run").mkdir()
    with pytest.raises(SystemExit, match=r"it has neither study; visionscope run mixers-screening\.yaml --out"):
        script.main()
