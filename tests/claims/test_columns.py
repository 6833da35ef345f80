"""The claims read columns that the diagnostics write: the tables of the other tests are made by hand."""

import importlib.util
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from claims.worlds import world
from visionscope.claims.registry import paper_claims
from visionscope.cli import main
from visionscope.core.registry import diagnostic_class

LEADING = {"variant", "seed", "snapshot", "training"}
DIAGNOSTICS = sorted({name for one in paper_claims() for name in one.diagnostics})
NETWORKS = {"resnet": "resnet_nano", "vit": "vit_nano", "alternet": "alternet_nano"}


def _tables_of(diagnostic: str) -> Any:
    path = Path(__file__).parents[2] / "docs" / "_ext" / "from_code.py"
    spec = importlib.util.spec_from_file_location(path.stem, path)
    assert spec is not None
    assert spec.loader is not None
    script = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(script)
    return script.tables_of(diagnostic_class(diagnostic))


def test_every_diagnostic_of_a_claim_is_among_those_looked_at():
    assert DIAGNOSTICS == ["calibration", "fourier", "frequency_noise", "hessian", "lesion", "similarity", "variance"]


@pytest.mark.parametrize("diagnostic", DIAGNOSTICS)
def test_tables_made_by_hand_have_columns_that_the_diagnostics_write(diagnostic):
    real = {name.partition(".")[0]: set(table.column_names) for name, table in _tables_of(diagnostic).items()}
    by_hand = {name: set(table) for name, table in world(holds=True, seeds=[0]).items() if name.startswith(diagnostic)}
    assert by_hand
    for name, columns in by_hand.items():
        assert columns - LEADING <= real[name], name


def _variant_of(name: str) -> str:
    """The trained network that stands for a variant; AlterNet for Swin, as it has stages with attention."""
    kind = {"swin": "alternet"}.get(name, "resnet" if "resnet" in name or name.startswith("cnn") else name)
    return NETWORKS.get(kind, NETWORKS["vit"])


@pytest.mark.slow
def test_every_claim_has_a_number_on_tables_of_trained_networks(tmp_path):
    few = [f"--{name}.sample_size=64" for name in ("lesion", "frequency_noise", "calibration")]
    asked = ["--only", ",".join(DIAGNOSTICS), "--images=32", "--hessian.mini_batches=1", "--hessian.k=2", *few]
    assert main(["diagnose", *NETWORKS.values(), "--data=embedded", *asked, f"--out={tmp_path / 'run'}"]) == 0
    variants = sorted({name for one in paper_claims() for name in one.variants})
    tables = {}
    for path in (tmp_path / "run" / "tables").glob("*.parquet"):
        if not path.stem.endswith(("outcomes", "comparisons", "between")):
            read = pd.read_parquet(path)
            told = {"seed": 0, "snapshot": "warmup" if path.stem.startswith("hessian") else "last"}
            tables[path.stem] = pd.concat(
                [read[read["model"] == _variant_of(name)].assign(variant=name, **told) for name in variants]
            )
    scores = [{"variant": name, "top_1": 0.5 + place / 100, "nll_train": 2.0} for place, name in enumerate(variants)]
    tables["training"] = pd.DataFrame(scores).assign(seed=0, snapshot="last")
    missing = {one.name: one.measured(tables)[1] for one in paper_claims() if not one.measured(tables)[0]}
    assert missing == {"attention_late": {0: "swin: no stage has two blocks of attention and MLP"}}
