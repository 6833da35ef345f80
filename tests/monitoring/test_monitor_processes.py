"""A monitor in a training of two real processes: the first measures, and both end with the same bits as without it."""

from pathlib import Path

import pandas as pd
import pytest
import torch

from reference.two_processes import both

pytestmark = [
    pytest.mark.slow,  # two processes that import torch
    pytest.mark.skipif(not torch.distributed.is_available(), reason="torch was built without distributed training"),
]


def test_the_first_measures_and_both_end_with_the_same_bits(tmp_path: Path) -> None:
    torch.multiprocessing.spawn(both, (tmp_path,), nprocs=2)
    left = {path.stem: torch.load(path, weights_only=True) for path in tmp_path.glob("*.pt")}
    assert set(left) == {"0-False", "0-True", "1-False", "1-True"}
    for rank in (0, 1):
        assert left[f"{rank}-True"] == left[f"{rank}-False"]
    for name in ("stem.weight", "head.bias"):  # the processes train one network
        assert left["0-True"]["weights"][name] == left["1-True"]["weights"][name]
    assert left["0-True"]["torch"] != left["1-True"]["torch"]
    rows = pd.read_parquet(tmp_path / "rank-0" / "monitor.parquet")
    assert sorted(rows["step"].unique()) == [0, 2, 4]
    assert set(rows["diagnostic"]) == {"variance", "sharpness"}
    assert not (tmp_path / "rank-1").exists()
