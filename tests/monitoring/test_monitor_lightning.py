"""A monitor as a callback of Lightning's own Trainer: the same bits, and its numbers in the logger."""

import warnings
from pathlib import Path

import pandas as pd
import pytest
import torch
from torch import Tensor, nn

import visionscope as vs
from monitoring.test_monitor_plain import IMAGES, LABELS, SMALL_SHARPNESS, WITH_UPDATES, bits, check_updates, net

with warnings.catch_warnings():
    warnings.simplefilter("ignore")  # of Lightning about other packages
    lightning = pytest.importorskip("lightning.pytorch")


class Module(lightning.LightningModule):
    def __init__(self) -> None:
        super().__init__()
        self.net = net()

    def forward(self, x: Tensor) -> Tensor:
        return self.net(x)

    def training_step(self, batch: list[Tensor], number: int) -> Tensor:
        loss = nn.functional.cross_entropy(self(batch[0] + torch.randn(())), batch[1])
        self.log("loss", loss)
        return loss

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.AdamW([one for one in self.parameters() if one.requires_grad], lr=1e-2)


def trained(folder: Path, callbacks: list[object]) -> object:
    loader = torch.utils.data.DataLoader(
        torch.utils.data.TensorDataset(IMAGES, LABELS), batch_size=16, shuffle=True, generator=torch.Generator()
    )
    module = Module()
    torch.manual_seed(3)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of Lightning about workers
        trainer = lightning.Trainer(
            max_epochs=2,
            accelerator="cpu",
            devices=1,
            logger=lightning.loggers.CSVLogger(folder),
            log_every_n_steps=1,
            callbacks=callbacks,
            enable_checkpointing=False,
            enable_progress_bar=False,
            enable_model_summary=False,
        )
        trainer.fit(module, loader)
    (optimizer,) = trainer.optimizers
    return bits(
        {
            "weights": module.state_dict(),
            "optimizer": optimizer.state_dict()["state"],
            "modes": [one.training for one in module.modules()],
            "torch": torch.get_rng_state(),
        }
    )


@pytest.mark.parametrize("inner", [False, True])
def test_the_same_bits_and_numbers_in_the_logger(tmp_path: Path, inner: bool) -> None:
    monitor = vs.Monitor(
        IMAGES, LABELS, diagnostics=WITH_UPDATES, fields=SMALL_SHARPNESS, at_most=None, out=tmp_path / "run"
    )
    callback = monitor.lightning(lambda module: module.net) if inner else monitor.lightning()
    assert trained(tmp_path / "with", [callback]) == trained(tmp_path / "without", [])
    rows = pd.read_parquet(tmp_path / "run" / "monitor.parquet")
    assert rows.groupby("step")["epoch"].unique().map(list).to_dict() == {0: [0], 2: [1], 4: [2]}
    assert ("blocks.0+conv" if inner else "net.blocks.0+conv") in set(rows["point"])
    (log,) = (tmp_path / "with").rglob("metrics.csv")
    logged = pd.read_csv(log)
    told = rows[rows["column"] == "variance after conv"].set_index("step")["value"]
    name = "variance/variance_after_conv"
    assert logged.dropna(subset=name).set_index("step")[name].to_dict() == pytest.approx(told.to_dict())
    assert logged["loss"].notna().sum() == 4
    check_updates(rows, [2, 4])
