"""On a GPU: every precision learns, and a training goes on where it was stopped."""

from pathlib import Path

import pytest
import torch

from training.conftest import SMALL
from training.test_loop import rows_of
from visionscope.training import loop
from visionscope.training.train import train

pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(not torch.cuda.is_available(), reason="there is no GPU on this machine"),
]


@pytest.mark.parametrize("precision", ["fp32", "bf16", "fp16"])
@pytest.mark.parametrize("compiled", [False, True])
def test_every_precision_learns(tmp_path: Path, data: str, precision: str, compiled: bool) -> None:
    trained = train(SMALL, data, tmp_path, epochs=4, learning_rate=4e-3, precision=precision, compile=compiled)
    assert rows_of(trained.checkpoint.parent)[-1]["nll"] < 0.9


def test_a_stopped_training_goes_on(tmp_path: Path, data: str, monkeypatch: pytest.MonkeyPatch) -> None:
    step = loop._step

    def stopped(*arguments: object) -> torch.Tensor:
        if arguments[-1] == 20:
            raise InterruptedError
        return step(*arguments)

    asked = {"epochs": 3, "learning_rate": 4e-3, "precision": "fp16", "ema": 0.9, "save_seconds": 0.0}
    with monkeypatch.context() as patched:
        patched.setattr(loop, "_step", stopped)
        with pytest.raises(InterruptedError):
            train(SMALL, data, tmp_path, **asked)
    trained = train(SMALL, data, tmp_path, **asked)
    rows = rows_of(trained.checkpoint.parent)
    assert [row["step"] for row in rows] == sorted({row["step"] for row in rows})
    assert rows[-1]["nll"] < 0.9
